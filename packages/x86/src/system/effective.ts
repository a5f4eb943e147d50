/** The offset of a memory operand, for the instructions that need the address without an access. */
import type { Cpu } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MODE64 } from '../insn.ts'
import { FS } from '../state.ts'
import { gpr64, segBase } from './access.ts'

/** base + index · scale + disp, cut to the address size; not checked against anything. */
export function effectiveOffset(cpu: Cpu, insn: Insn): bigint {
  let offset = BigInt(insn.disp)
  if (insn.absolute64 !== 0 && insn.ripRelative === 0) {
    offset = (BigInt(insn.dispHi >>> 0) << 32n) | BigInt(insn.disp >>> 0)
  }
  if (insn.ripRelative !== 0) offset += cpu.nextRip()
  if (insn.base >= 0) offset += gpr64(cpu, insn.base)
  if (insn.index >= 0) offset += gpr64(cpu, insn.index) << BigInt(insn.scale)
  return BigInt.asUintN(insn.addrSize * 8, offset)
}

/** Linear address of an offset in a segment, before any check. */
export function uncheckedAddress(cpu: Cpu, insn: Insn, seg: number, offset: bigint): bigint {
  if (insn.mode !== MODE64) return BigInt.asUintN(32, offset + segBase(cpu, seg))
  return seg >= FS ? BigInt.asUintN(64, offset + segBase(cpu, seg)) : offset
}

/** Linear address of a memory operand, before any check. */
export const effectiveAddress = (cpu: Cpu, insn: Insn): bigint =>
  uncheckedAddress(cpu, insn, insn.seg, effectiveOffset(cpu, insn))

/**
 * The first access to an area that is accessed in many parts: its segment as far as `size` bytes, then, where alignment
 * is checked, that of `size`. What the whole area needs comes after it (observed on Intel's processors).
 */
export function beginArea(cpu: Cpu, insn: Insn, size: number, write: boolean): void {
  cpu.checkAlignment?.(cpu.operandAddress(insn, size, write), size)
}
