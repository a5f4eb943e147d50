import { describe, expect, it } from 'vitest'
import {
  ACCESS_FETCH, ACCESS_IMPLICIT, ACCESS_USER, ACCESS_WRITE, configureEpt, configureNpt, configureWalk,
  createPageTables, createWalkContext, createWalker, createWalkResult, nestedFaultInfo, permits, PERM_DIRTY,
  setAlignmentCheck, STAGE_FINAL, STAGE_TABLE, WALK_EPT_MISCONFIGURATION, WALK_EPT_VIOLATION, WALK_NESTED_FAULT,
  WALK_OK, WALK_PAGE_FAULT, WALK_REFUSED, type Mapping, type PagingRegisters, type TableOptions,
  type WalkContextOptions,
} from '../src/index.ts'
import { createSparseMemory } from './sparse-memory.ts'

const P = 1, W = 2, U = 4, RSVD = 8, I = 16, PK = 32
const WP = 0x1_0000
const SMEP = 1 << 20, SMAP = 1 << 21, PKE = 1 << 22

const LONG: PagingRegisters = {
  cr0: 0x8000_0001 | WP, cr3Low: 0, cr3High: 0, cr4: 0x20, efer: 0xd00, ac: false, pkru: 0,
}

function bench(options: Partial<WalkContextOptions> = {}) {
  const memory = createSparseMemory()
  let next = 0x10_0000
  const tables = (maps: readonly Mapping[], extra: Partial<TableOptions> = {}) => {
    const built = createPageTables({
      levels: 4, ...extra,
      memory: { allocate: () => (next += 4096) - 4096, load64: memory.load64, store64: memory.store64 },
    })
    maps.forEach((m) => { built.map(m) })
    return built.root
  }
  const out = createWalkResult()
  const port = memory.port()
  const walker = createWalker(port)
  const ctx = createWalkContext({ physicalBits: 46, ...options })
  const walk = (va: number, access: number) => {
    walker.walk(ctx, va | 0, Math.floor(va / 2 ** 32), access, out)
    return out
  }
  return { memory, tables, out, port, walker, ctx, walk }
}

const PAGE = { from: 0x40_0000, to: 0x123_4000, length: 0x1000 }

describe('a page fault reports', () => {
  const cases: [string, Partial<Mapping>, Partial<PagingRegisters>, number, number][] = [
    ['a user read of a supervisor page', {}, {}, ACCESS_USER, P | U],
    ['a user write of a read-only page', { user: true, writable: false }, {}, ACCESS_USER | ACCESS_WRITE, P | U | W],
    ['a supervisor write of a read-only page with CR0.WP', { writable: false }, {}, ACCESS_WRITE, P | W],
    ['no fault for that write without CR0.WP', { writable: false }, { cr0: 0x8000_0001 }, ACCESS_WRITE, 0],
    ['a fetch from a no-execute page', { executable: false }, {}, ACCESS_FETCH, P | I],
    ['NX as a reserved bit without EFER.NXE', { executable: false }, { efer: 0x500 }, ACCESS_FETCH, P | RSVD],
    ['NX as a reserved bit with I/D when SMEP is on', { executable: false }, { efer: 0x500, cr4: 0x20 | SMEP },
      ACCESS_FETCH, P | RSVD | I],
    ['a supervisor fetch from a user page with SMEP', { user: true }, { cr4: 0x20 | SMEP }, ACCESS_FETCH, P | I],
    ['no fault for that fetch without SMEP', { user: true }, {}, ACCESS_FETCH, 0],
    ['a supervisor read of a user page with SMAP', { user: true }, { cr4: 0x20 | SMAP }, 0, P],
    ['no fault for that read with AC', { user: true }, { cr4: 0x20 | SMAP, ac: true }, 0, 0],
    ['an implicit read of a user page whatever AC is', { user: true }, { cr4: 0x20 | SMAP, ac: true }, ACCESS_IMPLICIT,
      P],
    ['SMAP also with CR0.WP clear', { user: true }, { cr0: 0x8000_0001, cr4: 0x20 | SMAP }, ACCESS_WRITE, P | W],
    ['a key that forbids access', { user: true, bits: 5n << 59n }, { cr4: 0x20 | PKE, pkru: 1 << 10 }, ACCESS_USER,
      P | U | PK],
    ['a key that forbids access to the supervisor too', { user: true, bits: 5n << 59n },
      { cr4: 0x20 | PKE, pkru: 1 << 10 }, 0, P | PK],
    ['a key that forbids a user write', { user: true, bits: 5n << 59n }, { cr4: 0x20 | PKE, pkru: 2 << 10 },
      ACCESS_USER | ACCESS_WRITE, P | U | W | PK],
    ['no key fault for a supervisor write without CR0.WP', { user: true, bits: 5n << 59n },
      { cr0: 0x8000_0001, cr4: 0x20 | PKE, pkru: 2 << 10 }, ACCESS_WRITE, 0],
    ['no key fault for a fetch', { user: true, bits: 5n << 59n }, { cr4: 0x20 | PKE, pkru: 3 << 10 },
      ACCESS_USER | ACCESS_FETCH, 0],
    ['a key and a right at once', { user: true, writable: false, bits: 5n << 59n }, { cr4: 0x20 | PKE, pkru: 1 << 10 },
      ACCESS_USER | ACCESS_WRITE, P | U | W | PK],
    ['an address bit above MAXPHYADDR', { bits: 1n << 46n }, {}, ACCESS_WRITE, P | W | RSVD],
  ]
  it.each(cases)('%s', (_name, mapping, regs, access, code) => {
    const b = bench()
    configureWalk(b.ctx, { ...LONG, cr3Low: b.tables([{ ...PAGE, ...mapping }]), ...regs })
    const out = b.walk(0x40_0123, access)
    expect({ status: out.status, code: out.status === WALK_OK ? 0 : out.errorCode })
      .toEqual({ status: code === 0 ? WALK_OK : WALK_PAGE_FAULT, code })
  })

  it('an absent page without P', () => {
    const b = bench()
    configureWalk(b.ctx, { ...LONG, cr3Low: b.tables([PAGE]) })
    expect(b.walk(0x40_1000, ACCESS_USER | ACCESS_WRITE)).toMatchObject({ status: WALK_PAGE_FAULT, errorCode: U | W,
      level: 1 })
    expect(b.walk(0x80_0000_0000, 0)).toMatchObject({ status: WALK_PAGE_FAULT, errorCode: 0, level: 4 })
  })

  it('PS as reserved in a PDPTE without 1 GiB pages, and bit 8 above where AMD reserves it', () => {
    const b = bench({ gigabytePages: false })
    configureWalk(b.ctx, { ...LONG, cr3Low: b.tables([{ from: 0, length: 0x4000_0000 }]) })
    expect(b.walk(0, 0)).toMatchObject({ status: WALK_PAGE_FAULT, errorCode: P | RSVD, level: 3 })
    const amd = bench({ upperGlobalReserved: true })
    const root = amd.tables([PAGE])
    configureWalk(amd.ctx, { ...LONG, cr3Low: root })
    expect(amd.walk(PAGE.from, 0).status).toBe(WALK_OK)
    amd.memory.store64(root, amd.memory.load64(root) | 0x100n)
    expect(amd.walk(PAGE.from, 0)).toMatchObject({ status: WALK_PAGE_FAULT, errorCode: P | RSVD, level: 4 })
  })
})

describe('accessed and dirty flags', () => {
  it('are set on the way down, dirty only at the page and only for writes', () => {
    const b = bench()
    const root = b.tables([PAGE])
    configureWalk(b.ctx, { ...LONG, cr3Low: root })
    expect(b.walk(PAGE.from, 0).perms & PERM_DIRTY).toBe(0)
    const leaf = root + 3 * 4096 + 0
    expect(b.memory.load64(root) & 0x60n).toBe(0x20n)
    expect(b.memory.load64(leaf) & 0x60n).toBe(0x20n)
    expect(permits(b.ctx, b.out.perms, b.out.pkey, ACCESS_WRITE)).toBe(false)
    expect(b.walk(PAGE.from, ACCESS_WRITE).perms & PERM_DIRTY).toBe(PERM_DIRTY)
    expect(b.memory.load64(root) & 0x60n).toBe(0x20n)
    expect(b.memory.load64(leaf) & 0x60n).toBe(0x60n)
    expect(permits(b.ctx, b.out.perms, b.out.pkey, ACCESS_WRITE)).toBe(true)
  })

  it('leave the page alone when the access is refused', () => {
    const b = bench()
    const root = b.tables([{ ...PAGE, writable: false }])
    configureWalk(b.ctx, { ...LONG, cr3Low: root })
    b.walk(PAGE.from, ACCESS_WRITE)
    expect(b.memory.load64(root + 3 * 4096) & 0x60n).toBe(0n)
  })
})

describe('a port that refuses', () => {
  it('ends the walk with its code and the entry', () => {
    const b = bench()
    const root = b.tables([PAGE])
    configureWalk(b.ctx, { ...LONG, cr3Low: root })
    b.memory.refuse.set(root + 8192, 5)
    expect(b.walk(0, 0)).toMatchObject({ status: WALK_REFUSED, refusal: 5, entry: root + 8192, level: 2 })
    b.memory.refuse.clear()
    b.memory.refuseWrites.add(root + 3 * 4096)
    expect(b.walk(PAGE.from, 0)).toMatchObject({ status: WALK_REFUSED, refusal: 77, entry: root + 3 * 4096, level: 1 })
    b.memory.refuseWrites.clear()
    expect(b.walk(PAGE.from, 0)).toMatchObject({ status: WALK_OK, refusal: 0 })
  })
})

describe('encryption keys', () => {
  it('are taken out of addresses and handed to the port', () => {
    const b = bench({ physicalBits: 52, key: { position: 51, width: 1 } })
    const c = 1n << 51n
    const root = b.tables([{ ...PAGE, bits: c }, { ...PAGE, from: 0x40_1000 }], { tableBits: c })
    configureWalk(b.ctx, { ...LONG, cr3Low: root, cr3High: 1 << 19 })
    expect(b.walk(PAGE.from, 0)).toMatchObject({ status: WALK_OK, page: PAGE.to, key: 1 })
    expect(b.memory.loads.every((l) => l.key === 1)).toBe(true)
    expect(b.walk(PAGE.from + 0x1000, 0)).toMatchObject({ status: WALK_OK, page: PAGE.to, key: 0 })
  })
  it('may be several bits wide', () => {
    const b = bench({ physicalBits: 46, key: { position: 40, width: 6 } })
    configureWalk(b.ctx, { ...LONG, cr3Low: b.tables([{ ...PAGE, bits: 0x2an << 40n }]) })
    expect(b.walk(PAGE.from, 0)).toMatchObject({ status: WALK_OK, page: PAGE.to, key: 0x2a })
  })
})

describe('PAE PDPTEs', () => {
  it('are loaded as registers, and reserved bits refuse the load', () => {
    const b = bench()
    const root = b.tables([{ from: 0x4000_0000, to: 0x20_0000, length: 0x20_0000 }], { levels: 3 })
    configureWalk(b.ctx, { ...LONG, cr3Low: root, efer: 0 })
    expect(b.walker.loadPdptes(b.ctx)).toBe(true)
    const before = b.memory.load64(root + 8)
    b.memory.store64(root + 8, 0n)
    expect(b.walk(0x4000_5678, 0)).toMatchObject({ status: WALK_OK, page: 0x20_5000, shift: 21 })
    b.memory.store64(root + 8, before | 0x20n)
    expect(b.walker.loadPdptes(b.ctx)).toBe(false)
    expect(b.walk(0x4000_5678, 0).status).toBe(WALK_OK)
  })
})

describe('two dimensions with NPT', () => {
  const twoD = (host: readonly Mapping[]) => {
    const b = bench()
    const nested = createWalkContext({ physicalBits: 46 })
    configureWalk(b.ctx, { ...LONG, cr3Low: b.tables([PAGE]) })
    configureNpt(nested, { ...LONG, cr4: 0x20 | SMEP | SMAP, cr3Low: b.tables(host) })
    b.ctx.nested = nested
    return b
  }
  it('say which guest address was missing and whether a table was being read', () => {
    const noTables = twoD([{ from: 0x100_0000, length: 0x100_0000, user: true }])
    const out = noTables.walk(PAGE.from, 0)
    expect(out).toMatchObject({ status: WALK_NESTED_FAULT, stage: STAGE_TABLE, gpa: noTables.ctx.root,
      errorCode: U | W })
    expect(nestedFaultInfo(out)).toBe(0x2_0000_0006n)
    const noPage = twoD([{ from: 0x10_0000, length: 0x10_0000, user: true }])
    const last = noPage.walk(PAGE.from, ACCESS_FETCH)
    expect(last).toMatchObject({ status: WALK_NESTED_FAULT, stage: STAGE_FINAL, gpa: PAGE.to, errorCode: U | I })
    expect(nestedFaultInfo(last)).toBe(0x1_0000_0014n)
  })
  it('treat every access as a user access', () => {
    expect(twoD([{ from: 0, length: 0x4000_0000 }]).walk(PAGE.from, 0)).toMatchObject({ errorCode: P | U | W })
    expect(twoD([{ from: 0, length: 0x4000_0000, user: true }]).walk(PAGE.from, 0)).toMatchObject({ status: WALK_OK })
  })
  it('keep the nested write permission apart from CR0.WP', () => {
    const b = twoD([
      { from: 0, length: 0x100_0000, user: true }, { from: 0x100_0000, length: 0x100_0000, user: true,
        writable: false },
    ])
    expect(b.walk(PAGE.from, 0)).toMatchObject({ status: WALK_OK, shift: 12, nestedShift: 21, guestShift: 12 })
    configureWalk(b.ctx, { ...LONG, cr0: 0x8000_0001, cr3Low: b.ctx.root })
    expect(permits(b.ctx, b.out.perms | PERM_DIRTY, 0, ACCESS_WRITE)).toBe(false)
    expect(b.walk(PAGE.from, ACCESS_WRITE)).toMatchObject({ status: WALK_NESTED_FAULT, errorCode: P | U | W,
      gpa: PAGE.to })
  })
})

describe('two dimensions with EPT', () => {
  const twoD = (host: readonly Mapping[], mbec = false) => {
    const b = bench()
    const nested = createWalkContext({ physicalBits: 46 })
    configureWalk(b.ctx, { ...LONG, cr3Low: b.tables([{ ...PAGE, user: true }]) })
    const root = b.tables(host, { ept: true })
    configureEpt(nested, { root, levels: 4, accessedDirty: true, userExecute: mbec })
    b.ctx.nested = nested
    return { ...b, root }
  }
  const ALL: Mapping = { from: 0, length: 0x4000_0000, largest: 21 }
  it('set accessed and dirty flags and translate', () => {
    const b = twoD([ALL])
    expect(b.walk(PAGE.from, ACCESS_WRITE | ACCESS_USER)).toMatchObject({ status: WALK_OK, page: PAGE.to,
      nestedPat: 6 })
    const leaf = b.root + 8192 + 8 * (PAGE.to / 0x20_0000 | 0)
    expect(b.memory.load64(leaf) & 0x300n).toBe(0x300n)
  })
  it.each([
    ['a read of what is not there', [{ ...ALL, length: 0x100_0000 }], 0, 0x181],
    ['a table that is not there', [{ ...ALL, from: 0x100_0000 }], 0, 0x083],
    ['a write of a read-only page', [ALL, { from: 0x120_0000, length: 0x20_0000, writable: false }], ACCESS_WRITE,
      0x1aa],
    ['a fetch from a page without X', [ALL, { from: 0x120_0000, length: 0x20_0000, executable: false }], ACCESS_FETCH,
      0x19c],
  ] as const)('qualify %s', (_name, host, access, qualification) => {
    expect(twoD(host).walk(PAGE.from, access)).toMatchObject({ status: WALK_EPT_VIOLATION, errorCode: qualification })
  })
  it('call writable without readable, bad types and reserved bits a misconfiguration', () => {
    for (const bad of [0x2n, 0x87n | (2n << 3n), 0x87n | (6n << 3n) | 0x1000n, 0xb7n | (1n << 50n)]) {
      const b = twoD([ALL])
      b.memory.store64(b.root + 8192 + 8 * (PAGE.to / 0x20_0000 | 0), bad)
      expect(b.walk(PAGE.from, 0)).toMatchObject({ status: WALK_EPT_MISCONFIGURATION, gpa: PAGE.to,
        stage: STAGE_FINAL })
    }
  })
  it('choose the execute bit by the kind of address under mode-based execute control', () => {
    const b = twoD([ALL], true)
    const leaf = b.root + 8192 + 8 * (PAGE.to / 0x20_0000 | 0)
    b.memory.store64(leaf, b.memory.load64(leaf) & ~4n)
    expect(b.walk(PAGE.from, ACCESS_FETCH | ACCESS_USER).status).toBe(WALK_OK)
    b.memory.store64(leaf, (b.memory.load64(leaf) | 4n) & ~0x400n)
    expect(b.walk(PAGE.from, ACCESS_FETCH | ACCESS_USER).status).toBe(WALK_EPT_VIOLATION)
  })
})

describe('AC', () => {
  it('can change alone', () => {
    const b = bench()
    configureWalk(b.ctx, { ...LONG, cr4: 0x20 | SMAP, cr3Low: b.tables([{ ...PAGE, user: true }]) })
    expect(b.walk(PAGE.from, 0).status).toBe(WALK_PAGE_FAULT)
    setAlignmentCheck(b.ctx, true)
    expect(b.walk(PAGE.from, 0).status).toBe(WALK_OK)
    setAlignmentCheck(b.ctx, false)
    expect(permits(b.ctx, b.out.perms, 0, 0)).toBe(false)
  })
})

describe('table builder', () => {
  it('uses the largest pages that alignment allows, on every format', () => {
    for (const levels of [4, 5] as const) {
      const b = bench()
      const root = b.tables([{ from: 0x3fff_f000, length: 0x4020_2000 }], { levels })
      configureWalk(b.ctx, { ...LONG, cr3Low: root, cr4: levels === 5 ? 0x1020 : 0x20 })
      expect(b.walk(0x3fff_f000, 0)).toMatchObject({ status: WALK_OK, page: 0x3fff_f000, shift: 12 })
      expect(b.walk(0x5234_5678, 0)).toMatchObject({ status: WALK_OK, page: 0x5234_5000, shift: 30 })
      expect(b.walk(0x8012_3456, 0)).toMatchObject({ status: WALK_OK, page: 0x8012_3000, shift: 21 })
      expect(b.walk(0x8020_0000, 0)).toMatchObject({ status: WALK_OK, page: 0x8020_0000, shift: 12 })
      expect(b.walk(0x8020_1000, 0).status).toBe(WALK_PAGE_FAULT)
    }
  })
  it('refuses odd addresses and to split a larger page', () => {
    const b = bench()
    expect(() => b.tables([{ from: 1, length: 4096 }])).toThrow(RangeError)
    expect(() => b.tables([{ from: 0, length: 0x20_0000 }, { from: 0x1000, length: 0x1000 }])).toThrow('larger page')
  })
})
