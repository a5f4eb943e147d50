/** A bitmap over bytes, lowest bit first, with the searches that runs of bits need. */
export interface Bits {
  readonly bytes: Uint8Array
  /** Number of bits. */
  readonly length: number
  set(from: number, to: number): void
  clear(from: number, to: number): void
  /** First set bit in `[from, to)`, or -1. */
  nextSet(from: number, to: number): number
  /** First clear bit in `[from, to)`, or `to`. */
  nextClear(from: number, to: number): number
  /** Set bits in all. */
  count(): number
}

/** Wraps bytes as a bitmap (no copy). */
export function createBits(bytes: Uint8Array): Bits {
  const fill = (from: number, to: number, on: boolean): void => {
    let bit = from
    for (; bit < to && (bit & 7) !== 0; bit++) write(bit, on)
    for (; bit + 8 <= to; bit += 8) bytes[bit >>> 3] = on ? 0xff : 0
    for (; bit < to; bit++) write(bit, on)
  }
  const write = (bit: number, on: boolean): void => {
    const mask = 1 << (bit & 7)
    bytes[bit >>> 3] = on ? bytes[bit >>> 3] | mask : bytes[bit >>> 3] & ~mask
  }
  /** First bit in `[from, to)` whose byte, after `flip`, has it set; or `to`. */
  const search = (from: number, to: number, flip: number): number => {
    for (let bit = from; bit < to;) {
      const left = ((bytes[bit >>> 3] ^ flip) >>> (bit & 7)) << (bit & 7)
      if (left !== 0) return Math.min((bit & ~7) + (31 - Math.clz32(left & -left)), to)
      bit = (bit & ~7) + 8
    }
    return to
  }
  return {
    bytes,
    length: bytes.length * 8,
    set: (from, to) => fill(from, to, true),
    clear: (from, to) => fill(from, to, false),
    nextSet(from, to) {
      const bit = search(from, to, 0)
      return bit < to ? bit : -1
    },
    nextClear: (from, to) => search(from, to, 0xff),
    count() {
      let n = 0
      for (const byte of bytes) for (let b = byte; b !== 0; b &= b - 1) n++
      return n
    },
  }
}
