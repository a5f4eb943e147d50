import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addMap, ANY_NODE, createMemblock, mapFromE820, MEMBLOCK_NOMAP, NO_MEMORY, PageAllocError,
} from '../src/index.ts'

const MiB = 2 ** 20
const show = (list: readonly { start: number; end: number; node: number }[]): string[] =>
  list.map((r) => `${r.start}-${r.end}@${r.node}`)

describe('memblock regions', () => {
  it('merge with neighbours of the same node, and only those', () => {
    const mb = createMemblock()
    mb.add(0, 100, 0)
    mb.add(200, 300, 0)
    mb.add(100, 200, 0)
    mb.add(300, 400, 1)
    expect(show(mb.memory())).toEqual(['0-300@0', '300-400@1'])
  })

  it('keep their node where a later region overlaps them', () => {
    const mb = createMemblock()
    mb.add(100, 200, 1)
    mb.add(0, 300, 0)
    expect(show(mb.memory())).toEqual(['0-100@0', '100-200@1', '200-300@0'])
  })

  it('split when a part is removed or moved to another node', () => {
    const mb = createMemblock()
    mb.add(0, 400)
    mb.remove(100, 200)
    mb.setNode(250, 300, 3)
    expect(show(mb.memory())).toEqual(['0-100@0', '200-250@0', '250-300@3', '300-400@0'])
  })

  it('are isolated at exactly the ends that were asked for', () => {
    const mb = createMemblock()
    mb.add(0, 400)
    expect(mb.isolate('memory', 100, 200)).toEqual({ first: 1, last: 2 })
    expect(show(mb.memory())).toEqual(['0-100@0', '100-200@0', '200-400@0'])
  })

  it('refuse what is no range', () => {
    expect(() => createMemblock().add(10, 5)).toThrow(PageAllocError)
    expect(() => createMemblock().add(0, 2 ** 53)).toThrow('2^52')
  })
})

describe('a memblock allocation', () => {
  const two = (bottomUp: boolean) => {
    const mb = createMemblock({ bottomUp })
    mb.add(0, 16 * MiB, 0)
    mb.add(32 * MiB, 48 * MiB, 1)
    return mb
  }

  it('comes from the top, or from the bottom but never from page 0', () => {
    expect(two(false).alloc({ size: 4096, align: 4096 })).toBe(48 * MiB - 4096)
    expect(two(true).alloc({ size: 4096, align: 4096 })).toBe(4096)
  })

  it('keeps to limits and alignment', () => {
    const mb = two(false)
    expect(mb.alloc({ size: 5000, align: MiB, max: 15 * MiB + 5000 })).toBe(15 * MiB)
    expect(mb.alloc({ size: MiB, min: 16 * MiB, max: 32 * MiB })).toBe(NO_MEMORY)
  })

  it('comes from the node that was asked for, and from another one only if that is allowed', () => {
    const mb = two(false)
    expect(mb.alloc({ size: 16 * MiB, node: 1 })).toBe(32 * MiB)
    expect(mb.alloc({ size: 4096, node: 1, exact: true })).toBe(NO_MEMORY)
    expect(mb.alloc({ size: 4096, node: 1 })).toBe(16 * MiB - 4096)
  })

  it('never overlaps another one, is always free memory, and the totals add up', () => {
    const op = fc.record({
      kind: fc.constantFrom('add', 'remove', 'reserve', 'free', 'alloc', 'nomap'),
      start: fc.nat({ max: 200 }), length: fc.integer({ min: 1, max: 60 }), align: fc.constantFrom(1, 4, 16),
    })
    fc.assert(fc.property(fc.boolean(), fc.array(op, { maxLength: 30 }), (bottomUp, ops) => {
      const mb = createMemblock({ bottomUp })
      const model = { memory: new Uint8Array(300), reserved: new Uint8Array(300), nomap: new Uint8Array(300) }
      const unit = 4096
      for (const o of ops) {
        const [from, to] = [o.start, o.start + o.length]
        if (o.kind === 'add') {
          mb.add(from * unit, to * unit)
          model.memory.fill(1, from, to)
        } else if (o.kind === 'remove') {
          mb.remove(from * unit, to * unit)
          model.memory.fill(0, from, to)
          model.nomap.fill(0, from, to)
        } else if (o.kind === 'reserve' || o.kind === 'free') {
          mb[o.kind](from * unit, to * unit)
          model.reserved.fill(o.kind === 'reserve' ? 1 : 0, from, to)
        } else if (o.kind === 'nomap') {
          mb.setFlags(from * unit, to * unit, MEMBLOCK_NOMAP, true)
          for (let i = from; i < to; i++) model.nomap[i] = model.memory[i]
        } else {
          const usable = (i: number): boolean => i > 0 && !!model.memory[i] && !model.reserved[i] && !model.nomap[i]
          const fits = (at: number): boolean => Array.from({ length: o.length }, (_, k) => at + k).every(usable)
          const all = Array.from({ length: 300 }, (_, i) => i).filter((i) => i % o.align === 0 && fits(i))
          const want = all.length === 0 ? NO_MEMORY : (bottomUp ? all[0] : all[all.length - 1]) * unit
          expect(mb.alloc({ size: o.length * unit, align: o.align * unit, node: ANY_NODE })).toBe(want)
          if (want >= 0) model.reserved.fill(1, want / unit, want / unit + o.length)
        }
      }
      const count = (f: (i: number) => boolean): number => model.memory.reduce((n, _, i) => n + (f(i) ? unit : 0), 0)
      const t = mb.totals()
      expect(t.memory).toBe(count((i) => !!model.memory[i]))
      expect(t.free).toBe(count((i) => !!model.memory[i] && !model.reserved[i] && !model.nomap[i]))
      expect(t.nomap).toBe(count((i) => !!model.memory[i] && !!model.nomap[i]))
      expect(t.free + t.nomap + t.reservedMemory).toBe(t.memory)
    }), { numRuns: 300 })
  })
})

describe('memory from a map', () => {
  it('goes to its nodes', () => {
    const mb = createMemblock()
    const map = mapFromE820([{ addr: 0x1000, size: 0x9000, type: 1 }, { addr: MiB, size: 7 * MiB, type: 1 }])
    addMap(mb, map, [{ start: 0, end: 4 * MiB, node: 0 }, { start: 4 * MiB, end: 8 * MiB, node: 1 }])
    expect(show(mb.memory())).toEqual(['4096-40960@0', `${MiB}-${4 * MiB}@0`, `${4 * MiB}-${8 * MiB}@1`])
  })
})
