/**
 * Which pages have a frame: a page gets one when it is first written, and loses it while it is kept as a pattern (see
 * `packing.ts`).
 */
import type { Frames } from './frames.ts'
import { CHUNK_PAGES, FRAME_NONE, FRAME_PACKED, FRAME_RAM, FRAME_WATCHED } from './page-words.ts'
import type { PageWords } from './page-words.ts'
import { createPatternStore } from './packing.ts'
import type { PatternStore } from './packing.ts'
import type { PhysicalMemory } from './types.ts'

const PAGE = 4096
const WORDS = PAGE / 4
/** Bytes of RAM from which on pages are packed, and how many more are backed until it is tried again. */
const PACK_FIRST = 384 * 2 ** 20
const PACK_STEP = 128 * 2 ** 20
/** Pages that are known to be read through the frame of zeros; more are forgotten together. */
export const ZERO_PAGES = 16384

export interface Backing extends Pick<PhysicalMemory, 'backPage' | 'readAsZero' | 'onBacked' | 'crowded'> {
  /** Gives a packed page a frame again; answers its word. */
  unpack(page: number): number
  /** Packs all pages that can be, of those whose contents are there; see `PhysicalMemory`. */
  pack(): boolean
  readonly patterns: PatternStore
  /** The pattern of a packed page. */
  patternOf(page: number): number
  /** Makes an unused page above 4 GiB one of a pattern. */
  placePacked(page: number, pattern: number): void
  /** Unbacked pages that are read through the frame of zeros. */
  readonly zeroPages: Set<number>
  /** Bytes in use from which on `crowded` says so. */
  packAbove: number
}

/** @param fill - what RAM holds at power-on: 0, or the seed of a pattern */
export function createBacking(frames: Frames, words: PageWords, fill: number): Backing {
  const { u32 } = frames.views
  const { frameWord } = words
  const noise = createNoise(fill)
  const patterns = createPatternStore()
  /** Patterns of packed pages, by chunk. */
  const packed: (Int32Array | undefined)[] = []
  const zeroPages = new Set<number>()
  const listeners: (() => void)[] = []

  const forgetZeros = (): void => {
    zeroPages.clear()
    for (const listener of listeners) listener()
  }

  const patternOf = (page: number): number => packed[Math.floor(page / CHUNK_PAGES)]?.[page % CHUNK_PAGES] ?? -1

  const setPattern = (page: number, id: number): void => {
    const ids = packed[Math.floor(page / CHUNK_PAGES)] ??= new Int32Array(CHUNK_PAGES).fill(-1)
    ids[page % CHUNK_PAGES] = id
  }

  const placePacked = (page: number, id: number): void => {
    setPattern(page, id)
    words.set(page, FRAME_RAM | FRAME_PACKED)
  }

  /** Takes the frame of a page if its contents can be told in fewer words. */
  const packPage = (page: number, word: number): void => {
    const frame = word - (word % PAGE)
    const id = patterns.find(u32, frame, page, [patternOf(page - 1), patternOf(page + 1)])
    if (id < 0) return
    placePacked(page, id)
    frames.release(frame)
  }

  const backing: Backing = {
    patterns, patternOf, placePacked, zeroPages,
    packAbove: PACK_FIRST,
    backPage(page) {
      const word = frameWord(page)
      if (word >= PAGE) return (word & ~(PAGE - 1)) >>> 0
      if (word === FRAME_NONE) throw new RangeError(`page 0x${page.toString(16)} is no RAM`)
      const frame = frames.take(fill !== 0)
      if (zeroPages.size !== 0 && zeroPages.has(page)) forgetZeros()
      if (fill !== 0) fillPage(u32, frame, page, fill, noise)
      words.set(page, frame + (word % PAGE))
      return frame
    },
    unpack(page) {
      const frame = frames.take(true)
      patterns.restore(u32, frame, page, patternOf(page))
      setPattern(page, -1)
      const word = (frame | FRAME_RAM) >>> 0
      words.set(page, word)
      return word
    },
    pack() {
      const before = frames.released
      words.eachHigh((page, word) => { if (word >= PAGE && (word & FRAME_WATCHED) === 0) packPage(page, word) })
      backing.packAbove = frames.usedBytes() + PACK_STEP
      return frames.released > before
    },
    crowded: () => frames.usedBytes() > backing.packAbove,
    readAsZero(page) {
      if (zeroPages.size === ZERO_PAGES) forgetZeros()
      zeroPages.add(page)
    },
    onBacked: (listener) => { listeners.push(listener) },
  }
  return backing
}

/** What real RAM holds at power-on is noise: this one has no zero word. */
function createNoise(seed: number): Uint32Array {
  const noise = new Uint32Array(2 * WORDS)
  let state = seed
  for (let i = 0; i < noise.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    noise[i] = state
  }
  return noise
}

/** Fills a page: a part of the noise from somewhere on, behind a word that no other page has. */
function fillPage(u32: Uint32Array, frame: number, page: number, seed: number, noise: Uint32Array): void {
  const first = (Math.imul(page | 0, 0x9e37_79b1) ^ seed) >>> 0 || 1
  const from = first >>> 22
  u32.set(noise.subarray(from, from + WORDS), frame >>> 2)
  u32[frame >>> 2] = first
}
