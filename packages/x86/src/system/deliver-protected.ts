/**
 * Delivery through a gate of 16- or 32-bit protected mode (SDM vol. 3 §6.12.1; checks in the order of SDM vol. 2, INT
 * n).
 */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { CPL, CS, IDTR, SS } from '../state.ts'
import { cpl, gpr32, readU32, readU64, RSP, segSelector, writeU32 } from './access.ts'
import { FLAG, SYSTEM_TYPE } from './bits.ts'
import {
  createDescriptor, dplOf, isCode, isConforming, isNull, isPresent, linear, markAccessed, readDescriptor,
  selectorError, setSegmentFrom,
} from './descriptor.ts'
import type { EventSource } from './event.ts'
import { extOf, gateError, returnRip, savedFlags, SOFTWARE } from './event.ts'
import { commitInnerStack, createInnerStack, openInnerStack, openPresentStack, pushInner } from './inner-stack.ts'

const codeSegment = createDescriptor()
const stack = createInnerStack()

/** Enters a handler in protected mode outside long mode. Task gates shut the processor down. */
export function enterProtected(cpu: Cpu, vector: number, errorCode: number, source: EventSource): void {
  const ext = extOf(source)
  const level = cpl(cpu)
  const error = gateError(vector, source)
  if (vector * 8 + 7 > readU32(cpu, IDTR)) raise(VECTOR.GP, error)
  const gate = linear(cpu, readU64(cpu, IDTR + 8) + BigInt(vector * 8))
  const lo = cpu.loadSystem(gate, 4)
  const hi = cpu.loadSystem(linear(cpu, gate + 4n), 4)
  const type = (hi >>> 8) & 0x1f
  const isTaskGate = type === SYSTEM_TYPE.TASK_GATE
  if (!isTaskGate && (type & 0x16) !== 6) raise(VECTOR.GP, error)
  if (source === SOFTWARE && ((hi >>> 13) & 3) < level) raise(VECTOR.GP, error)
  if ((hi & 0x8000) === 0) raise(VECTOR.NP, error)
  if (isTaskGate) {
    cpu.shutdown(`vector ${String(vector)} goes through a task gate: task switches are not supported`)
    return
  }

  const selector = lo >>> 16
  readHandlerSegment(cpu, selector, level, ext)
  const newLevel = isConforming(codeSegment.attributes) ? level : dplOf(codeSegment.attributes)
  const size = (type & 8) !== 0 ? 4 : 2
  const entry = size === 4 ? ((lo & 0xffff) | (hi & 0xffff_0000)) >>> 0 : lo & 0xffff
  const inner = newLevel !== level
  if (inner) openInnerStack(cpu, newLevel, ext, stack)
  else openPresentStack(cpu, stack)
  if (entry > codeSegment.limit) raise(VECTOR.GP, ext)
  markAccessed(cpu, codeSegment)

  const user = newLevel === 3
  if (inner) {
    pushInner(cpu, stack, size, segSelector(cpu, SS))
    pushInner(cpu, stack, size, gpr32(cpu, RSP))
  }
  pushInner(cpu, stack, size, savedFlags(cpu, vector, source), user)
  pushInner(cpu, stack, size, segSelector(cpu, CS), user)
  pushInner(cpu, stack, size, Number(returnRip(cpu, source) & 0xffff_ffffn), user)
  if (errorCode >= 0) pushInner(cpu, stack, size, errorCode, user)

  // Nothing faults from here on.
  commitInnerStack(cpu, stack, inner)
  setSegmentFrom(cpu, CS, (selector & 0xfffc) | newLevel, codeSegment)
  writeU32(cpu, CPL, newLevel)
  const clears = FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM
  cpu.setFlags(0, (type & 1) === 0 ? clears | FLAG.IF : clears)
  cpu.modeChanged()
  cpu.setNextRip(BigInt(entry))
}

function readHandlerSegment(cpu: Cpu, selector: number, level: number, ext: number): void {
  if (isNull(selector)) raise(VECTOR.GP, ext)
  const error = selectorError(selector, ext)
  if (!readDescriptor(cpu, selector, codeSegment)) raise(VECTOR.GP, error)
  const { attributes } = codeSegment
  if (!isCode(attributes) || dplOf(attributes) > level) raise(VECTOR.GP, error)
  if (!isPresent(attributes)) raise(VECTOR.NP, error)
}
