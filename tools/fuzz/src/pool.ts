/** Operand values drawn from tables made once: a case costs copies, not arithmetic on bigints. */
import { awkwardF80, awkwardInt, createRandom, fillAwkward, type Random } from '@cofferdam/oracle'

export interface Pool {
  readonly random: Random
  integer(): bigint
  /** Writes an integer of 64 bits into words `at` and `at + 1`. */
  integerTo(out: Uint32Array, at: number): void
  /** Fills bytes (a multiple of 8 of them) with lanes of one kind. */
  fill(out: Uint8Array, from: number, length: number): void
  /** 10 bytes of an x87 value. */
  extended(out: Uint8Array, at: number): void
}

const INTEGERS = 4096
const LANES = 8192
const KINDS = 6
const STRETCH = 64

export function createPool(seed: number): Pool {
  const random = createRandom(seed)
  const integers = BigUint64Array.from({ length: INTEGERS }, () => BigInt.asUintN(64, awkwardInt(random)))
  const words = new Uint32Array(integers.buffer)
  const lanes = Array.from({ length: KINDS }, (_, kind) => {
    const bytes = new Uint8Array(LANES)
    fillAwkward(random, bytes, kind)
    return bytes
  })
  const extended = new Uint8Array(16 * 1024)
  const view = new DataView(extended.buffer)
  for (let i = 0; i < extended.length; i += 16) {
    const value = awkwardF80(random)
    view.setBigUint64(i, value.significand, true)
    view.setUint16(i + 8, value.exponent, true)
  }
  return {
    random,
    integer: () => integers[random.below(INTEGERS)],
    integerTo(out, at) {
      const from = random.below(INTEGERS) * 2
      out[at] = words[from]
      out[at + 1] = words[from + 1]
    },
    fill(out, from, length) {
      const bytes = lanes[random.below(KINDS)]
      for (let i = 0; i < length; i += STRETCH) {
        const at = random.below((LANES - STRETCH) / 8) * 8
        out.set(bytes.subarray(at, at + Math.min(STRETCH, length - i)), from + i)
      }
    },
    extended(out, at) {
      const from = random.below(1024) * 16
      out.set(extended.subarray(from, from + 10), at)
    },
  }
}
