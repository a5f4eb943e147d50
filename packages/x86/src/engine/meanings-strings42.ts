/** PCMPISTRI and PCMPISTRM for bytes (SDM vol. 2, §4.1). Words are left to the TypeScript meanings. */
import {
  I32, and, clz, ctz, eqz, i32, ltU, ne, or, select, shl, shrU, shuffle, simd, simdLane, sub, v128, xor,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { MEM } from '../insn.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { XMM } from '../state.ts'
import { FLAG } from './flags.ts'

const RCX = 1
const LANES = 16
/** i8x16.gt_u, ge_s, ge_u. */
const GT_U8 = 40
const GE_S8 = 43
const GE_U8 = 44
/** Imm8[3:2]: how the strings are compared. */
const EQUAL_ANY = 0
const RANGES = 1
const EQUAL_EACH = 2
const zero = v128(0n, 0n)
const equalBytes = (a: Expr, b: Expr): Expr => simd(35, a, b)
const bitmask = (v: Expr): Expr => simd(100, v, null, I32)
/** Bytes before the first zero, up to 16. */
const implicitLength = (v: Expr): Expr => ctz(or(bitmask(equalBytes(v, zero)), i32(1 << LANES)))
/** Bits 0 to n − 1. */
const below = (n: Expr): Expr => sub(shl(i32(1), n), i32(1))

/** Byte `i` of a vector in all lanes. */
const spread = (v: Expr, i: number): Expr => shuffle(new Array<number>(LANES).fill(i), v, v)

interface Strings {
  readonly first: Expr
  readonly second: Expr
  readonly firstLength: Expr
  readonly validFirst: Expr
  readonly validSecond: Expr
}

const equalAny = (b: Builder, { first, second, firstLength, validSecond }: Strings): Expr => {
  // A byte behind the set's end matches nothing that is valid, once it is zero: the terminator, and what follows it.
  const byIndex = v128(0x0706050403020100n, 0x0f0e0d0c0b0a0908n)
  const inside = b.let(simd(78, first, simd(GT_U8, simd(15, firstLength), byIndex)))
  let any: Expr = zero
  for (let i = 0; i < LANES; i++) any = b.let(simd(80, any, equalBytes(spread(inside, i), second)))
  return and(bitmask(any), validSecond)
}

const ranges = (b: Builder, { first, second, firstLength, validSecond }: Strings, isSigned: boolean): Expr => {
  const atLeast = isSigned ? GE_S8 : GE_U8
  let any: Expr = i32(0)
  for (let i = 0; i < LANES; i += 2) {
    const inside = simd(78, simd(atLeast, second, spread(first, i)), simd(atLeast, spread(first, i + 1), second))
    any = b.let(or(any, select(ltU(i32(i + 1), firstLength), bitmask(inside), i32(0))))
  }
  return and(any, validSecond)
}

const equalEach = (_b: Builder, { first, second, validFirst, validSecond }: Strings): Expr => {
  const same = bitmask(equalBytes(first, second))
  const bothInvalid = and(xor(validFirst, i32(0xffff)), xor(validSecond, i32(0xffff)))
  return or(and(and(same, validFirst), validSecond), bothInvalid)
}

const equalOrdered = (b: Builder, { first, second, firstLength, validSecond }: Strings): Expr => {
  let all: Expr = i32(0xffff)
  for (let i = 0; i < LANES; i++) {
    // What would lie behind the second operand's last byte is not compared.
    const beyond = i32(0xffff & ~((1 << (LANES - i)) - 1))
    const here = shrU(and(bitmask(equalBytes(spread(first, i), second)), validSecond), i32(i))
    all = b.let(and(all, select(ltU(i32(i), firstLength), or(here, beyond), i32(0xffff))))
  }
  return all
}

/** Compares, and sets the flags; answers IntRes2, or null where the TypeScript meaning has to do it. */
function compare(b: Builder): Expr | null {
  const control = b.immediate()
  if ((control & 1) !== 0) return null
  if (b.form.kinds[1] === MEM) b.vectorAddress(16, false, false)
  const first = b.let(b.vector(0, 0))
  const second = b.let(b.vector(1, 0))
  const firstLength = b.let(implicitLength(first))
  const secondLength = b.let(implicitLength(second))
  const validSecond = b.let(below(secondLength))
  const strings = { first, second, firstLength, validFirst: b.let(below(firstLength)), validSecond }
  const aggregation = (control >> 2) & 3
  let result = aggregation === EQUAL_ANY ? equalAny(b, strings)
    : aggregation === RANGES ? ranges(b, strings, (control & 2) !== 0)
    : aggregation === EQUAL_EACH ? equalEach(b, strings) : equalOrdered(b, strings)
  const polarity = (control >> 4) & 3
  if (polarity === 1) result = xor(result, i32(0xffff))
  if (polarity === 3) result = xor(result, validSecond)
  const bits = b.let(and(result, i32(0xffff)))
  const flag = (when: Expr, at: number): Expr => select(when, i32(at), i32(0))
  b.imageFlags([
    flag(ltU(secondLength, i32(LANES)), FLAG.ZF), flag(ltU(firstLength, i32(LANES)), FLAG.SF),
    flag(and(bits, i32(1)), FLAG.OF),
  ].reduce(or, flag(ne(bits, i32(0)), FLAG.CF)))
  return bits
}

export const pcmpistri: WasmMeaning = (b) => {
  const bits = compare(b)
  if (bits === null) {
    b.hostIf(i32(1))
    return
  }
  const last = (b.immediate() & 0x40) !== 0
  b.setGpr(RCX, last ? select(eqz(bits), i32(LANES), sub(i32(31), clz(bits))) : ctz(or(bits, i32(1 << LANES))), 4)
}

export const pcmpistrm: WasmMeaning = (b) => {
  const bits = compare(b)
  if (bits === null) {
    b.hostIf(i32(1))
    return
  }
  if ((b.immediate() & 0x40) === 0) {
    b.f.store(16, i32(0), simdLane(28, 0, zero, bits), XMM)
  } else {
    // Each byte keeps its own bit of the mask's half, and becomes all ones where that is set.
    const own = v128(0x8040_2010_0804_0201n, 0x8040_2010_0804_0201n)
    const halves = shuffle([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], simd(16, bits), zero)
    b.f.store(16, i32(0), equalBytes(simd(78, halves, own), own), XMM)
  }
  if (b.form.vex) b.clearUpper(0)
}
