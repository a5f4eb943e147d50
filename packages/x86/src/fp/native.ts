/**
 * Arithmetic by the host's own binary64 where it gives bit-exact results and flags: rounding to nearest, all exceptions
 * masked, operands normal or zero, results normal (or an exact zero). Everything else says "no" and is left to
 * `arithmetic.ts`. Binary32 through binary64 rounds twice without harm, as 53 ≥ 2·24 + 2 (Figueroa 1995).
 */
import type { Vec } from '../vector/vec.ts'
import { env, native } from './sse-env.ts'
import { PE } from './softfloat.ts'

/** One operation on a lane of each source; false when the exact path must take it. */
export type NativeOp = (a: Vec, i: number, b: Vec, j: number, r: Vec, k: number) => boolean

const MIN32 = 2 ** -126
const MAX32 = 2 ** 128 - 2 ** 104
const MIN64 = 2 ** -1022
const MAX64 = Number.MAX_VALUE
/** Bounds between which the error of a product is a number itself. */
const LOW = 2 ** -400
const HIGH = 2 ** 400

const plain32 = (x: number): boolean => {
  const m = Math.abs(x)
  return m >= MIN32 && m <= MAX32 || m === 0
}
const plain64 = (x: number): boolean => {
  const m = Math.abs(x)
  return m >= MIN64 && m <= MAX64 || m === 0
}
const safe = (x: number): boolean => {
  const m = Math.abs(x)
  return m > LOW && m < HIGH
}

/** Stores a binary32 result that came from `wide`; false when it may be tiny or has overflowed. */
function store32(r: Vec, k: number, wide: number, exact: boolean): boolean {
  const value = Math.fround(wide)
  const m = Math.abs(value)
  if (!(m > MIN32 && m <= MAX32)) return false
  if (native === 1 && !(exact && value === wide)) env.flags |= PE
  r.f32[k] = value
  return true
}

/** Error of x + y as computed (Knuth's TwoSum). */
function sumError(x: number, y: number, s: number): number {
  const t = s - x
  return (x - (s - t)) + (y - t)
}

/** Error of x · y as computed (Dekker, Veltkamp), for `safe` operands. */
function productError(x: number, y: number, p: number): number {
  const u = x * 134217729
  const v = y * 134217729
  const xh = u - (u - x)
  const yh = v - (v - y)
  const xl = x - xh
  const yl = y - yh
  return ((xh * yh - p) + xh * yl + xl * yh) + xl * yl
}

function addition32(x: number, y: number, r: Vec, k: number): boolean {
  if (!plain32(x) || !plain32(y)) return false
  const s = x + y
  if (s === 0) {
    r.f32[k] = s
    return true
  }
  return store32(r, k, s, native === 2 || sumError(x, y, s) === 0)
}

function addition64(x: number, y: number, r: Vec, k: number): boolean {
  if (!plain64(x) || !plain64(y)) return false
  const s = x + y
  if (s !== 0) {
    const m = Math.abs(s)
    if (!(m > MIN64 && m <= MAX64)) return false
    if (native === 1 && sumError(x, y, s) !== 0) env.flags |= PE
  }
  r.f64[k] = s
  return true
}

/** Whether x · y is p exactly; undefined when that can't be told. */
function exactProduct(x: number, y: number, p: number): boolean | undefined {
  return safe(x) && safe(y) && safe(p) ? productError(x, y, p) === 0 : undefined
}

/** Stores a binary64 result; `exact` undefined: not known. */
function store64(r: Vec, k: number, value: number, exact: boolean | undefined): boolean {
  if (native === 1) {
    if (exact === undefined) return false
    if (!exact) env.flags |= PE
  }
  r.f64[k] = value
  return true
}

const normal64 = (x: number): boolean => {
  const m = Math.abs(x)
  return m > MIN64 && m <= MAX64
}

export const add32: NativeOp = (a, i, b, j, r, k) => addition32(a.f32[i], b.f32[j], r, k)
export const subtract32: NativeOp = (a, i, b, j, r, k) => addition32(a.f32[i], -b.f32[j], r, k)
export const add64: NativeOp = (a, i, b, j, r, k) => addition64(a.f64[i], b.f64[j], r, k)
export const subtract64: NativeOp = (a, i, b, j, r, k) => addition64(a.f64[i], -b.f64[j], r, k)

export const multiply32: NativeOp = (a, i, b, j, r, k) => {
  const x = a.f32[i]
  const y = b.f32[j]
  return plain32(x) && plain32(y) && store32(r, k, x * y, true)
}

export const multiply64: NativeOp = (a, i, b, j, r, k) => {
  const x = a.f64[i]
  const y = b.f64[j]
  if (!plain64(x) || !plain64(y)) return false
  const p = x * y
  return normal64(p) && store64(r, k, p, native === 2 ? true : exactProduct(x, y, p))
}

export const divide32: NativeOp = (a, i, b, j, r, k) => {
  const x = a.f32[i]
  const y = b.f32[j]
  if (!plain32(x) || !plain32(y) || y === 0) return false
  const q = x / y
  return store32(r, k, q, Math.fround(q) * y === x)
}

export const divide64: NativeOp = (a, i, b, j, r, k) => {
  const x = a.f64[i]
  const y = b.f64[j]
  if (!plain64(x) || !plain64(y) || y === 0) return false
  const q = x / y
  if (!normal64(q)) return false
  const back = q * y
  return store64(r, k, q, native === 2 ? true : back === x ? exactProduct(q, y,
    back) : safe(x) && safe(y) ? false : undefined)
}

export const root32: NativeOp = (_a, _i, b, j, r, k) => {
  const x = b.f32[j]
  if (!plain32(x) || !(x > 0)) return false
  const q = Math.sqrt(x)
  return store32(r, k, q, Math.fround(q) * Math.fround(q) === x)
}

export const root64: NativeOp = (_a, _i, b, j, r, k) => {
  const x = b.f64[j]
  if (!plain64(x) || !(x > 0)) return false
  const q = Math.sqrt(x)
  const back = q * q
  return store64(r, k, q, native === 2 ? true : back === x ? exactProduct(q, q, back) : safe(x) ? false : undefined)
}

const bits = new Float64Array(1)
const words = new Uint32Array(bits.buffer)

/** x + y rounded to odd: an inexact sum gets an odd last bit, so that rounding it again does no harm (Boldo 2008). */
function sumToOdd(x: number, y: number): number {
  const s = x + y
  const error = sumError(x, y, s)
  if (error === 0) return s
  bits[0] = s
  if (words[0] & 1) return s
  // One unit towards the error: the magnitude grows when both have the same sign.
  if (s > 0 === error > 0) words[0] |= 1
  else {
    if (words[0] === 0) words[1]--
    words[0]--
  }
  return bits[0]
}

/** x · y + z; the product is exact in binary64. */
export function fusedAdd32(x: number, y: number, z: number, r: Vec, k: number): boolean {
  if (!plain32(x) || !plain32(y) || !plain32(z)) return false
  const p = x * y
  const s = sumToOdd(p, z)
  if (s === 0) return false
  return store32(r, k, s, p + z === s && sumError(p, z, s) === 0)
}

const safeOrZero = (x: number): boolean => x === 0 || safe(x)

/** x · y + z by Boldo and Melquiond's algorithm, which rounds once in effect. */
export function fusedAdd64(x: number, y: number, z: number, r: Vec, k: number): boolean {
  if (!safe(x) || !safe(y) || !safeOrZero(z)) return false
  const product = x * y
  const low = productError(x, y, product)
  const middle = z + low
  const middleError = sumError(z, low, middle)
  const high = product + middle
  const highError = sumError(product, middle, high)
  const rest = sumToOdd(middleError, highError)
  const result = high + rest
  if (!safe(result)) return false
  if (native === 1) {
    const exact = sumError(middleError, highError, middleError + highError) === 0 && sumError(high, rest, result) === 0
    if (!exact) env.flags |= PE
  }
  r.f64[k] = result
  return true
}

/** Binary32 to binary64. */
export function widenNative(x: number, r: Vec, k: number): boolean {
  if (!plain32(x)) return false
  r.f64[k] = x
  return true
}

/** Binary64 to binary32. */
export function narrowNative(x: number, r: Vec, k: number): boolean {
  return plain64(x) && store32(r, k, x, true)
}

/** x as an integer below 2^53 in magnitude, rounded to nearest or truncated; undefined when out of range or special. */
export function integerNative(x: number, truncate: boolean, limit: number): number | undefined {
  const m = Math.abs(x)
  if (!(m < limit && (m >= MIN32 || m === 0))) return undefined
  const value = truncate ? Math.trunc(x) : nearestEven(x)
  if (value !== x) env.flags |= PE
  return value
}

/** Nearest integer, ties to even, for |x| < 2^52. */
function nearestEven(x: number): number {
  const magic = 6755399441055744 // 1.5 · 2^52: the sum's last bit is worth 1
  return (x + magic) - magic
}

const isPlain = { 4: plain32, 8: plain64 }

/** Whether two operands compare as native numbers do, without flags. */
export function comparable(width: 4 | 8, x: number, y: number): boolean {
  return isPlain[width](x) && isPlain[width](y)
}
