/**
 * PCMPISTRI for bytes in the modes that C libraries use (SDM vol. 2, §4.1): "equal any" and "equal each". Other modes,
 * words and PCMPISTRM are TypeScript meanings.
 */
import { I32, and, clz, ctz, eqz, i32, ltU, ne, or, select, shl, shuffle, simd, sub, v128, xor } from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { MEM } from '../insn.ts'
import type { WasmMeaning } from './builder.ts'
import { FLAG } from './flags.ts'

const RCX = 1
const LANES = 16
/** i8x16.gt_u. */
const GT_U8 = 40
const zero = v128(0n, 0n)
const equalBytes = (a: Expr, b: Expr): Expr => simd(35, a, b)
const bitmask = (v: Expr): Expr => simd(100, v, null, I32)
/** Bytes before the first zero, up to 16. */
const implicitLength = (v: Expr): Expr => ctz(or(bitmask(equalBytes(v, zero)), i32(1 << LANES)))
/** Bits 0 to n − 1. */
const below = (n: Expr): Expr => sub(shl(i32(1), n), i32(1))

export const pcmpistri: WasmMeaning = (b) => {
  const control = b.immediate()
  const aggregation = (control >> 2) & 3
  if ((control & 1) !== 0 || (aggregation !== 0 && aggregation !== 2)) {
    b.hostIf(i32(1))
    return
  }
  if (b.form.kinds[1] === MEM) b.vectorAddress(16, false, false)
  const first = b.let(b.vector(0, 0))
  const second = b.let(b.vector(1, 0))
  const firstLength = b.let(implicitLength(first))
  const secondLength = b.let(implicitLength(second))
  const validFirst = b.let(below(firstLength))
  const validSecond = b.let(below(secondLength))
  let result: Expr
  if (aggregation === 0) {
    // A byte behind the set's end matches nothing that is valid, once it is zero: the terminator, and what follows it.
    const byIndex = v128(0x0706050403020100n, 0x0f0e0d0c0b0a0908n)
    const inside = b.let(simd(78, first, simd(GT_U8, simd(15, firstLength), byIndex)))
    let any: Expr = zero
    for (let i = 0; i < LANES; i++) {
      any = b.let(simd(80, any, equalBytes(shuffle(new Array<number>(LANES).fill(i), inside, inside), second)))
    }
    result = and(bitmask(any), validSecond)
  } else {
    const same = bitmask(equalBytes(first, second))
    const bothInvalid = and(xor(validFirst, i32(0xffff)), xor(validSecond, i32(0xffff)))
    result = or(and(and(same, validFirst), validSecond), bothInvalid)
  }
  const polarity = (control >> 4) & 3
  if (polarity === 1) result = xor(result, i32(0xffff))
  if (polarity === 3) result = xor(result, validSecond)
  const bits = b.let(and(result, i32(0xffff)))
  const index = (control & 0x40) === 0 ? ctz(or(bits, i32(1 << LANES))) : select(eqz(bits), i32(LANES), sub(i32(31), clz(bits)))
  b.setGpr(RCX, index, 4)
  const flag = (when: Expr, at: number): Expr => select(when, i32(at), i32(0))
  b.imageFlags([
    flag(ltU(secondLength, i32(LANES)), FLAG.ZF), flag(ltU(firstLength, i32(LANES)), FLAG.SF), flag(and(bits, i32(1)), FLAG.OF),
  ].reduce(or, flag(ne(bits, i32(0)), FLAG.CF)))
}
