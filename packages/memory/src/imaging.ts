/** Images of a memory taken and put back: see `image.ts` for what they are. */
import type { Backing } from './backing.ts'
import { ZERO_PAGES } from './backing.ts'
import type { Covers } from './covers.ts'
import type { Deferred } from './deferred.ts'
import type { Frames } from './frames.ts'
import { captureImage, MemoryImageError, placeImage } from './image.ts'
import type { PageKeys } from './keys.ts'
import { FRAME_ABSENT, FRAME_PACKED, FRAME_RAM, LOW_PAGES } from './page-words.ts'
import type { PageWords } from './page-words.ts'
import type { PhysicalMemory, RamRange } from './types.ts'

const PAGE = 4096

/** The parts of a memory that an image holds. */
export interface ImagingOptions {
  /** Where RAM is, in ascending order. */
  readonly ram: readonly RamRange[]
  readonly frames: Frames
  readonly words: PageWords
  readonly backing: Backing
  readonly covers: Covers
  readonly deferred: Deferred
  readonly keys: PageKeys
}

export function createImaging(
  { ram, frames, words, backing, covers, deferred, keys }: ImagingOptions,
): Pick<PhysicalMemory, 'capture' | 'restore'> {
  const { patterns, zeroPages } = backing

  /** Calls `visit` with every RAM page in use and its word, in order; packed pages are not unpacked. */
  const eachUsed = (visit: (page: number, word: number) => void): void => {
    deferred.fetchAll()
    const { low } = words
    const covered = covers.any
    for (const { start, length } of ram) {
      for (let page = start / PAGE, end = Math.min(LOW_PAGES, page + length / PAGE); page < end; page++) {
        if (low[page] < PAGE && !covered) continue
        const word = covers.ramWord(page)
        if (word >= PAGE) visit(page, word)
      }
    }
    words.eachHigh((page, word) => { if (word >= PAGE || (word & FRAME_PACKED) !== 0) visit(page, word) })
  }

  const isUnused = (page: number): boolean => covers.ramWord(page) === FRAME_RAM

  return {
    capture: () => captureImage({
      u8: frames.views.u8, eachUsed, packAbove: backing.packAbove, readAsZero: Uint32Array.from(zeroPages).sort(),
      keys: keys.save(),
      patternOf: (page, word) => ((word & FRAME_PACKED) === 0 ? -1 : backing.patternOf(page)),
      pattern: (id) => patterns.save(id),
    }),
    restore(image) {
      if (frames.usedBytes() !== 0 || patterns.size() !== 0) throw new Error('memory is restored before it is used')
      placeImage(image, {
        capacity: frames.left,
        fill: (pieces) => { deferred.add(pieces, frames.next) },
        back: (page) => {
          if (!isUnused(page)) return false
          const frame = frames.take(true)
          covers.setRamWord(page, (frame | FRAME_RAM | (deferred.expects(page, frame) ? FRAME_ABSENT : 0)) >>> 0)
          return true
        },
        setPatterns: (saved) => { patterns.load(saved) },
        pack: (page, id) => {
          if (page < LOW_PAGES || !isUnused(page)) return false
          patterns.use(id)
          backing.placePacked(page, id)
          return true
        },
      })
      backing.packAbove = image.packAbove
      if (image.readAsZero.length > ZERO_PAGES || image.readAsZero.some((page) => !isUnused(page))) {
        throw new MemoryImageError('readAsZero', `expected at most ${ZERO_PAGES} pages of RAM that are not in use`)
      }
      for (const page of image.readAsZero) zeroPages.add(page)
      keys.restore(image.keys)
    },
  }
}
