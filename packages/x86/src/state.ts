/**
 * Where the state of the processor that is running lives in the WebAssembly memory. Every address here is fixed, so
 * that handlers and compiled code reach a register with one instruction; a processor that is not running keeps a copy
 * of the block [HOT, HOT_END) elsewhere (see `processor.ts`).
 *
 * Segment records have the layout of the VMCB (APM vol. 2, appendix B): selector, attributes, limit, base.
 */

/** First byte of the state that is swapped when another processor runs. */
export const HOT = 0x400
/** End (exclusive) of the swapped state. */
export const HOT_END = 0xc00

/** Scratch for values that helpers return (64 bytes). */
export const SCRATCH = 0x100

/** 16 general registers of 8 bytes in encoding order (RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 …). */
export const GPR = HOT
/** "Register" number whose value is always zero: an absent base or index. */
export const ZERO_REG = 16
/** First of four hidden temporaries that address generation uses (numbers 17–20). */
export const TEMP_REG = 17

/** Lazy flags: operands (i64 each) and the operation (i32), see `flags.ts`. */
export const CC_A = 0x4b0
export const CC_B = 0x4b8
export const CC_OP = 0x4c0
/** EFLAGS but for the six status flags, which the lazy flags hold (i32; bit 1 always set). */
export const SYSFLAGS = 0x4c8
/** RIP (i64): exact whenever a helper or the host runs. */
export const RIP = 0x4d0

/** 16 registers of 16 bytes: bits 127:0 of YMMn. */
export const XMM = 0x500
/** 16 registers of 16 bytes: bits 255:128 of YMMn. */
export const YMMH = 0x600

/** Instructions left in this slice (i32). */
export const BUDGET = 0x700
/** Why the interpreter came back (i32, see `exits.ts`), and the micro-op it stopped at. */
export const EXIT_REASON = 0x704
export const EXIT_UOP = 0x708
/** The linear address that missed (i64), and what was wanted. */
export const MISS_EA = 0x710
export const MISS_INFO = 0x718
/** Base of the TLB of the present mode (i32): supervisor, supervisor with AC, user. */
export const TLB_BASE = 0x71c
/** Non-zero when an event wants attention at the next instruction boundary (i32). */
export const EVENT = 0x720
/** Decode mode of the present code segment (i32). */
export const MODE = 0x724
/** XORed into the tags of the jump cache, so that modes never share an entry (i64). */
export const MODE_SALT = 0x728
/** MXCSR (i32). */
export const MXCSR = 0x730
/** Byte offset of this processor's word in a code page's validity array (i32). */
export const CPU_SLOT = 0x734
/** Number of this processor (i32). */
export const CPU_INDEX = 0x738
/** CPL (i32). */
export const CPL = 0x73c

/** 8 x87 registers of 16 bytes by physical number: 64-bit significand, then 16 bits sign and exponent. MM0–7 alias. */
export const FPR = 0x780
/** x87 control word, status word (TOP inside), tag word (abridged: 1 = valid, as FXSAVE has it); i32 each. */
export const FCW = 0x800
export const FSW = 0x804
export const FTW = 0x808
/** Last x87 opcode (i32), instruction pointer (i64), data pointer (i64). */
export const FOP = 0x80c
export const FIP = 0x810
export const FDP = 0x818
/** Selectors of the last x87 instruction and data (i32 each). */
export const FCS = 0x820
export const FDS = 0x824

/** Control registers, i64 each. */
export const CR0 = 0x840
export const CR2 = 0x848
export const CR3 = 0x850
export const CR4 = 0x858
export const EFER = 0x860
export const XCR0 = 0x868
export const PKRU = 0x870
/** DR0–DR3, DR6, DR7 (i64 each, DR4 and DR5 slots unused). */
export const DR = 0x880

/** Segment records of 16 bytes: selector u16, attributes u16, limit u32, base i64. In encoding order, then LDTR, TR. */
export const SEG = 0x900
export const SEG_SIZE = 16
export const ES = 0
export const CS = 1
export const SS = 2
export const DS = 3
export const FS = 4
export const GS = 5
export const LDTR = 6
export const TR = 7
/** Offset of the base inside a segment record. */
export const SEG_BASE = 8
/** Descriptor-table registers: limit u32, pad, base i64. */
export const GDTR = 0x980
export const IDTR = 0x990

/** MSRs that instructions use themselves (i64 each). */
export const MSR_STAR = 0x9a0
export const MSR_LSTAR = 0x9a8
export const MSR_CSTAR = 0x9b0
export const MSR_SFMASK = 0x9b8
export const MSR_KERNEL_GS_BASE = 0x9c0
export const MSR_SYSENTER_CS = 0x9c8
export const MSR_SYSENTER_ESP = 0x9d0
export const MSR_SYSENTER_EIP = 0x9d8
export const MSR_TSC_AUX = 0x9e0
export const MSR_PAT = 0x9e8
/** Added to the virtual TSC (i64). */
export const TSC_OFFSET = 0x9f0
/** Instructions retired by this processor up to the start of its present slice (f64: exact to 2^53). */
export const ICOUNT = 0x9f8
/** Length of the present slice: BUDGET counts down from it (i32). */
export const SLICE = 0xa00
/** 1 when the instruction before was STI, MOV SS or POP SS: no interrupt before the next one ends (i32). */
export const SHADOW = 0xa04
/** XSS (i64). */
export const XSS = 0xa08
/** Time-stamp counter (before TSC_OFFSET) at which the present slice ends (i64): ICOUNT + SLICE. */
export const TIME_END = 0xa10
/** Not 0 when PAUSE gives the rest of the slice away: other processors are ready (i32). */
export const YIELDS = 0xa18
