/** RETF in every mode (SDM vol. 2, RET). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { IMM } from '../insn.ts'
import { CPL, CS } from '../state.ts'
import {
  cpl, isLongMode, isProtected, loadStack, loadStack32, setStackOffset, stackOffset, writeU32,
} from './access.ts'
import { ATTR } from './bits.ts'
import { checkCodeOffset, createDescriptor, markAccessed, setSegmentFrom } from './descriptor.ts'
import { checkReturnCode, commitReturnStack, dropInnerSegments } from './iret.ts'
import { checkStackSelector, loadRealSegment } from './segments.ts'

const code = createDescriptor()
const stack = createDescriptor()

function returnReal(cpu: Cpu, size: number, release: number): void {
  const rip = loadStack(cpu, 0, size)
  const selector = loadStack32(cpu, size, size) & 0xffff
  if (rip > 0xffffn) raise(VECTOR.GP, 0)
  setStackOffset(cpu, stackOffset(cpu, size * 2 + release))
  loadRealSegment(cpu, CS, selector)
  cpu.modeChanged()
  cpu.setNextRip(rip)
}

/** RETF and RETF imm16: the immediate releases parameters from both stacks. */
export const retf: Meaning = (cpu, insn) => {
  const { size } = insn
  const release = insn.kind0 === IMM ? insn.immLo & 0xffff : 0
  if (!isProtected(cpu)) {
    returnReal(cpu, size, release)
    return
  }
  // Two bytes of the selector are read first, as a fault's address shows (observed on Intel processors).
  const selector = loadStack32(cpu, size, 2)
  const rip = loadStack(cpu, 0, size)
  checkReturnCode(cpu, selector, code)
  const oldLevel = cpl(cpu)
  const level = selector & 3
  const to64 = isLongMode(cpu) && (code.attributes & ATTR.L) !== 0
  let rsp = 0n
  let stackSelector = 0
  if (level !== oldLevel) {
    rsp = loadStack(cpu, size * 2 + release, size)
    stackSelector = loadStack32(cpu, size * 3 + release, 2)
    checkStackSelector(cpu, stackSelector, level, to64, stack)
  }
  checkCodeOffset(cpu, rip, code)
  markAccessed(cpu, code)

  // Nothing faults from here on.
  if (level === oldLevel) setStackOffset(cpu, stackOffset(cpu, size * 2 + release))
  else commitReturnStack(cpu, stackSelector, BigInt.asUintN(64, rsp + BigInt(release)), level, stack, to64)
  setSegmentFrom(cpu, CS, selector, code)
  writeU32(cpu, CPL, level)
  if (level !== oldLevel) dropInnerSegments(cpu, level)
  cpu.modeChanged()
  cpu.setNextRip(to64 ? rip : rip & 0xffff_ffffn)
}
