/** Bytes to execute: anything, encodings from the tables with any operands, and those with a bit flipped. */
import { createRandom, type Random } from '@cofferdam/oracle'
import { CASE_BYTES, nextCase } from '../inside.ts'

/** Instructions that change modes, tables and the flow more than random bytes do. */
const SYSTEM: readonly (readonly number[])[] = [
  [0x0f, 0x22, 0xc0], [0x0f, 0x22, 0xd8], [0x0f, 0x22, 0xe0], [0x0f, 0x20, 0xc0], [0x0f, 0x30], [0x0f, 0x32],
  [0x0f, 0x23, 0xf8],
  [0x0f, 0x23, 0xc0], [0x0f, 0x01, 0x10], [0x0f, 0x01, 0x18], [0x0f, 0x00, 0xd0], [0x0f, 0x00, 0xd8],
  [0x0f, 0x01, 0x38], [0x0f, 0x01, 0xd1],
  [0x9d], [0xcf], [0x48, 0xcf], [0xcb], [0x48, 0xcb], [0xcc], [0xcd, 0x80], [0xf1], [0xfa], [0xfb], [0x0f, 0x05],
  [0x0f, 0x07], [0x0f, 0x34],
  [0x0f, 0x35], [0x0f, 0x01, 0xf8], [0x0f, 0xa2], [0x0f, 0x31], [0x8e, 0xd0], [0x8e, 0xd8], [0x8e, 0xe0], [0x0f, 0xaa],
  [0x0f, 0x01, 0xca],
  [0x0f, 0x01, 0xcb], [0x0f, 0x01, 0xc8], [0x0f, 0x01, 0xc9], [0x0f, 0x06], [0x0f, 0x09], [0xe4, 0x60], [0xee],
  [0xf3, 0x6d], [0xf3, 0xa4],
  [0xf3, 0x48, 0xab], [0x66, 0x0f, 0x38, 0x82, 0x00], [0x0f, 0xae, 0x20], [0x0f, 0xae, 0x28], [0x0f, 0xc7, 0x18],
  [0xeb, 0xfe], [0xe2, 0xf0],
  [0x0f, 0x01, 0xd8], [0x0f, 0x01, 0xd9], [0x0f, 0x01, 0xc1], [0x0f, 0x01, 0xdf], [0xc7, 0x00, 0x90, 0x90, 0x90, 0x90],
]

export interface CodeWriter {
  /** Fills `out` with instructions. */
  fill(random: Random, out: Uint8Array): void
}

/** Bytes that are made once for a seed, and how many of a case's are made for it alone. */
const STORE = 2 ** 19
const FRESH = 512

/** Most code of a case is taken from what was made once: making it takes longer than running it. */
export function createCodeWriter(seed: number): CodeWriter {
  const bytes = new Uint8Array(CASE_BYTES)
  const store = new Uint8Array(STORE)
  make(createRandom(seed), store)

  function make(random: Random, out: Uint8Array): void {
    const below = (n: number): number => random.below(n)
    for (let at = 0; at < out.length;) {
      const kind = random.below(8)
      if (kind === 0) out[at++] = random.below(256)
      else if (kind === 1) {
        for (const byte of random.pick(SYSTEM)) if (at < out.length) out[at++] = byte
      } else {
        nextCase(below, bytes)
        // Mostly short, so that the next one begins where this one ends at times.
        const n = 1 + random.below(8)
        for (let i = 0; i < n && at < out.length; i++) out[at++] = bytes[i]
      }
    }
  }

  return {
    fill(random, out) {
      make(random, out.subarray(0, FRESH))
      for (let at = FRESH; at < out.length;) {
        const from = random.below(STORE - FRESH)
        const length = Math.min(16 + random.below(FRESH), out.length - at)
        out.set(store.subarray(from, from + length), at)
        at += length
      }
    },
  }
}
