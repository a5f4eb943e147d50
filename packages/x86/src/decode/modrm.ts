/** The memory operand that ModRM, SIB and displacement describe (SDM vol. 2, section 2.1.5, tables 2-1 to 2-3). */
import type { Insn } from '../insn.ts'
import { readS32, readS8, readU16, type Cursor } from './cursor.ts'

const SS = 2
/** 16-bit addressing: base and index by rm (BX = 3, BP = 5, SI = 6, DI = 7). */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3]
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1]

/** Fills the memory operand for `c.modrm`, whose mod is not 3, and moves past SIB and displacement. */
export function parseMemory(c: Cursor, out: Insn): void {
  if (out.addrSize === 2) parse16(c, out)
  else parse32(c, out)
}

function parse32(c: Cursor, out: Insn): void {
  const mod = c.modrm >> 6
  let base = c.modrm & 7
  if (base === 4) {
    const sib = c.bytes[c.pos++]
    base = sib & 7
    const index = sib >> 3 & 7 | c.rexX
    c.sibIndex = index
    // The scale is kept even without an index: with VSIB, index 4 is a register like any other.
    out.scale = sib >> 6
    if (index !== 4) out.index = index
    if (base === 5 && mod === 0) {
      out.disp = readS32(c)
      return
    }
  } else if (base === 5 && mod === 0) {
    out.disp = readS32(c)
    out.ripRelative = c.mode64
    return
  }
  out.base = base | c.rexB
  // RSP and RBP as a base mean the stack; R12 and R13, which share their low bits, do not.
  if (out.segOverride < 0 && (out.base === 4 || out.base === 5)) out.seg = SS
  if (mod === 1) out.disp = readS8(c)
  else if (mod === 2) out.disp = readS32(c)
}

function parse16(c: Cursor, out: Insn): void {
  const mod = c.modrm >> 6
  const rm = c.modrm & 7
  if (rm === 6 && mod === 0) {
    out.disp = readU16(c) << 16 >> 16
    return
  }
  out.base = BASE16[rm]
  out.index = INDEX16[rm]
  if (out.segOverride < 0 && out.base === 5) out.seg = SS
  if (mod === 1) out.disp = readS8(c)
  else if (mod === 2) out.disp = readU16(c) << 16 >> 16
}
