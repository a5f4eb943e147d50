/**
 * What is known of the instruction being decoded. There is one record, used again for each instruction: decoding is not
 * re-entrant.
 */
export interface Cursor {
  bytes: Uint8Array
  /** Next byte to read; may run past the end, which `decode` finds out when it is done. */
  pos: number
  /** 1 in 64-bit mode. */
  mode64: number
  /** The opcode byte. */
  opcode: number
  /** The ModRM byte; 0xff without. */
  modrm: number
  /** REX or VEX bits as they extend register numbers: 0 or 8. */
  rexR: number
  rexX: number
  rexB: number
  /** 1 when a REX prefix counts: SPL, BPL, SIL, DIL instead of AH, CH, DH, BH. */
  hasRex: number
  /** REX.W or VEX.W, VEX.L (0 or 1), VEX.vvvv as a register number. */
  w: number
  l: number
  vvvv: number
  /** Mandatory prefix: 0 none, 1 66, 2 F3, 3 F2. */
  prefix: number
  /** 1 with an operand-size prefix. */
  prefix66: number
  /** Operand size in bytes: 2, 4, 8. */
  opSize: number
  /** Index field of SIB with REX.X, or −1 without SIB. */
  sibIndex: number
}

export function createCursor(): Cursor {
  return {
    bytes: new Uint8Array(0), pos: 0, mode64: 0, opcode: 0, modrm: 0, rexR: 0, rexX: 0, rexB: 0, hasRex: 0,
    w: 0, l: 0, vvvv: 0, prefix: 0, prefix66: 0, opSize: 0, sibIndex: -1,
  }
}

/** Reads a byte, sign-extended. */
export function readS8(c: Cursor): number {
  return c.bytes[c.pos++] << 24 >> 24
}

export function readU16(c: Cursor): number {
  const { bytes, pos } = c
  c.pos = pos + 2
  return bytes[pos] | bytes[pos + 1] << 8
}

/** Reads 32 bits as a signed number. */
export function readS32(c: Cursor): number {
  const { bytes, pos } = c
  c.pos = pos + 4
  return bytes[pos] | bytes[pos + 1] << 8 | bytes[pos + 2] << 16 | bytes[pos + 3] << 24
}
