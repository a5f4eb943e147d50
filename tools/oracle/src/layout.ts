/**
 * One record of a batch, the same going in and coming out (`struct record` of oracle.c): 64 bytes of request or
 * answer, the processor's state, and a window of data memory.
 */

/** Bytes of a record before its window. */
export const RECORD_HEAD = 912
export const BATCH_MAGIC = 0x4c43524f
/** Most pieces that a window may have. */
export const PIECES = 6
/** Entries of the local descriptor table. */
export const TABLE_ENTRIES = 32
/**
 * Bytes of the batch header: magic, count, window size, pieces (u32 each); address and length of six pieces; the
 * descriptor table as `struct user_desc` (number, base, limit, bits).
 */
export const BATCH_HEAD = 64 + 16 * TABLE_ENTRIES
/** Most instruction bytes that a case may have. */
export const CODE_MAX = 48

/** Code that can be read and executed: one run of pages, the page behind it is not mapped. */
export const CODE = { AT: 0x10000000, LENGTH: 144 * 4096 } as const
/** Single pages of code, `STEP` apart, with nothing behind each. */
export const EDGE = { AT: 0x10100000, STEP: 0x2000, COUNT: 128 } as const
/**
 * Behind the bytes of a case, but with `PAGE_END`, a jump leads here: near from 64-bit code, else far to selector
 * 0x33.
 */
export const WAY_BACK = 0x0f000000
/** Where the bytes of a case lie when nobody says otherwise (RIP-relative operands and branches see it). */
export const CODE_AT = 0x10000800
/** A page of data memory whose neighbours are not mapped. The window is its end, the rest is zero. */
export const DATA_PAGE = 0x20000000
export const DATA_END = 0x20001000

/** Pages of data by what may be done there: writable, read-only, not mapped. Nothing is mapped before and behind. */
export const DATA = { AT: 0x20010000, KINDS: 'wwrw-r' } as const

/**
 * Where the oracle's own program lies, and the page that cases are entered from: memory that only the real processor
 * has.
 */
export const FOREIGN: readonly (readonly [bigint, bigint])[] = [
  [0x5a00_0000n, 0x5b00_0000n], [0x7000_0000_0000n, 0x7000_0000_1000n], [0x7f00_0000_0000n, 0x8000_0000_0000n],
]

/** Flags of a case. */
export const CASE = {
  /** One instruction under TF: for branches and whatever may not come back behind the bytes. A tenth of the speed. */
  STEP: 1,
  /** 32-bit compatibility mode: `setCode` chooses its segments. */
  COMPAT: 2,
  /** The bytes end where a code page ends: fetching further faults. */
  PAGE_END: 4,
} as const

/** Offsets of the request, in bytes from the record. */
export const IN = { LENGTH: 0, FLAGS: 4, AT: 8, CODE: 16 } as const
/**
 * Offsets of the answer: signal (0: the bytes ran to their end), vector of the exception, its error code (u64),
 * CR2 (u64), and a hash of what the case wrote to data pages outside its window (u32; 0: nothing).
 */
export const OUT = { SIGNAL: 0, VECTOR: 4, ERROR: 8, CR2: 16, STRAY: 24 } as const

/** Offsets of the state. RIP is written only in answers, relative to the first byte of the case. */
export const STATE = {
  GPR: 64, RIP: 192, RFLAGS: 200, FS_BASE: 208, GS_BASE: 216, MXCSR: 224,
  /** u16 each; FTW abridged as FXSAVE has it. */
  FCW: 228, FSW: 230, FTW: 232, FOP: 234,
  FIP: 240, FDP: 248,
  /** Selectors of ES, CS, SS, DS, FS, GS, u16 each. */
  SELECTORS: 256,
  /** ST(0)–ST(7) in stack order, 16 bytes each. */
  ST: 272,
  /** YMM0–15, 32 bytes each. */
  YMM: 400,
} as const

/** Selectors that Linux has for user code: 32-bit code, data, 64-bit code. */
export const SELECTOR = { CODE32: 0x23, DATA: 0x2b, CODE64: 0x33 } as const

/** Signals in answers. */
export const SIGNAL = { NONE: 0, ILL: 4, TRAP: 5, BUS: 7, FPE: 8, SEGV: 11, ALRM: 14, SYS: 31 } as const
