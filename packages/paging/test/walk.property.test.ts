import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ACCESS_FETCH, ACCESS_IMPLICIT, ACCESS_USER, ACCESS_WRITE, configureNpt, configureWalk, createPageTables,
  createWalkContext, createWalker, createWalkResult, PERM_DIRTY, PERM_EXEC, PERM_GLOBAL, PERM_USER, PERM_WRITE,
  permits, WALK_NESTED_FAULT, WALK_OK, WALK_PAGE_FAULT, STAGE_FINAL, type PagingRegisters, type WalkContext,
} from '../src/index.ts'
import { type ModelAccess, type ModelState, translate } from './model.ts'
import { createSparseMemory, type SparseMemory } from './sparse-memory.ts'

/** Few tables and few indices, so that random entries meet each other and loops occur. */
const TABLES = [0x1000, 0x2000, 0x3000, 0x7_0000_4000, 0x5000, 0x6000]
const INDICES = [0, 1, 300, 511]

const chance = (percent: number) => fc.integer({ min: 0, max: 99 }).map((n) => n < percent)
const often = chance(90)
const seldom = chance(4)

const entry64 = fc.record({
  p: often, rw: chance(80), us: chance(80), a: fc.boolean(), d: fc.boolean(), ps: chance(25), g: fc.boolean(),
  nx: chance(10), pkey: fc.constantFrom(0, 0, 0, 3, 15), c: fc.boolean(), table: fc.constantFrom(...TABLES),
  junk: seldom, junkBits: fc.bigInt(0n, 0xffff_ffff_ffff_ffffn), pwt: fc.boolean(),
}).map((e) => {
  const flag = (on: boolean, n: number) => (on ? 1n << BigInt(n) : 0n)
  // A leaf of a big page must have its low address bits clear most of the time.
  const address = BigInt(e.ps ? e.table % 2 === 0 ? 0x4000_0000 : 0 : e.table)
  return flag(e.p, 0) | flag(e.rw, 1) | flag(e.us, 2) | flag(e.pwt, 3) | flag(e.a, 5) | flag(e.d, 6) | flag(e.ps, 7)
    | flag(e.g, 8) | flag(e.nx, 63) | (BigInt(e.pkey) << 59n) | flag(e.c, 47) | address
    | (e.junk ? e.junkBits & (e.junkBits >> 7n) : 0n)
})

const memory = fc.array(entry64,
  { minLength: TABLES.length * INDICES.length, maxLength: TABLES.length * INDICES.length })

const state = fc.record({
  levels: fc.constantFrom<ModelState['levels']>('none', '32', 'pae', 4, 4, 4, 5),
  cr3: fc.constantFrom(0x1000n, 0x2000n, 0x8000_0000_3000n),
  wp: fc.boolean(), nxe: chance(80), smep: fc.boolean(), smap: fc.boolean(), pke: fc.boolean(), pse: fc.boolean(),
  pge: fc.boolean(), ac: fc.boolean(), pkru: fc.bigInt(0n, 0xffff_ffffn),
  maxphyaddr: fc.constantFrom(36n, 40n, 46n, 52n), cBit: fc.constantFrom(undefined, 47n), gigabyte: chance(80),
  pdptes: fc.array(fc.constantFrom(0n, 0x1001n, 0x2001n, 0x3001n), { minLength: 4, maxLength: 4 }),
})

const access = fc.record({ kind: fc.constantFrom('read', 'write', 'fetch'), user: fc.boolean(),
  implicit: fc.boolean() })
  .map(({ kind, user, implicit }) => ({
    write: kind === 'write', fetch: kind === 'fetch', user: user && !implicit, implicit: implicit && kind !== 'fetch',
  }))

const largest = fc.constantFrom<(12 | 21 | 30)[]>(12, 21, 30)

const index = fc.constantFrom(...INDICES)
const address = fc.tuple(index, index, index, index, index, fc.integer({ min: 0, max: 4095 }))
  .map(([a, b, c, d, e, offset]) => (BigInt(a) << 48n) | (BigInt(b) << 39n) | (BigInt(c) << 30n) | (BigInt(d) << 21n)
    | (BigInt(e) << 12n) | BigInt(offset))

function fill(entries: readonly bigint[]): SparseMemory {
  const m = createSparseMemory()
  TABLES.forEach((t, i) => INDICES.forEach((n, j) => { m.store64(t + 8 * n, entries[i * INDICES.length + j]) }))
  return m
}

function registers(s: ModelState): PagingRegisters {
  const paging = s.levels !== 'none'
  const long = s.levels === 4 || s.levels === 5
  return {
    cr0: (paging ? 0x8000_0001 : 1) | (s.wp ? 0x1_0000 : 0),
    cr3Low: Number(s.cr3 & 0xffff_ffffn), cr3High: Number(s.cr3 >> 32n),
    cr4: (s.pse ? 0x10 : 0) | (paging && s.levels !== '32' ? 0x20 : 0) | (s.pge ? 0x80 : 0)
      | (s.levels === 5 ? 0x1000 : 0) | (s.smep ? 1 << 20 : 0) | (s.smap ? 1 << 21 : 0) | (s.pke ? 1 << 22 : 0),
    efer: (long ? 0x500 : 0) | (s.nxe ? 0x800 : 0),
    ac: s.ac, pkru: Number(s.pkru),
  }
}

function contextOf(s: ModelState, npt: boolean): WalkContext {
  const ctx = createWalkContext({
    physicalBits: Number(s.maxphyaddr), gigabytePages: s.gigabyte,
    ...(s.cBit === undefined ? {} : { key: { position: Number(s.cBit), width: 1 } }),
  })
  if (npt) configureNpt(ctx, registers(s))
  else configureWalk(ctx, registers(s))
  s.pdptes.forEach((p, i) => { ctx.pdptes[2 * i] = Number(p & 0xffff_ffffn) | 0 })
  return ctx
}

/** The model knows no C-bit in CR3 of the narrow formats. */
function legal(s: ModelState): ModelState {
  const narrow = s.levels === '32' || s.levels === 'pae' || s.levels === 'none'
  return { ...s, cr3: narrow || s.cBit === undefined ? s.cr3 & 0xffff_f000n : s.cr3 }
}

const accessBits = (a: { write: boolean, fetch: boolean, user: boolean, implicit: boolean }): number =>
  (a.write ? ACCESS_WRITE : 0) | (a.fetch ? ACCESS_FETCH : 0) | (a.user ? ACCESS_USER : 0)
  | (a.implicit ? ACCESS_IMPLICIT : 0)

const outcomes = new Map<string, number>()
const count = (what: string): void => { outcomes.set(what, (outcomes.get(what) ?? 0) + 1) }

function compare(
  entries: readonly bigint[], s: ModelState, va: bigint, a: ModelAccess, host?: ModelState,
  prepare: (m: SparseMemory) => void = () => undefined,
) {
  const real = fill(entries)
  const naive = fill(entries)
  prepare(real)
  prepare(naive)
  const ctx = contextOf(s, false)
  if (host !== undefined) ctx.nested = contextOf(host, true)
  const out = createWalkResult()
  createWalker(real.port()).walk(ctx, Number(va & 0xffff_ffffn) | 0, Number(va >> 32n), accessBits(a), out)
  const expected = translate(naive, s, va, a, host)
  const outcome = 'nested' in expected ? 'nested' : 'error' in expected ? expected.error & 9n : 'ok'
  count(`${host === undefined ? 1 : 2}-D ${outcome}`)
  if ('nested' in expected) {
    expect({ status: out.status, gpa: BigInt(out.gpa), error: BigInt(out.errorCode), final: out.stage === STAGE_FINAL })
      .toEqual({ status: WALK_NESTED_FAULT, ...expected.nested })
  } else if ('error' in expected) {
    expect({ status: out.status, error: BigInt(out.errorCode) }).toEqual({ status: WALK_PAGE_FAULT,
      error: expected.error })
  } else {
    expect(out.status).toBe(WALK_OK)
    const has = (bit: number) => (out.perms & bit) !== 0
    const found = {
      page: BigInt(out.page), user: has(PERM_USER), writable: has(PERM_WRITE), executable: has(PERM_EXEC),
      global: has(PERM_GLOBAL), pkey: BigInt(s.levels === 'pae' ? 0 : out.pkey), key: BigInt(out.key),
    }
    const { size, dirty, ...rest } = expected
    expect(found).toEqual(rest)
    expect(host === undefined ? out.shift : out.guestShift).toBe(Number(size))
    if (host === undefined) expect(has(PERM_DIRTY)).toBe(dirty)
    // What was allowed once may be served from a cache.
    expect(permits(ctx, out.perms, out.pkey, accessBits(a))).toBe(true)
  }
  const sorted = (m: SparseMemory) => [...m.words].filter(([, v]) => v !== 0n).sort(([x], [y]) => x - y)
  expect(sorted(real)).toEqual(sorted(naive))
}

describe('a walk', () => {
  it('agrees with the naive model in one dimension', () => {
    fc.assert(fc.property(memory, state.map(legal), address, access, (entries, s, va, a) => {
      compare(entries, s, s.levels === 'none' ? va & 0xffff_ffffn : va, a)
    }), { numRuns: 4000, seed: 7 })
  }, 30_000)

  it('agrees with the naive model in two dimensions', () => {
    // APM vol. 2, §15.25.5: SMEP, SMAP and keys of the host don't apply to nested accesses.
    const hosts = state.map((h): ModelState => ({
      ...h, levels: 4, cr3: 0x10_0000n, cBit: undefined, gigabyte: true, pke: false, smep: false, smap: false,
    }))
    const damage = fc.array(fc.record({ at: fc.nat(), bit: fc.integer({ min: 0, max: 63 }) }), { maxLength: 3 })
    fc.assert(fc.property(memory, state.map(legal), hosts, damage, largest, address, access,
      (entries, s, h, flips, size, va, a) => {
        compare(entries, s, s.levels === 'none' ? va & 0xffff_ffffn : va, a, h, (m) => { buildHost(m, size, flips) })
      },
    ), { numRuns: 2500, seed: 11 })
  }, 30_000)

  it('meets every outcome often enough to mean something', () => {
    for (const what of ['1-D ok', '1-D 0', '1-D 1', '1-D 9', '2-D ok', '2-D nested', '2-D 0', '2-D 1', '2-D 9']) {
      expect(outcomes.get(what) ?? 0, what).toBeGreaterThan(30)
    }
  })
})

/** Nested tables that map the guest's tables and frames one to one, with a few bits turned round. */
function buildHost(m: SparseMemory, largest: 12 | 21 | 30, flips: readonly { at: number, bit: number }[]): void {
  let next = 0x10_0000
  const built: number[] = []
  const memory = {
    allocate: () => (next += 4096) - 4096,
    load64: m.load64,
    store64(pa: number, v: bigint) { built.push(pa); m.store64(pa, v) },
  }
  const tables = createPageTables({ levels: 4, memory })
  for (const from of [0, 0x7_0000_0000, 0x4000_0000]) {
    tables.map({ from, length: largest === 12 ? 0x1_0000 : 0x20_0000, user: true, largest })
  }
  tables.map({ from: 0x8000_0000, length: 0x4000_0000, user: true, largest: 30 })
  for (const { at, bit } of flips) {
    const pa = built[at % built.length]
    m.store64(pa, m.load64(pa) ^ (1n << BigInt(bit)))
  }
}
