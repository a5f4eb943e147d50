import { describe, expect, it } from 'vitest'
import {
  createMemblock, createPageAllocator, Gfp, NO_MEMORY, PageAllocError, type PageAllocator, pageAllocUse,
  type PageAllocUse, resumePageAllocator,
} from '../src/index.ts'

const MiB = 2 ** 20

function build(): PageAllocator {
  const memblock = createMemblock()
  memblock.add(MiB, 64 * MiB + 12288, 0)
  memblock.reserve(20 * MiB + 4096, 21 * MiB)
  return createPageAllocator({ memblock, cpus: 2 })
}

/** A small deterministic generator (xorshift32). */
function random(seed: number): (below: number) => number {
  let x = seed | 1
  return (below) => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) % below
  }
}

/** Takes and gives runs; answers what was handed out, in order. */
function use(allocator: PageAllocator, seed: number, held: [number, number][], steps: number): number[] {
  const next = random(seed)
  const taken = new Set<number>()
  return Array.from({ length: steps }, () => {
    const cpu = next(2)
    if (held.length > 0 && next(100) < 45) {
      const [[pfn, order]] = held.splice(next(held.length), 1)
      allocator.free(pfn, order, cpu)
      for (let page = pfn; page < pfn + 2 ** order; page++) taken.delete(page)
      return -pfn
    }
    const order = next(4) === 0 ? next(11) : next(3)
    const pfn = allocator.alloc(order, next(2) === 0 ? Gfp.movable : Gfp.unmovable, 0, cpu)
    if (pfn === NO_MEMORY) return pfn
    held.push([pfn, order])
    for (let page = pfn; page < pfn + 2 ** order; page++) {
      if (taken.has(page)) throw new Error(`page ${page} was handed out twice`)
      taken.add(page)
    }
    return pfn
  })
}

describe('the use of an allocator', () => {
  it('makes a fresh one go on as the other does', () => {
    const first = build()
    const held: [number, number][] = []
    for (let round = 1; round <= 12; round++) {
      use(first, round, held, 150)
      const copy = resumePageAllocator(build(), structuredClone(pageAllocUse(first)))
      expect(copy.snapshot()).toEqual(first.snapshot())
      const own = held.map(([pfn, order]): [number, number] => [pfn, order])
      expect(use(copy, 99, own, 300))
        .toEqual(use(resumePageAllocator(build(), pageAllocUse(first)), 99, [...held], 300))
    }
  })

  it('shares nothing with whom it was taken from', () => {
    const first = build()
    const taken = pageAllocUse(first)
    const copy = resumePageAllocator(build(), taken)
    copy.alloc(0)
    first.alloc(3)
    expect(pageAllocUse(resumePageAllocator(build(), taken))).toEqual(taken)
  })

  it('is refused by field wherever its numbers do not go together', () => {
    const first = build()
    use(first, 5, [], 400)
    const good = pageAllocUse(first)
    const next = random(7)
    let refused = 0
    for (let i = 0; i < 500; i++) {
      const bad = structuredClone(good)
      const part = (next(2) === 0 ? bad.core : bad.store) as unknown as Record<string, Uint8Array | number>
      const names = Object.keys(part)
      const name = names[next(names.length)]
      const value = part[name]
      if (typeof value === 'number') part[name] = value + 1 + next(3)
      else value[next(value.length)] ^= 1 << next(value.BYTES_PER_ELEMENT * 8)
      try {
        // What is taken all the same must work: no loop, no page twice.
        const copy = resumePageAllocator(build(), bad)
        expect(use(copy, 3, [], 300)).toHaveLength(300)
      } catch (error) {
        if (!(error instanceof PageAllocError)) throw error
        refused++
      }
    }
    expect(refused).toBeGreaterThan(250)
    expect(() => resumePageAllocator(build(), {} as PageAllocUse)).toThrow('pages: expected')
    expect(() => resumePageAllocator(build(), { ...good, core: { ...good.core, count: new Int32Array(3) } }))
      .toThrow('count: expected')
  })
})
