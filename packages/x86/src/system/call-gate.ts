/** Call gates of 16, 32 and 64 bits (SDM vol. 3 §5.8.3–5.8.5). */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { CPL, CS, SEG, SEG_BASE, SEG_SIZE, SS, TR } from '../state.ts'
import {
  cpl, gpr32, gpr64, isCanonical, isLongMode, readU64, RSP, segLimit, segSelector, setGpr64,
  setStackOffset, stackOffset, storeStack, writeU32,
} from './access.ts'
import { ATTR } from './bits.ts'
import type { Descriptor } from './descriptor.ts'
import {
  checkCodeOffset, createDescriptor, dplOf, isCode, isConforming, isNull, isPresent, markAccessed, readDescriptor,
  readUpperHalf,
  selectorError, setNullSegment, setSegmentFrom,
} from './descriptor.ts'
import { commitInnerStack, createInnerStack, openInnerStack, pushInner } from './inner-stack.ts'

/** A decoded call gate with the descriptor of its code segment. */
export interface CallGate {
  selector: number
  offset: bigint
  /** Words (16-bit gate) or doublewords that are copied between the stacks. */
  parameters: number
  /** Bytes per push. */
  size: 2 | 4 | 8
  readonly code: Descriptor
}

const gate: CallGate = { selector: 0, offset: 0n, parameters: 0, size: 4, code: createDescriptor() }
const inner = createInnerStack()

/** Reads the gate that `d` holds, and checks that it names code. The record is reused. */
export function readGate(cpu: Cpu, selector: number, d: Descriptor): CallGate {
  const long = isLongMode(cpu)
  if (long && !readUpperHalf(cpu, selector, d)) raise(VECTOR.GP, selectorError(selector))
  const is16 = (d.attributes & 0xf) === 4
  gate.selector = d.lo >>> 16
  gate.parameters = long ? 0 : d.hi & 0x1f
  gate.size = long ? 8 : is16 ? 2 : 4
  const low = (d.lo & 0xffff) | (is16 ? 0 : d.hi & 0xffff_0000)
  gate.offset = (BigInt(d.upper) << 32n) | BigInt(low >>> 0)
  if (isNull(gate.selector)) raise(VECTOR.GP, 0)
  const error = selectorError(gate.selector)
  if (!readDescriptor(cpu, gate.selector, gate.code)) raise(VECTOR.GP, error)
  const { attributes } = gate.code
  if (!isCode(attributes) || dplOf(attributes) > cpl(cpu)) raise(VECTOR.GP, error)
  if (long && (attributes & (ATTR.L | ATTR.DB)) !== ATTR.L) raise(VECTOR.GP, error)
  return gate
}

/** CALL through a gate: to an inner ring with a stack switch, or at the same privilege. */
export function callThroughGate(cpu: Cpu, g: CallGate): void {
  const { attributes } = g.code
  if (!isPresent(attributes)) raise(VECTOR.NP, selectorError(g.selector))
  const level = cpl(cpu)
  const isInner = !isConforming(attributes) && dplOf(attributes) < level
  if (!isInner) callSameLevel(cpu, g)
  else if (g.size === 8) callInnerLong(cpu, g, dplOf(attributes))
  else callInner(cpu, g, g.size, dplOf(attributes))
}

function enterCode(cpu: Cpu, g: CallGate, level: number): void {
  setSegmentFrom(cpu, CS, (g.selector & 0xfffc) | level, g.code)
  writeU32(cpu, CPL, level)
  cpu.modeChanged()
  cpu.setNextRip(g.offset)
}

function callSameLevel(cpu: Cpu, g: CallGate): void {
  checkCodeOffset(cpu, g.offset, g.code)
  markAccessed(cpu, g.code)
  storeStack(cpu, -g.size, g.size, BigInt(segSelector(cpu, CS)))
  storeStack(cpu, -g.size * 2, g.size, cpu.nextRip())
  setStackOffset(cpu, stackOffset(cpu, -g.size * 2))
  enterCode(cpu, g, cpl(cpu))
}

function callInner(cpu: Cpu, g: CallGate, size: 2 | 4, level: number): void {
  openInnerStack(cpu, level, 0, inner)
  checkCodeOffset(cpu, g.offset, g.code)
  markAccessed(cpu, g.code)
  pushInner(cpu, inner, size, segSelector(cpu, SS))
  pushInner(cpu, inner, size, gpr32(cpu, RSP))
  for (let i = g.parameters - 1; i >= 0; i--) {
    const address = cpu.segmentAddress(SS, stackOffset(cpu, i * size), size, false)
    pushInner(cpu, inner, size, cpu.load(address, size))
  }
  pushInner(cpu, inner, size, segSelector(cpu, CS))
  pushInner(cpu, inner, size, Number(cpu.nextRip() & 0xffff_ffffn))
  commitInnerStack(cpu, inner, true)
  enterCode(cpu, g, level)
}

function callInnerLong(cpu: Cpu, g: CallGate, level: number): void {
  const at = 4 + level * 8
  if (at + 7 > segLimit(cpu, TR)) raise(VECTOR.TS, selectorError(segSelector(cpu, TR)))
  let rsp = cpu.loadSystem64(readU64(cpu, SEG + TR * SEG_SIZE + SEG_BASE) + BigInt(at))
  if (!isCanonical(cpu, rsp)) raise(VECTOR.SS, 0)
  checkCodeOffset(cpu, g.offset, g.code)
  markAccessed(cpu, g.code)
  for (const value of [BigInt(segSelector(cpu, SS)), gpr64(cpu, RSP), BigInt(segSelector(cpu, CS)), cpu.nextRip()]) {
    rsp = BigInt.asUintN(64, rsp - 8n)
    cpu.storeSystem64(rsp, value)
  }
  setGpr64(cpu, RSP, rsp)
  setNullSegment(cpu, SS, level, level << ATTR.DPL_SHIFT)
  enterCode(cpu, g, level)
}

