/** What physical memory is made of, and what it can be asked. */
import type { IoBus } from './bus.ts'
import type { Guard } from './guard.ts'
import type { MemoryImage } from './image.ts'
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
   * they must ask `frameWord`.
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
