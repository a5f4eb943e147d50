/** Encodings that are #UD because of a register number. */
import { CR_REG, DR_REG, SEG_REG, type Insn } from '../insn.ts'
import type { Cursor } from './cursor.ts'
import { FORM } from './notation.ts'

const CS = 1
/** CR0, CR2, CR3, CR4 and CR8 exist (SDM vol. 2, MOV to/from control registers). */
const CONTROL_REGISTERS = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8

/** Whether the registers of `out` are ones that the instruction may name. */
export function checkForm(c: Cursor, flags: number, out: Insn): boolean {
  if ((flags & FORM.VSIB) !== 0) return checkVsib(c, out)
  const special = out.kind0 >= SEG_REG && out.kind0 <= DR_REG ? out.kind0 : out.kind1
  const number = special === out.kind0 ? out.reg0 : out.reg1
  switch (special) {
    case SEG_REG: return number < 6 && (number !== CS || (flags & FORM.NOCS) === 0)
    case CR_REG: return (CONTROL_REGISTERS >> number & 1) !== 0
    case DR_REG: return number < 8
    default: return true
  }
}

/**
 * VSIB (SDM vol. 2, section 2.3.12): there must be a SIB byte, index 4 is a register like any other, and destination,
 * index and mask must be three registers.
 */
function checkVsib(c: Cursor, out: Insn): boolean {
  const index = c.sibIndex
  if (index < 0) return false
  out.index = index
  return index !== out.reg0 && index !== out.reg2 && out.reg0 !== out.reg2
}
