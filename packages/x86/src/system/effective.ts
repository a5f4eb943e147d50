/** The offset of a memory operand, for the instructions that need the address without an access. */
import type { Cpu } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { gpr64 } from './access.ts'

/** base + index · scale + disp, cut to the address size; not checked against anything. */
export function effectiveOffset(cpu: Cpu, insn: Insn): bigint {
  let offset = BigInt(insn.disp)
  if (insn.absolute64 !== 0) offset = (BigInt(insn.dispHi >>> 0) << 32n) | BigInt(insn.disp >>> 0)
  if (insn.ripRelative !== 0) offset += cpu.nextRip()
  if (insn.base >= 0) offset += gpr64(cpu, insn.base)
  if (insn.index >= 0) offset += gpr64(cpu, insn.index) << BigInt(insn.scale)
  return BigInt.asUintN(insn.addrSize * 8, offset)
}
