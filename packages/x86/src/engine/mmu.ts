/**
 * One processor's way to memory: it fills the TLBs that generated code probes from walks, and hands what they cannot
 * serve to `slow-access.ts`.
 */
import { FRAME_ABSENT, FRAME_NONE } from '@cofferdam/memory'
import {
  ACCESS_FETCH, ACCESS_USER, ACCESS_WRITE, PERM_DIRTY, PERM_GLOBAL, PERM_NESTED_WRITE, rightsError,
} from '@cofferdam/paging'
import { CPL, TLB_BASE } from '../state.ts'
import { linearPage } from './breakpoints.ts'
import { createBulk } from './bulk.ts'
import { createFetchTranslations } from './fetch-translations.ts'
import type { Mmu, MmuOptions } from './mmu-types.ts'
import { createPageWalk } from './page-walk.ts'
import { HEARD, createSlowAccess } from './slow-access.ts'
import { ENTRY, LOG_SIZE, createTlb } from './tlb.ts'
import { checkTranslations, entriesOf, placeEntries } from './translations.ts'
import { TLB_ENTRIES, TLB_WRITE } from './uop.ts'

const PAGE = 4096

export function createMmu(options: MmuOptions, validityOffset: number): Mmu {
  const { memory, breakpoints } = options
  const { i32 } = memory.views
  const tlb = createTlb(memory)
  const walk = createPageWalk(memory, options.physicalBits, () => mmu)
  const { context, result } = walk
  const code = createFetchTranslations(memory, validityOffset)

  /**
   * Puts what the last walk found into the TLBs of the present mode. The side that was not asked for gets its entry
   * only where that displaces no other page: an instruction that reads one page and writes another of the same index
   * would displace one with the other for ever. Unbacked RAM is read through the frame of zeros. Answers whether the
   * side that was asked for has its entry now: else nobody may go by it.
   */
  const fill = (low: number, high: number, page: number, user: number, write: boolean): boolean => {
    let filled = false
    const { perms, pkey } = result
    const entry = tlb.entryOf(low)
    const word = memory.frameWord(page)
    const frame = word < PAGE ? memory.zeroFrame : word - (word % PAGE)
    const global = (perms & PERM_GLOBAL) !== 0 ? ENTRY.GLOBAL : 0
    if (rightsError(context.mode, perms, pkey, context.pkru, user) === 0) {
      if (!write || tlb.isFree(entry, low, high)) {
        tlb.set(entry, low, high, frame, page, global)
        filled = !write
      }
    }
    const writable = (perms & (PERM_DIRTY | PERM_NESTED_WRITE)) === (PERM_DIRTY | PERM_NESTED_WRITE)
    if (writable && word >= PAGE && rightsError(context.mode, perms, pkey, context.pkru, user | ACCESS_WRITE) === 0) {
      if (walk.mayWrite() && (write || tlb.isFree(entry + TLB_WRITE, low, high))) {
        tlb.set(entry + TLB_WRITE, low, high, frame, page, global | ((word & HEARD) !== 0 ? ENTRY.SLOW : 0))
        if (write) filled = true
      }
    }
    if (result.shift > 12) tlb.noteLarge(low, high)
    return filled
  }

  /**
   * Whether accesses to a page must be seen one by one: the processor's own registers, a data breakpoint, an observer.
   */
  const isSeen = (page: number, low: number, high: number): boolean =>
    mmu.local?.page === page || mmu.observer?.sees(page) === true
      || (breakpoints.data !== 0 && breakpoints.holdsData(low, high))

  /** Lets an unbacked page be read as the zeros it holds. */
  const readZeros = (page: number, low: number, high: number, user: number): 0 | 1 => {
    if (isSeen(page, low, high)) return 0
    memory.readAsZero(page)
    tlb.noteZeros(tlb.entryOf(low))
    return fill(low, high, page, user, false) ? 1 : 0
  }

  const userAccess = (): number => (i32[CPL >>> 2] === 3 ? ACCESS_USER : 0)

  /** The page of an element of a repeated MOVS or STOS; what is watched or must be aligned is served one by one: −1. */
  const bulkPage = (low: number, high: number, bytes: number, write: boolean): number => {
    if (i32[TLB_BASE >>> 2] === tlb.unfilled) return -1
    if (breakpoints.data !== 0 && breakpoints.watchesData(low, high, bytes)) return -1
    const known = tlb.pageOf(i32[TLB_BASE >>> 2], low, high, write)
    const page = known >= 0 ? known : walk.page(low, high, userAccess() | (write ? ACCESS_WRITE : 0))
    return mmu.local?.page === page || mmu.observer?.sees(page) === true ? -1 : page
  }

  const mmu: Mmu = {
    context, result, code,
    tlb: tlb.base, unfilled: tlb.unfilled,
    ...createSlowAccess(options, tlb, walk, () => mmu),
    bulk: createBulk({ memory, page: bulkPage }),
    guardContext: 0, la57: false, canonical: false, local: null, observer: null,
    misses: 0, faults: options.faults, policy: null,
    miss(low, high, info) {
      if (i32[TLB_BASE >>> 2] === tlb.unfilled) return 0
      // Accesses over a page's end are the slow path's.
      if ((low & 0xfff) + (info & 0xff) > PAGE) return 0
      const user = userAccess()
      const write = (info & 0x200) !== 0
      const known = tlb.slowPage(i32[TLB_BASE >>> 2], low, high, write)
      // Software can't tell a slow entry from another: there it would have hit.
      if (known < 0) mmu.misses++
      const page = known >= 0 ? known : walk.page(low, high, user | (write ? ACCESS_WRITE : 0))
      if (page < 0) return 0
      const word = memory.frameWord(page)
      const heard = (word & HEARD) !== 0
      if (known >= 0 && write && heard) return 0
      if (word < PAGE) {
        // Not RAM; or RAM that nobody has written: backed by the first write only.
        if (word === FRAME_NONE) return 0
        if (!write && !memory.filled) return readZeros(page, low, high, user)
        memory.backPage(page)
      }
      if (isSeen(page, low, high)) return 0
      if (known >= 0) tlb.quicken(low, write)
      else if (!fill(low, high, page, user, write)) return 0
      return write && heard ? 0 : 1
    },
    translate(low, high, access) {
      const page = walk.page(low, high, access)
      return page < 0 ? -1 : page * PAGE + (low & 0xfff)
    },
    probe: walk.probe,
    fetch: (low, high) => walk.page(low, high, ACCESS_FETCH | userAccess()),
    loadPdptes: walk.loadPdptes,
    flush(all) {
      tlb.flush(all)
      code.flush(all)
    },
    invalidate(low, high) {
      if (tlb.invalidate(low, high)) code.invalidate(linearPage(low, high))
      else mmu.flush(true)
    },
    dropWrites: tlb.watch,
    dropPage(page) {
      if (tlb.isEmpty() && code.isEmpty()) return
      tlb.dropPage(page)
      code.dropPage(page)
    },
    makeRoom: code.makeRoom,
    fetches: code.list,
    setFetches: code.place,
    snapshot: () => ({
      entries: entriesOf(i32, tlb.base), ...tlb.log(), pdptes: context.pdptes.slice(), fetches: code.list(),
      misses: mmu.misses,
    }),
    restore(saved, codePage) {
      mmu.flush(true)
      checkTranslations(saved, LOG_SIZE)
      context.pdptes.set(saved.pdptes)
      placeEntries(saved.entries, (slot, low, high, page) => {
        // Who looks at the page first will get its contents.
        const word = memory.placedWord(page)
        const reads = (slot & TLB_ENTRIES) === 0
        if (word === FRAME_NONE || (word < PAGE && (!reads || memory.filled))) return false
        const frame = word < PAGE ? memory.zeroFrame : word - (word % PAGE)
        const slow = (word & (reads ? FRAME_ABSENT : FRAME_ABSENT | HEARD)) !== 0
        tlb.set(tlb.base + slot * 16, low, high, frame, page, slow ? ENTRY.SLOW : 0)
        return true
      })
      tlb.restoreLog(saved)
      code.place(saved.fetches, codePage)
      mmu.misses = saved.misses
    },
  }
  return mmu
}
