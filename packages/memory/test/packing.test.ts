import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPhysicalMemory } from '../src/index.ts'

const GIB = 2 ** 30
const HIGH = 4 * GIB
const PAGE = 4096

const create = () => createPhysicalMemory({
  ram: [{ start: 0, length: 2 ** 20 }, { start: HIGH, length: 2 ** 24 }], overhead: 2 ** 20,
})

/** A page of 64 structures of 64 bytes; word j of structure k is base[j] + (64 × page + k) × step[j]. */
function regularPage(page: number, base: readonly number[], step: readonly number[]): Uint8Array {
  const words = new Int32Array(PAGE / 4)
  for (let k = 0; k < 64; k++) {
    for (let j = 0; j < 16; j++) words[k * 16 + j] = base[j] + Math.imul(page * 64 + k, step[j])
  }
  return new Uint8Array(words.buffer)
}

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
const structure = fc.tuple(
  fc.array(word, { minLength: 16, maxLength: 16 }), fc.array(word, { minLength: 16, maxLength: 16 }),
)
const contents = fc.oneof(
  fc.record({ kind: fc.constant('regular' as const), of: fc.nat({ max: 2 }) }),
  fc.record({ kind: fc.constant('zero' as const) }),
  fc.record({ kind: fc.constant('spoilt' as const), of: fc.nat({ max: 2 }), at: fc.nat({ max: PAGE - 1 }) }),
)
type Contents = { kind: 'regular', of: number } | { kind: 'zero' } | { kind: 'spoilt', of: number, at: number }

describe('packing', () => {
  it('changes nothing that can be read, whatever the pages hold and however often it happens', () => {
    const rounds = fc.array(fc.array(fc.tuple(fc.nat({ max: 40 }), contents), { maxLength: 40 }), { maxLength: 4 })
    fc.assert(fc.property(fc.tuple(structure, structure, structure), rounds, (structures, plan) => {
      const memory = create()
      const expected = new Map<number, Uint8Array>()
      const make = (page: number, c: Contents): Uint8Array => {
        if (c.kind === 'zero') return new Uint8Array(PAGE)
        const bytes = regularPage(page, structures[c.of][0], structures[c.of][1])
        if (c.kind === 'spoilt') bytes[c.at] ^= 1
        return bytes
      }
      for (const writes of plan) {
        for (const [page, c] of writes) {
          expected.set(page, make(page, c))
          memory.write(HIGH + page * PAGE, make(page, c))
        }
        memory.pack()
        const out = new Uint8Array(PAGE)
        for (const [page, bytes] of expected) {
          memory.read(HIGH + page * PAGE, out)
          expect(out).toEqual(bytes)
        }
      }
    }), { numRuns: 40 })
  })

  it('gives the frames of regular pages back, and takes them for others, cleared', () => {
    const memory = create()
    for (let page = 0; page < 1000; page++) {
      memory.write(HIGH + page * PAGE, regularPage(page, Array(16).fill(7), Array(16).fill(64)))
    }
    expect(memory.backedBytes()).toBe(1000 * PAGE)
    expect(memory.pack()).toBe(true)
    expect(memory.backedBytes()).toBe(0)
    memory.write(HIGH + 2000 * PAGE, Uint8Array.of(1))
    const out = new Uint8Array(8)
    memory.read(HIGH + 2000 * PAGE, out)
    expect([...out]).toEqual([1, 0, 0, 0, 0, 0, 0, 0])
    expect(memory.backedBytes()).toBe(PAGE)
  })

  it('leaves pages below 4 GiB and watched pages where they are', () => {
    const memory = create()
    memory.write(0, new Uint8Array(PAGE))
    memory.write(HIGH, new Uint8Array(PAGE))
    memory.watchPage(HIGH / PAGE, true)
    expect(memory.pack()).toBe(false)
    expect(memory.backedBytes()).toBe(2 * PAGE)
  })

  it('shows no packed page: its word leads to a frame that holds it', () => {
    const memory = create()
    memory.write(HIGH, regularPage(0, Array(16).fill(-1), Array(16).fill(3)))
    memory.pack()
    const offset = memory.frameWord(HIGH / PAGE)
    expect(offset).toBeGreaterThanOrEqual(PAGE)
    expect(memory.views.i32[(offset - (offset % PAGE)) / 4 + 16]).toBe(2)
  })
})
