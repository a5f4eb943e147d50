/** Translations for fetching: the code pages that this processor may enter, by linear page. */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { CodePage } from './code-cache.ts'
import { FETCH_LIMIT, fetchesOf, placeFetches } from './translations.ts'
import type { FetchPlaces } from './translations.ts'

export interface FetchTranslations {
  readonly local: Map<number, CodePage>
  readonly global: Map<number, CodePage>
  isEmpty(): boolean
  /** Forgets those that are not global, or all. */
  flush(all: boolean): void
  /** Forgets that of a linear page (address / 4096). */
  invalidate(linear: number): void
  /** Forgets those that lead to a physical page. */
  dropPage(page: number): void
  /** Forgets all of a kind of which there are too many. */
  makeRoom(): void
  /** See `Mmu.fetches` and `Mmu.setFetches`. */
  list(): Float64Array
  place(saved: Float64Array, codePage: FetchPlaces['codePage']): void
}

/** @param slot offset of the processor's validity words */
export function createFetchTranslations(memory: PhysicalMemory, slot: number): FetchTranslations {
  const { i32 } = memory.views
  const local = new Map<number, CodePage>()
  const global = new Map<number, CodePage>()
  const kinds = [local, global]

  const setValid = (page: CodePage, valid: boolean): void => { i32[(page.words + slot) >>> 2] = valid ? 1 : 0 }

  const drop = (pages: Map<number, CodePage>): void => {
    for (const page of pages.values()) setValid(page, false)
    pages.clear()
  }

  return {
    local, global,
    isEmpty: () => local.size === 0 && global.size === 0,
    flush(all) {
      if (all) drop(global)
      drop(local)
    },
    invalidate(linear) {
      for (const pages of kinds) {
        const page = pages.get(linear)
        if (page === undefined) continue
        setValid(page, false)
        pages.delete(linear)
      }
    },
    dropPage(page) {
      for (const pages of kinds) {
        for (const [linear, found] of pages) {
          if (found.physical.number !== page) continue
          setValid(found, false)
          pages.delete(linear)
        }
      }
    },
    makeRoom() {
      for (const pages of kinds) if (pages.size >= FETCH_LIMIT) drop(pages)
    },
    list: () => fetchesOf({ local, global }, (page) => i32[(page.words + slot) >>> 2] !== 0),
    place(saved, codePage) {
      local.clear()
      global.clear()
      placeFetches(saved, { local, global, codePage, isUsed: (page) => memory.placedWord(page) >= 4096, setValid })
    },
  }
}
