/** Operands by their codes (`OPERAND` in `notation.ts`). */
import {
  CR_REG, DR_REG, FAR, IMM, IMM2, MEM, MMX_REG, REG, REG_HIGH, REL, SEG_REG, ST_REG, XMM_REG, type Insn,
} from '../insn.ts'
import { readS32, readS8, readU16, type Cursor } from './cursor.ts'
import { OPERAND } from './notation.ts'

const SEG_ES = OPERAND.SEG

/** Finds one operand, reading its bytes if it has any. Returns kind | register << 8. */
export function operand(code: number, c: Cursor, out: Insn): number {
  const { modrm } = c
  switch (code) {
    case OPERAND.E: return modrm < 0xc0 ? MEM : REG | (modrm & 7 | c.rexB) << 8
    case OPERAND.G: return REG | (modrm >> 3 & 7 | c.rexR) << 8
    case OPERAND.EB: return modrm < 0xc0 ? MEM : byteRegister(c, modrm & 7, c.rexB)
    case OPERAND.GB: return byteRegister(c, modrm >> 3 & 7, c.rexR)
    case OPERAND.Z: return REG | (c.opcode & 7 | c.rexB) << 8
    case OPERAND.ZB: return byteRegister(c, c.opcode & 7, c.rexB)
    case OPERAND.M: return MEM
    case OPERAND.V: return XMM_REG | (modrm >> 3 & 7 | c.rexR) << 8
    case OPERAND.W: return modrm < 0xc0 ? MEM : XMM_REG | (modrm & 7 | c.rexB) << 8
    case OPERAND.H: return XMM_REG | (c.vvvv & (c.mode64 << 3 | 7)) << 8
    case OPERAND.P: return MMX_REG | (modrm >> 3 & 7) << 8
    case OPERAND.Q: return modrm < 0xc0 ? MEM : MMX_REG | (modrm & 7) << 8
    case OPERAND.B: return REG | (c.vvvv & (c.mode64 << 3 | 7)) << 8
    case OPERAND.R: return REG | (modrm & 7 | c.rexB) << 8
    case OPERAND.ACC: return REG
    case OPERAND.CL: return REG | 1 << 8
    case OPERAND.DX: return REG | 2 << 8
    case OPERAND.S: return SEG_REG | (modrm >> 3 & 7) << 8
    case OPERAND.C: return CR_REG | (modrm >> 3 & 7 | c.rexR) << 8
    case OPERAND.D: return DR_REG | (modrm >> 3 & 7 | c.rexR) << 8
    case OPERAND.ST0: return ST_REG
    case OPERAND.STI: return ST_REG | (modrm & 7) << 8
    case OPERAND.SEG: case OPERAND.SEG + 1: case OPERAND.SEG + 2: case OPERAND.SEG + 3: case OPERAND.SEG + 4:
    case OPERAND.SEG + 5: return SEG_REG | (code - SEG_ES) << 8
    default: return immediate(code, c, out)
  }
}

/** Without REX, 4–7 are AH, CH, DH, BH. */
function byteRegister(c: Cursor, number: number, extension: number): number {
  if (number >= 4 && c.hasRex === 0) return REG_HIGH | number - 4 << 8
  return REG | (number | extension) << 8
}

function setImmediate(out: Insn, value: number): number {
  out.immLo = value
  out.immHi = value >> 31
  return IMM
}

function immediate(code: number, c: Cursor, out: Insn): number {
  switch (code) {
    case OPERAND.IB: return setImmediate(out, readS8(c))
    case OPERAND.UB: return setImmediate(out, c.bytes[c.pos++] | 0)
    case OPERAND.ONE: return setImmediate(out, 1)
    case OPERAND.IW: return setImmediate(out, readU16(c))
    case OPERAND.IZ: return setImmediate(out, c.opSize === 2 ? readU16(c) << 16 >> 16 : readS32(c))
    case OPERAND.IV:
      setImmediate(out, c.opSize === 2 ? readU16(c) << 16 >> 16 : readS32(c))
      if (c.opSize === 8) out.immHi = readS32(c)
      return IMM
    case OPERAND.I2:
      out.imm2 = c.bytes[c.pos++] | 0
      return IMM2
    case OPERAND.JB:
      out.rel = readS8(c)
      return REL
    case OPERAND.JZ:
      out.rel = c.opSize === 2 ? readU16(c) << 16 >> 16 : readS32(c)
      return REL
    case OPERAND.L: {
      const number = c.bytes[c.pos++] >> 4
      return XMM_REG | (c.mode64 ? number : number & 7) << 8
    }
    case OPERAND.A:
      out.immLo = c.opSize === 2 ? readU16(c) : readS32(c)
      out.imm2 = readU16(c)
      return FAR
    case OPERAND.O: return absoluteOffset(c, out)
    default: return 0
  }
}

/** MOV with a memory offset as wide as addresses are. */
function absoluteOffset(c: Cursor, out: Insn): number {
  if (out.addrSize === 2) out.disp = readU16(c)
  else if (out.addrSize === 4) out.disp = readS32(c)
  else {
    out.disp = readS32(c) >>> 0
    out.dispHi = readS32(c)
    out.absolute64 = 1
  }
  return MEM
}
