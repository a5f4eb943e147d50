import { describe, expect, it } from 'vitest'
import { EptEntry, PageEntry, PageFaultError } from '@cofferdam/spec'
import {
  ACCESS_FETCH, ACCESS_USER, ACCESS_WRITE, PERM_DIRTY, PERM_GLOBAL, PERM_USER, PERM_WRITE,
} from '../src/index.ts'
import {
  ENTRY_A, ENTRY_D, ENTRY_G, ENTRY_P, ENTRY_PAT, ENTRY_PS, ENTRY_RW_US,
} from '../src/walk-64.ts'

describe('the numbers of the hot path', () => {
  it('are those of the declared page-table entry', () => {
    const low = (...names: (keyof typeof PageEntry.fields)[]) =>
      Number(names.reduce((m, n) => m | PageEntry.mask[n], 0n))
    expect([ENTRY_P, ENTRY_RW_US, ENTRY_A, ENTRY_D, ENTRY_PS, ENTRY_G])
      .toEqual([low('P'), low('RW', 'US'), low('A'), low('D'), low('PS'), low('G')])
    expect(ENTRY_PAT).toBe(1 << PageEntry.shift.address)
  })
  it('keep permissions where entries have them, and accesses where error codes have them', () => {
    expect(PERM_WRITE | PERM_USER).toBe(ENTRY_RW_US)
    expect([PERM_DIRTY, PERM_GLOBAL]).toEqual([ENTRY_D, ENTRY_G])
    expect([ACCESS_WRITE, ACCESS_USER, ACCESS_FETCH])
      .toEqual([PageFaultError.mask.W, PageFaultError.mask.U, PageFaultError.mask.I])
  })
  it('place accessed and dirty of an EPT entry elsewhere than paging does', () => {
    expect([EptEntry.mask.A, EptEntry.mask.D]).toEqual([0x100n, 0x200n])
  })
})
