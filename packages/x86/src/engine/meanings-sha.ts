/** SHA-256 instructions (SDM vol. 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2; functions from FIPS 180-4, §4.1.2). */
import { I32, add, and, i32, load128, or, rotr, shuffle, simd, simdLane, xor } from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { MEM } from '../insn.ts'
import { XMM } from '../state.ts'
import type { Builder, WasmMeaning } from './builder.ts'

const lane = (v: Expr, n: number): Expr => simdLane(27, n, v, null, I32)
const replace = (v: Expr, n: number, value: Expr): Expr => simdLane(28, n, v, value)
const addLanes = (a: Expr, b: Expr): Expr => simd(174, a, b)

/** Destination and source, each read once; a memory source must be aligned. */
function operands(b: Builder): { first: Expr; second: Expr } {
  if (b.form.kinds[1] === MEM) b.vectorAddress(16, false, true)
  return { first: b.let(b.vector(0, 0)), second: b.let(b.vector(1, 0)) }
}

const rounds: WasmMeaning = (b) => {
  const { first, second } = operands(b)
  const wk = b.let(load128(i32(0), XMM))
  let [a, bb, e, f] = [3, 2, 1, 0].map((n) => b.let(lane(second, n)))
  let [c, d, g, h] = [3, 2, 1, 0].map((n) => b.let(lane(first, n)))
  for (let round = 0; round < 2; round++) {
    const choice = xor(g, and(e, xor(f, g)))
    const sum1 = xor(xor(rotr(e, i32(6)), rotr(e, i32(11))), rotr(e, i32(25)))
    const t1 = b.let(add(add(add(choice, sum1), lane(wk, round)), h))
    const majority = or(and(a, bb), and(c, or(a, bb)))
    const sum0 = xor(xor(rotr(a, i32(2)), rotr(a, i32(13))), rotr(a, i32(22)))
    const next = b.let(add(t1, add(majority, sum0)))
    const nextE = b.let(add(t1, d))
    ;[d, c, bb, a] = [c, bb, a, next]
    ;[h, g, f, e] = [g, f, e, nextE]
  }
  const low = replace(replace(first, 0, f), 1, e)
  b.setVector(0, 0, replace(replace(low, 2, bb), 3, a))
}

const rotateLanes = (v: Expr, n: number): Expr => simd(80, simd(173, v, i32(n)), simd(171, v, i32(32 - n)))
const shiftLanes = (v: Expr, n: number): Expr => simd(173, v, i32(n))

const message1: WasmMeaning = (b) => {
  const { first, second } = operands(b)
  // W1 to W4: the upper three of the destination, then the lowest of the source.
  const next = b.let(shuffle([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19], first, second))
  const sigma0 = simd(81, simd(81, rotateLanes(next, 7), rotateLanes(next, 18)), shiftLanes(next, 3))
  b.setVector(0, 0, addLanes(first, sigma0))
}

const sigma1 = (v: Expr): Expr => simd(81, simd(81, rotateLanes(v, 17), rotateLanes(v, 19)), shiftLanes(v, 10))

const message2: WasmMeaning = (b) => {
  const { first, second } = operands(b)
  // W16 and W17 from W14 and W15, which are the upper half of the source; W18 and W19 from those.
  const upper = b.let(shuffle([8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23], second, zero))
  const low = b.let(addLanes(first, sigma1(upper)))
  const moved = b.let(shuffle([16, 17, 18, 19, 16, 17, 18, 19, 0, 1, 2, 3, 4, 5, 6, 7], low, zero))
  b.setVector(0, 0, addLanes(low, sigma1(moved)))
}
/** σ1 of 0 is 0, so lanes filled from here add nothing. */
const zero = simd(15, i32(0))

export const shaMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['sha256rnds2', rounds], ['sha256msg1', message1], ['sha256msg2', message2],
]
