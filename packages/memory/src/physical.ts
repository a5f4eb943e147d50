/**
 * Physical memory. RAM is backed by 4 KiB frames inside one WebAssembly memory, so that generated code reaches it
 * directly; a frame is taken when its page is first written (or first read, where RAM is not cleared at power-on).
 * Addresses are JavaScript numbers below 2^52; frames are byte offsets into the WebAssembly memory.
 */
import { createIoBus } from './bus.ts'
import type { IoBus } from './bus.ts'
import { createPatternStore } from './packing.ts'
import type { Guard } from './guard.ts'
import { createDeferred } from './deferred.ts'
import { captureImage, MemoryImageError, placeImage } from './image.ts'
import type { MemoryImage } from './image.ts'
import { createPageKeys } from './keys.ts'
import type { PageKeys } from './keys.ts'

/** The WebAssembly memory at every width. It never grows, so these views stay valid. */
export interface MemoryViews {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  readonly i64: BigInt64Array
  readonly u64: BigUint64Array
  readonly f64: Float64Array
}

/** A range of RAM: start and length in bytes, multiples of 4096. */
export interface RamRange {
  readonly start: number
  readonly length: number
}

export interface PhysicalMemoryOptions {
  readonly ram: readonly RamRange[]
  /** Bytes of the WebAssembly memory for processors and their code; the rest of the memory backs RAM. */
  readonly overhead: number
  /** What RAM holds at power-on: 0, or a 32-bit seed for a pattern that is nowhere 0. */
  readonly fill?: number
}

/** More pages were touched than the WebAssembly memory can back. */
export class BackingExhausted extends Error {
  constructor(bytes: number) {
    super(`the guest touched more memory than the ${Math.floor(bytes / 2 ** 20)} MiB that can back it here`)
    this.name = 'BackingExhausted'
  }
}

/** The page is not RAM. */
export const FRAME_NONE = 0
/** Flag in a frame word: the page is RAM (bits 31:12 are 0 until it is backed). */
export const FRAME_RAM = 1
/** Flag in a word inside this module: the page is kept as a pattern. `frameWord` never answers it. */
const FRAME_PACKED = 4
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

/** Hears of writes to watched pages: physical address and length, within one page, after the write. */
export type WriteWatcher = (address: number, length: number) => void

export interface PhysicalMemory {
  readonly wasm: WebAssembly.Memory
  readonly views: MemoryViews
  readonly ports: IoBus
  readonly mmio: IoBus
  readonly ram: readonly RamRange[]
  /** Who may touch which page; consulted when a translation is made, never per access. */
  readonly guards: Guard[]
  /** RAM holds a pattern at power-on, so that reading it first also needs a frame. */
  readonly filled: boolean
  /** Takes `bytes` of the WebAssembly memory for good; the answer is aligned to 64 bytes. */
  reserve(bytes: number): number
  /**
   * The words of the pages below 4 GiB, for those who look at one a few nanoseconds apart; with FRAME_ABSENT in one
   * they
   * must ask `frameWord`.
   */
  readonly lowFrames: Uint32Array
  /** The word of a page (address / 4096): FRAME_NONE, or flags and the frame's offset when it is backed. */
  frameWord(page: number): number
  /** The same where the contents need not be there yet: FRAME_ABSENT may be set. */
  placedWord(page: number): number
  /** Backs a RAM page and answers its frame. */
  backPage(page: number): number
  /** A frame of zeros, which nobody may write to: what unbacked RAM reads as where `filled` is false. */
  readonly zeroFrame: number
  /** Somebody is about to read the unbacked page through `zeroFrame` and must hear when it is backed. */
  readAsZero(page: number): void
  /** Hears that all translations to `zeroFrame` end: a page that `readAsZero` named is backed. */
  onBacked(listener: () => void): void
  /** Sets or clears FRAME_WATCHED of a RAM page. */
  watchPage(page: number, on: boolean): void
  onWrite(watcher: WriteWatcher): void
  /**
   * Puts a device in front of a page below 4 GiB: reads reach the bytes at `frame` (a multiple of 4096 in the
   * WebAssembly memory, as `reserve` gives them), writes the claim on the mmio bus; with 0 reads do so too. Without
   * `frame` what lies below shows again. Translations that lead to the page must be forgotten by the caller; decoded
   * code in it is, by the watchers.
   */
  cover(page: number, frame?: number): void
  /** Tells the watchers, for writes that generated code made to a watched page. */
  notifyWrite(address: number, length: number): void
  /** Encryption: slots of keys, and which page is under which. */
  readonly keys: PageKeys
  /** Copies out what a key sees (slot of `keys`, default 0: no encryption); what is not RAM reads as zero. */
  read(address: number, out: Uint8Array, key?: number): void
  /** Copies in, encrypted by a key (a loader, a device's DMA); bytes that hit no RAM are lost. */
  write(address: number, bytes: Uint8Array, key?: number): void
  /** Fills a range of RAM with a byte. */
  fill(address: number, length: number, value: number, key?: number): void
  /** Bytes of RAM that are backed. */
  backedBytes(): number
  /** What RAM holds now, as a copy. Pages that are only watched or mapped are as any other. */
  capture(): MemoryImage
  /**
   * Fills memory that nobody has touched with an image of memory with the same RAM.
   * @throws MemoryImageError when the image does not fit; memory may then be filled in part
   */
  restore(image: MemoryImage): void
  /** Whether `pack` is worth a try: much was backed since it last ran. */
  crowded(): boolean
  /**
   * Takes the frames of pages above 4 GiB that are zero or regular (see `packing.ts`); they come back when they are
   * next looked at. Nobody may hold a frame's offset meanwhile: call it between slices.
   * @returns whether frames were taken, so that all translations must be forgotten
   */
  pack(): boolean
}

const PAGE = 4096
/** Pages below 4 GiB. */
const LOW_PAGES = 2 ** 20
const CHUNK_SHIFT = 9
const CHUNK_PAGES = 512
/** RAM ends below 16 TiB. */
const PAGE_LIMIT = 2 ** 32
/** Bytes of RAM from which on pages are packed, and how many more are backed until it is tried again. */
const PACK_FIRST = 384 * 2 ** 20
const PACK_STEP = 128 * 2 ** 20
/** Pages that are known to be read through the frame of zeros; more are forgotten together. */
const ZERO_PAGES = 16384
/** WebAssembly's 32-bit memories end at 4 GiB. */
const WASM_LIMIT = 2 ** 32 - 65536

/** Creates memory with RAM at the given ranges. @throws RangeError for ranges that are unaligned or overlap. */
export function createPhysicalMemory(options: PhysicalMemoryOptions): PhysicalMemory {
  const ram = [...options.ram].sort((a, b) => a.start - b.start)
  checkRanges(ram)
  const total = ram.reduce((sum, r) => sum + r.length, 0)
  const size = Math.min(WASM_LIMIT, alignUp(options.overhead + total + 2 * PAGE, 65536))
  const wasm = new WebAssembly.Memory({ initial: size / 65536, maximum: size / 65536 })
  const views = createViews(wasm.buffer)
  const { u8 } = views
  const fill = options.fill ?? 0
  /** Frame words of the pages below 4 GiB. */
  const low = new Uint32Array(LOW_PAGES)
  /** Frame words above by chunks of 512 pages; a chunk without RAM is undefined. */
  const chunks: (Uint32Array | undefined)[] = []
  for (const { start, length } of ram) {
    const lowEnd = Math.min((start + length) / PAGE, LOW_PAGES)
    if (start / PAGE < lowEnd) low.fill(FRAME_RAM, start / PAGE, lowEnd)
    const from = Math.max(start, LOW_PAGES * PAGE)
    if (start + length > from) claimRange(chunks, { start: from, length: start + length - from })
  }
  let reserved = 65536
  const zeroFrame = alignUp(options.overhead, PAGE)
  let nextFrame = zeroFrame + PAGE
  const freeFrames: number[] = []
  const patterns = createPatternStore()
  /** Patterns of packed pages, by chunk. */
  const packed: (Int32Array | undefined)[] = []
  let packAbove = PACK_FIRST
  const watchers: WriteWatcher[] = []
  /** Unbacked pages that are read through the frame of zeros. */
  const zeroPages = new Set<number>()
  const backedListeners: (() => void)[] = []
  /** Words of the pages that a device lies in front of. */
  const below = new Map<number, number>()

  // On the path of every TLB miss: integer operations only. RAM ends below page 2^32 (16 TiB).
  const frameWord = (page: number): number => {
    if (page < LOW_PAGES) return (low[page] & FRAME_ABSENT) === 0 ? low[page] : fetch(page, low[page])
    if (page >= PAGE_LIMIT) return FRAME_NONE
    const chunk = chunks[page >>> CHUNK_SHIFT]
    if (chunk === undefined) return FRAME_NONE
    const word = chunk[page & (CHUNK_PAGES - 1)]
    if ((word & (FRAME_PACKED | FRAME_ABSENT)) === 0) return word
    return (word & FRAME_PACKED) === 0 ? fetch(page, word) : unpack(page)
  }

  const placedWord = (page: number): number => {
    if (page >= PAGE_LIMIT) return FRAME_NONE
    const word = page < LOW_PAGES ? low[page] : chunks[page >>> CHUNK_SHIFT]?.[page & (CHUNK_PAGES - 1)] ?? FRAME_NONE
    return (word & FRAME_ABSENT) !== 0 ? word : frameWord(page)
  }

  /** Gets what is still to come to a page; answers its word. */
  const fetch = (page: number, word: number): number => {
    deferred.fetch((word & ~(PAGE - 1)) >>> 0)
    return page < LOW_PAGES ? low[page] : frameWord(page)
  }

  const setWord = (page: number, word: number): void => {
    if (page < LOW_PAGES) low[page] = word
    else ownChunk(chunks, page)[page % CHUNK_PAGES] = word
  }

  /** A frame of zeroes, or of what was in it when `dirty` is as good. */
  const takeFrame = (dirty: boolean): number => {
    const free = freeFrames.pop()
    if (free !== undefined) {
      if (!dirty) u8.fill(0, free, free + PAGE)
      return free
    }
    if (nextFrame + PAGE > size) throw new BackingExhausted(size)
    nextFrame += PAGE
    return nextFrame - PAGE
  }

  const forgetZeros = (): void => {
    zeroPages.clear()
    for (const listener of backedListeners) listener()
  }

  const backPage = (page: number): number => {
    const word = frameWord(page)
    if (word >= PAGE) return (word & ~(PAGE - 1)) >>> 0
    if (word === FRAME_NONE) throw new RangeError(`page 0x${page.toString(16)} is no RAM`)
    const frame = takeFrame(fill !== 0)
    if (zeroPages.size !== 0 && zeroPages.has(page)) forgetZeros()
    if (fill !== 0) fillPattern(views.u32, frame, page, fill)
    setWord(page, frame + (word % PAGE))
    return frame
  }

  const patternOf = (page: number): number => packed[page >>> CHUNK_SHIFT]?.[page & (CHUNK_PAGES - 1)] ?? -1

  /** Gives a packed page a frame again; answers its word. */
  const unpack = (page: number): number => {
    const frame = takeFrame(true)
    const ids = packed[page >>> CHUNK_SHIFT] as Int32Array
    patterns.restore(views.u32, frame, page, ids[page & (CHUNK_PAGES - 1)])
    ids[page & (CHUNK_PAGES - 1)] = -1
    setWord(page, (frame | FRAME_RAM) >>> 0)
    return (frame | FRAME_RAM) >>> 0
  }

  /** Takes the frame of a page if its contents can be told in fewer words. */
  const packPage = (page: number, word: number): boolean => {
    const frame = word - (word % PAGE)
    const id = patterns.find(views.u32, frame, page, [patternOf(page - 1), patternOf(page + 1)])
    if (id < 0) return false
    idsOf(page)[page & (CHUNK_PAGES - 1)] = id
    setWord(page, FRAME_RAM | FRAME_PACKED)
    freeFrames.push(frame)
    return true
  }

  const pack = (): boolean => {
    deferred.fetchAll()
    const before = freeFrames.length
    chunks.forEach((chunk, index) => {
      if (chunk === undefined || chunk === allRam) return
      for (let i = 0; i < CHUNK_PAGES; i++) {
        const word = chunk[i]
        if (word >= PAGE && (word & FRAME_WATCHED) === 0) packPage(index * CHUNK_PAGES + i, word)
      }
    })
    packAbove = backedBytes() + PACK_STEP
    return freeFrames.length > before
  }

  const backedBytes = (): number => nextFrame - zeroFrame - PAGE - freeFrames.length * PAGE

  /** The word of a RAM page, whatever lies in front of it. */
  const ramWord = (page: number): number => below.get(page) ?? (page < LOW_PAGES ? low[page] : frameWord(page))

  const setRamWord = (page: number, word: number): void => {
    if (below.has(page)) below.set(page, word)
    else setWord(page, word)
  }

  /** The contents that an image has for later. */
  const deferred = createDeferred({
    u8,
    arrived: (page) => {
      const word = below.get(page) ?? (page < LOW_PAGES ? low[page] : ownChunk(chunks, page)[page % CHUNK_PAGES])
      setRamWord(page, (word & ~FRAME_ABSENT) >>> 0)
    },
  })

  /** Calls `visit` with every RAM page in use and its word, in order; packed pages are not unpacked. */
  const eachUsed = (visit: (page: number, word: number) => void): void => {
    deferred.fetchAll()
    for (let page = 0; page < LOW_PAGES; page++) {
      if (low[page] < PAGE && below.size === 0) continue
      const word = ramWord(page)
      if (word >= PAGE) visit(page, word)
    }
    chunks.forEach((chunk, index) => {
      if (chunk === undefined || chunk === allRam) return
      for (let i = 0; i < CHUNK_PAGES; i++) {
        if (chunk[i] >= PAGE || (chunk[i] & FRAME_PACKED) !== 0) visit(index * CHUNK_PAGES + i, chunk[i])
      }
    })
  }

  const idsOf = (page: number): Int32Array => (packed[page >>> CHUNK_SHIFT] ??= new Int32Array(CHUNK_PAGES).fill(-1))

  const restore = (image: MemoryImage): void => {
    if (backedBytes() !== 0 || patterns.size() !== 0) throw new Error('memory is restored before it is used')
    const isUnused = (page: number): boolean => ramWord(page) === FRAME_RAM
    placeImage(image, {
      capacity: size - nextFrame,
      fill: (pieces) => { deferred.add(pieces, nextFrame) },
      back: (page) => {
        if (!isUnused(page)) return false
        const frame = takeFrame(true)
        setRamWord(page, (frame | FRAME_RAM | (deferred.expects(page, frame) ? FRAME_ABSENT : 0)) >>> 0)
        return true
      },
      setPatterns: (words) => { patterns.load(words) },
      pack: (page, id) => {
        if (page < LOW_PAGES || !isUnused(page)) return false
        patterns.use(id)
        idsOf(page)[page & (CHUNK_PAGES - 1)] = id
        setWord(page, FRAME_RAM | FRAME_PACKED)
        return true
      },
    })
    packAbove = image.packAbove
    if (image.readAsZero.length > ZERO_PAGES || image.readAsZero.some((page) => !isUnused(page))) {
      throw new MemoryImageError('readAsZero', `expected at most ${ZERO_PAGES} pages of RAM that are not in use`)
    }
    for (const page of image.readAsZero) zeroPages.add(page)
    keys.restore(image.keys)
  }

  const notifyWrite = (address: number, length: number): void => {
    for (const watcher of watchers) watcher(address, length)
  }

  /** Frame offset of a part of a range, the part's offset in the range, its length. */
  type Visit = (frame: number, at: number, n: number) => void

  /** Runs `visit` over the RAM pages of a range; those without a frame get one where `back` says so. */
  const eachPage = (address: number, length: number, visit: Visit, back: boolean): void => {
    for (let at = 0; at < length;) {
      const inPage = (address + at) % PAGE
      const n = Math.min(PAGE - inPage, length - at)
      const page = Math.floor((address + at) / PAGE)
      const word = frameWord(page)
      if (word !== FRAME_NONE && (!back || (word & FRAME_ROM) === 0) && (back || word >= PAGE || fill !== 0)) {
        visit(backPage(page) + inPage, at, n)
        if (back && (word & FRAME_WATCHED) !== 0) notifyWrite(address + at, n)
      }
      at += n
    }
  }

  const keys = createPageKeys({
    u8,
    frameOf: (page) => {
      const word = frameWord(page)
      return word < PAGE || (word & FRAME_ROM) !== 0 ? -1 : (word & ~(PAGE - 1)) >>> 0
    },
    isRam: (page) => frameWord(page) !== FRAME_NONE,
    changed: (page) => { if ((frameWord(page) & FRAME_WATCHED) !== 0) notifyWrite(page * PAGE, PAGE) },
  })
  /** A page as a key sees it that did not write it. */
  const seen = new Uint8Array(PAGE)

  /** Makes the pages of a range plaintext under a key, before they are written. */
  const underKey = (address: number, length: number, key: number): void => {
    if (!keys.active && key === 0) return
    for (let page = Math.floor(address / PAGE); page * PAGE < address + length; page++) {
      const whole = page * PAGE >= address && (page + 1) * PAGE <= address + length
      if (frameWord(page) === FRAME_NONE) continue
      if (whole) keys.claim(page, key)
      else keys.enter(page, key)
    }
  }

  return {
    wasm, views, ram, guards: [], filled: fill !== 0,
    ports: createIoBus(0x10000),
    mmio: createIoBus(2 ** 52),
    reserve(bytes) {
      const at = reserved
      reserved += alignUp(bytes, 64)
      if (reserved > zeroFrame) throw new RangeError(`${bytes} bytes do not fit in the memory kept for processors`)
      return at
    },
    lowFrames: low,
    zeroFrame,
    readAsZero(page) {
      if (zeroPages.size === ZERO_PAGES) forgetZeros()
      zeroPages.add(page)
    },
    onBacked: (listener) => { backedListeners.push(listener) },
    frameWord, placedWord, backPage, notifyWrite,
    watchPage(page, on) {
      const word = frameWord(page)
      if (word !== FRAME_NONE) setWord(page, on ? word | FRAME_WATCHED : word & ~FRAME_WATCHED)
    },
    onWrite(watcher) {
      watchers.push(watcher)
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
    keys,
    read(address, out, key = 0) {
      out.fill(0)
      eachPage(address, out.length, (frame, at, n) => {
        const page = Math.floor((address + at) / PAGE)
        if (keys.isUnder(page, key)) {
          out.set(u8.subarray(frame, frame + n), at)
        } else {
          keys.view(page, key, seen)
          out.set(seen.subarray(frame % PAGE, frame % PAGE + n), at)
        }
      }, false)
    },
    write(address, bytes, key = 0) {
      underKey(address, bytes.length, key)
      eachPage(address, bytes.length, (frame, at, n) => { u8.set(bytes.subarray(at, at + n), frame) }, true)
    },
    fill(address, length, value, key = 0) {
      underKey(address, length, key)
      eachPage(address, length, (frame, _at, n) => { u8.fill(value, frame, frame + n) }, true)
    },
    backedBytes, pack, restore,
    capture: () => captureImage({
      u8, eachUsed, packAbove, readAsZero: Uint32Array.from(zeroPages).sort(), keys: keys.save(),
      patternOf: (page, word) => ((word & FRAME_PACKED) === 0 ? -1 : patternOf(page)),
      pattern: (id) => patterns.save(id),
    }),
    crowded: () => backedBytes() > packAbove,
  }
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to

function createViews(buffer: ArrayBuffer): MemoryViews {
  return {
    u8: new Uint8Array(buffer), u16: new Uint16Array(buffer), i32: new Int32Array(buffer), u32: new Uint32Array(buffer),
    i64: new BigInt64Array(buffer), u64: new BigUint64Array(buffer), f64: new Float64Array(buffer),
  }
}

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

/** A pattern that depends on the page and the seed and has no zero word: what real RAM holds at power-on is noise. */
function fillPattern(u32: Uint32Array, frame: number, page: number, seed: number): void {
  let state = (Math.imul(page | 0, 0x9e37_79b1) ^ seed) >>> 0 || 1
  for (let i = frame >>> 2, end = i + PAGE / 4; i < end; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    u32[i] = state >>> 0
  }
}
