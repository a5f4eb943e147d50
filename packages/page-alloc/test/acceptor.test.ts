import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AcceptJob, createAcceptor, createMemblock, decodeUnacceptedTable, encodeUnacceptedTable, NO_MEMORY, normaliseMap,
  placeUnacceptedTable, planUnacceptedTable, restoreAcceptor, type UnacceptedTable,
} from '../src/index.ts'
import { clone, createTestPort } from './ports.ts'

const MiB = 2 ** 20
const UNIT = 2 * MiB
const KiB = 1024

/** An acceptor with `[start, end)` unaccepted. */
function setUp(start: number, end: number, bad: { start: number; end: number }[] = []) {
  const port = createTestPort([{ start, end }], bad)
  const table = planUnacceptedTable([{ start, end, kind: 'unaccepted' }]) as UnacceptedTable
  const acceptor = createAcceptor({ table, port })
  const failed = acceptor.mark(start, end)
  return { port, acceptor, failed }
}

describe('the unaccepted table', () => {
  it('spans all unaccepted ranges in whole units, eight to a byte', () => {
    const map = normaliseMap([
      { start: 5 * MiB, end: 9 * MiB, kind: 'unaccepted' }, { start: 64 * MiB, end: 65 * MiB, kind: 'unaccepted' },
    ])
    const table = planUnacceptedTable(map)
    expect(table?.physBase).toBe(4 * MiB)
    expect(table?.bitmap.length).toBe(Math.ceil((66 - 4) / 2 / 8))
    expect(planUnacceptedTable([{ start: 0, end: MiB, kind: 'usable' }])).toBeUndefined()
  })

  it('takes 4 KiB of bitmap for 64 GiB', () => {
    expect(planUnacceptedTable([{ start: 0, end: 2 ** 36, kind: 'unaccepted' }])?.bitmap.length).toBe(4096)
  })

  it('is laid out as struct efi_unaccepted_memory', () => {
    const bytes = encodeUnacceptedTable({ unitSize: UNIT, physBase: 0x1_2340_0000, bitmap: Uint8Array.of(0xa5, 1) })
    expect([...bytes]).toEqual([
      1, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x40, 0x23, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xa5, 1,
    ])
    expect(decodeUnacceptedTable(bytes))
      .toEqual({ unitSize: UNIT, physBase: 0x1_2340_0000, bitmap: Uint8Array.of(0xa5, 1) })
  })

  it.each([
    ['no header', (b: Uint8Array) => b.slice(0, 20), 'a header has 24'],
    ['version 2', (b: Uint8Array) => b.fill(2, 0, 1), 'version 2, expected 1'],
    ['a unit that is no power of two', (b: Uint8Array) => b.fill(0x30, 6, 7), 'unit_size'],
    ['a base that is no page', (b: Uint8Array) => b.fill(1, 8, 9), 'phys_base'],
    ['more bitmap than there is', (b: Uint8Array) => b.fill(3, 16, 17), 'size 3, but 2 bytes follow'],
  ])('is refused with %s', (_, change, message) => {
    const bytes = encodeUnacceptedTable({ unitSize: UNIT, physBase: 0, bitmap: new Uint8Array(2) })
    expect(() => decodeUnacceptedTable(change(bytes))).toThrow(message)
  })

  it('is placed in memory that needs no acceptance, and every page it touches is reserved', () => {
    const map = normaliseMap([
      { start: MiB, end: 2 * MiB, kind: 'usable' }, { start: 2 * MiB, end: 2 ** 37, kind: 'unaccepted' },
    ])
    const mb = createMemblock()
    mb.add(MiB, 2 ** 37)
    const table = planUnacceptedTable(map) as UnacceptedTable
    const at = placeUnacceptedTable(mb, table, map)
    expect(at).toBe(2 * MiB - 8216)
    expect(mb.reserved()).toMatchObject([{ start: 2 * MiB - 3 * 4096, end: 2 * MiB }])
    expect(placeUnacceptedTable(createMemblock(), table, map)).toBe(NO_MEMORY)
  })
})

describe('recording unaccepted memory', () => {
  it('accepts ends that are no whole unit up front', () => {
    const { port, acceptor } = setUp(3 * MiB, 9 * MiB + 4 * KiB)
    expect(port.calls).toEqual([{ start: 3 * MiB, end: 4 * MiB }, { start: 8 * MiB, end: 9 * MiB + 4 * KiB }])
    expect(acceptor.pending()).toBe(2)
  })

  it('accepts all of a range that has no whole unit', () => {
    const { port, acceptor } = setUp(3 * MiB, 5 * MiB)
    expect(port.calls).toEqual([{ start: 3 * MiB, end: 5 * MiB }])
    expect(acceptor.pending()).toBe(0)
  })

  it('accepts what lies outside the table', () => {
    const port = createTestPort([{ start: 0, end: 64 * MiB }])
    const table = { unitSize: UNIT, physBase: 16 * MiB, bitmap: new Uint8Array(1) }
    const acceptor = createAcceptor({ table, port })
    acceptor.mark(0, 64 * MiB)
    expect(port.calls).toEqual([{ start: 0, end: 16 * MiB }, { start: 32 * MiB, end: 64 * MiB }])
    expect(acceptor.pending()).toBe(8)
  })

  it('returns ends that fail', () => {
    const { failed } = setUp(3 * MiB, 8 * MiB, [{ start: 3 * MiB, end: 3 * MiB + 4 * KiB }])
    expect(failed).toEqual([{ start: 3 * MiB, end: 4 * MiB, reason: 'bad memory' }])
  })
})

describe('accepting a range', () => {
  it('accepts whole units and one guard unit after them', () => {
    const { port, acceptor } = setUp(0, 16 * MiB)
    acceptor.accept(4 * MiB, 6 * MiB)
    expect(port.calls).toEqual([{ start: 4 * MiB, end: 8 * MiB }])
  })

  it('accepts the guard unit after an unaligned end too', () => {
    const { port, acceptor } = setUp(0, 16 * MiB)
    acceptor.accept(4 * MiB, 4 * MiB + 4 * KiB)
    expect(port.calls).toEqual([{ start: 4 * MiB, end: 8 * MiB }])
  })

  it('accepts the first unit for a range that ends right before the table', () => {
    const { port, acceptor } = setUp(4 * MiB, 16 * MiB)
    acceptor.accept(2 * MiB, 4 * MiB)
    expect(port.calls).toEqual([{ start: 4 * MiB, end: 6 * MiB }])
    acceptor.accept(0, 2 * MiB)
    expect(port.calls.length).toBe(1)
  })

  it('does nothing for what is accepted', () => {
    const { port, acceptor } = setUp(0, 16 * MiB)
    acceptor.accept(0, 16 * MiB)
    acceptor.accept(0, 16 * MiB)
    acceptor.accept(32 * MiB, 64 * MiB)
    expect(port.calls).toEqual([{ start: 0, end: 16 * MiB }])
  })

  it('names the units that fail, and accepts all others', () => {
    const { port, acceptor } = setUp(0, 16 * MiB, [{ start: 7 * MiB, end: 7 * MiB + 4096 }])
    expect(acceptor.accept(0, 16 * MiB)).toEqual({
      status: 'failed', ranges: [{ start: 6 * MiB, end: 8 * MiB, reason: 'bad memory' }],
    })
    expect(port.bytes()).toBe(14 * MiB)
    expect(acceptor.isUsable(0, 6 * MiB - 4096)).toBe(true)
    expect(acceptor.isUsable(0, 6 * MiB)).toBe(false)
    expect(acceptor.isUsable(8 * MiB, 16 * MiB)).toBe(true)
  })

  it('is refused, not waited for, when the port calls back for the same unit', () => {
    const { port, acceptor } = setUp(0, 32 * MiB)
    const inner: string[] = []
    port.onAccept = () => {
      port.onAccept = undefined
      inner.push(acceptor.accept(2 * MiB, 4 * MiB).status, acceptor.accept(8 * MiB, 10 * MiB).status)
    }
    expect(acceptor.accept(0, 2 * MiB).status).toBe('ok')
    expect(inner).toEqual(['busy', 'ok'])
  })
})

/** A processor with ranges to accept, one after the other. */
interface Worker {
  left: { start: number; length: number }[]
  job?: AcceptJob
  /** What it is accepting right now. */
  inStep?: { start: number; end: number }
}

describe('acceptance by several processors', () => {
  it('accepts no unit twice, never deadlocks, and leaves every range accepted with its guard', () => {
    const range = fc.record({ start: fc.nat({ max: 63 }), length: fc.integer({ min: 1, max: 20 }) })
    fc.assert(fc.property(
      fc.array(fc.array(range, { minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 5 }),
      fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 50 }),
      (processors, order) => {
        const { port, acceptor } = setUp(0, 128 * MiB)
        const work: Worker[] = processors.map((ranges) => ({ left: [...ranges] }))
        const inFlight = new Set<number>()
        for (let turn = 0, idle = 0; work.some((w) => w.left.length > 0 || w.job !== undefined); turn++) {
          const live = work.filter((x) => x.left.length > 0 || x.job !== undefined)
          const waiting = idle > order.length ? turn : order[turn % order.length]
          const w = live[waiting % live.length]
          if (w.inStep !== undefined) {
            for (let at = w.inStep.start; at < w.inStep.end; at += UNIT) inFlight.delete(at)
            w.job?.complete(port.accept(w.inStep.start, w.inStep.end))
            w.inStep = undefined
            idle = 0
            continue
          }
          if (w.job === undefined) {
            const r = w.left.shift() as { start: number; length: number }
            w.job = acceptor.start(r.start * MiB, (r.start + r.length) * MiB)
          }
          const step = w.job.next()
          if (step.kind === 'wait') {
            if (++idle > 10_000) throw new Error('deadlock')
          } else if (step.kind === 'done') {
            w.job = undefined
            idle = 0
          } else {
            for (let at = step.start; at < step.end; at += UNIT) {
              if (inFlight.has(at)) throw new Error(`two processors at ${at}`)
              inFlight.add(at)
            }
            w.inStep = step
          }
        }
        for (const r of processors.flat()) {
          const guarded = Math.min(Math.ceil((r.start + r.length) / 2) * UNIT + UNIT, 128 * MiB)
          expect(port.isAccepted(Math.floor(r.start / 2) * UNIT, guarded)).toBe(true)
        }
      },
    ), { numRuns: 200 })
  })
})

describe('a snapshot of the acceptor', () => {
  it('restores to the same state', () => {
    const { port, acceptor } = setUp(0, 64 * MiB, [{ start: 8 * MiB, end: 9 * MiB }])
    acceptor.accept(0, 20 * MiB)
    const again = restoreAcceptor(clone(acceptor.snapshot()), port)
    expect(again.table()).toEqual(acceptor.table())
    expect(again.failed()).toEqual(acceptor.failed())
  })
})
