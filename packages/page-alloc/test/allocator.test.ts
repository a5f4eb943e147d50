import { describe, expect, it } from 'vitest'
import {
  createMemblock, createPageAllocator, Gfp, MEMBLOCK_HOTPLUG, NO_MEMORY, PageAllocError, type PageAllocator,
  type PageAllocOptions,
} from '../src/index.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30

/** 64 MiB in ZONE_DMA32 on node 0 unless told otherwise; no per-CPU lists, no watermarks. */
function build(options: Partial<PageAllocOptions> = {}, ranges: [number, number, number?][] = [[16 * MiB, 80 * MiB]]) {
  const memblock = createMemblock()
  for (const [start, end, node] of ranges) memblock.add(start, end, node)
  return createPageAllocator({ memblock, minFree: 0, pcpBatch: 0, ...options })
}
const runs = (a: PageAllocator): readonly number[] => a.zones()[0].runs
const pagesFree = (a: PageAllocator): number => a.zones().reduce((n, z) => n + z.free, 0)

describe('zones', () => {
  it('are DMA below 16 MiB, DMA32 below 4 GiB, Normal above, and Movable where a node says so', () => {
    const a = build({ movableStart: [undefined, 9 * GiB + 1] }, [[0, 6 * GiB, 0], [6 * GiB, 10 * GiB, 1]])
    expect(a.zones().map((z) => [z.node, z.name, z.start * 4096, z.end * 4096])).toEqual([
      [0, 'DMA', 0, 16 * MiB], [0, 'DMA32', 16 * MiB, 4 * GiB], [0, 'Normal', 4 * GiB, 6 * GiB],
      [1, 'Normal', 6 * GiB, 9 * GiB + 4 * MiB], [1, 'Movable', 9 * GiB + 4 * MiB, 10 * GiB],
    ])
  })

  it('put memory that can be unplugged into Movable', () => {
    const memblock = createMemblock()
    memblock.add(4 * GiB, 5 * GiB)
    memblock.add(5 * GiB, 6 * GiB, 0, MEMBLOCK_HOTPLUG)
    const zones = createPageAllocator({ memblock }).zones()
    expect(zones.map((z) => [z.name, z.managed * 4096])).toEqual([['Normal', GiB], ['Movable', GiB]])
  })

  it('count what memblock gave away as reserved, and hand it out once it is released', () => {
    const memblock = createMemblock()
    memblock.add(16 * MiB, 32 * MiB)
    memblock.reserve(18 * MiB, 20 * MiB + 1)
    const a = createPageAllocator({ memblock, minFree: 0, pcpBatch: 0 })
    expect(a.zones()[0]).toMatchObject({ present: 4096, reserved: 513, free: 4096 - 513 })
    a.release((18 * MiB) / 4096, (20 * MiB) / 4096 + 1)
    expect(a.zones()[0]).toMatchObject({ reserved: 0, free: 4096, runs: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4] })
    expect(() => a.release((18 * MiB) / 4096, (18 * MiB) / 4096 + 1)).toThrow(PageAllocError)
  })

  it('that meet inside one 4 MiB block never merge pages across their border', () => {
    const a = build({}, [[16 * MiB, 17 * MiB, 0], [17 * MiB, 20 * MiB, 1], [20 * MiB, 24 * MiB, 1]])
    expect(a.zones().map((z) => z.runs)).toEqual([
      [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1],
    ])
    const one = a.alloc(8, Gfp.movable | Gfp.thisNode, 0)
    const other = a.alloc(8, Gfp.movable | Gfp.thisNode, 1)
    expect([one, other].map((p) => p * 4096)).toEqual([16 * MiB, 17 * MiB])
    a.free(other, 8)
    a.free(one, 8)
    expect(a.zones()[1].runs).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
  })
})

describe('the buddy lists', () => {
  it('split the smallest run that fits, and merge it back', () => {
    const a = build()
    const pfn = a.alloc(0)
    expect(runs(a)).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 15])
    a.free(pfn, 0)
    expect(runs(a)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16])
  })

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])('give runs of order %i that are aligned and do not overlap', (order) => {
    const a = build()
    const seen = new Set<number>()
    for (let pfn = a.alloc(order); pfn >= 0; pfn = a.alloc(order)) {
      expect(pfn % 2 ** order).toBe(0)
      expect(seen.has(pfn)).toBe(false)
      seen.add(pfn)
    }
    expect(seen.size).toBe((64 * MiB) / 4096 / 2 ** order)
    for (const pfn of seen) a.free(pfn, order)
    expect(runs(a)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16])
  })

  it('answer out of memory with a value', () => {
    expect(build().alloc(10, Gfp.dma)).toBe(NO_MEMORY)
  })

  it('refuse to free what is not allocated, in whole or in part', () => {
    const a = build()
    const pfn = a.alloc(3)
    expect(() => a.free(pfn, 2)).toThrow(PageAllocError)
    expect(() => a.free(pfn + 1, 0)).toThrow('is no allocated run of order 0')
    a.free(pfn, 3)
    expect(() => a.free(pfn, 3)).toThrow(PageAllocError)
    expect(() => a.free(1, 0)).toThrow(PageAllocError)
    expect(() => a.free(10 ** 9, 10)).toThrow(PageAllocError)
    expect(() => a.alloc(11)).toThrow('order 11')
    expect(() => a.alloc(0, 0, 1)).toThrow('node 1')
    expect(() => a.alloc(0, 0, 0, 1)).toThrow('cpu 1')
  })

  it('let a run be split and freed page by page', () => {
    const a = build()
    const pfn = a.alloc(4)
    a.split(pfn, 4)
    for (let i = 0; i < 16; i++) a.free(pfn + i, 0)
    expect(runs(a)[10]).toBe(16)
    expect(() => a.split(pfn, 4)).toThrow(PageAllocError)
  })
})

describe('migrate types', () => {
  it('keep pages of one kind in blocks of their own', () => {
    const a = build()
    const blocks = (flags: number): Set<number> =>
      new Set(Array.from({ length: 512 }, () => Math.floor(a.alloc(0, flags) / 1024)))
    const movable = blocks(Gfp.movable)
    const unmovable = blocks(Gfp.unmovable)
    const reclaimable = blocks(Gfp.reclaimable)
    for (const b of unmovable) expect(movable.has(b) || reclaimable.has(b)).toBe(false)
    for (const b of reclaimable) expect(movable.has(b)).toBe(false)
  })

  it('take a whole block of another type when half of it is free', () => {
    const a = build({}, [[16 * MiB, 20 * MiB]])
    const movable = a.alloc(8, Gfp.movable)
    const unmovable = a.alloc(0, Gfp.unmovable)
    a.free(movable, 8)
    // The block is unmovable now: a movable page has to be borrowed from it, and leaves its type alone.
    const borrowed = a.alloc(0, Gfp.movable)
    a.free(unmovable, 0)
    a.free(borrowed, 0)
    expect(runs(a)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
  })

  it('never leave memory unused for being of the wrong type', () => {
    const a = build()
    let pages = 0
    const flags = [Gfp.unmovable, Gfp.movable, Gfp.reclaimable]
    while (a.alloc(0, flags[pages % 3] | Gfp.memalloc) >= 0) pages++
    expect(pages).toBe(16384)
  })
})

describe('watermarks', () => {
  // min_free_kbytes = sqrt(lowmem KiB * 16); low, high, promo = min + 1, 2, 3 * max(min / 4, 0.1 %).
  it('are what Linux computes for 4 GiB', () => {
    const a = build({ minFree: undefined }, [[16 * MiB, 4 * GiB]])
    const managed = (4 * GiB - 16 * MiB) / 4096
    const min = Math.floor(Math.sqrt(managed * 4 * 16)) >> 2
    const gap = Math.floor(managed / 1000)
    expect(a.zones()[0].watermarks).toEqual({ min, low: min + gap, high: min + 2 * gap, promo: min + 3 * gap })
  })

  it('are kept by ordinary requests, half by high ones, not at all by those that free memory', () => {
    const a = build({ minFree: 1000 })
    const drainTo = (flags: number): number => {
      while (a.alloc(0, flags) >= 0);
      return pagesFree(a)
    }
    expect(drainTo(Gfp.unmovable)).toBe(1000)
    expect(drainTo(Gfp.high)).toBe(500)
    expect(drainTo(Gfp.high | Gfp.atomic)).toBe(375)
    expect(drainTo(Gfp.memalloc)).toBe(0)
  })

  it('leave low zones to requests that need them', () => {
    const a = build({}, [[MiB, 16 * MiB], [16 * MiB, 2 * GiB], [4 * GiB, 8 * GiB]])
    while (a.alloc(10) >= 0);
    const [dma, dma32, normal] = a.zones()
    expect(normal.free).toBeLessThanOrEqual(1024 + normal.watermarks.min)
    expect(dma32.free).toBeGreaterThanOrEqual((4 * GiB) / 4096 / 256)
    expect(dma.free).toBeGreaterThan(3000)
    expect(a.alloc(0, Gfp.dma)).toBeGreaterThan(0)
  })
})

describe('nodes', () => {
  const three: [number, number, number][] = [[4 * GiB, 5 * GiB, 0], [5 * GiB, 6 * GiB, 1], [6 * GiB, 7 * GiB, 2]]
  const nodeOf = (pfn: number): number => Math.floor((pfn * 4096) / GiB) - 4

  it('serve the local node first, then others by distance', () => {
    const a = build({ distances: [[10, 30, 20], [30, 10, 20], [20, 20, 10]] }, three)
    const order: number[] = []
    for (let pfn = a.alloc(10, 0, 0); pfn >= 0; pfn = a.alloc(10, 0, 0)) {
      if (order.at(-1) !== nodeOf(pfn)) order.push(nodeOf(pfn))
    }
    // Down to the low watermarks first, then, again in this order, down to the min watermarks.
    expect(order).toEqual([0, 2, 1, 0, 2, 1])
  })

  it('serve only themselves when the request says so', () => {
    const a = build({}, three)
    while (a.alloc(10, Gfp.thisNode, 1) >= 0);
    expect(a.zones().map((z) => z.used > 0)).toEqual([false, true, false])
  })
})

describe('per-CPU lists', () => {
  it('hold a batch, and give one back over the high mark', () => {
    const a = build({ pcpBatch: 8, pcpHigh: 16, cpus: 2 })
    const pages = Array.from({ length: 32 }, () => a.alloc(0, 0, 0, 1))
    expect(a.zones()[0].pcp).toBe(0)
    const held = pages.map((pfn) => {
      a.free(pfn, 0, 1)
      return a.zones()[0].pcp
    })
    expect(Math.max(...held)).toBe(16)
    expect(held.slice(-17)).toContain(9)
    a.drain()
    expect(a.zones()[0]).toMatchObject({ pcp: 0, free: 16384 })
    expect(runs(a)[10]).toBe(16)
  })

  it('give the page that was freed last first, and only to the same processor', () => {
    const a = build({ pcpBatch: 4, pcpHigh: 64, cpus: 2 })
    const pfn = a.alloc(1, 0, 0, 0)
    a.free(pfn, 1, 0)
    expect(a.alloc(1, 0, 0, 1)).not.toBe(pfn)
    expect(a.alloc(1, 0, 0, 0)).toBe(pfn)
  })

  it('are emptied before a request is refused', () => {
    const a = build({ pcpBatch: 63, pcpHigh: 100_000, cpus: 4 }, [[16 * MiB, 20 * MiB]])
    const pages = Array.from({ length: 1000 }, (_, i) => a.alloc(0, 0, 0, i % 4))
    pages.forEach((pfn, i) => a.free(pfn, 0, i % 4))
    expect(a.zones()[0].pcp).toBeGreaterThan(900)
    expect(a.alloc(9)).toBeGreaterThan(0)
  })

  it('get batch and high mark from the size of the zone', () => {
    const [zone] = build({ pcpBatch: undefined, minFree: undefined, cpus: 4 }, [[4 * GiB, 8 * GiB]]).zones()
    expect(zone.pcpBatch).toBe(63)
    expect(zone.pcpHigh).toBe(Math.max(252, Math.floor(zone.watermarks.low / 4)))
  })
})

describe('page poisoning', () => {
  it('fills what is freed, and reports what was changed meanwhile', () => {
    const filled: [number, number][] = []
    const events: unknown[] = []
    const damaged = new Set<number>()
    const a = build({
      poison: { fill: (pfn, pages) => filled.push([pfn, pages]), intact: (pfn) => !damaged.has(pfn) },
      onEvent: (e) => events.push(e),
    })
    const pfn = a.alloc(2)
    a.free(pfn, 2)
    expect(filled).toEqual([[pfn, 4]])
    damaged.add(pfn)
    expect(a.alloc(2)).toBe(pfn)
    expect(events).toEqual([{ kind: 'poison-damaged', pfn, order: 2 }])
  })
})

describe('a million pairs of alloc and free of a page', () => {
  it('hand out pages each time and leave the totals as they were', () => {
    const memblock = createMemblock()
    memblock.add(4 * GiB, 5 * GiB)
    const a = createPageAllocator({ memblock })
    a.free(a.alloc(0), 0)
    const before = a.meminfo()
    const seen = new Set<number>()
    for (let i = 0; i < 1_000_000; i++) {
      const pfn = a.alloc(0)
      seen.add(pfn)
      a.free(pfn, 0)
    }
    expect(seen.has(NO_MEMORY)).toBe(false)
    expect(a.meminfo()).toEqual(before)
  })
})

describe('memory for metadata', () => {
  it('is a few megabytes for a terabyte of which 300 MiB are in use', () => {
    const a = build({}, [[4 * GiB, 4 * GiB + 2 ** 40]])
    for (let i = 0; i < (300 * MiB) / 4096; i++) a.alloc(0)
    expect(a.metadataBytes()).toBeLessThan(9 * MiB)
  })
})

describe('the map of memory', () => {
  it('names stretches by what their blocks are', () => {
    const a = build({}, [[16 * MiB, 64 * MiB], [80 * MiB, 84 * MiB]])
    a.allocContig(8 * 1024)
    a.alloc(0)
    expect(a.stretches().map((s) => [s.start / MiB, s.end / MiB, s.state])).toEqual([
      [16, 48, 'used'], [48, 52, 'mixed'], [52, 64, 'free'], [80, 84, 'free'],
    ])
  })
})
