/**
 * Elementary functions in BigInt fixed point, for the x87 transcendentals. Arguments are exact (sig · 2^exp); results
 * carry some 180 significant bits and a sticky lowest one, so that rounding them to 64 bits is correct but for
 * freaks. A value `{ sig, exp }` is sig · 2^exp, with the sign in `sig`.
 */
import { bitLength } from './softfloat.ts'

export interface Scaled { sig: bigint, exp: number }

/** Significant bits that are carried. */
const WORK = 192

const abs = (x: bigint): bigint => x < 0n ? -x : x
const shift = (x: bigint, by: number): bigint => by >= 0 ? x << BigInt(by) : x >> BigInt(-by)

/** Position of the leading bit: 2^(n−1) ≤ |value| < 2^n. */
export const magnitude = (v: Scaled): number => v.exp + bitLength(abs(v.sig))

/** The value with `WORK` significant bits. */
function trim(v: Scaled): Scaled {
  const excess = bitLength(abs(v.sig)) - WORK
  return excess > 0 ? { sig: shift(v.sig, -excess), exp: v.exp + excess } : v
}

/** An inexact value as `roundPack` wants it: long enough, lowest bit set. */
export function inexact(v: Scaled): Scaled {
  const lack = Math.max(WORK - bitLength(abs(v.sig)), 0)
  const long = v.sig << BigInt(lack + 1)
  return { sig: v.sig < 0n ? -(-long | 1n) : long | 1n, exp: v.exp - lack - 1 }
}

export const multiplyScaled = (a: Scaled, b: Scaled): Scaled => ({ sig: a.sig * b.sig, exp: a.exp + b.exp })

/** a / b to `WORK` bits. */
export function divideScaled(a: Scaled, b: Scaled): Scaled {
  const lift = Math.max(WORK + bitLength(abs(b.sig)) - bitLength(abs(a.sig)), 0)
  return { sig: (a.sig << BigInt(lift)) / b.sig, exp: a.exp - b.exp - lift }
}

/** The value as an integer multiple of 2^−bits. */
const fixed = (v: Scaled, bits: number): bigint => shift(v.sig, v.exp + bits)

/** Fraction bits that give a value of this size `WORK` significant ones. */
const fractionBits = (v: Scaled): number => WORK + 8 + Math.max(0, -magnitude(v))

/** Σ ±z^(2k+1)/(2k+1): atanh (`sign` 1) or atan (−1) of a small fixed-point z. */
function oddSeries(z: bigint, bits: number, sign: 1n | -1n): bigint {
  const square = sign * (z * z >> BigInt(bits))
  let power = z
  let sum = z
  for (let n = 3n; power !== 0n && power !== -1n; n += 2n) {
    power = power * square >> BigInt(bits)
    sum += power / n
  }
  return sum
}

function piBits(bits: number): bigint {
  const one = 1n << BigInt(bits + 16)
  const machin = 16n * oddSeries(one / 5n, bits + 16, -1n) - 4n * oddSeries(one / 239n, bits + 16, -1n)
  return machin >> 16n
}

const CONSTANT_BITS = 320
/** π and ln 2 to 320 fraction bits. */
export const PI: Scaled = { sig: piBits(CONSTANT_BITS), exp: -CONSTANT_BITS }
export const LN2: Scaled = { sig: 2n * oddSeries((1n << BigInt(CONSTANT_BITS)) / 3n, CONSTANT_BITS, 1n),
  exp: -CONSTANT_BITS }

/** 2^x − 1 for 0 < |x| ≤ 1. */
export function exp2MinusOne(x: Scaled): Scaled {
  const y = trim(multiplyScaled(x, LN2))
  if (magnitude(y) < -100) return y // y²/2 is below half of a unit of the 64th bit by far
  const bits = fractionBits(y)
  const z = fixed(y, bits)
  let term = z
  let sum = z
  for (let n = 2n; term !== 0n && term !== -1n; n += 1n) {
    term = (term * z >> BigInt(bits)) / n
    sum += term
  }
  return { sig: sum, exp: -bits }
}

/** log2(1 + x) for x > −1. */
export function log2OnePlus(x: Scaled): Scaled {
  if (magnitude(x) < -100) return divideScaled(x, LN2)
  // 1 + x = m · 2^e with m around 1; ln m = 2 · atanh((m − 1) / (m + 1)).
  const exp = Math.min(x.exp, 0)
  const one = 1n << BigInt(-exp)
  const sum: Scaled = { sig: shift(x.sig, x.exp - exp) + one, exp }
  let e = magnitude(sum) - 1
  if (3n * one < 2n * shift(sum.sig, -e + 8) >> 8n) e++
  const numerator: Scaled = e === 0 ? x : { sig: sum.sig - shift(1n, e - exp), exp }
  const denominator: Scaled = { sig: sum.sig + shift(1n, e - exp), exp }
  if (numerator.sig === 0n) return { sig: BigInt(e), exp: 0 }
  const z = divideScaled(numerator, denominator)
  const bits = fractionBits(z)
  const logarithm: Scaled = { sig: 2n * oddSeries(fixed(z, bits), bits, 1n), exp: -bits }
  const fraction = divideScaled(logarithm, LN2)
  if (e === 0) return fraction
  return { sig: shift(BigInt(e), -fraction.exp) + fraction.sig, exp: fraction.exp }
}

function squareRootFixed(value: bigint): bigint {
  let x = 1n << BigInt((bitLength(value) + 1) >> 1)
  for (;;) {
    const next = (x + value / x) >> 1n
    if (next >= x) return x
    x = next
  }
}

/** atan(x) for x > 0. */
function arctangent(x: Scaled): Scaled {
  if (magnitude(x) < -100) return justBelow(x)
  const bits = fractionBits(x)
  const one = 1n << BigInt(bits)
  let z = fixed(x, bits)
  // atan z = 2 · atan(z / (1 + √(1 + z²))): three halvings make the series short.
  for (let i = 0; i < 3; i++) z = (z << BigInt(bits)) / (one + squareRootFixed(one * one + z * z))
  return { sig: 8n * oddSeries(z, bits, -1n), exp: -bits }
}

const add = (a: Scaled, b: Scaled): Scaled => {
  const exp = Math.min(a.exp, b.exp)
  return { sig: shift(a.sig, a.exp - exp) + shift(b.sig, b.exp - exp), exp }
}

const half = (v: Scaled): Scaled => ({ sig: v.sig, exp: v.exp - 1 })
const negate = (v: Scaled): Scaled => ({ sig: -v.sig, exp: v.exp })

/** The angle of the point (x, y), both not zero and y > 0: in (0, π). */
export function angle(y: Scaled, x: Scaled): Scaled {
  const positive: Scaled = { sig: abs(x.sig), exp: x.exp }
  const steep = magnitude(y) > magnitude(positive)
  const ratio = steep ? divideScaled(positive, y) : divideScaled(y, positive)
  const small = arctangent(ratio)
  // What lies more than 300 bits below π/2 or π only decides the direction of rounding.
  const least: Scaled = magnitude(small) < -300 ? { sig: 1n, exp: -300 } : trim(small)
  if (steep) return add(half(PI), x.sig > 0n ? negate(least) : least)
  return x.sig > 0n ? small : add(PI, negate(least))
}

/** Intel's π for argument reduction: 66 significant bits (SDM vol. 1, §8.3.8). */
const PI66: Scaled = { sig: 0x3_243f_6a88_85a3_08d3n, exp: -64 }

/**
 * Sine and cosine of x, reduced as Intel's processors do: with a π of 66 bits. The remainder is exact, the functions of
 * it are as good as correctly rounded.
 */
export function sineCosine(x: Scaled): { sine: Scaled, cosine: Scaled } {
  // Multiples of π/2, to the nearest.
  const exp = Math.min(x.exp, PI66.exp - 1)
  const value = shift(x.sig, x.exp - exp)
  const quarter = shift(PI66.sig, PI66.exp - 1 - exp)
  const turns = (2n * value + quarter) / (2n * quarter) - (2n * value + quarter < 0n
    && (2n * value + quarter) % (2n * quarter) ? 1n : 0n)
  const rest: Scaled = { sig: value - turns * quarter, exp }
  const sine = sineSeries(rest)
  const cosine = cosineSeries(rest)
  switch (Number(turns & 3n)) {
    case 0: return { sine, cosine }
    case 1: return { sine: cosine, cosine: negate(sine) }
    case 2: return { sine: negate(sine), cosine: negate(cosine) }
    default: return { sine: negate(cosine), cosine: sine }
  }
}

function alternating(first: bigint, square: bigint, bits: number, from: bigint): bigint {
  let term = first
  let sum = first
  for (let n = from; term !== 0n && term !== -1n; n += 2n) {
    term = -((term * square >> BigInt(bits)) / (n * (n + 1n)))
    sum += term
  }
  return sum
}

/** A value just nearer to zero: x − x³/6 and x − x³/3 of tiny x. */
const justBelow = (x: Scaled): Scaled => ({ sig: (x.sig << 200n) - (x.sig < 0n ? -1n : 1n), exp: x.exp - 200 })

function sineSeries(x: Scaled): Scaled {
  if (x.sig === 0n) return x
  if (magnitude(x) < -100) return justBelow(x)
  const bits = fractionBits(x)
  const z = fixed(x, bits)
  return { sig: alternating(z, z * z >> BigInt(bits), bits, 2n), exp: -bits }
}

function cosineSeries(x: Scaled): Scaled {
  const bits = WORK + 8
  const z = fixed(x, bits)
  const one = 1n << BigInt(bits)
  const sum = alternating(one, z * z >> BigInt(bits), bits, 1n)
  return { sig: sum === one && x.sig !== 0n ? one - 1n : sum, exp: -bits }
}
