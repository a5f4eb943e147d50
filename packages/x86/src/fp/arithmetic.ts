/** The five operations of IEEE 754 §5.4.1 and the fused multiply-add, over any `Format`. */
import { bitLength, denormals, DOWN, INFINITY, infinity, invalid, propagate, propagateOne, quiet, roundPack,
  shiftJam, SNAN, QNAN,
  ZE, IE, ZERO, zero, unpack, type Float, type FloatEnv, type Format } from './softfloat.ts'

/** Sign of an exact zero sum of operands with different signs. */
const cancelled = (env: FloatEnv): number => env.rounding === DOWN ? 1 : 0

/** a + b, or a − b with `negate` 1. */
export function add(env: FloatEnv, f: Format, aBits: bigint, bBits: bigint, negate = 0, precision?: number): bigint {
  const a = unpack(f, aBits)
  const b = unpack(f, bBits)
  const nan = propagate(env, f, a, aBits, b, bBits)
  if (nan !== undefined) return nan
  b.sign ^= negate
  if (a.kind === INFINITY && b.kind === INFINITY && a.sign !== b.sign) return invalid(env, f)
  denormals(env, a)
  denormals(env, b)
  if (a.kind === INFINITY) return infinity(f, a.sign)
  if (b.kind === INFINITY) return infinity(f, b.sign)
  return addFinite(env, f, a, b, precision)
}

/** The sum of two finite numbers whose significands may be longer than the format's. */
function addFinite(env: FloatEnv, f: Format, a: Float, b: Float, precision?: number): bigint {
  if (a.sig === 0n && b.sig === 0n) return zero(f, a.sign === b.sign ? a.sign : cancelled(env))
  if (a.sig === 0n) return roundPack(env, f, b.sign, b.sig, b.exp, precision)
  if (b.sig === 0n) return roundPack(env, f, a.sign, a.sig, a.exp, precision)
  // Bring both to one exponent; what lies further below than any rounding looks is only sticky.
  const aTop = a.exp + bitLength(a.sig)
  const bTop = b.exp + bitLength(b.sig)
  const floor = Math.max(aTop, bTop) - 3 * 64 - 8
  const exp = Math.max(Math.min(a.exp, b.exp), floor)
  const x = shiftJam(a.sig, exp - a.exp)
  const y = shiftJam(b.sig, exp - b.exp)
  const sum = (a.sign ? -x : x) + (b.sign ? -y : y)
  if (sum === 0n) return zero(f, cancelled(env))
  return roundPack(env, f, sum < 0n ? 1 : 0, sum < 0n ? -sum : sum, exp, precision)
}

export function multiply(env: FloatEnv, f: Format, aBits: bigint, bBits: bigint, precision?: number): bigint {
  const a = unpack(f, aBits)
  const b = unpack(f, bBits)
  const nan = propagate(env, f, a, aBits, b, bBits)
  if (nan !== undefined) return nan
  const sign = a.sign ^ b.sign
  if (env.daz) {
    denormals(env, a)
    denormals(env, b)
  }
  if (a.kind === INFINITY && b.kind === ZERO || a.kind === ZERO && b.kind === INFINITY) return invalid(env, f)
  denormals(env, a)
  denormals(env, b)
  if (a.kind === INFINITY || b.kind === INFINITY) return infinity(f, sign)
  if (a.sig === 0n || b.sig === 0n) return zero(f, sign)
  return roundPack(env, f, sign, a.sig * b.sig, a.exp + b.exp, precision)
}

export function divide(env: FloatEnv, f: Format, aBits: bigint, bBits: bigint, precision?: number): bigint {
  const a = unpack(f, aBits)
  const b = unpack(f, bBits)
  const nan = propagate(env, f, a, aBits, b, bBits)
  if (nan !== undefined) return nan
  const sign = a.sign ^ b.sign
  if (env.daz) {
    denormals(env, a)
    denormals(env, b)
  }
  if (a.kind === INFINITY && b.kind === INFINITY || a.kind === ZERO && b.kind === ZERO) return invalid(env, f)
  if (b.kind === ZERO) {
    if (a.kind === INFINITY) return infinity(f, sign)
    env.flags |= ZE
    return infinity(f, sign)
  }
  denormals(env, a)
  denormals(env, b)
  if (a.kind === INFINITY) return infinity(f, sign)
  if (b.kind === INFINITY || a.kind === ZERO) return zero(f, sign)
  // Enough quotient bits for the longest precision whatever the lengths are, and a sticky one.
  const shift = bitLength(b.sig) - bitLength(a.sig) + 67
  const numerator = shift > 0 ? a.sig << BigInt(shift) : a.sig
  const scaled = shift > 0 ? shift : 0
  let quotient = numerator / b.sig
  if (quotient * b.sig !== numerator) quotient = quotient << 1n | 1n
  else quotient <<= 1n
  return roundPack(env, f, sign, quotient, a.exp - b.exp - scaled - 1, precision)
}

/** Floor of the square root, by Newton's iteration from above. */
function integerRoot(value: bigint): bigint {
  let x = 1n << BigInt((bitLength(value) + 1) >> 1)
  for (;;) {
    const next = (x + value / x) >> 1n
    if (next >= x) return x
    x = next
  }
}

export function squareRoot(env: FloatEnv, f: Format, bits: bigint, precision?: number): bigint {
  const a = unpack(f, bits)
  if (a.kind >= QNAN) return propagateOne(env, f, a, bits)
  if (env.daz) denormals(env, a)
  if (a.kind === ZERO) return zero(f, a.sign)
  if (a.sign) return invalid(env, f)
  denormals(env, a)
  if (a.kind === INFINITY) return bits
  // An even exponent and about 2·68 bits give a root of 68 bits.
  let shift = 136 - bitLength(a.sig)
  if ((a.exp - shift) & 1) shift++
  const radicand = a.sig << BigInt(shift)
  const root = integerRoot(radicand)
  const sticky = root * root === radicand ? 0n : 1n
  return roundPack(env, f, 0, root << 1n | sticky, (a.exp - shift) / 2 - 1, precision)
}

/** a · b + c with one rounding; `negateProduct`, `negateSum` flip the sign of the product and of c. SSE NaN rule. */
export function fusedMultiplyAdd(env: FloatEnv, f: Format, aBits: bigint, bBits: bigint, cBits: bigint,
  negateProduct = 0, negateC = 0): bigint {
  const a = unpack(f, aBits)
  const b = unpack(f, bBits)
  const c = unpack(f, cBits)
  if (a.kind >= QNAN || b.kind >= QNAN || c.kind >= QNAN) {
    if (a.kind === SNAN || b.kind === SNAN || c.kind === SNAN) env.flags |= IE
    return quiet(f, a.kind >= QNAN ? aBits : b.kind >= QNAN ? bBits : cBits)
  }
  if (env.daz) [a, b, c].forEach(x => denormals(env, x))
  const sign = a.sign ^ b.sign ^ negateProduct
  const infinite = a.kind === INFINITY || b.kind === INFINITY
  c.sign ^= negateC
  if (infinite && (a.kind === ZERO || b.kind === ZERO)) return invalid(env, f)
  if (infinite && c.kind === INFINITY && sign !== c.sign) return invalid(env, f)
  for (const x of [a, b, c]) denormals(env, x)
  if (infinite) return infinity(f, sign)
  if (c.kind === INFINITY) return infinity(f, c.sign)
  const product: Float = { kind: a.kind, sign, exp: a.exp + b.exp, sig: a.sig * b.sig }
  return addFinite(env, f, product, c)
}

/** What `compare` finds. */
export const LESS = -1
export const EQUAL = 0
export const GREATER = 1
export const UNORDERED = 2

/** Compares; `quietly` raises invalid for signalling NaNs (and unsupported operands) only. */
export function compare(env: FloatEnv, f: Format, aBits: bigint, bBits: bigint, quietly: boolean): number {
  const a = unpack(f, aBits)
  const b = unpack(f, bBits)
  if (a.kind >= QNAN || b.kind >= QNAN) {
    const signalling = a.kind >= SNAN || b.kind >= SNAN
    if (signalling || !quietly) env.flags |= IE
    return UNORDERED
  }
  denormals(env, a)
  denormals(env, b)
  return order(a, b)
}

function order(a: Float, b: Float): number {
  const aSign = a.kind === ZERO ? 0 : a.sign ? -1 : 1
  const bSign = b.kind === ZERO ? 0 : b.sign ? -1 : 1
  if (aSign !== bSign) return aSign < bSign ? LESS : GREATER
  if (aSign === 0) return EQUAL
  return magnitude(a, b) * aSign
}

function magnitude(a: Float, b: Float): number {
  if (a.kind === INFINITY || b.kind === INFINITY) {
    return a.kind === b.kind ? EQUAL : a.kind === INFINITY ? GREATER : LESS
  }
  const exp = Math.min(a.exp, b.exp)
  const [aTop, bTop] = [a.exp + bitLength(a.sig), b.exp + bitLength(b.sig)]
  if (aTop !== bTop) return aTop < bTop ? LESS : GREATER
  const x = a.sig << BigInt(a.exp - exp)
  const y = b.sig << BigInt(b.exp - exp)
  return x === y ? EQUAL : x < y ? LESS : GREATER
}

