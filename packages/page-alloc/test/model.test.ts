import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createMemblock, createPageAllocator, Gfp, NO_MEMORY, type PageAllocator } from '../src/index.ts'
import { freeOf, hasRunOf, move, type NaiveZone, naiveZone, runsOf } from './naive.ts'

const MiB = 2 ** 20

/** A small deterministic generator (xorshift32), so that long runs need no arrays of random steps. */
function random(seed: number): (below: number) => number {
  let x = seed | 1
  return (below) => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) % below
  }
}

const RANGES: [number, number, number][] = [
  [MiB, 9 * MiB + 12288, 0], [12 * MiB, 30 * MiB, 0], [30 * MiB + 4096, 49 * MiB, 1], [49 * MiB + 8192, 50 * MiB, 1],
]

function build(pcp: boolean): { a: PageAllocator; zones: NaiveZone[] } {
  const memblock = createMemblock()
  for (const [start, end, node] of RANGES) memblock.add(start, end, node)
  memblock.reserve(20 * MiB + 4096, 21 * MiB)
  const lists = pcp ? { pcpBatch: 7, pcpHigh: 20 } : { pcpBatch: 0 }
  const a = createPageAllocator({ memblock, cpus: 2, minFree: 0, ...lists })
  const zones = a.zones().map((z) => naiveZone(z.start - (z.start % 1024), z.end - z.start + 1024))
  for (const r of memblock.freeRanges()) {
    for (let pfn = r.start / 4096; pfn < r.end / 4096; pfn++) move(zones[zoneOf(pfn)], pfn, 1, true)
  }
  return { a, zones }
}
/** Zones in the order of `zones()`: node 0 DMA, node 0 DMA32, node 1 DMA32. */
const zoneOf = (pfn: number): number => (pfn < 4096 ? 0 : pfn < (30 * MiB) / 4096 + 1 ? 1 : 2)

interface Held { pfn: number; order: number; pages: number }

/** One run of the allocator against the naive one. With per-CPU lists, runs are compared when they are drained. */
function run(seed: number, steps: number, pcp: boolean): void {
  const next = random(seed)
  const { a, zones } = build(pcp)
  const held: Held[] = []
  const take = (pfn: number, pages: number): void => {
    const missing = move(zones[zoneOf(pfn)], pfn, pages, false)
    if (missing !== undefined) throw new Error(`page ${missing} was handed out twice, or is no memory`)
  }
  const give = (pfn: number, pages: number): void => {
    if (move(zones[zoneOf(pfn)], pfn, pages, true) !== undefined) throw new Error('the test freed a page twice')
  }
  const compare = (): void => {
    a.drain()
    expect(a.zones().map((z) => z.runs)).toEqual(zones.map((z) => runsOf(z)))
    expect(a.zones().map((z) => z.free)).toEqual(zones.map(freeOf))
  }
  /** A mood lasts a while, so that memory fills up and empties again. */
  let mood = 60
  for (let step = 0; step < steps; step++) {
    if (step % 400 === 0) mood = 25 + next(60)
    const cpu = next(2)
    if (next(100) < mood || held.length === 0) {
      const order = next(12) < 8 ? next(4) : next(11)
      const node = next(2)
      const flags = next(3) | Gfp.memalloc | (next(3) === 0 ? Gfp.thisNode : 0)
      if (next(500) === 0) {
        const pages = 1 + next(3000)
        const align = next(2) === 0 ? 2 ** next(12) : 1 + next(1500)
        const pfn = a.allocContig(pages, { node, flags, align })
        if (pfn >= 0) {
          expect(pfn % align).toBe(0)
          take(pfn, pages)
          held.push({ pfn, order: -1, pages })
        }
        continue
      }
      const pfn = a.alloc(order, flags, node, cpu)
      if (pfn === NO_MEMORY) {
        const allowed = (flags & Gfp.thisNode) === 0 ? zones : node === 0 ? zones.slice(0, 2) : zones.slice(2)
        expect(allowed.some((z) => hasRunOf(z, order)), `order ${order} at step ${step}`).toBe(false)
        continue
      }
      if (pfn % 2 ** order !== 0) throw new Error(`page ${pfn} is not aligned to order ${order}`)
      take(pfn, 2 ** order)
      held.push({ pfn, order, pages: 2 ** order })
    } else {
      const at = next(held.length)
      const [h] = held.splice(at, 1, held[held.length - 1])
      held.pop()
      if (h.order < 0) a.freeContig(h.pfn, h.pages)
      else if (h.order > 0 && h.order < 10 && next(10) === 0) {
        a.split(h.pfn, h.order)
        for (let i = 0; i < h.pages; i++) a.free(h.pfn + i, 0, cpu)
      } else a.free(h.pfn, h.order, cpu)
      give(h.pfn, h.pages)
    }
    if (step % 2000 === 0) compare()
  }
  for (const h of held) {
    if (h.order < 0) a.freeContig(h.pfn, h.pages)
    else a.free(h.pfn, h.order)
    give(h.pfn, h.pages)
  }
  compare()
}

describe('the allocator agrees with a naive one', () => {
  it.each([1, 2, 3])('over 60,000 steps without per-CPU lists (seed %i)', (seed) => {
    run(seed * 7919, 60_000, false)
  }, 60_000)

  it.each([4, 5, 6])('over 60,000 steps with per-CPU lists (seed %i)', (seed) => {
    run(seed * 104_729, 60_000, true)
  }, 60_000)

  it('over short runs from any seed, which shrink to the shortest that fails', () => {
    const seed = fc.integer({ min: 1, max: 2 ** 30 })
    fc.assert(fc.property(seed, fc.nat({ max: 300 }), fc.boolean(), run), { numRuns: 60 })
  }, 60_000)
})
