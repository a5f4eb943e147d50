/**
 * Segment and system descriptors: reading them from the GDT or LDT, decoding, and loading them into a segment record.
 * SDM vol. 3 §3.4.5 (layout) and §3.5.2 (16-byte system descriptors of long mode).
 */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { GDTR, LDTR, SEG, SEG_BASE, SEG_SIZE } from '../state.ts'
import { isCanonical, isLongMode, segAttributes, stateSum } from './access.ts'
import { ATTR } from './bits.ts'

/** A descriptor as it was read. Records are reused; whoever keeps one copies it. */
export interface Descriptor {
  /** Linear address it was read from. */
  address: bigint
  /** The two words of its first eight bytes. */
  lo: number
  hi: number
  /** Type, S, DPL, P, AVL, L, D/B, G as in a segment record. */
  attributes: number
  /** Byte limit: scaled by G. */
  limit: number
  /** Base, bits 31:0. */
  base: number
  /** Bits 63:32 of the base or of a gate's offset, from the second half of a 16-byte descriptor; else 0. */
  upper: number
}

export const createDescriptor = (): Descriptor => ({
  address: 0n, lo: 0, hi: 0, attributes: 0, limit: 0, base: 0, upper: 0,
})

/** Splits a 64-bit value into words without BigInt arithmetic. */
const split = new BigUint64Array(1)
const words = new Uint32Array(split.buffer)

/** Selector as an error code: index and TI, with the given EXT bit. */
export const selectorError = (selector: number, ext = 0): number => (selector & 0xfffc) | ext

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0
export const dplOf = (attributes: number): number => (attributes >>> ATTR.DPL_SHIFT) & 3
export const isPresent = (attributes: number): boolean => (attributes & ATTR.P) !== 0
export const isCode = (attributes: number): boolean => (attributes & (ATTR.S | ATTR.CODE)) === (ATTR.S | ATTR.CODE)
export const isConforming = (attributes: number): boolean =>
  (attributes & (ATTR.S | ATTR.CODE | ATTR.CONFORMING)) === (ATTR.S | ATTR.CODE | ATTR.CONFORMING)
export const isWritableData = (attributes: number): boolean =>
  (attributes & (ATTR.S | ATTR.CODE | ATTR.WRITABLE)) === (ATTR.S | ATTR.WRITABLE)
export const isSystem = (attributes: number): boolean => (attributes & ATTR.S) === 0
export const isReadable = (attributes: number): boolean =>
  (attributes & ATTR.S) !== 0 && (attributes & (ATTR.CODE | ATTR.READABLE)) !== ATTR.CODE

/** Attributes from the second word of a descriptor. */
export const attributesOf = (hi: number): number => ((hi >>> 8) & 0xff) | ((hi >>> 12) & 0xf00)
/** Byte limit from both words: 20 bits, scaled by 4 KiB when G is set. */
export const limitOf = (lo: number, hi: number): number => {
  const raw = (lo & 0xffff) | (hi & 0xf_0000)
  return (hi & 0x80_0000) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw
}
/** Base, bits 31:0, from both words. */
export const baseOf = (lo: number, hi: number): number =>
  ((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff00_0000)) >>> 0

/** Linear addresses wrap at 4 GiB outside long mode. */
export const linear = (cpu: Cpu, address: bigint): bigint =>
  isLongMode(cpu) ? BigInt.asUintN(64, address) : address & 0xffff_ffffn

/** Whether the table that `selector` points into holds all of `size` bytes at its index. */
function inTable(cpu: Cpu, selector: number, size: number): boolean {
  const last = (selector & 0xfff8) + size - 1
  if ((selector & 4) === 0) return last <= cpu.views.u32[GDTR >>> 2]
  if (!isPresent(segAttributes(cpu, LDTR))) return false
  return last <= cpu.views.u32[(SEG + LDTR * SEG_SIZE + 4) >>> 2]
}

/** Linear address of the descriptor of `selector`. */
function descriptorAddress(cpu: Cpu, selector: number): bigint {
  const table = (selector & 4) === 0 ? GDTR + 8 : SEG + LDTR * SEG_SIZE + SEG_BASE
  const address = stateSum(cpu, table, selector & 0xfff8)
  return isLongMode(cpu) ? address : address & 0xffff_ffffn
}

/**
 * Reads the descriptor of a selector that is not null.
 * @returns false when the selector lies beyond its table. Raises #PF.
 */
export function readDescriptor(cpu: Cpu, selector: number, out: Descriptor): boolean {
  if (!inTable(cpu, selector, 8)) return false
  out.address = descriptorAddress(cpu, selector)
  split[0] = cpu.loadSystem64(out.address)
  decode(words[0], words[1], out)
  return true
}

/** Fills `out` from the two words of a descriptor. */
export function decode(lo: number, hi: number, out: Descriptor): void {
  out.lo = lo
  out.hi = hi
  out.attributes = attributesOf(hi)
  out.limit = limitOf(lo, hi)
  out.base = baseOf(lo, hi)
  out.upper = 0
}

/**
 * Reads the second half of a 16-byte system descriptor, after `readDescriptor`.
 * @returns false when it lies beyond the table, or when its type field (bits 12:8 of the last word) is not zero.
 */
export function readUpperHalf(cpu: Cpu, selector: number, out: Descriptor): boolean {
  if (!inTable(cpu, selector, 16)) return false
  const address = linear(cpu, out.address + 8n)
  out.upper = cpu.loadSystem(address, 4)
  return (cpu.loadSystem(linear(cpu, address + 4n), 4) & 0x1f00) === 0
}

/** Base of a system descriptor, all 64 bits. */
export const base64 = (d: Descriptor): bigint => (BigInt(d.upper) << 32n) | BigInt(d.base)

/**
 * Sets the accessed bit of a code or data descriptor in its table. May raise #PF, so it comes before anything is
 * changed.
 */
export function markAccessed(cpu: Cpu, d: Descriptor): void {
  if ((d.attributes & ATTR.ACCESSED) !== 0) return
  d.hi |= 0x100
  d.attributes |= ATTR.ACCESSED
  cpu.storeSystem(linear(cpu, d.address + 4n), 4, d.hi >>> 0)
}

/** Loads a segment record. */
export function setSegment(
  cpu: Cpu, seg: number, selector: number, attributes: number, limit: number, base: bigint,
): void {
  const at = SEG + seg * SEG_SIZE
  cpu.views.u16[at >>> 1] = selector
  cpu.views.u16[(at >>> 1) + 1] = attributes
  cpu.views.u32[(at >>> 2) + 1] = limit
  cpu.views.u64[(at + SEG_BASE) >>> 3] = base
}

/** Loads a segment record from a descriptor that has been checked. */
export function setSegmentFrom(cpu: Cpu, seg: number, selector: number, d: Descriptor): void {
  const at = SEG + seg * SEG_SIZE
  cpu.views.u16[at >>> 1] = selector
  cpu.views.u16[(at >>> 1) + 1] = d.attributes
  cpu.views.u32[(at >>> 2) + 1] = d.limit
  cpu.views.u32[(at + SEG_BASE) >>> 2] = d.base
  cpu.views.u32[((at + SEG_BASE) >>> 2) + 1] = d.upper
}

/**
 * Makes a segment record unusable, as a null selector does. The base is cleared, as on every Intel processor and on AMD
 * ones with CPUID Fn8000_0021_EAX[NullSelectorClearsBase].
 */
export const setNullSegment = (cpu: Cpu, seg: number, selector: number, attributes = 0): void => {
  setSegment(cpu, seg, selector, attributes, 0, 0n)
}

/** Raises #GP(0) for a base that is not canonical (LLDT, LTR, MSRs, LGDT in 64-bit mode). */
export function requireCanonical(cpu: Cpu, address: bigint): void {
  if (!isCanonical(cpu, address)) raise(VECTOR.GP, 0)
}

/** #GP(0) for a target outside the code segment `d` (bits 31:0 count), or not canonical when it is 64-bit code. */
export function checkCodeOffset(cpu: Cpu, offset: bigint, d: Descriptor): void {
  if (isLongMode(cpu) && (d.attributes & ATTR.L) !== 0) requireCanonical(cpu, offset)
  else if (Number(offset & 0xffff_ffffn) > d.limit) raise(VECTOR.GP, 0)
}
