/**
 * One word for each page of RAM: whether it is RAM, who must hear of it, and where its frame is. It is looked at in the
 * path of every TLB miss and every step of a walk.
 */
import type { RamRange } from './types.ts'

/** The page is not RAM. */
export const FRAME_NONE = 0
/** Flag in a frame word: the page is RAM (bits 31:12 are 0 until it is backed). */
export const FRAME_RAM = 1
/** Flag in a word inside this package: the page is kept as a pattern. `frameWord` never answers it. */
export const FRAME_PACKED = 4
/** Flag in a frame word: somebody must hear of every write to the page (decoded code, a dirty log). */
export const FRAME_WATCHED = 2

/**
 * Flag in a frame word: a device lies in front of the page (flash that shows its contents, a shadowed ROM). Reads reach
 * the frame, writes the claim on the mmio bus.
 */
export const FRAME_ROM = 8

/**
 * Flag in a word of `lowFrames` or `placedWord`: the contents of the frame are still to come (see `deferred.ts`).
 * `frameWord` gets them, and never answers it.
 */
export const FRAME_ABSENT = 16

const PAGE = 4096
/** Pages below 4 GiB. */
export const LOW_PAGES = 2 ** 20
const CHUNK_SHIFT = 9
/** Pages above 4 GiB are kept by chunks of so many. */
export const CHUNK_PAGES = 512
/** RAM ends below 16 TiB. */
const PAGE_LIMIT = 2 ** 32

export interface PageWords {
  /** Words of the pages below 4 GiB, as `PhysicalMemory.lowFrames`. */
  readonly low: Uint32Array
  /** See `PhysicalMemory`: the word of a page whose contents are in its frame now, if it has one. */
  frameWord(page: number): number
  /** See `PhysicalMemory`. */
  placedWord(page: number): number
  /** The word as it is, with all flags of this package. */
  rawWord(page: number): number
  /** Replaces the word of a RAM page. */
  set(page: number, word: number): void
  /** Calls `visit` with the pages above 4 GiB that were ever touched, and some around them, in order. */
  eachHigh(visit: (page: number, word: number) => void): void
}

/**
 * Creates the words of RAM that nobody has touched.
 * @param resolve - gets the contents of a page that is packed or absent; answers its word
 * @throws RangeError for ranges that are unaligned or overlap
 */
export function createPageWords(ram: readonly RamRange[], resolve: (page: number, word: number) => number): PageWords {
  checkRanges(ram)
  const low = new Uint32Array(LOW_PAGES)
  /** A chunk without RAM is undefined. */
  const chunks: (Uint32Array | undefined)[] = []
  for (const { start, length } of ram) {
    const lowEnd = Math.min((start + length) / PAGE, LOW_PAGES)
    if (start / PAGE < lowEnd) low.fill(FRAME_RAM, start / PAGE, lowEnd)
    const from = Math.max(start, LOW_PAGES * PAGE)
    if (start + length > from) claimRange(chunks, { start: from, length: start + length - from })
  }

  // Integer operations only. RAM ends below page 2^32.
  const frameWord = (page: number): number => {
    if (page < LOW_PAGES) return (low[page] & FRAME_ABSENT) === 0 ? low[page] : resolve(page, low[page])
    if (page >= PAGE_LIMIT) return FRAME_NONE
    const chunk = chunks[page >>> CHUNK_SHIFT]
    if (chunk === undefined) return FRAME_NONE
    const word = chunk[page & (CHUNK_PAGES - 1)]
    return (word & (FRAME_PACKED | FRAME_ABSENT)) === 0 ? word : resolve(page, word)
  }

  const rawWord = (page: number): number => {
    if (page < LOW_PAGES) return low[page]
    return page >= PAGE_LIMIT ? FRAME_NONE : chunks[page >>> CHUNK_SHIFT]?.[page & (CHUNK_PAGES - 1)] ?? FRAME_NONE
  }

  return {
    low, frameWord, rawWord,
    placedWord(page) {
      const word = rawWord(page)
      return (word & FRAME_PACKED) === 0 ? word : resolve(page, word)
    },
    set(page, word) {
      if (page < LOW_PAGES) low[page] = word
      else ownChunk(chunks, page)[page % CHUNK_PAGES] = word
    },
    eachHigh(visit) {
      chunks.forEach((chunk, index) => {
        if (chunk === undefined || chunk === allRam) return
        for (let i = 0; i < CHUNK_PAGES; i++) visit(index * CHUNK_PAGES + i, chunk[i])
      })
    },
  }
}

/** @throws RangeError for ranges that are unaligned or overlap */
function checkRanges(ram: readonly RamRange[]): void {
  let end = 0
  for (const { start, length } of ram) {
    if (start % PAGE !== 0 || length % PAGE !== 0 || length <= 0) {
      throw new RangeError(`RAM at 0x${start.toString(16)}: start and length must be multiples of 4096`)
    }
    if (start < end) throw new RangeError(`RAM at 0x${start.toString(16)} overlaps the range before`)
    end = start + length
    if (end > PAGE_LIMIT * PAGE) throw new RangeError('RAM ends above 16 TiB')
  }
}

/** Shared by all chunks that are RAM throughout and untouched: a terabyte costs an array of pointers. */
const allRam = new Uint32Array(CHUNK_PAGES).fill(FRAME_RAM)

/** The chunk of a page, its own from now on. */
function ownChunk(chunks: (Uint32Array | undefined)[], page: number): Uint32Array {
  const index = Math.floor(page / CHUNK_PAGES)
  const chunk = chunks[index] ?? allRam
  if (chunk !== allRam) return chunk
  const own = allRam.slice()
  chunks[index] = own
  return own
}

function claimRange(chunks: (Uint32Array | undefined)[], { start, length }: RamRange): void {
  const end = (start + length) / PAGE
  for (let page = start / PAGE; page < end;) {
    const index = Math.floor(page / CHUNK_PAGES)
    const stop = Math.min(end, (index + 1) * CHUNK_PAGES)
    if (stop - page === CHUNK_PAGES) {
      chunks[index] = allRam
    } else {
      const chunk = (chunks[index] ??= new Uint32Array(CHUNK_PAGES))
      chunk.fill(FRAME_RAM, page % CHUNK_PAGES, page % CHUNK_PAGES + stop - page)
    }
    page = stop
  }
}
