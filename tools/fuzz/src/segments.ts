/** The descriptor tables of Linux and of our machine: the same selectors mean the same. */
import type { LocalSegment } from '@cofferdam/oracle'
import { TABLE } from './places.ts'

/** A segment register's hidden part. */
export interface Descriptor {
  readonly attributes: number
  readonly limit: number
  readonly base: number
}

/** Limit of the segment that tells user code the number of its processor: on Linux whatever that is. */
export const PROCESSOR_NUMBER = 0x5_a5a5

/**
 * Linux's global table (arch/x86/include/asm/segment.h): kernel code 32, kernel code, kernel data, user code 32, user
 * data, user code; entry 15 has the processor's number for its limit.
 */
export const GLOBAL: readonly bigint[] = [
  0n, 0x00cf_9b00_0000_ffffn, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn,
  0x00cf_fb00_0000_ffffn, 0x00cf_f300_0000_ffffn, 0x00af_fb00_0000_ffffn, ...new Array<bigint>(8).fill(0n),
  0x0040_f500_0000_0000n | BigInt(PROCESSOR_NUMBER >>> 16) << 48n | BigInt(PROCESSOR_NUMBER & 0xffff),
]
/** Entries of the global table, and where the task's and the local table's descriptors are. */
export const GLOBAL_ENTRIES = 16
export const TASK = 0x40
export const TABLE_SELECTOR = 0x50
export const KERNEL_CODE = 0x10

/** A descriptor as Linux's fill_ldt makes it: DPL 3, accessed. */
export function localDescriptor(segment: LocalSegment): bigint {
  const { base, limit, wide, contents, limited, pages, absent } = segment
  const type = contents << 2 | (limited === true ? 0 : 2) | 1
  const access = type | 0x10 | 0x60 | (absent === true ? 0 : 0x80)
  const flags = (pages === true ? 8 : 0) | (wide ? 4 : 0) | 1
  const low = limit & 0xffff | (base & 0xffff) << 16
  const high = base >>> 16 & 0xff | access << 8 | limit & 0xf_0000 | flags << 20 | base & 0xff00_0000
  return BigInt(high >>> 0) << 32n | BigInt(low >>> 0)
}

function hidden(descriptor: bigint): Descriptor {
  const low = Number(descriptor & 0xffff_ffffn)
  const high = Number(descriptor >> 32n)
  const attributes = high >>> 8 & 0xff | high >>> 12 & 0xf00
  const raw = low & 0xffff | high & 0xf_0000
  const limit = (attributes & 0x800) !== 0 ? (raw << 12 | 0xfff) >>> 0 : raw
  return { attributes, limit, base: (low >>> 16 | (high & 0xff) << 16 | high & 0xff00_0000) >>> 0 }
}

const NONE: Descriptor = { attributes: 0, limit: 0, base: 0 }
const known = new Map<number, Descriptor>([0, 1, 2, 3].map((selector) => [selector, NONE]))
GLOBAL.forEach((descriptor, i) => { if (descriptor !== 0n) known.set(i * 8 + 3, hidden(descriptor)) })
TABLE.forEach((segment, i) => known.set(i * 8 + 7, hidden(localDescriptor(segment))))

/** What a selector of user mode loads. */
export function descriptorOf(selector: number): Descriptor {
  const found = known.get(selector)
  if (found === undefined) throw new RangeError(`selector 0x${selector.toString(16)} is in neither table`)
  return found
}

/** D/B of a segment: whether it has 32-bit code, or a 32-bit stack pointer. */
export const isWide = ({ attributes }: Descriptor): boolean => (attributes & 0x400) !== 0
