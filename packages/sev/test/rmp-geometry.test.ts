import { createPhysicalMemory } from '@cofferdam/memory'
import { RmpCfg, RstEntry } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  createRmpTable, rmpCoversUpTo, rmpEndMsr, rmpEntryAddress, rmpGeometry, rmpNeededBytes, rmpRanges,
} from '../src/index.ts'
import type { RmpGeometry } from '../src/index.ts'

const noTable = (): bigint => 0n
const geometry = (base: number, bytes: number): RmpGeometry => {
  const found = rmpGeometry({ base: BigInt(base), end: rmpEndMsr(base, bytes), cfg: 0n }, noTable)
  if (typeof found === 'string') throw new Error(found)
  return found
}

describe('the place of the RMP', () => {
  it('has the entry of PA at RMP_BASE + 0x4000 + (PA >> 8)', () => {
    const g = geometry(0x7000_0000, 2 ** 30)
    for (const pa of [0, 0x1000, 0x20_0000, 0x1234_5000, 0xf_ffff_f000]) {
      expect(rmpEntryAddress(g, pa / 4096)).toBe(0x7000_4000 + pa / 256)
    }
  })
  it('covers ((RMP_END + 1 − RMP_BASE − 16 KiB) / 16) × 4 KiB', () => {
    const g = geometry(0x10_0000, 0x10_0000)
    const pages = (0x10_0000 - 0x4000) / 16
    expect(rmpEntryAddress(g, pages - 1)).toBe(0x20_0000 - 16)
    expect(rmpEntryAddress(g, pages)).toBe(-1)
    expect(rmpCoversUpTo(g, pages * 4096)).toBe(true)
    expect(rmpCoversUpTo(g, pages * 4096 + 1)).toBe(false)
  })
  it('is refused when the MSRs are not programmed or contradict each other', () => {
    expect(rmpGeometry({ base: 0n, end: 0n, cfg: 0n }, noTable)).toBe('not programmed')
    expect(rmpGeometry({ base: 0x10_0000n, end: 0n, cfg: 0n }, noTable)).toBe('not programmed')
    expect(rmpGeometry({ base: 0x20_0000n, end: 0x10_1fffn, cfg: 0n }, noTable)).toBe('end before base')
    expect(rmpGeometry({ base: 0x20_0000n, end: 0x20_3fffn, cfg: 0n }, noTable)).toBe('no room for an entry')
  })
  it('needs 16 bytes per page and the bookkeeping', () => {
    expect(rmpNeededBytes(16 * 2 ** 30)).toBe(0x4000 + (16 * 2 ** 30) / 256)
    expect(rmpRanges(geometry(0x10_0000, 0x10_0000))).toEqual([{ start: 0x10_0000, bytes: 0x10_0000 }])
  })
})

describe('the segmented RMP', () => {
  const shift = 36n
  const cfg = RmpCfg.pack({ SEGMENTED_RMP_EN: 1n, segmentShift: shift })
  const table = new Map<number, bigint>([
    [0, RstEntry.pack({ mappedGiB: 64n, base: 0x100n })],
    [2, RstEntry.pack({ mappedGiB: 500n, base: 0x200n })],
  ])
  const read = (address: number): bigint => table.get((address - 0x40_4000) / 8) ?? 0n
  const g = rmpGeometry({ base: 0x40_0000n, end: 0n, cfg }, read) as RmpGeometry
  const segment = 2 ** 36 / 4096

  it('finds an entry through its segment', () => {
    expect(rmpEntryAddress(g, 5)).toBe(0x100 * 2 ** 20 + 80)
    expect(rmpEntryAddress(g, 2 * segment + 5)).toBe(0x200 * 2 ** 20 + 80)
  })
  it('has no entries in a segment that is not mapped', () => {
    expect(rmpEntryAddress(g, segment + 5)).toBe(-1)
    expect(rmpEntryAddress(g, 3 * segment)).toBe(-1)
    expect(rmpCoversUpTo(g, 2 ** 36)).toBe(true)
    expect(rmpCoversUpTo(g, 2 ** 36 + 4096)).toBe(false)
  })
  it('takes no more of a mapping than the segment covers', () => {
    expect(g.segments[1].pages).toBe(segment)
  })
  it('is refused with a segment size that the processor does not have', () => {
    const wrong = RmpCfg.pack({ SEGMENTED_RMP_EN: 1n, segmentShift: 30n })
    expect(rmpGeometry({ base: 0x40_0000n, end: 0n, cfg: wrong }, read)).toBe('segment size out of range')
  })
  it('works in memory like the other form', () => {
    const memory = createPhysicalMemory({ ram: [{ start: 0, length: 64 * 2 ** 20 }], overhead: 131072 })
    const entry = new Uint8Array(8)
    new DataView(entry.buffer).setBigUint64(0, RstEntry.pack({ mappedGiB: 1n, base: 1n }), true)
    memory.write(0x40_4000, entry)
    const rmp = createRmpTable(memory)
    expect(rmp.load({ base: 0x40_0000n, end: 0n, cfg })).toBeNull()
    rmp.write(7, { assigned: true, large: false, immutable: false, guestPage: 9, asid: 3, vmsa: false, validated: true,
      permissions: 0xf, inUse: false })
    const bytes = new Uint8Array(8)
    memory.read(0x10_0000 + 7 * 16, bytes)
    expect(new DataView(bytes.buffer).getBigUint64(0, true)).toBe(1n | (9n << 12n) | (3n << 51n) | (1n << 62n))
    expect(rmp.read(2 ** 18)).toBeNull()
  })
})
