import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bootMemory, createPageAllocator, Gfp, type MemoryRange, normaliseMap, type PageAllocator, restorePageAllocator,
} from '../src/index.ts'
import { clone, createTestPort, difference, type TestPort } from './ports.ts'

const GiB = 2 ** 30
const MiB = 2 ** 20
const PAGE = 4096
const TOP = 4096 * GiB

/** Lengths from a page to hundreds of GiBs; small and round ones first, so that shrinking gives readable maps. */
const size = fc.oneof(
  fc.integer({ min: 1, max: 64 }).map((n) => n * PAGE),
  fc.integer({ min: 1, max: 64 }).map((n) => n * MiB),
  fc.integer({ min: 1, max: 100_000 }).map((n) => n * PAGE),
  fc.integer({ min: 1, max: 256 }).map((n) => n * GiB),
)

interface Case {
  map: MemoryRange[]
  nodes: { start: number; end: number; node: number }[]
  reserved: { start: number; end: number }[]
}

const amount = (x: number): string => (
  x % GiB === 0 ? `${x / GiB} GiB` : x % MiB === 0 ? `${x / MiB} MiB` : `${x / 1024} KiB`)

/** `4 KiB..8 MiB usable node 0`, one after the other. */
function describeCase({ map, nodes, reserved }: Case): string {
  const span = (r: { start: number; end: number }): string => `${amount(r.start)}..${amount(r.end)}`
  return [
    ...map.map((r) => `${span(r)} ${r.kind}`), ...nodes.map((r) => `${span(r)} node ${r.node}`),
    ...reserved.map((r) => `${span(r)} reserved`),
  ].join(', ')
}

/** 1 to 64 regions over up to 4 TiB and 8 nodes, accepted and not, with some of it reserved. */
const memoryOf = (size: fc.Arbitrary<number>): fc.Arbitrary<Case> => fc.array(fc.record({
  gap: fc.oneof(fc.constant(0), size), size, node: fc.nat({ max: 7 }), unaccepted: fc.boolean(),
  reserve: fc.oneof(fc.constant(0), fc.nat({ max: 1000 })),
}), { minLength: 1, maxLength: 64 }).map((steps): Case => {
  const map: MemoryRange[] = []
  const nodes: Case['nodes'] = []
  const reserved: Case['reserved'] = []
  let at = PAGE
  for (const s of steps) {
    const start = Math.min(at + s.gap, TOP)
    const end = Math.min(start + s.size, TOP)
    if (start >= end) break
    map.push({ start, end, kind: s.unaccepted ? 'unaccepted' : 'usable' })
    nodes.push({ start, end, node: s.node })
    if (s.reserve > 0) reserved.push({ start, end: Math.min(end, start + s.reserve * PAGE) })
    at = end
  }
  const c = { map: normaliseMap(map), nodes, reserved }
  // A counterexample is read by people.
  return Object.defineProperty(c, fc.toStringMethod, { value: () => describeCase(c) })
})

const memory = memoryOf(size)
const smallMemory = memoryOf(fc.integer({ min: 1, max: 1500 }).map((n) => n * PAGE))

const request = fc.record({
  order: fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: 10 })), type: fc.nat({ max: 2 }), node: fc.nat({ max: 7 }),
  zone: fc.constantFrom(0, Gfp.dma, Gfp.dma32, Gfp.movableZone), cpu: fc.nat({ max: 1 }),
  action: fc.constantFrom('alloc', 'alloc', 'free', 'contig', 'background'),
})
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never

function boot(c: Case): { a: PageAllocator; port: TestPort } {
  const port = createTestPort(c.map.filter((r) => r.kind === 'unaccepted'))
  const { memblock, acceptor } = bootMemory(c.map, { nodes: c.nodes, accept: port })
  for (const r of c.reserved) memblock.reserve(r.start, r.end)
  const movableStart = [undefined, undefined, 2 * GiB, 100 * GiB]
  const a = createPageAllocator({ memblock, acceptor, cpus: 2, movableStart, policy: { kind: 'background' } })
  return { a, port }
}

const lines = (a: PageAllocator): number[] => a.zones().map((z) =>
  z.free + z.pcp + z.isolated + z.unaccepted + z.accepting + z.bad + z.used + z.reserved)

/** Where a run of pages may be: memory, of the zone that it was asked for, not reserved. */
function checkRun(c: Case, pfn: number, pages: number, zone: number): void {
  const [start, end] = [pfn * PAGE, (pfn + pages) * PAGE]
  let at = start
  for (const r of c.map) if (r.start <= at && at < r.end) at = Math.min(end, r.end)
  if (at < end) throw new Error(`[0x${start.toString(16)}, 0x${end.toString(16)}) is in a hole`)
  for (const r of c.reserved) if (r.start < end && start < r.end) throw new Error('reserved memory was handed out')
  const limit = zone === Gfp.dma ? 16 * MiB : zone === Gfp.dma32 ? 4 * GiB : Infinity
  if (end > limit) throw new Error(`zone ${zone} gave memory at 0x${start.toString(16)}`)
}

interface Held { pfn: number; order: number; pages: number }

/** Plays requests; the pages that came out. */
function play(c: Case, a: PageAllocator, port: TestPort, requests: readonly Request[], held: Held[]): number[] {
  const out: number[] = []
  const nodes = Math.max(...a.zones().map((z) => z.node)) + 1
  for (const r of requests) {
    const node = r.node % nodes
    if (r.action === 'background') a.background(64 * MiB)
    else if (r.action === 'free') {
      const [h] = held.splice(r.type % Math.max(held.length, 1), 1)
      if (h === undefined) continue
      if (h.order < 0) a.freeContig(h.pfn, h.pages)
      else a.free(h.pfn, h.order, r.cpu)
    } else {
      const contig = r.action === 'contig'
      const pages = contig ? 1 + (r.type + 1) * 700 * (r.order + 1) : 2 ** r.order
      const pfn = contig
        ? a.allocContig(pages, { node, flags: r.zone })
        : a.alloc(r.order, r.type | r.zone, node, r.cpu)
      out.push(pfn)
      if (pfn < 0) continue
      checkRun(c, pfn, pages, r.zone)
      for (const h of held) {
        const again = pfn < h.pfn + h.pages && h.pfn < pfn + pages
        if (again) throw new Error(`page ${Math.max(pfn, h.pfn)} was handed out twice`)
      }
      // The page after the run too: a read may run over its end.
      const guarded = Math.min((pfn + pages + 1) * PAGE, TOP)
      if (!port.isAccepted(pfn * PAGE, guarded)) throw new Error(`page ${pfn} or the page after it is not accepted`)
      held.push({ pfn, order: contig ? -1 : r.order, pages })
    }
  }
  return out
}

const trace = fc.array(request, { maxLength: 80 })

describe('for any memory map', () => {
  it('no page is handed out twice, unaccepted, reserved or from a hole, and the counts add up', () => {
    fc.assert(fc.property(memory, trace, (c, requests) => {
      fc.pre(c.map.length > 0)
      const { a, port } = boot(c)
      const present = a.zones().map((z) => z.present)
      expect(lines(a)).toEqual(present)
      const mapped = c.map.reduce((n, r) => n + (r.end - r.start) / PAGE, 0)
      expect(present.reduce((x, y) => x + y, 0)).toBe(mapped)
      const held: Held[] = []
      play(c, a, port, requests, held)
      expect(lines(a)).toEqual(present)
      expect(a.zones().reduce((n, z) => n + z.used, 0)).toBe(held.reduce((n, h) => n + h.pages, 0))
    }), { numRuns: 150 })
  }, 60_000)

  it('all memory can be had in the end: nothing gets lost on the way', () => {
    fc.assert(fc.property(smallMemory, trace, (c, requests) => {
      fc.pre(c.map.length > 0)
      const { a, port } = boot(c)
      const held: Held[] = []
      play(c, a, port, requests, held)
      for (const h of held) {
        if (h.order < 0) a.freeContig(h.pfn, h.pages)
        else a.free(h.pfn, h.order)
      }
      const usable = a.zones().reduce((n, z) => n + z.managed, 0)
      const pages = new Set<number>()
      const nodes = [...new Set(a.zones().map((z) => z.node))]
      for (const node of nodes) {
        for (;;) {
          const pfn = a.alloc(0, Gfp.memalloc | Gfp.movableZone | Gfp.thisNode, node)
          if (pfn < 0) break
          pages.add(pfn)
        }
      }
      expect(pages.size).toBe(usable)
    }), { numRuns: 30 })
  }, 60_000)

  it('a snapshot behaves as the allocator does that it was taken of', () => {
    fc.assert(fc.property(memory, trace, trace, (c, before, after) => {
      fc.pre(c.map.length > 0)
      const { a, port } = boot(c)
      const held: Held[] = []
      play(c, a, port, before, held)
      const taken = a.snapshot()
      const snapshot = clone(taken)
      const accepted = clone(port.calls)
      const expected = play(c, a, port, after, [...held])
      // What was taken is a copy: the allocator that goes on does not change it.
      expect(difference(taken, snapshot)).toBeUndefined()
      const port2 = createTestPort(c.map.filter((r) => r.kind === 'unaccepted'))
      for (const r of accepted) port2.accept(r.start, r.end)
      const b = restorePageAllocator(snapshot, { accept: port2 })
      expect(play(c, b, port2, after, [...held])).toEqual(expected)
      expect(port2.calls).toEqual(port.calls)
      expect(b.zones()).toEqual(a.zones())
    }), { numRuns: 40 })
  }, 60_000)
})
