import { describe, expect, it } from 'vitest'
import { createMemblock, createPageAllocator, Gfp, NO_MEMORY, PageAllocError } from '../src/index.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30

function build(ranges: [number, number, number?][]) {
  const memblock = createMemblock()
  for (const [start, end, node] of ranges) memblock.add(start, end, node)
  return createPageAllocator({ memblock, minFree: 0, pcpBatch: 31, pcpHigh: 500 })
}

describe('allocContig', () => {
  it('gives more than the largest order: 1 GiB and more in one piece', () => {
    const a = build([[4 * GiB, 8 * GiB]])
    const pages = (5 * GiB) / 4 / 4096 + 3
    const pfn = a.allocContig(pages)
    expect(pfn).toBe((4 * GiB) / 4096)
    expect(a.zones()[0].used).toBe(pages)
    a.freeContig(pfn, pages)
    a.drain()
    expect(a.zones()[0]).toMatchObject({ used: 0, free: (4 * GiB) / 4096, runs: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1024] })
  })

  it('works around pages in use, and takes what processors hold', () => {
    const a = build([[16 * MiB, 32 * MiB]])
    const first = a.alloc(0)
    const pfn = a.allocContig(2048)
    expect(pfn).toBeGreaterThan(first)
    a.freeContig(pfn, 2048)
    a.free(first, 0)
    expect(a.allocContig(4095)).not.toBe(NO_MEMORY)
  })

  it('keeps to alignment, also above the largest order', () => {
    const a = build([[4 * GiB + 12 * MiB, 8 * GiB]])
    expect(a.allocContig(10, { align: 2 ** 18 }) * 4096).toBe(5 * GiB)
    expect(a.allocContig(5, { align: 16 }) % 16).toBe(0)
  })

  it('prefers the node, falls back to others, or does not', () => {
    const a = build([[4 * GiB, 5 * GiB, 0], [6 * GiB, 8 * GiB, 1]])
    expect(a.allocContig(GiB / 4096, { node: 0, flags: Gfp.thisNode }) * 4096).toBe(4 * GiB)
    expect(a.allocContig(GiB / 4096, { node: 0, flags: Gfp.thisNode })).toBe(NO_MEMORY)
    expect(a.allocContig(GiB / 4096, { node: 0 }) * 4096).toBe(6 * GiB)
  })

  it('answers with a value when no run is long enough', () => {
    expect(build([[16 * MiB, 20 * MiB], [24 * MiB, 28 * MiB]]).allocContig(1025)).toBe(NO_MEMORY)
  })

  it('refuses to free what it did not give', () => {
    const a = build([[16 * MiB, 32 * MiB]])
    const pfn = a.allocContig(1500)
    expect(() => a.freeContig(pfn, 1501)).toThrow(PageAllocError)
    expect(() => a.freeContig(pfn, 1499)).toThrow('goes on beyond the range')
    a.freeContig(pfn, 1500)
    expect(() => a.freeContig(pfn, 1500)).toThrow(PageAllocError)
  })
})

describe('isolation', () => {
  it('takes free pages out of circulation, says how many are in use, and catches those when they are freed', () => {
    const a = build([[16 * MiB, 24 * MiB]])
    const pfn = a.alloc(0)
    expect(a.isolate((16 * MiB) / 4096, (20 * MiB) / 4096)).toBe(pfn * 4096 < 20 * MiB ? 1 : 0)
    expect(a.zones()[0]).toMatchObject({ isolated: 1023, free: 1024 })
    for (let i = 0; i < 100; i++) expect(a.alloc(0, Gfp.memalloc) * 4096).toBeGreaterThanOrEqual(20 * MiB)
    a.free(pfn, 0)
    expect(a.isolate((16 * MiB) / 4096, (20 * MiB) / 4096)).toBe(0)
    expect(a.zones()[0].isolated).toBe(1024)
    expect(a.allocContig(1024)).toBe(NO_MEMORY)
    a.unisolate((16 * MiB) / 4096, (20 * MiB) / 4096)
    expect(a.zones()[0]).toMatchObject({ isolated: 0, used: 100 })
    expect(a.allocContig(1024) * 4096).toBe(16 * MiB)
  })

  it('works on whole blocks only', () => {
    expect(() => build([[16 * MiB, 24 * MiB]]).isolate(4097, 5120)).toThrow('whole 4 MiB blocks')
  })
})
