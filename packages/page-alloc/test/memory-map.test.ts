import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EFI_MEMORY_TYPES, mapFromE820, mapFromEfi, mapTotals, type MemoryKind, normaliseMap } from '../src/index.ts'

const kinds: MemoryKind[] = ['usable', 'unaccepted', 'reserved', 'acpi', 'nvs', 'unusable', 'persistent', 'mmio']
const sum = (totals: Record<string, number>): number => Object.values(totals).reduce((a, b) => a + b, 0)

describe('a normalised memory map', () => {
  it('is sorted, has no overlaps, and its totals add up to the union of the input', () => {
    const range = fc.record({
      start: fc.nat({ max: 40_000 }), length: fc.nat({ max: 20_000 }), kind: fc.constantFrom(...kinds),
    })
    fc.assert(fc.property(fc.array(range, { maxLength: 12 }), (input) => {
      const map = normaliseMap(input.map((r) => ({ start: r.start, end: r.start + r.length, kind: r.kind })))
      const covered = new Uint8Array(60_001)
      for (const r of input) covered.fill(1, r.start, r.start + r.length)
      expect(sum(mapTotals(map))).toBe(covered.reduce((a, b) => a + b, 0))
      map.forEach((r, i) => {
        expect(r.end).toBeGreaterThan(r.start)
        if (i > 0) expect(r.start).toBeGreaterThanOrEqual(map[i - 1].end)
        if (r.kind === 'usable' || r.kind === 'unaccepted') expect([r.start % 4096, r.end % 4096]).toEqual([0, 0])
      })
    }), { numRuns: 300 })
  })

  it('gives a byte that two entries claim to the stronger kind', () => {
    const map = mapFromE820([{ addr: 0, size: 0x10000, type: 1 }, { addr: 0x4000, size: 0x1000, type: 2 }])
    expect(map).toEqual([
      { start: 0, end: 0x4000, kind: 'usable' },
      { start: 0x4000, end: 0x5000, kind: 'reserved' },
      { start: 0x5000, end: 0x10000, kind: 'usable' },
    ])
  })

  it('joins usable entries before it cuts them to pages', () => {
    const map = mapFromE820([{ addr: 0x1000, size: 0x800, type: 1 }, { addr: 0x1800, size: 0x1900, type: 1 }])
    expect(map).toEqual([
      { start: 0x1000, end: 0x3000, kind: 'usable' },
      { start: 0x3000, end: 0x3100, kind: 'reserved' },
    ])
  })

  it('names the entry that is no physical range', () => {
    expect(() => mapFromE820([{ addr: 0, size: 1, type: 1 }, { addr: 0, size: 2 ** 53, type: 1 }]))
      .toThrow('e820[1]: end 9007199254740992 is not in [start, 2^52]')
    expect(() => mapFromEfi([{ type: 7, start: 0x10, pages: 1 }])).toThrow('EFI map[0]: start 16 is not page aligned')
  })
})

describe('an EFI memory map after ExitBootServices', () => {
  it.each([
    ['EfiReservedMemoryType', 'reserved'], ['EfiLoaderCode', 'usable'], ['EfiLoaderData', 'usable'],
    ['EfiBootServicesCode', 'usable'], ['EfiBootServicesData', 'usable'], ['EfiRuntimeServicesCode', 'reserved'],
    ['EfiRuntimeServicesData', 'reserved'], ['EfiConventionalMemory', 'usable'], ['EfiUnusableMemory', 'unusable'],
    ['EfiACPIReclaimMemory', 'acpi'], ['EfiACPIMemoryNVS', 'nvs'], ['EfiMemoryMappedIO', 'mmio'],
    ['EfiMemoryMappedIOPortSpace', 'mmio'], ['EfiPalCode', 'reserved'], ['EfiPersistentMemory', 'persistent'],
    ['EfiUnacceptedMemoryType', 'unaccepted'],
  ] as const)('has %s as %s', (name, kind) => {
    const map = mapFromEfi([{ type: EFI_MEMORY_TYPES.indexOf(name), start: 0x1000, pages: 1 }])
    expect(map).toEqual([{ start: 0x1000, end: 0x2000, kind }])
  })

  it('keeps specific-purpose memory out of general use, and reserves types that are not defined', () => {
    expect(mapFromEfi([{ type: 7, start: 0, pages: 2, attribute: 0x4000f }, { type: 99, start: 0x2000, pages: 1 }]))
      .toEqual([{ start: 0, end: 0x3000, kind: 'reserved' }])
  })
})
