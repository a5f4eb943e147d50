/** JMPF and CALLF: direct, through memory, and through call gates (SDM vol. 2, JMP and CALL; vol. 3 §5.8). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { FAR } from '../insn.ts'
import { CS, SEG, SEG_SIZE } from '../state.ts'
import {
  cpl, isLongMode, isProtected, segAttributes, segSelector, setStackOffset, stackAddress, stackOffset, storeStack,
} from './access.ts'
import { ATTR, SYSTEM_TYPE } from './bits.ts'
import { callThroughGate, readGate } from './call-gate.ts'
import type { Descriptor } from './descriptor.ts'
import {
  checkCodeOffset, createDescriptor, dplOf, isCode, isConforming, isNull, isPresent, isSystem, markAccessed,
  readDescriptor,
  selectorError, setSegmentFrom,
} from './descriptor.ts'
import { selectorAddress } from './parts.ts'
import { loadRealSegment } from './segments.ts'

const target = createDescriptor()
const pointer = { selector: 0, offset: 0n }

/** Reads the far pointer of the instruction: an immediate, or memory as offset then selector. */
function readPointer(cpu: Cpu, insn: Insn): void {
  const { size } = insn
  if (insn.kind0 === FAR) {
    pointer.selector = insn.imm2 & 0xffff
    pointer.offset = BigInt(insn.immLo >>> 0)
    return
  }
  const address = cpu.operandAddress(insn, size, false)
  pointer.offset = size === 8 ? cpu.load64(address) : BigInt(cpu.load(address, size === 4 ? 4 : 2))
  pointer.selector = cpu.load(selectorAddress(cpu, insn), 2)
}

/** Checks a direct far transfer to code at the present privilege. */
function checkDirect(cpu: Cpu, selector: number, d: Descriptor): void {
  const error = selectorError(selector)
  const level = cpl(cpu)
  const dpl = dplOf(d.attributes)
  if (isConforming(d.attributes) ? dpl > level : dpl !== level || (selector & 3) > level) raise(VECTOR.GP, error)
  if (!isPresent(d.attributes)) raise(VECTOR.NP, error)
  if (isLongMode(cpu) && (d.attributes & (ATTR.L | ATTR.DB)) === (ATTR.L | ATTR.DB)) raise(VECTOR.GP, error)
}

function push(cpu: Cpu, size: number, first: bigint, second: bigint): void {
  storeStack(cpu, -size, size, first)
  storeStack(cpu, -size * 2, size, second)
}

/**
 * Pushes the return address of a call as the code that it goes to would: where the call leaves 64-bit mode or enters
 * it, the stack is addressed the other way (observed on Intel processors).
 */
function pushReturn(cpu: Cpu, insn: Insn, d: Descriptor): void {
  const [selector, rip] = [BigInt(segSelector(cpu, CS)), cpu.nextRip()]
  const before = segAttributes(cpu, CS)
  const switches = isLongMode(cpu) && ((before ^ d.attributes) & ATTR.L) !== 0
  const setAttributes = (attributes: number): void => {
    if (!switches) return
    cpu.views.u16[(SEG + CS * SEG_SIZE + 2) >>> 1] = attributes
    cpu.modeChanged()
  }
  setAttributes(d.attributes)
  try {
    for (const slot of [1, 2]) cpu.checkWrite(stackAddress(cpu, -insn.size * slot, insn.size, true), insn.size)
    // The room on the stack is looked at before the target (SDM vol. 2, CALL).
    checkCodeOffset(cpu, pointer.offset, d)
    push(cpu, insn.size, selector, rip)
    setStackOffset(cpu, stackOffset(cpu, -insn.size * 2))
  } finally {
    setAttributes(before)
  }
}

/** Loads CS at the present privilege and goes on at `offset`. */
function enter(cpu: Cpu, selector: number, offset: bigint, d: Descriptor): void {
  setSegmentFrom(cpu, CS, (selector & 0xfffc) | cpl(cpu), d)
  cpu.modeChanged()
  cpu.setNextRip(isLongMode(cpu) && (d.attributes & ATTR.L) !== 0 ? offset : offset & 0xffff_ffffn)
}

function transferReal(cpu: Cpu, insn: Insn, isCall: boolean): void {
  const { selector, offset } = pointer
  if (offset > 0xffffn) raise(VECTOR.GP, 0)
  if (isCall) {
    push(cpu, insn.size, BigInt(segSelector(cpu, CS)), cpu.nextRip())
    setStackOffset(cpu, stackOffset(cpu, -insn.size * 2))
  }
  loadRealSegment(cpu, CS, selector)
  cpu.modeChanged()
  cpu.setNextRip(offset)
}

/** A selector that names a gate or a TSS. */
function transferSystem(cpu: Cpu, selector: number, d: Descriptor, isCall: boolean): void {
  const type = d.attributes & 0xf
  const error = selectorError(selector)
  const long = isLongMode(cpu)
  const isGate = type === SYSTEM_TYPE.CALL_GATE || (!long && type === SYSTEM_TYPE.CALL_GATE16)
  const isTask = !long && (type === SYSTEM_TYPE.TASK_GATE || type === SYSTEM_TYPE.TSS_AVAILABLE ||
    type === SYSTEM_TYPE.TSS16_AVAILABLE)
  if (!isGate && !isTask) raise(VECTOR.GP, error)
  if (dplOf(d.attributes) < Math.max(cpl(cpu), selector & 3)) raise(VECTOR.GP, error)
  if (!isPresent(d.attributes)) raise(VECTOR.NP, error)
  if (isTask) {
    cpu.shutdown(`far transfer to selector 0x${selector.toString(16)}: task switches are not supported`)
    return
  }
  const gate = readGate(cpu, selector, d)
  if (isCall) callThroughGate(cpu, gate)
  else {
    const { code } = gate
    const dpl = dplOf(code.attributes)
    const codeError = selectorError(gate.selector)
    if (isConforming(code.attributes) ? dpl > cpl(cpu) : dpl !== cpl(cpu)) raise(VECTOR.GP, codeError)
    if (!isPresent(code.attributes)) raise(VECTOR.NP, codeError)
    checkCodeOffset(cpu, gate.offset, code)
    markAccessed(cpu, code)
    enter(cpu, gate.selector, gate.offset, code)
  }
}

const farTransfer = (isCall: boolean): Meaning => (cpu, insn) => {
  readPointer(cpu, insn)
  if (!isProtected(cpu)) {
    transferReal(cpu, insn, isCall)
    return
  }
  const { selector, offset } = pointer
  if (isNull(selector)) raise(VECTOR.GP, 0)
  if (!readDescriptor(cpu, selector, target)) raise(VECTOR.GP, selectorError(selector))
  if (isSystem(target.attributes)) {
    transferSystem(cpu, selector, target, isCall)
    return
  }
  if (!isCode(target.attributes)) raise(VECTOR.GP, selectorError(selector))
  checkDirect(cpu, selector, target)
  if (!isCall) checkCodeOffset(cpu, offset, target)
  markAccessed(cpu, target)
  if (isCall) pushReturn(cpu, insn, target)
  enter(cpu, selector, offset, target)
}

export const jmpf = farTransfer(false)
export const callf = farTransfer(true)
