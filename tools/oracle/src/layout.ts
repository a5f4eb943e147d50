/**
 * One record of a batch, the same going in and coming out (`struct record` of oracle.c): 64 bytes of request or
 * answer, the processor's state, and a window of data memory.
 */

/** Bytes of a record before its window. */
export const RECORD_HEAD = 896
export const BATCH_MAGIC = 0x4c43524f
/** Bytes of the batch header: magic, count, window size, 0 (u32 each). */
export const BATCH_HEAD = 16
/** Most instruction bytes that a case may have. */
export const CODE_MAX = 48

/** Where the bytes of a case lie when they run (RIP-relative operands and branches see it), but with `PAGE_END`. */
export const CODE_AT = 0x10000800
/** The page of data memory; its neighbours are not mapped. The window is its end, the rest is zero. */
export const DATA_PAGE = 0x20000000
export const DATA_END = 0x20001000

/** Flags of a case. */
export const CASE = {
  /** One instruction under TF: for branches and whatever may not come back behind the bytes. A tenth of the speed. */
  STEP: 1,
  /** 32-bit compatibility mode; needs `STEP`. */
  COMPAT: 2,
  /** The bytes end where the code page ends: fetching further faults. */
  PAGE_END: 4,
} as const

/** Offsets of the request, in bytes from the record. */
export const IN = { LENGTH: 0, FLAGS: 4, CODE: 16 } as const
/**
 * Offsets of the answer: signal (0: the bytes ran to their end), vector of the exception, its error code (u64),
 * CR2 (u64), and 1 where the case wrote to the data page outside its window (u32).
 */
export const OUT = { SIGNAL: 0, VECTOR: 4, ERROR: 8, CR2: 16, STRAY: 24 } as const

/** Offsets of the state. RIP is written only in answers, relative to the first byte of the case. */
export const STATE = {
  GPR: 64, RIP: 192, RFLAGS: 200, FS_BASE: 208, GS_BASE: 216, MXCSR: 224,
  /** u16 each; FTW abridged as FXSAVE has it. */
  FCW: 228, FSW: 230, FTW: 232, FOP: 234,
  FIP: 240, FDP: 248,
  /** ST(0)–ST(7) in stack order, 16 bytes each. */
  ST: 256,
  /** YMM0–15, 32 bytes each. */
  YMM: 384,
} as const

/** EFLAGS bits that a case may set; IF and bit 1 are always set, the others stay clear. */
export const SETTABLE_FLAGS = 0x240cd5

/** Signals in answers. */
export const SIGNAL = { NONE: 0, ILL: 4, TRAP: 5, BUS: 7, FPE: 8, SEGV: 11, ALRM: 14, SYS: 31 } as const
