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
