/** INT n, INT3, INTO, INT1, BOUND, UD. */
import type { Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { gpr32, in64, operandReg } from './access.ts'
import { FLAG } from './bits.ts'
import { enterHandler } from './deliver.ts'
import { INT1, SOFTWARE } from './event.ts'
import { effectiveOffset } from './effective.ts'
import { partAddress } from './parts.ts'

/** INT imm8. What entering the handler raises is raised by INT itself, with EXT clear. */
export const int: Meaning = (cpu, insn) => { enterHandler(cpu, insn.immLo & 0xff, -1, SOFTWARE) }
export const int3: Meaning = (cpu) => { enterHandler(cpu, VECTOR.BP, -1, SOFTWARE) }

/** INTO: #OF as a trap when OF is set; not in 64-bit mode. */
export const into: Meaning = (cpu, insn) => {
  if (in64(insn)) raise(VECTOR.UD)
  if ((cpu.getFlags() & FLAG.OF) !== 0) enterHandler(cpu, VECTOR.OF, -1, SOFTWARE)
}

/** INT1 (ICEBP): #DB as a trap without touching DR6, whatever the gate's DPL. */
export const int1: Meaning = (cpu) => { enterHandler(cpu, VECTOR.DB, -1, INT1) }

/** BOUND: #BR when the signed index lies outside the two bounds in memory. */
export const bound: Meaning = (cpu, insn) => {
  if (in64(insn)) raise(VECTOR.UD)
  const size = insn.size === 2 ? 2 : 4
  const offset = effectiveOffset(cpu, insn)
  const shift = 32 - size * 8
  const index = (gpr32(cpu, operandReg(insn, 0)) << shift) >> shift
  // Two loads, each with its own checks; the second only where the first lets the index pass (observed on Intel's
  // processors).
  const limit = (from: number): number =>
    (cpu.load(partAddress(cpu, insn, offset, from, size, false), size) << shift) >> shift
  if (index < limit(0) || index > limit(size)) raise(VECTOR.BR)
}

/** UD0, UD1, UD2, RSM outside SMM, and every instruction of a feature that the processor does not have. */
export const ud: Meaning = () => raise(VECTOR.UD)

