import { describe, expect, it } from 'vitest'
import {
  type AcceptWorker, bootMemory, createPageAllocator, Gfp, type MemoryRange, NO_MEMORY, normaliseMap,
  type PageAllocator,  type PageAllocOptions, type PageEvent,
} from '../src/index.ts'
import { createTestPort, type TestPort } from './ports.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30
const PAGES = (bytes: number): number => bytes / 4096

interface Machine {
  a: PageAllocator
  port: TestPort
  events: PageEvent[]
  map: MemoryRange[]
}

/** 16 MiB accepted, the rest of `size` bytes unaccepted; no per-CPU lists. */
function boot(
  size: number, options: Partial<PageAllocOptions> & { bad?: { start: number; end: number }[]; unitSize?: number } = {},
): Machine {
  const map = normaliseMap([
    { start: 16 * MiB, end: 32 * MiB, kind: 'usable' }, { start: 32 * MiB, end: 16 * MiB + size, kind: 'unaccepted' },
  ])
  const port = createTestPort([{ start: 32 * MiB, end: 16 * MiB + size }], options.bad)
  const events: PageEvent[] = []
  const memory = bootMemory(map, { accept: port, unitSize: options.unitSize })
  const a = createPageAllocator({ ...memory, minFree: 0, pcpBatch: 0, onEvent: (e) => events.push(e), ...options })
  return { a, port, events, map }
}
const sum = (a: PageAllocator): number =>
  a.zones().flatMap((z) => [z.free, z.pcp, z.isolated, z.used, z.unaccepted, z.accepting, z.bad, z.reserved])
    .reduce((n, x) => n + x, 0)

describe('unaccepted memory in the zones', () => {
  it('waits in blocks, counted as Unaccepted in meminfo and by zone', () => {
    const { a, port } = boot(GiB)
    // The last accepted block waits as well: what follows it is unaccepted, so its last page cannot be used yet.
    expect(port.bytes()).toBe(0)
    expect(a.zones()[0].unaccepted).toBe(PAGES(GiB - 12 * MiB))
    expect(a.meminfo()).toEqual({ MemTotal: GiB / 1024, MemFree: GiB / 1024, Unaccepted: (GiB - 12 * MiB) / 1024 })
  })

  it('is accepted at boot where it is no whole block', () => {
    const { a, port } = boot(16 * MiB + 9 * MiB)
    expect(port.bytes()).toBe(MiB)
    expect(a.zones()[0]).toMatchObject({ unaccepted: PAGES(12 * MiB), free: PAGES(13 * MiB) })
  })

  it('is accepted on demand, as much as takes the zone to its promo watermark', () => {
    const { a, port } = boot(GiB, { minFree: 1024 })
    const { promo } = a.zones()[0].watermarks
    const drainTo = (pages: number): void => {
      for (let left = a.zones()[0].free - pages; left >= 0; left--) a.alloc(0)
    }
    expect(promo).toBe(1024 + 3 * Math.max(256, Math.floor(PAGES(GiB) / 1000)))
    drainTo(promo)
    expect(port.bytes()).toBe(0)
    // The first of them is the block that only lacked its guard unit.
    for (const bytes of [2, 6, 10]) {
      a.alloc(0)
      expect(a.zones()[0].free).toBeGreaterThanOrEqual(promo - 1)
      expect(port.bytes()).toBe(bytes * MiB)
      drainTo(promo)
    }
    while (a.alloc(0, Gfp.memalloc) >= 0);
    expect(a.zones()[0]).toMatchObject({ unaccepted: 0, free: 0 })
    expect(port.bytes()).toBe(GiB - 16 * MiB)
  })

  it('is accepted for a run that accepted memory does not have', () => {
    const { a, port } = boot(GiB)
    const singles = Array.from({ length: 2200 }, () => a.alloc(0))
    singles.filter((_, i) => i % 2 === 0).forEach((pfn) => a.free(pfn, 0))
    expect(port.bytes()).toBe(0)
    expect(a.zones()[0].free).toBeGreaterThan(a.zones()[0].watermarks.promo + 1024)
    expect(a.alloc(10)).not.toBe(NO_MEMORY)
    expect(port.bytes()).toBe(2 * MiB)
  })

  it('is never handed out, nor a page before it', () => {
    const { a, port } = boot(64 * MiB, { unitSize: 4096 * 4 })
    for (let pfn = a.alloc(0); pfn >= 0; pfn = a.alloc(0)) {
      const end = Math.min((pfn + 2) * 4096, 80 * MiB)
      expect(port.isAccepted(pfn * 4096, end)).toBe(true)
    }
  })

  it('is accepted by memblock as it allocates', () => {
    const map = normaliseMap([{ start: MiB, end: 64 * MiB, kind: 'unaccepted' }])
    const port = createTestPort([{ start: MiB, end: 64 * MiB }])
    const { memblock } = bootMemory(map, { accept: port })
    const at = memblock.alloc({ size: 3 * MiB, align: 4096 })
    expect(port.isAccepted(at, at + 3 * MiB)).toBe(true)
    expect(port.bytes()).toBe(MiB + 4 * MiB)
  })

  it('works with units larger than a block', () => {
    const { a, port } = boot(GiB, { unitSize: 64 * MiB })
    for (let i = 0; i < 40; i++) expect(a.alloc(10, Gfp.memalloc)).toBeGreaterThan(0)
    for (const call of port.calls) expect((call.end - call.start) % (16 * MiB)).toBe(0)
  })

  it('is accepted in one go for a contiguous range', () => {
    const { a, port } = boot(2 * GiB)
    const pfn = a.allocContig(PAGES(GiB))
    expect(port.isAccepted(pfn * 4096, pfn * 4096 + GiB)).toBe(true)
    expect(sum(a)).toBe(PAGES(2 * GiB))
  })
})

describe('acceptance outside the zone lock', () => {
  it('lets the port allocate and free meanwhile, and never gives it what is being accepted', () => {
    const { a, port } = boot(256 * MiB)
    const inner: number[] = []
    let deepest = 0
    let depth = 0
    port.onAccept = (start, end) => {
      expect(sum(a)).toBe(PAGES(256 * MiB))
      deepest = Math.max(deepest, ++depth)
      const pfn = a.alloc(6)
      if (pfn >= 0) inner.push(pfn)
      expect(pfn < 0 || pfn * 4096 >= end || (pfn + 64) * 4096 <= start).toBe(true)
      depth--
    }
    const outer: number[] = []
    for (let pfn = a.alloc(4); pfn >= 0; pfn = a.alloc(4)) outer.push(pfn)
    expect(inner.length).toBeGreaterThan(40)
    expect(deepest).toBeGreaterThan(1)
    expect(sum(a)).toBe(PAGES(256 * MiB))
    expect(port.bytes()).toBe(240 * MiB)
    expect(new Set([...inner, ...outer]).size).toBe(inner.length + outer.length)
    expect(inner.length * 64 + outer.length * 16).toBe(PAGES(256 * MiB))
  })
})

describe('the eager policy', () => {
  it('accepts everything at boot', () => {
    const { a, port } = boot(GiB, { policy: { kind: 'eager' } })
    expect(port.bytes()).toBe(GiB - 16 * MiB)
    expect(a.meminfo().Unaccepted).toBe(0)
  })

  it('can be chosen at run time', () => {
    const { a, port } = boot(GiB)
    a.setPolicy({ kind: 'eager' })
    expect(port.bytes()).toBe(GiB - 16 * MiB)
    expect(a.policy()).toEqual({ kind: 'eager' })
  })

  it.each([1, 2, 5])('can be carried out by %i processors in steps, in any order', (processors) => {
    const { a, port } = boot(GiB, { policy: { kind: 'eager', byWorkers: true } })
    expect(port.bytes()).toBe(0)
    const workers: { worker: AcceptWorker; over: boolean; busy?: { start: number; end: number } }[] =
      Array.from({ length: processors }, () => ({ worker: a.acceptWorker(), over: false }))
    let turns = 0
    while (workers.some((w) => !w.over)) {
      const w = workers[(turns * 7 + (turns >> 3)) % processors]
      if (turns++ > 10_000) throw new Error('deadlock')
      if (w.busy !== undefined) {
        w.worker.complete(port.accept(w.busy.start, w.busy.end))
        w.busy = undefined
      } else {
        const next = w.worker.next()
        if (next === undefined) w.over = true
        else if (next !== 'wait') w.busy = next
      }
      expect(sum(a)).toBe(PAGES(GiB))
    }
    expect(port.bytes()).toBe(GiB - 16 * MiB)
    expect(a.zones()[0]).toMatchObject({ unaccepted: 0, accepting: 0, free: PAGES(GiB) })
  })
})

describe('the background policy', () => {
  it('accepts while idle, as much as each turn may', () => {
    const { a, port } = boot(GiB, { policy: { kind: 'background' } })
    expect(a.background(16 * MiB)).toBe(16 * MiB)
    let turns = 5
    expect(a.background(GiB, () => turns-- > 0)).toBe(20 * MiB)
    expect(a.meminfo().Unaccepted).toBe((GiB - 12 * MiB - 36 * MiB) / 1024)
    expect(a.background(2 * GiB)).toBe(GiB - 12 * MiB - 36 * MiB)
    expect(a.background(2 * GiB)).toBe(0)
    expect(port.bytes()).toBe(GiB - 16 * MiB)
  })

  it('stops when its budget is spent, and goes on with a new one', () => {
    const { a } = boot(GiB, { policy: { kind: 'background', budget: 64 * MiB } })
    let done = 0
    for (let i = 0; i < 100; i++) done += a.background(4 * MiB)
    expect(done).toBe(64 * MiB)
    a.setPolicy({ kind: 'background', budget: 8 * MiB })
    expect(a.background(GiB)).toBe(8 * MiB)
  })

  it('still accepts on demand', () => {
    const { a } = boot(GiB, { policy: { kind: 'background', budget: 0 } })
    for (let i = 0; i < 100; i++) expect(a.alloc(10, Gfp.memalloc)).toBeGreaterThan(0)
  })

  it('is off under other policies', () => {
    expect(boot(GiB).a.background(GiB)).toBe(0)
  })
})

describe('memory that cannot be accepted', () => {
  const BAD = { start: 101 * MiB, end: 101 * MiB + 4096 }
  const UNIT = { start: 100 * MiB, end: 102 * MiB }

  it.each(['eager', 'lazy'] as const)('is reported and out of use, and nothing else is lost (%s)', (kind) => {
    const { a, events } = boot(256 * MiB, { bad: [BAD], policy: { kind } })
    const pages = new Set<number>()
    for (let pfn = a.alloc(0, Gfp.memalloc); pfn >= 0; pfn = a.alloc(0, Gfp.memalloc)) {
      if (pages.has(pfn)) throw new Error(`page ${pfn} was handed out twice`)
      pages.add(pfn)
    }
    expect(events).toEqual([{ kind: 'accept-failed', ...UNIT, reason: 'bad memory' }])
    expect(a.failed()).toEqual([{ ...UNIT, reason: 'bad memory' }])
    // The unit, and the page before it: a read past that page's end would go into the unit.
    expect(a.zones()[0].bad).toBe(PAGES(2 * MiB) + 1)
    expect(pages.size).toBe(PAGES(256 * MiB) - PAGES(2 * MiB) - 1)
    expect([...pages].filter((pfn) => pfn >= PAGES(UNIT.start) - 1 && pfn < PAGES(UNIT.end))).toEqual([])
    expect(a.meminfo().MemTotal).toBe((256 * MiB - 2 * MiB - 4096) / 1024)
  })

  it('is no place for a contiguous range', () => {
    const { a } = boot(256 * MiB, { bad: [BAD] })
    const pfn = a.allocContig(PAGES(128 * MiB))
    expect(pfn).toBeGreaterThanOrEqual(PAGES(UNIT.end))
    expect(sum(a)).toBe(PAGES(256 * MiB))
    expect(a.allocContig(PAGES(128 * MiB))).toBe(NO_MEMORY)
  })

  it('is reserved by memblock, which looks elsewhere', () => {
    const map = normaliseMap([{ start: 16 * MiB, end: 64 * MiB, kind: 'unaccepted' }])
    const port = createTestPort([{ start: 16 * MiB, end: 64 * MiB }], [{ start: 62 * MiB, end: 63 * MiB }])
    const { memblock } = bootMemory(map, { accept: port })
    expect(memblock.alloc({ size: MiB, align: 4096 })).toBe(62 * MiB - 4096 - MiB)
    expect(memblock.reserved()).toMatchObject([
      { start: 62 * MiB - 4096 - MiB, end: 64 * MiB },
    ])
  })

  it('is out of use when it is an end accepted at boot', () => {
    const map = normaliseMap([{ start: 15 * MiB, end: 64 * MiB, kind: 'unaccepted' }])
    const port = createTestPort([{ start: 15 * MiB, end: 64 * MiB }], [{ start: 15 * MiB, end: 16 * MiB }])
    const { memblock, acceptor } = bootMemory(map, { accept: port })
    const a = createPageAllocator({ memblock, acceptor, minFree: 0, pcpBatch: 0 })
    expect(a.zones().reduce((n, z) => n + z.reserved, 0)).toBe(256)
    expect(sum(a)).toBe(PAGES(49 * MiB))
  })
})

describe('booting without a way to accept', () => {
  it('is refused when there is unaccepted memory', () => {
    expect(() => bootMemory([{ start: 0, end: MiB, kind: 'unaccepted' }])).toThrow('no accept port')
  })
})
