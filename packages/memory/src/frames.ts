/** The WebAssembly memory that backs RAM: the part that is kept for processors, and frames of 4 KiB behind it. */
import type { MemoryViews } from './types.ts'

/** More pages were touched than the WebAssembly memory can back. */
export class BackingExhausted extends Error {
  constructor(bytes: number) {
    super(`the guest touched more memory than the ${Math.floor(bytes / 2 ** 20)} MiB that can back it here`)
    this.name = 'BackingExhausted'
  }
}

const PAGE = 4096
/** WebAssembly's 32-bit memories end at 4 GiB. */
const WASM_LIMIT = 2 ** 32 - 65536

export interface Frames {
  readonly wasm: WebAssembly.Memory
  readonly views: MemoryViews
  /** See `PhysicalMemory`. */
  readonly zeroFrame: number
  /** See `PhysicalMemory`. */
  reserve(bytes: number): number
  /** A frame of zeroes, or of what was in it when `dirty` is as good. @throws BackingExhausted */
  take(dirty: boolean): number
  /** Takes back a frame. */
  release(frame: number): void
  /** Frames that were taken back and are not in use. */
  readonly released: number
  /** Where the frames begin that were never taken, and how many bytes of them there are. */
  readonly next: number
  readonly left: number
  /** Bytes of frames in use. */
  usedBytes(): number
}

/** Creates a memory with room for `overhead` bytes for processors and `total` bytes of RAM, as far as there can be. */
export function createFrames(overhead: number, total: number): Frames {
  const size = Math.min(WASM_LIMIT, alignUp(overhead + total + 2 * PAGE, 65536))
  const wasm = new WebAssembly.Memory({ initial: size / 65536, maximum: size / 65536 })
  const views = createViews(wasm.buffer)
  const zeroFrame = alignUp(overhead, PAGE)
  const free: number[] = []
  let reserved = 65536
  let next = zeroFrame + PAGE
  return {
    wasm, views, zeroFrame,
    reserve(bytes) {
      const at = reserved
      reserved += alignUp(bytes, 64)
      if (reserved > zeroFrame) throw new RangeError(`${bytes} bytes do not fit in the memory kept for processors`)
      return at
    },
    take(dirty) {
      const frame = free.pop()
      if (frame !== undefined) {
        if (!dirty) views.u8.fill(0, frame, frame + PAGE)
        return frame
      }
      if (next + PAGE > size) throw new BackingExhausted(size)
      next += PAGE
      return next - PAGE
    },
    release: (frame) => { free.push(frame) },
    get released() { return free.length },
    get next() { return next },
    get left() { return size - next },
    usedBytes: () => next - zeroFrame - PAGE - free.length * PAGE,
  }
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to

function createViews(buffer: ArrayBuffer): MemoryViews {
  return {
    u8: new Uint8Array(buffer), u16: new Uint16Array(buffer), i32: new Int32Array(buffer), u32: new Uint32Array(buffer),
    i64: new BigInt64Array(buffer), u64: new BigUint64Array(buffer), f64: new Float64Array(buffer),
  }
}
