/** The contents of RAM as a snapshot keeps them: which pages are in use, and what is in those that are not zero. */

import { MEMORY_KEY_BYTES, MOST_KEYS } from './keys.ts'
import type { PageKeysState } from './keys.ts'

const PAGE = 4096
/** Pages that keys are noted for together. */
const CHUNK_PAGES = 512
/** Bytes of one piece of the contents: what is compressed, checked and copied at once. */
export const IMAGE_PIECE = 2 ** 16

/** A piece of the contents: its bytes, or who has them. Memory asks when somebody looks at one of its pages. */
export type ImagePiece = Uint8Array | {
  /** Bytes that it will have. */
  readonly length: number
  /** Gives the bytes; may throw, out of whatever looks at the page. */
  readonly load: () => Uint8Array
}

/** Pages that an image may keep as patterns: without a limit, a few words of a file could stand for terabytes. */
const MOST_PACKED = 2 ** 24

/** The bytes of a piece. */
export const pieceBytes = (piece: ImagePiece): Uint8Array => (piece instanceof Uint8Array ? piece : piece.load())
/** 32-bit words of a pattern in an image: first page, 16 bases, 16 steps (see `packing.ts`). */
export const PATTERN_WORDS = 33

/**
 * RAM at one moment. Pages are numbers (address / 4096); ranges ascend and don't overlap. An image is never changed, so
 * that any number of memories may be made from it.
 */
export interface MemoryImage {
  /** Pages with contents, as pairs of first page and count. */
  readonly stored: Uint32Array
  /** Pages in use that hold zeroes: the same. */
  readonly zero: Uint32Array
  /** Pages that are kept as patterns, as triples of first page, count and number of the pattern. */
  readonly packed: Uint32Array
  /** The patterns, {@link PATTERN_WORDS} each. */
  readonly patterns: Uint32Array
  /**
   * Contents of the stored pages, one after the other, in pieces of {@link IMAGE_PIECE} bytes; the last may be
   * shorter.
   */
  readonly contents: readonly ImagePiece[]
  /** Bytes in use from which on regular pages are looked for again. */
  readonly packAbove: number
  /** Pages that are not in use, and that somebody reads through the frame of zeros. */
  readonly readAsZero: Uint32Array
  /** Encryption keys, and which page is under which. */
  readonly keys: PageKeysState
}

/** An image that this memory can't take. */
export class MemoryImageError extends Error {
  /** The part of the image, as {@link MemoryImage} names it. */
  readonly field: string

  constructor(field: string, problem: string) {
    super(`${field}: ${problem}`)
    this.name = 'MemoryImageError'
    this.field = field
  }
}

/** Ranges of consecutive numbers, `width` words each: first number, count, and a tag that they have in common. */
function createRangeList(width: 2 | 3): { add: (number: number, tag?: number) => void, words: () => Uint32Array } {
  const list: number[] = []
  let next = -1
  let lastTag = 0
  return {
    add(number, tag = 0) {
      if (number === next && tag === lastTag) list[list.length - width + 1]++
      else list.push(...[number, 1, tag].slice(0, width))
      next = number + 1
      lastTag = tag
    },
    words: () => Uint32Array.from(list),
  }
}

/** Collects pages into pieces. */
function createPieces(): { add: (page: Uint8Array) => void, close: () => readonly Uint8Array[] } {
  const list: Uint8Array[] = []
  let filled = IMAGE_PIECE
  return {
    add(page) {
      if (filled === IMAGE_PIECE) {
        list.push(new Uint8Array(IMAGE_PIECE))
        filled = 0
      }
      list[list.length - 1].set(page, filled)
      filled += PAGE
    },
    close() {
      const last = list.pop()
      return last === undefined ? [] : [...list, last.slice(0, filled)]
    },
  }
}

/** What `captureImage` reads. */
interface Source {
  readonly u8: Uint8Array
  readonly packAbove: number
  readonly readAsZero: Uint32Array
  readonly keys: PageKeysState
  /** Visits all pages in use in ascending order, with their words. */
  readonly eachUsed: (visit: (page: number, word: number) => void) => void
  /** The pattern of a page with this word, −1 when it has a frame. */
  readonly patternOf: (page: number, word: number) => number
  readonly pattern: (id: number) => Uint32Array
}

/** Copies what memory holds. */
export function captureImage({ u8, packAbove, readAsZero, keys, eachUsed, patternOf, pattern }: Source): MemoryImage {
  const [stored, zero, packed] = [createRangeList(2), createRangeList(2), createRangeList(3)]
  const pieces = createPieces()
  /** Patterns are numbered as they come, whatever they were called. */
  const numbers = new Map<number, number>()
  const u32 = new Uint32Array(u8.buffer)
  const isZero = (frame: number): boolean => {
    for (let i = frame >>> 2, end = i + PAGE / 4; i < end; i++) if (u32[i] !== 0) return false
    return true
  }
  eachUsed((page, word) => {
    const id = patternOf(page, word)
    if (id >= 0) {
      if (!numbers.has(id)) numbers.set(id, numbers.size)
      packed.add(page, numbers.get(id))
      return
    }
    const frame = word - (word % PAGE)
    if (isZero(frame)) {
      zero.add(page)
    } else {
      stored.add(page)
      pieces.add(u8.subarray(frame, frame + PAGE))
    }
  })
  const patterns = new Uint32Array(numbers.size * PATTERN_WORDS)
  for (const [id, number] of numbers) patterns.set(pattern(id), number * PATTERN_WORDS)
  return {
    stored: stored.words(), zero: zero.words(), packed: packed.words(), patterns, contents: pieces.close(), packAbove,
    readAsZero, keys,
  }
}

/** Adds up the counts of a list of ranges. @throws MemoryImageError when they are not ascending ranges */
function countRanges(field: string, words: Uint32Array, width: 2 | 3): number {
  let total = 0
  let end = 0
  if (words.length % width !== 0) throw new MemoryImageError(field, `expected ${width} words for each range`)
  for (let at = 0; at < words.length; at += width) {
    const [first, count] = words.subarray(at, at + 2)
    if (first < end || count === 0) throw new MemoryImageError(field, 'expected ascending ranges of pages')
    end = first + count
    total += count
  }
  return total
}

/** Calls `visit` with each page of a list of ranges, and the tag of its range. */
function eachPage(words: Uint32Array, width: 2 | 3, visit: (page: number, tag: number) => void): void {
  for (let at = 0; at < words.length; at += width) {
    const [first, count] = words.subarray(at, at + 2)
    for (let page = first; page < first + count; page++) visit(page, width === 3 ? words[at + 2] : 0)
  }
}

/** @throws MemoryImageError for keys that no memory can have */
function checkKeys({ keys, slots, pages }: PageKeysState): void {
  const isKey = (identity: number): boolean => Number.isInteger(identity) && identity >= 0 && identity <= keys.length
  const need = (ok: boolean, expected: string): void => {
    if (!ok) throw new MemoryImageError('keys', `expected ${expected}`)
  }
  need(keys.length <= MOST_KEYS, `at most ${MOST_KEYS} keys`)
  need(keys.every((key) => key.length === MEMORY_KEY_BYTES), `keys of ${MEMORY_KEY_BYTES} bytes`)
  need(slots.every(([slot, identity]) => Number.isSafeInteger(slot) && slot >= 0 && isKey(identity)), 'slots of keys')
  need(pages.every(([chunk, tags]) => Number.isInteger(chunk) && chunk >= 0 && tags instanceof Uint16Array
    && tags.length === CHUNK_PAGES && tags.every(isKey)), `${CHUNK_PAGES} pages for each chunk`)
}

/** The memory that `placeImage` fills. */
interface Target {
  /** Bytes that it has for pages with a frame. */
  readonly capacity: number
  /** Takes the contents: the frames of the stored pages, in their order. */
  readonly fill: (pieces: readonly ImagePiece[]) => void
  /** Gives a page the next frame; false when it is no RAM, or in use. */
  readonly back: (page: number) => boolean
  readonly setPatterns: (patterns: Uint32Array) => void
  /** Makes a page one of a pattern; false when it is no RAM, or in use. */
  readonly pack: (page: number, pattern: number) => boolean
}

/** Checks an image and fills memory with it. @throws MemoryImageError for an image that does not fit */
export function placeImage(image: MemoryImage, target: Target): void {
  const { stored, zero, packed, patterns, contents } = image
  const used = countRanges('stored', stored, 2)
  const frames = used + countRanges('zero', zero, 2)
  if (countRanges('packed', packed, 3) > MOST_PACKED) {
    throw new MemoryImageError('packed', `expected at most ${MOST_PACKED} pages`)
  }
  if (frames * PAGE > target.capacity) {
    throw new MemoryImageError('stored', `expected at most ${Math.floor(target.capacity / PAGE)} pages, got ${frames}`)
  }
  const bytes = contents.reduce((sum, piece) => sum + piece.length, 0)
  if (bytes !== used * PAGE) throw new MemoryImageError('contents', `expected ${used * PAGE} bytes, got ${bytes}`)
  if (contents.slice(0, -1).some(({ length }) => length !== IMAGE_PIECE)) {
    throw new MemoryImageError('contents', `expected pieces of ${IMAGE_PIECE} bytes, the last one no longer`)
  }
  if (patterns.length % PATTERN_WORDS !== 0) {
    throw new MemoryImageError('patterns', `expected ${PATTERN_WORDS} words for each pattern`)
  }
  checkKeys(image.keys)
  if (!Number.isSafeInteger(image.packAbove)) throw new MemoryImageError('packAbove', 'expected a whole number')
  const need = (ok: boolean, field: string, page: number): void => {
    if (!ok) throw new MemoryImageError(field, `expected a page of RAM, once; got page 0x${page.toString(16)}`)
  }
  target.fill(contents)
  eachPage(stored, 2, (page) => { need(target.back(page), 'stored', page) })
  eachPage(zero, 2, (page) => { need(target.back(page), 'zero', page) })
  target.setPatterns(patterns)
  eachPage(packed, 3, (page, pattern) => {
    if (pattern * PATTERN_WORDS >= patterns.length) {
      throw new MemoryImageError(
        'packed', `expected a pattern below ${patterns.length / PATTERN_WORDS}, got ${pattern}`,
      )
    }
    need(target.pack(page, pattern), 'packed', page)
  })
}
