/**
 * The stack of an inner ring in 16- and 32-bit protected mode: found in the TSS, checked, and pushed to before it is
 * loaded.
 */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { GPR, SS, TR } from '../state.ts'
import { RSP, segAttributes, segBase, segLimit, segSelector, setGpr } from './access.ts'
import { ATTR } from './bits.ts'
import type { Descriptor } from './descriptor.ts'
import {
  createDescriptor, dplOf, isNull, isPresent, isWritableData, linear, markAccessed, readDescriptor, selectorError,
  setSegmentFrom,
} from './descriptor.ts'

/** A stack that is being built. */
export interface InnerStack {
  selector: number
  /** Present stack pointer; pushes lower it. */
  pointer: number
  readonly descriptor: Descriptor
  /** Error code for a push that does not fit. */
  error: number
}

export const createInnerStack = (): InnerStack => ({
  selector: 0, pointer: 0, descriptor: createDescriptor(), error: 0,
})

/**
 * Reads SS:ESP of ring `level` from a 16- or 32-bit TSS and checks it (SDM vol. 2, INT n, INTER-PRIVILEGE-LEVEL).
 * Raises #TS, or #SS for a segment that is not present.
 */
export function openInnerStack(cpu: Cpu, level: number, ext: number, stack: InnerStack): void {
  const is32 = (segAttributes(cpu, TR) & 8) !== 0
  const at = is32 ? 4 + level * 8 : 2 + level * 4
  if (at + (is32 ? 5 : 3) > segLimit(cpu, TR)) raise(VECTOR.TS, selectorError(segSelector(cpu, TR), ext))
  const address = linear(cpu, segBase(cpu, TR) + BigInt(at))
  stack.pointer = cpu.loadSystem(address, is32 ? 4 : 2)
  stack.selector = cpu.loadSystem(linear(cpu, address + (is32 ? 4n : 2n)), 2)
  checkInnerSegment(cpu, stack, level, ext)
}

function checkInnerSegment(cpu: Cpu, stack: InnerStack, level: number, ext: number): void {
  const { selector, descriptor } = stack
  if (isNull(selector)) raise(VECTOR.TS, ext)
  const error = selectorError(selector, ext)
  if (!readDescriptor(cpu, selector, descriptor)) raise(VECTOR.TS, error)
  const { attributes } = descriptor
  if ((selector & 3) !== level || dplOf(attributes) !== level || !isWritableData(attributes)) raise(VECTOR.TS, error)
  if (!isPresent(attributes)) raise(VECTOR.SS, error)
  markAccessed(cpu, descriptor)
  stack.error = error
}

/** Takes the present stack as it is, for a handler at the same privilege. */
export function openPresentStack(cpu: Cpu, stack: InnerStack): void {
  const d = stack.descriptor
  stack.selector = segSelector(cpu, SS)
  stack.pointer = cpu.views.u32[(GPR >>> 2) + RSP * 2]
  d.attributes = segAttributes(cpu, SS)
  d.limit = segLimit(cpu, SS)
  d.base = Number(segBase(cpu, SS) & 0xffff_ffffn)
  d.upper = 0
  stack.error = 0
}

/** Whether `size` bytes at `offset` lie inside a stack segment (SDM vol. 3 §5.3). */
export function insideLimit(attributes: number, limit: number, offset: number, size: number): boolean {
  const last = offset + size - 1
  if ((attributes & ATTR.EXPAND_DOWN) === 0) return last <= limit
  return offset > limit && last <= ((attributes & ATTR.DB) !== 0 ? 0xffff_ffff : 0xffff)
}

/** Pushes 2 or 4 bytes. Raises #SS when they do not fit; `user` stores with the present privilege. */
export function pushInner(cpu: Cpu, stack: InnerStack, size: 2 | 4, value: number, user = false): void {
  const { attributes, limit, base } = stack.descriptor
  const next = stack.pointer - size
  const offset = (attributes & ATTR.DB) !== 0 ? next >>> 0 : next & 0xffff
  if (!insideLimit(attributes, limit, offset, size)) raise(VECTOR.SS, stack.error)
  const address = BigInt((base + offset) >>> 0)
  if (user) cpu.store(address, size, value)
  else cpu.storeSystem(address, size, value)
  stack.pointer = (attributes & ATTR.DB) !== 0 ? offset : ((stack.pointer & 0xffff_0000) | offset) >>> 0
}

/** Makes a finished stack the present one. */
export function commitInnerStack(cpu: Cpu, stack: InnerStack, loadsSegment: boolean): void {
  if (loadsSegment) setSegmentFrom(cpu, SS, stack.selector, stack.descriptor)
  setGpr(cpu, RSP, (stack.descriptor.attributes & ATTR.DB) !== 0 ? 4 : 2, stack.pointer)
}
