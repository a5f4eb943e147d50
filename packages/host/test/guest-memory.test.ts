import { describe, expect, it } from 'vitest'
import { guestMemory, MiB } from './guest.ts'

describe('memory of an SNP guest', () => {
  it('is nobody\'s until the guest wants it, then the guest\'s, 2 MiB at a time', () => {
    const { guest, log } = guestMemory()
    expect(guest.systemPage(600)).toBe(-1)
    expect(guest.makePrivateLarge(512)).toBe('done')
    expect(log).toEqual(['assign 2M 1024 for 512'])
    expect(guest.counts).toMatchObject({ backed: 2 * MiB, assigned2M: 1, assigned4K: 0 })
  })

  it('is assigned whole by a private access to a region that is untouched, page by page in others', () => {
    const { guest, log } = guestMemory()
    expect(guest.resolve(700, true)).toBe('done')
    guest.makeShared(3)
    expect(guest.resolve(4, true)).toBe('done')
    expect(log).toEqual(['assign 2M 1024 for 512', 'assign 4K 1540 for 4'])
  })

  it('is smashed before a page inside 2 MiB becomes shared, and its translations are forgotten', () => {
    const { guest, log, flushes, entries } = guestMemory()
    guest.makePrivateLarge(512)
    expect(guest.makeShared(515)).toBe('done')
    expect(log.slice(1)).toEqual(['psmash 1024', 'release 4K 1027 for 0'])
    expect(flushes()).toBeGreaterThan(0)
    expect(entries.get(1026)).toMatchObject({ guestPage: 514, large: false, asid: 3 })
    expect(guest.isShared(515)).toBe(true)
  })

  it('changes 2 MiB with one RMPUPDATE each way', () => {
    const { guest, log } = guestMemory()
    guest.makePrivateLarge(512)
    guest.makeSharedLarge(512)
    expect(guest.makePrivateLarge(512)).toBe('done')
    expect(log).toEqual(['assign 2M 1024 for 512', 'release 2M 1024 for 0', 'assign 2M 1024 for 512'])
  })

  it('keeps to pages at edges of RAM that are no whole 2 MiB', () => {
    const { guest, log } = guestMemory([{ start: 0, length: 0xa_0000 }, { start: MiB, length: 7 * MiB + 4096 }])
    expect(guest.resolve(5, true)).toBe('done')
    expect(guest.resolve(0xa0, true)).toBe('not-ram')
    expect(guest.resolve(2048, true)).toBe('done')
    expect(log).toEqual(['assign 4K 1029 for 5', 'assign 4K 1536 for 2048'])
  })

  it('says so when the host has none left', () => {
    const { guest } = guestMemory([{ start: 0, length: 64 * MiB }])
    const outcomes = Array.from({ length: 32 }, (_, i) => guest.makePrivateLarge(512 * i))
    expect(outcomes.lastIndexOf('done')).toBe(13)
    expect(outcomes[14]).toBe('no-memory')
  })

  it('lets devices and the host see shared pages only', () => {
    const { guest } = guestMemory()
    guest.makePrivate(8)
    guest.makeShared(9)
    expect(guest.write(9 * 4096 + 100, Uint8Array.of(1, 2, 3))).toBe(true)
    const out = new Uint8Array(3)
    expect(guest.read(9 * 4096 + 100, out)).toBe(true)
    expect([...out]).toEqual([1, 2, 3])
    expect(guest.read(8 * 4096, out)).toBe(false)
    expect(guest.write(10 * 4096 - 1, out)).toBe(false)
    expect(guest.read(2 ** 45, out)).toBe(false)
  })
})

describe('nested page tables', () => {
  const leaf = (memory: { bytes: Uint8Array }, root: number, page: number): bigint => {
    const view = new DataView(memory.bytes.buffer)
    let table = root
    for (let level = 4; ; level--) {
      const entry = view.getBigUint64(table + 8 * (Math.floor(page / 512 ** (level - 1)) % 512), true)
      if (level === 1 || (entry & 0x81n) !== 1n) return entry
      table = Number(entry & 0xf_ffff_ffff_f000n)
    }
  }

  it('map, split and unmap', () => {
    const { npt, memory } = guestMemory()
    npt.mapLarge(512, 2048)
    expect(leaf(memory, npt.root, 700)).toBe(2048n * 4096n | 0xe7n)
    npt.split(700)
    expect(leaf(memory, npt.root, 700)).toBe((2048n + 188n) * 4096n | 0x67n)
    expect(npt.unmap(700)).toBe(true)
    expect(npt.unmap(700)).toBe(false)
    expect(leaf(memory, npt.root, 701)).toBe((2048n + 189n) * 4096n | 0x67n)
    npt.mapLarge(512, 4096)
    expect(leaf(memory, npt.root, 701)).toBe(4096n * 4096n | 0xe7n)
  })

  it('are refused, by the address, where somebody else has changed them', () => {
    const { npt, memory } = guestMemory()
    const view = new DataView(memory.bytes.buffer)
    npt.map(0, 2048)
    const top = view.getBigUint64(npt.root, true)
    view.setBigUint64(npt.root, 0x7fff_0000_0000n | 7n, true)
    expect(() => { npt.map(1, 2049) }).toThrow('nested page tables: 0x7fff00000000: is no table: no RAM is there')
    // The first table below leads to itself: there are no more tables than were made.
    view.setBigUint64(npt.root, top, true)
    const below = Number(top & 0xf_ffff_ffff_f000n)
    for (let i = 0; i < 512; i++) view.setBigUint64(below + 8 * i, top, true)
    expect(() => { npt.clear() }).toThrow('is a table twice')
  })

  it('put reserved bits into entries of emulated pages', () => {
    const { npt, memory } = guestMemory()
    npt.mapMmio(0xfee00)
    expect(leaf(memory, npt.root, 0xfee00) >> 48n).toBe(7n)
  })
})
