/** Instruction pointers as two halves of 32 bits: BigInts cost as much as the rest of decoding does. */
import { MODE64 } from '../insn.ts'
import { RIP } from '../state.ts'
import type { Block, CodePage } from './code-cache.ts'
import { decodeMode } from './mode.ts'

/** Two halves, signed, of an instruction pointer; above 4 GiB in 64-bit mode only. */
export interface Rip {
  low: number
  high: number
}

/** Makes `to` what lies `delta` bytes (±2^32) behind `from`, cut to 32 bits outside of 64-bit mode (`wide`). */
export function advance(from: Readonly<Rip>, delta: number, wide: boolean, to: Rip): void {
  const sum = (from.low >>> 0) + delta
  to.high = wide ? (from.high + Math.floor(sum / 0x1_0000_0000)) | 0 : 0
  to.low = sum | 0
}

/** Makes `to` the RIP of the byte at `offset` (bytes, past the end too) from the start of a code page. */
export function ripInPage(page: CodePage, offset: number, to: Rip): void {
  to.low = (page.low - page.base) | 0
  to.high = page.high
  advance(to, offset, decodeMode(page.mode) === MODE64, to)
}

/** The signed 64-bit value; unsigned where the high half is 0. */
export const ripValue = ({ low, high }: Readonly<Rip>): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0)

/** RIP of a block's first instruction. */
export function blockRip(block: Block): bigint {
  const rip: Rip = { low: 0, high: 0 }
  ripInPage(block.page, block.offset, rip)
  return ripValue(rip)
}

const placed: Rip = { low: 0, high: 0 }

/** Makes RIP that of the byte at `offset` from the start of a code page. */
export function placeRip(i32: Int32Array, page: CodePage, offset: number): void {
  ripInPage(page, offset, placed)
  i32[RIP >>> 2] = placed.low
  i32[(RIP >>> 2) + 1] = placed.high
}
