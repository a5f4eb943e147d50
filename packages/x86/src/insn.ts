/**
 * One decoded instruction. The decoder fills one record again and again, so that decoding makes no garbage;
 * who wants to keep an instruction copies it.
 */

export const NONE = 0
/** A general register of the operand's width. */
export const REG = 1
/** AH, CH, DH or BH (`reg` is 0–3). */
export const REG_HIGH = 2
/** Memory: `base`, `index`, `scale`, `disp`, `seg` of the record. */
export const MEM = 3
/** An immediate: `immLo`, `immHi`, sign- or zero-extended to 64 bits as the instruction uses it. */
export const IMM = 4
/** XMMn (YMMn when the record's `size` is 32). */
export const XMM_REG = 5
/** MMX registers. */
export const MMX_REG = 6
/** Segment registers. */
export const SEG_REG = 7
/** Control registers. */
export const CR_REG = 8
/** Debug registers. */
export const DR_REG = 9
/** ST(n). */
export const ST_REG = 10
/** A branch target relative to the next instruction: `rel`. */
export const REL = 11
/** A far pointer selector:offset: `imm2` is the selector, `immLo` the offset. */
export const FAR = 12
/** A second immediate (ENTER, EXTRQ): `imm2`. */
export const IMM2 = 13

/** Code-segment widths, as `Insn.mode` and the decoder's argument. */
export const MODE16 = 2
/** 32-bit code. */
export const MODE32 = 4
/** 64-bit code. */
export const MODE64 = 8
/** How code is decoded; the numbers are bits, for tables. */
export type CodeWidth = typeof MODE16 | typeof MODE32 | typeof MODE64

/** Why bytes are no instruction. */
export const DECODED = 0
/** #UD: an encoding that is not defined, or LOCK where it may not stand. */
export const INVALID = 1
/** #GP(0): longer than 15 bytes. */
export const TOO_LONG = 2
/** The bytes given end inside the instruction; `len` says how many are there. */
export const TRUNCATED = 3

/** A decoded instruction; `decode` fills one that the caller keeps. */
export interface Insn {
  status: typeof DECODED | typeof INVALID | typeof TOO_LONG | typeof TRUNCATED
  /** Number of the mnemonic in `OPS` (`ops.ts`). */
  op: number
  /** Length in bytes. */
  len: number
  /**
   * Width of the operation in bytes: 1, 2, 4, 8, 16, 32 (10 for x87 extended, 64 for MOVDIR64B, 0 where meaningless).
   */
  size: number
  /**
   * Width of the other operand where the instruction has two (MOVZX, MOVSX, CVT…, PMOVZX, scalar SSE, INSERTF128); else
   * 0. A memory operand is `size2 || size` bytes wide, but for instructions that know better (LEA, far pointers,
   * XSAVE).
   */
  size2: number
  /** Width of addresses in bytes: 2, 4 or 8. */
  addrSize: number
  /** Width of the code segment the instruction was decoded for. */
  mode: number
  /** Operands in Intel order: kind and register number (0–15) each. */
  kind0: number
  kind1: number
  kind2: number
  kind3: number
  reg0: number
  reg1: number
  reg2: number
  reg3: number
  /** Memory operand: register numbers or −1; scale is a shift 0–3. */
  base: number
  index: number
  scale: number
  /** Displacement, sign-extended (a number; RIP-relative operands hold the distance from the next instruction). */
  disp: number
  /** Upper 32 bits of a 64-bit absolute offset (MOV moffs); `disp` then holds the lower 32 bits, unsigned. */
  dispHi: number
  /** 1 when the memory operand is RIP-relative. */
  ripRelative: number
  /** 1 when the operand is a 64-bit absolute offset (`disp`, `dispHi`). */
  absolute64: number
  /** Effective segment of the memory operand: 0–5 (ES CS SS DS FS GS), the default when none is overridden. */
  seg: number
  /** Explicit override, or −1 (string instructions and the far-reaching checks want to know). */
  segOverride: number
  /** Halves of an immediate, each a signed number (`immLo >>> 0` is the offset of a far pointer). */
  immLo: number
  immHi: number
  imm2: number
  /** Distance of a relative branch. */
  rel: number
  /** Condition of JCC, SETCC, CMOVCC (low nibble of the opcode). */
  cc: number
  /** 1 with LOCK. */
  lock: number
  /** 0xf2, 0xf3 or 0 as a repeat prefix (not where it selects the instruction). */
  rep: number
  /** 1 with VEX. */
  vex: number
}
