/**
 * The TLBs that generated code probes: where entries are, which of them a flush drops, and which page an entry leads
 * to. A *slow* entry has a tag that no access matches: generated code then asks, and finds the page here. That of a
 * watched page is slow for writing; a machine that was restored has slow ones for pages whose contents nobody has
 * looked at.
 */
import type { PhysicalMemory } from '@cofferdam/memory'
import { TLB_BASE } from '../state.ts'
import { TLB_ENTRIES, TLB_MODES, TLB_MODE_SIZE, TLB_SLOW, TLB_WRITE } from './uop.ts'

/** Entries that are remembered one by one; a flush after more clears everything. */
export const LOG_SIZE = 16384

/** What else a new entry says of its page. */
export const ENTRY = { GLOBAL: 1, SLOW: 2 } as const

export interface Tlb {
  /** Base of the three modes' TLBs, and of one that is never filled. */
  readonly base: number
  readonly unfilled: number
  /** Address of the present mode's entry for reading an address; that for writing is TLB_WRITE further. */
  entryOf(low: number): number
  /** Makes an entry lead to `page`, whose frame is at `frame` in the WebAssembly memory; `flags` are bits of ENTRY. */
  set(entry: number, low: number, high: number, frame: number, page: number, flags: number): void
  /** Whether an entry is free, or this page's already. */
  isFree(entry: number, low: number, high: number): boolean
  /**
   * The physical page of an entry in the TLB at `mode`, slow or not, −1 without one. What makes an entry slow must not
   * change what software sees: an access finds its page by the entry, and walks (which sets accessed and dirty flags)
   * only where others would.
   */
  pageOf(mode: number, low: number, high: number, write: boolean): number
  /** The same of slow entries alone. */
  slowPage(mode: number, low: number, high: number, write: boolean): number
  /** Accesses match an entry of the present mode from now on. */
  quicken(low: number, write: boolean): void
  /** A page of more than 4 KiB has entries in the 2 MiB around an address. */
  noteLarge(low: number, high: number): void
  /** The entry is about to be one that reads unbacked RAM through the frame of zeros. */
  noteZeros(entry: number): void
  /** Drops what is not global, or all of it. */
  flush(all: boolean): void
  /** Drops the entries of one page; false where only flushing all of them will do. */
  invalidate(low: number, high: number): boolean
  /** No write reaches a physical page directly any more. */
  watch(page: number): void
  /** Drops the entries that lead to a physical page. */
  dropPage(page: number): void
  isEmpty(): boolean
  /** What a snapshot says besides the entries. */
  log(): Pick<TlbLog, 'log' | 'made' | 'large' | 'zeros'>
  restoreLog(saved: TlbLog): void
}

/** As in `Translations`. */
export interface TlbLog {
  readonly log: Uint16Array
  readonly made: number
  readonly large: Float64Array
  readonly zeros: Uint16Array
}

/**
 * Physical pages are counted by their lowest bits: most that become code have no write entry anywhere, and looking at
 * all entries for one takes as long as decoding a block.
 */
const COUNTERS = 4096

const region = (low: number, high: number): number => high * 2048 + (low >>> 21)

export function createTlb(memory: PhysicalMemory): Tlb {
  const { i32 } = memory.views
  const base = memory.reserve(TLB_MODES * TLB_MODE_SIZE)
  const unfilled = memory.reserve(TLB_MODE_SIZE)
  i32.fill(-1, unfilled >>> 2, (unfilled + TLB_MODE_SIZE) >>> 2)
  const localLog = new Int32Array(LOG_SIZE)
  let localCount = 0
  let hasGlobals = false
  /** Write entries that name a page, dropped ones too, by the page modulo COUNTERS. */
  const writers = new Uint32Array(COUNTERS)
  /** 2 MiB regions of linear memory that larger pages than 4 KiB have put entries in. */
  const large = new Set<number>()
  /** Entries through which unbacked RAM is read as zeros. */
  const zeroEntries: number[] = []

  const forgetZeros = (): void => {
    for (const entry of zeroEntries) i32[entry >>> 2] = -1
    zeroEntries.length = 0
  }
  memory.onBacked(forgetZeros)

  const clear = (): void => {
    i32.fill(-1, base >>> 2, (base + TLB_MODES * TLB_MODE_SIZE) >>> 2)
    localCount = 0
    hasGlobals = false
    large.clear()
    writers.fill(0)
    writers[COUNTERS - 1] = TLB_MODES * TLB_ENTRIES
  }

  const indexOf = (low: number): number => ((low >>> 12) & (TLB_ENTRIES - 1)) << 4

  /** Number of an entry's first word. */
  const wordOf = (mode: number, low: number, write: boolean): number =>
    (mode + indexOf(low) + (write ? TLB_WRITE : 0)) >>> 2

  /** Calls `visit` with the index of each of `count` entries that lead to a physical page. */
  const eachTo = (page: number, first: number, count: number, visit: (at: number) => void): void => {
    for (let at = first >>> 2, end = at + count * 4; at < end; at += 4) {
      if (i32[at + 3] === (page | 0) && i32[at] !== -1) visit(at)
    }
  }

  clear()
  return {
    base, unfilled,
    entryOf: (low) => i32[TLB_BASE >>> 2] + indexOf(low),
    set(entry, low, high, frame, page, flags) {
      const at = entry >>> 2
      if (((entry - base) & TLB_WRITE) !== 0) {
        writers[i32[at + 3] & (COUNTERS - 1)]--
        writers[page & (COUNTERS - 1)]++
      }
      i32[at] = (low & ~0xfff) | ((flags & ENTRY.SLOW) !== 0 ? TLB_SLOW : 0)
      i32[at + 1] = high
      i32[at + 2] = (frame - (low & ~0xfff)) | 0
      i32[at + 3] = page
      if ((flags & ENTRY.GLOBAL) !== 0) {
        hasGlobals = true
      } else {
        if (localCount < LOG_SIZE) localLog[localCount] = entry
        localCount++
      }
    },
    isFree: (entry, low, high) =>
      i32[entry >>> 2] === -1 || ((i32[entry >>> 2] & ~0xfff) === (low & ~0xfff) && i32[(entry >>> 2) + 1] === high),
    pageOf(mode, low, high, write) {
      const at = wordOf(mode, low, write)
      return (i32[at] & ~TLB_SLOW) === (low & ~0xfff) && i32[at + 1] === high ? i32[at + 3] >>> 0 : -1
    },
    slowPage(mode, low, high, write) {
      const at = wordOf(mode, low, write)
      return i32[at] === ((low & ~0xfff) | TLB_SLOW) && i32[at + 1] === high ? i32[at + 3] >>> 0 : -1
    },
    quicken(low, write) { i32[wordOf(i32[TLB_BASE >>> 2], low, write)] = low & ~0xfff },
    noteLarge(low, high) { large.add(region(low, high)) },
    noteZeros(entry) {
      if (zeroEntries.length === LOG_SIZE) forgetZeros()
      zeroEntries.push(entry)
    },
    flush(all) {
      if (all || localCount > LOG_SIZE) {
        clear()
        return
      }
      for (let i = 0; i < localCount; i++) i32[localLog[i] >>> 2] = -1
      localCount = 0
    },
    invalidate(low, high) {
      if (large.has(region(low, high))) return false
      for (let mode = 0; mode < TLB_MODES; mode++) {
        const entry = base + mode * TLB_MODE_SIZE + indexOf(low)
        i32[entry >>> 2] = -1
        i32[(entry + TLB_WRITE) >>> 2] = -1
      }
      return true
    },
    watch(page) {
      if (writers[page & (COUNTERS - 1)] === 0) return
      for (let mode = 0; mode < TLB_MODES; mode++) {
        eachTo(page, base + mode * TLB_MODE_SIZE + TLB_WRITE, TLB_ENTRIES, (at) => { i32[at] |= TLB_SLOW })
      }
    },
    dropPage(page) {
      // What nobody has written is read through the frame of zeros.
      if (memory.frameWord(page) < 4096) forgetZeros()
      else eachTo(page, base, TLB_MODES * TLB_ENTRIES * 2, (at) => { i32[at] = -1 })
    },
    isEmpty: () => localCount === 0 && !hasGlobals,
    log: () => ({
      log: Uint16Array.from(localLog.subarray(0, Math.min(localCount, LOG_SIZE)), (entry) => (entry - base) >>> 4),
      made: localCount, large: Float64Array.from(large).sort(),
      zeros: Uint16Array.from(zeroEntries, (entry) => (entry - base) >>> 4),
    }),
    restoreLog(saved) {
      zeroEntries.push(...Array.from(saved.zeros, (slot) => base + slot * 16))
      localLog.set(Array.from(saved.log, (slot) => base + slot * 16))
      localCount = saved.made
      // Which of the entries are global nobody noted.
      hasGlobals = true
      for (const entry of saved.large) large.add(entry)
    },
  }
}
