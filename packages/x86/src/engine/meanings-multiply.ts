/** Multiplication and division (SDM vol. 2). Flags that the manual leaves undefined are set as noted beside. */
import {
  add, and, divS, divU, eq, eqz, extendS, extendU, i32, i64, mul, ne, or, remS, remU, shl, shrS, shrU, sub, wrap,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { KIND, signed, truncate } from './flags.ts'
import { extend32, RAX, RDX } from './operand-values.ts'

/** Upper half of an unsigned 64 × 64 product. */
export function mulHighU(b: Builder, x: Expr, y: Expr): Expr {
  const low = i64(0xffff_ffff)
  const [a, c] = [b.let(x), b.let(y)]
  const al = b.let(and(a, low))
  const ah = b.let(shrU(a, i64(32)))
  const cl = b.let(and(c, low))
  const ch = b.let(shrU(c, i64(32)))
  const p1 = b.let(mul(al, ch))
  const p2 = b.let(mul(ah, cl))
  const mid = b.let(add(add(and(p1, low), and(p2, low)), shrU(mul(al, cl), i64(32))))
  return b.let(add(add(mul(ah, ch), shrU(p1, i64(32))), add(shrU(p2, i64(32)), shrU(mid, i64(32)))))
}

const mulHighS = (b: Builder, x: Expr, y: Expr): Expr => {
  const [a, c] = [b.let(x), b.let(y)]
  const high = mulHighU(b, a, c)
  return b.let(sub(sub(high, and(shrS(a, i64(63)), c)), and(shrS(c, i64(63)), a)))
}

/** MUL and one-operand IMUL. Undefined: SF and PF follow the low half, ZF is 0, as Intel processors have it. */
const multiply = (isSigned: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const y = b.let(b.get(0))
  const a = b.let(b.gpr(RAX, size))
  if (size === 8) {
    const high = isSigned ? mulHighS(b, a, y) : mulHighU(b, a, y)
    const low = b.let(mul(a, y))
    b.setGpr(RAX, low, 8)
    b.setGpr(RDX, high, 8)
    b.flags(KIND.RESULT, low, extendU(isSigned ? ne(high, shrS(low, i64(63))) : ne(high, i64(0))))
    return
  }
  const up = (e: Expr): Expr => (isSigned ? extendS(signed(size, e)) : extendU(e))
  const product = b.let(mul(up(a), up(y)))
  const low = b.let(truncate(size, wrap(product)))
  if (size === 1) {
    b.setGpr(RAX, and(wrap(product), i32(0xffff)), 2)
  } else {
    b.setGpr(RAX, low, size)
    b.setGpr(RDX, truncate(size, wrap(shrU(product, i64(size * 8)))), size)
  }
  b.flags(KIND.RESULT, low, ne(product, up(low)))
}

/** Two- and three-operand IMUL. */
const multiplyInto = (x: number, y: number): WasmMeaning => (b) => {
  const { size } = b.form
  const a = b.let(b.get(x))
  const c = b.let(b.get(y))
  const r = b.let(truncate(size, mul(a, c)))
  if (b.flagsNeeded) {
    const wide = size === 8
      ? extendU(ne(mulHighS(b, a, c), shrS(r, i64(63))))
      : ne(mul(extendS(signed(size, a)), extendS(signed(size, c))), extendS(signed(size, r)))
    b.flags(KIND.RESULT, r, wide)
  }
  b.set(0, r)
}

const imul: WasmMeaning = (b) => {
  if (b.form.kinds[1] === 0) multiply(true)(b)
  else if (b.form.kinds[2] === 0) multiplyInto(0, 1)(b)
  else multiplyInto(1, 2)(b)
}

/**
 * DIV and IDIV; flags are undefined and stay. Anything that may raise #DE, and true 128-bit dividends, go to the host.
 */
const divide = (isSigned: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const y = b.let(b.get(0))
  b.hostIf(eqz(y))
  if (size === 8) {
    const a = b.let(b.gpr(RAX, 8))
    b.hostIf(ne(b.gpr(RDX, 8), isSigned ? shrS(a, i64(63)) : i64(0)))
    if (isSigned) b.hostIf(and(eq(a, i64(-(1n << 63n))), eq(y, i64(-1))))
    const q = b.let((isSigned ? divS : divU)(a, y))
    const r = b.let((isSigned ? remS : remU)(a, y))
    b.setGpr(RAX, q, 8)
    b.setGpr(RDX, r, 8)
    return
  }
  const up = (e: Expr): Expr => (isSigned ? extendS(signed(size, e)) : extendU(e))
  const dividend = b.let(size === 1
    ? (isSigned ? extendS(signed(2, b.gpr(RAX, 2))) : extendU(b.gpr(RAX, 2)))
    : size === 2
      ? extend32(isSigned, or(b.gpr(RAX, 2), shl(b.gpr(RDX, 2), i32(16))))
      : or(extendU(b.gpr(RAX, 4)), shl(extendU(b.gpr(RDX, 4)), i64(32))))
  const d = b.let(up(y))
  if (isSigned) b.hostIf(and(eq(dividend, i64(-(1n << 63n))), eq(d, i64(-1))))
  const q = b.let((isSigned ? divS : divU)(dividend, d))
  b.hostIf(ne(up(truncate(size, wrap(q))), q))
  const r = b.let((isSigned ? remS : remU)(dividend, d))
  if (size === 1) {
    b.setGpr(RAX, or(and(wrap(q), i32(0xff)), shl(and(wrap(r), i32(0xff)), i32(8))), 2)
    return
  }
  b.setGpr(RAX, truncate(size, wrap(q)), size)
  b.setGpr(RDX, truncate(size, wrap(r)), size)
}

const mulx: WasmMeaning = (b) => {
  const y = b.let(b.get(2))
  const a = b.let(b.gpr(RDX, b.form.size))
  if (b.form.size === 8) {
    const high = mulHighU(b, a, y)
    b.set(1, mul(a, y))
    b.set(0, high)
    return
  }
  const product = b.let(mul(extendU(a), extendU(y)))
  b.set(1, wrap(product))
  b.set(0, wrap(shrU(product, i64(32))))
}

export const multiplyMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['mul', multiply(false)],
  ['imul', imul],
  ['div', divide(false)],
  ['idiv', divide(true)],
  ['mulx', mulx],
]
