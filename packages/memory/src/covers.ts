/** Devices that lie in front of pages below 4 GiB: flash that shows its contents, a shadowed ROM. */
import { FRAME_NONE, FRAME_RAM, FRAME_ROM, FRAME_WATCHED } from './page-words.ts'
import type { PageWords } from './page-words.ts'
import type { PhysicalMemory, WriteWatcher } from './types.ts'

const PAGE = 4096

export interface Covers extends Pick<PhysicalMemory, 'cover'> {
  /** The word of a RAM page, whatever lies in front of it, with all flags of this package. */
  ramWord(page: number): number
  setRamWord(page: number, word: number): void
  /** Whether something lies in front of any page. */
  readonly any: boolean
}

export function createCovers(words: PageWords, notifyWrite: WriteWatcher): Covers {
  const { low } = words
  /** Words of the pages that a device lies in front of. */
  const below = new Map<number, number>()
  return {
    get any() { return below.size !== 0 },
    ramWord: (page) => below.get(page) ?? words.rawWord(page),
    setRamWord(page, word) {
      if (below.has(page)) below.set(page, word)
      else words.set(page, word)
    },
    cover(page, frame) {
      const word = low[page]
      const covered = below.get(page)
      if (frame === undefined) {
        if (covered === undefined) return
        below.delete(page)
        low[page] = covered
      } else {
        if (covered === undefined) below.set(page, (word & ~FRAME_WATCHED) >>> 0)
        low[page] = frame === 0 ? FRAME_NONE : (frame | FRAME_RAM | FRAME_ROM) >>> 0
      }
      // What is decoded there now would be wrong; the page is watched again once its new contents are.
      if ((word & FRAME_WATCHED) !== 0) notifyWrite(page * PAGE, PAGE)
    },
  }
}
