/**
 * Micro-ops: what a guest instruction becomes when it is decoded. A block is a header of 32 bytes and then one record
 * of 32 bytes for each micro-op; all live in the WebAssembly memory.
 *
 * header  0 i32 hotness (counts down)   4 i32 instructions   8 i32 its code page's validity words   12 i32 block number
 *        16 i32 where execution starts: the first micro-op, or one that enters compiled code
 *
 * micro-op
 *  0 u16 handler          2 u16 form (the unfused handler's cold twin)
 *  4 u8 operand 0         5 u8 operand 1        (byte offsets from GPR or XMM)
 *  6 u8 base              7 u8 index
 *  8 i32 displacement    12 u8 scale           13 u8 operand 2
 * 16 i64 immediate, return address or 64-bit absolute offset (the immediate then sits at 8)
 * 24 i32 link: taken     28 i32 link: not taken
 */
export const UOP_SIZE = 32
export const HEADER_SIZE = 32

export const HEADER = { HOTNESS: 0, COUNT: 4, PAGE: 8, BLOCK: 12, ENTRY: 16 } as const
export const UOP = {
  HANDLER: 0, FORM: 2, REG0: 4, REG1: 5, BASE: 6, INDEX: 7, DISP: 8, SCALE: 12, REG2: 13, IMM: 16, LINK: 24, LINK2: 28,
} as const
/** Offset of operand `slot`'s register byte. */
export const regByte = (slot: number): number => (slot === 2 ? UOP.REG2 : UOP.REG0 + slot)

/** Handlers that are no guest instruction's. */
export const HANDLER = {
  /** A link that has not been followed yet: RIP = immediate, patch the word at LINK. */
  LINK: 0,
  /** Calls the form's function in the table. */
  COLD: 1,
  /** Leaves for a meaning in TypeScript. */
  HOST: 2,
  /** Enters compiled code. */
  JIT: 3,
  /** An instruction that crosses a page: goes on only while the second page's mapping (its words at DISP) is valid. */
  CROSS: 4,
  /** Ends a single step: RIP = immediate. */
  STEP: 5,
  /** Goes on at LINK. */
  GOTO: 6,
  /** The host computes the memory operand's linear address into the first temporary. */
  ADDRESS: 7,
  /** Leaves to look up RIP. */
  LOOKUP: 8,
} as const
export const FIRST_FORM_HANDLER = 9

/**
 * The micro-op that enters compiled code: function at LINK2 of the table, entry number at DISP; the block's
 * instructions at LINK are given back, because compiled code charges for itself.
 */
export const JIT_UOP = { ENTRY: 8, COUNT: 24, FUNCTION: 28 } as const

/** Why the interpreter came back. */
export const EXIT = {
  /** Block at EXIT_UOP was about to be entered: the budget is spent or the block is hot. */
  ENTER: 1,
  /** Go on at RIP. */
  LOOKUP: 2,
  /** Run the TypeScript meaning of the micro-op. */
  HOST: 3,
  /** A memory access faulted; the fault is in `guestFault`. */
  FAULT: 4,
  /** The instruction raises the vector in MISS_INFO. */
  RAISE: 5,
  /** Go on at EXIT_UOP after looking at events. */
  EVENT: 6,
  /** Like LOOKUP, and patch the link word at EXIT_UOP. */
  LINK: 7,
  /** A page-crossing instruction's second page must be checked. */
  CROSS: 8,
  /** A repeated string instruction used up the budget; it goes on at EXIT_UOP. */
  REPEAT: 9,
  /** A single step is done. */
  STEP: 10,
  /** The block at EXIT_UOP lies in a page whose mapping must be checked first; it was not charged. */
  PAGE: 11,
  /** The host computes an address into the first temporary; the next micro-op uses it. */
  ADDRESS: 12,
} as const

/**
 * TLB: 4096 entries of 16 bytes for reads, then as many for writes: i64 tag (linear page, −1 when empty), i32 addend,
 * u32 physical page (for the host).
 */
export const TLB_ENTRIES = 4096
export const TLB_WRITE = TLB_ENTRIES * 16
/** In the tag of an entry that no access matches: somebody must see the page's writes, or its contents are to come. */
export const TLB_SLOW = 1
/** Bytes of one mode's TLBs; a processor has three: supervisor, supervisor with AC, user. */
export const TLB_MODE_SIZE = TLB_ENTRIES * 32
export const TLB_MODES = 3

/** Jump cache: tag (RIP ^ mode salt) i64, header i32. */
export const JUMP_CACHE_ENTRIES = 65536

/** MISS_INFO holds the size in its low byte and what is wanted (`WANT`) above. */
export const missInfo = (size: number, want: number): number => size | (want << 8)

/** Bits of EVENT: an interrupt waits for IF; the host wants control at the next instruction boundary. */
export const EVENT_INTERRUPT = 1
export const EVENT_STOP = 2

/** What a function for repeated MOVS or STOS comes back with. */
export const BULK = { DONE: 0, MISS: 1, SLOW: 2, BUDGET: 3 } as const
