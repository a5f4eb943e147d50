/**
 * What a processor remembers of translations, as data. Software that changes its tables without saying so may see old
 * translations (SDM vol. 3 §4.10.4.3), and their accessed and dirty flags stay as they are: a snapshot that forgot them
 * would go on differently. Decoded code and places of frames are no part of it: nothing that software sees depends on
 * them.
 */
import type { CodePage } from './code-cache.ts'
import { decodeMode, MODE_AVX, MODE_SSE, MODE_TRAPS, MODE_USER } from './mode.ts'
import { TLB_ENTRIES, TLB_MODES, TLB_MODE_SIZE } from './uop.ts'

/** What is remembered of translations, apart from where frames are and from decoded code. */
export interface Translations {
  /** TLB entries, `ENTRY_WORDS` words each: number, linear page (address bits 31:12, 63:32), physical page. */
  readonly entries: Uint32Array
  /** Numbers of the entries that are not global, in the order of their making, as far as noted; how many were made. */
  readonly log: Uint16Array
  readonly made: number
  /** 2 MiB regions of linear memory with larger pages than 4 KiB. */
  readonly large: Float64Array
  readonly pdptes: Int32Array
  /** Numbers of the entries through which unbacked RAM is, or was, read as zeros. */
  readonly zeros: Uint16Array
  /** Translations for fetching, `FETCH_WORDS` numbers each: linear page, physical page, mode, base, limit, FETCH. */
  readonly fetches: Float64Array
  readonly misses: number
}

/** A part of a snapshot that no processor can have. */
export class StateError extends Error {
  /** The part: `registers.cr0`, `translations.entries`. */
  readonly field: string

  constructor(field: string, expected: string) {
    super(`${field}: expected ${expected}`)
    this.name = 'StateError'
    this.field = field
  }
}

/** @throws StateError unless `ok` */
export function needState(ok: boolean, field: string, expected: string): void {
  if (!ok) throw new StateError(field, expected)
}

export const ENTRY_WORDS = 4
export const FETCH_WORDS = 6
/** The translation is global; the processor may enter the page without a look at breakpoints. */
const FETCH = { GLOBAL: 1, VALID: 2 } as const
const SLOTS = TLB_MODES * TLB_MODE_SIZE / 16
/** Most translations for fetching that a processor remembers of each kind, global or not. */
export const FETCH_LIMIT = 8192

/** The entries of the TLBs at `tlb`. */
export function entriesOf(i32: Int32Array, tlb: number): Uint32Array {
  const words: number[] = []
  for (let slot = 0; slot < SLOTS; slot++) {
    const at = (tlb >>> 2) + slot * 4
    if (i32[at] !== -1) words.push(slot, i32[at] & ~0xfff, i32[at + 1], i32[at + 3])
  }
  return Uint32Array.from(words)
}

/** Calls `place` with each entry; it answers whether there is such a page. @throws StateError for a misfit */
export function placeEntries(
  words: Uint32Array, place: (slot: number, low: number, high: number, page: number) => boolean,
): void {
  const field = 'translations.entries'
  needState(words.length % ENTRY_WORDS === 0, field, `${ENTRY_WORDS} words for each entry`)
  for (let at = 0; at < words.length; at += ENTRY_WORDS) {
    const [slot, low, high, page] = words.subarray(at, at + ENTRY_WORDS)
    needState(slot < SLOTS, field, `numbers below ${SLOTS}`)
    needState((low & 0xfff) === 0 && (low >>> 12) % TLB_ENTRIES === slot % TLB_ENTRIES, field, 'tags at their places')
    needState(place(slot, low | 0, high | 0, page), field, 'pages that are in use')
  }
}

/** The numbers that go with the entries. @throws StateError for a misfit */
export function checkTranslations({ log, zeros, made, large, pdptes, misses }: Translations, logSize: number): void {
  needState(log.every((slot) => slot < SLOTS), 'translations.log', `numbers below ${SLOTS}`)
  needState(
    zeros.length <= logSize && zeros.every((slot) => slot < SLOTS), 'translations.zeros', `numbers below ${SLOTS}`,
  )
  needState(Number.isSafeInteger(made) && made >= 0 && log.length === Math.min(made, logSize), 'translations.made',
    `the number of entries made, ${log.length} or, where more than ${logSize} were made, more`)
  needState(large.every((region) => Number.isSafeInteger(region)), 'translations.large', 'whole numbers')
  needState(pdptes.length === 8, 'translations.pdptes', '8 words')
  needState(Number.isSafeInteger(misses) && misses >= 0, 'translations.misses', 'a whole number')
}

/** What is fetched through. */
export interface FetchMaps {
  readonly local: Map<number, CodePage>
  readonly global: Map<number, CodePage>
}

/** The translations for fetching in a fixed order; `isValid` tells whether a page may be entered at once. */
export function fetchesOf({ local, global }: FetchMaps, isValid: (page: CodePage) => boolean): Float64Array {
  const rows = [[local, 0], [global, FETCH.GLOBAL]] as const
  return Float64Array.from(rows.flatMap(([pages, kind]) =>
    [...pages].sort(([a], [b]) => a - b).flatMap(([linear, page]) => [
      linear, page.physical.number, page.mode, page.base, page.limit, kind | (isValid(page) ? FETCH.VALID : 0),
    ])))
}

/** Where fetches are put. */
export interface FetchPlaces extends FetchMaps {
  readonly isUsed: (physicalPage: number) => boolean
  readonly codePage: (linear: number, physical: number, mode: number, base: number, limit: number) => CodePage
  readonly setValid: (page: CodePage, valid: boolean) => void
}

const isMode = (mode: number): boolean =>
  Number.isInteger(mode) && [2, 4, 8].includes(decodeMode(mode)) && (
    mode & ~(15 | MODE_USER | MODE_SSE | MODE_AVX | MODE_TRAPS)
  ) === 0

/** Takes translations for fetching. @throws StateError for a misfit */
export function placeFetches(words: Float64Array, places: FetchPlaces): void {
  const field = 'translations.fetches'
  needState(words.length % FETCH_WORDS === 0, field, `${FETCH_WORDS} numbers for each page`)
  for (let at = 0; at < words.length; at += FETCH_WORDS) {
    const [linear, physical, mode, base, limit, kind] = words.subarray(at, at + FETCH_WORDS)
    needState(Number.isSafeInteger(linear) && linear >= 0 && linear < 2 ** 52, field, 'linear pages below 2^52')
    needState(isMode(mode), field, 'modes of 16, 32 or 64 bits')
    needState([base, limit].every((n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32), field, 'segments of 32 bits')
    needState(kind === 0 || kind === 1 || kind === 2 || kind === 3, field, 'kinds below 4')
    needState(Number.isInteger(physical) && places.isUsed(physical), field, 'pages that are in use')
    const pages = (kind & FETCH.GLOBAL) !== 0 ? places.global : places.local
    needState(pages.size < FETCH_LIMIT, field, `at most ${FETCH_LIMIT} pages of a kind`)
    const page = places.codePage(linear, physical, mode, base, limit)
    pages.set(linear, page)
    places.setValid(page, (kind & FETCH.VALID) !== 0)
  }
}
