/** Operand values drawn from tables made once: a case costs copies, not arithmetic on bigints. */
import { awkwardF80, awkwardInt, createRandom, fillAwkward, type Random } from '@cofferdam/oracle'

export interface Pool {
  readonly random: Random
  integer(): bigint
  /** Fills bytes (a multiple of 8 of them) with lanes of one kind. */
  fill(out: Uint8Array): void
  /** 10 bytes of an x87 value into `out`. */
  extended(out: Uint8Array): void
}

const INTEGERS = 4096
const LANES = 8192
const KINDS = 6

export function createPool(seed: number): Pool {
  const random = createRandom(seed)
  const integers = BigUint64Array.from({ length: INTEGERS }, () => BigInt.asUintN(64, awkwardInt(random)))
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
    fill(out) {
      const bytes = lanes[random.below(KINDS)]
      for (let i = 0; i < out.length;) {
        const n = Math.min(out.length - i, 32)
        const at = random.below((LANES - 32) / 8) * 8
        for (let k = 0; k < n; k++) out[i + k] = bytes[at + k]
        i += n
      }
    },
    extended(out) {
      const at = random.below(1024) * 16
      for (let k = 0; k < 10; k++) out[k] = extended[at + k]
    },
  }
}
