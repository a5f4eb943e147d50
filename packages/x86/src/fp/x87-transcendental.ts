/**
 * FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1. Results are the correctly rounded ones (of arguments that
 * the trigonometric functions reduce with Intel's 66-bit π). Processors only promise an error below one unit in the
 * last place (SDM vol. 1, §8.3.10) and do differ from each other there; so may we, by one unit.
 */
import type { Cpu, Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { angle, divideScaled, exp2MinusOne, inexact, log2OnePlus, magnitude, multiplyScaled, PI, sineCosine,
  type Scaled }
  from './elementary.ts'
import { DENORMAL, denormals, F80, INFINITY, infinity, invalid, PE, propagate, propagateOne, QNAN, roundPack, UE,
  unpack, ZE, ZERO, zero, type Float }
  from './softfloat.ts'
import { beginX87, C2, env, overflows, pop, readSt, settle, setTop, topOf, underflows, writeSt } from './x87-state.ts'

const ONE = 0x3fff_8000_0000_0000_0000n

const scaled = (a: Float): Scaled => ({ sig: a.sign ? -a.sig : a.sig, exp: a.exp })

/** Rounds an exact value. */
function round(v: Scaled): bigint {
  return roundPack(env, F80, v.sig < 0n ? 1 : 0, v.sig < 0n ? -v.sig : v.sig, v.exp)
}

const signed = (v: Scaled, sign: number): Scaled => sign ? { sig: -v.sig, exp: v.exp } : v
const times = (n: bigint, v: Scaled, exp: number): Scaled => ({ sig: v.sig * n, exp: v.exp + exp })

/** Sine and cosine, or tangent and one; undefined: the argument is out of range. */
function trigonometric(bits: bigint, wanted: 'sine' | 'cosine' | 'tangent'): bigint | undefined {
  const a = unpack(F80, bits)
  if (a.kind >= QNAN) return propagateOne(env, F80, a, bits)
  if (a.kind === INFINITY) return invalid(env, F80)
  if (a.kind === ZERO) return wanted === 'cosine' ? ONE : bits
  denormals(env, a)
  const x = scaled(a)
  if (magnitude(x) > 63) return undefined
  if (magnitude(x) <= TINY) return tiny(a, wanted)
  const { sine, cosine } = sineCosine(x)
  if (wanted === 'sine') return round(inexact(sine))
  return round(inexact(wanted === 'cosine' ? cosine : divideScaled(sine, cosine)))
}

/** Below 2^−68 Intel's processors answer x (or 1) whatever the rounding, as imprecise, and as tiny for denormals. */
const TINY = -68

function tiny(a: Float, wanted: string): bigint {
  env.flags |= PE
  if (wanted === 'cosine') return ONE
  if (a.kind === DENORMAL && !(a.sig >> 63n)) env.flags |= UE
  return roundPack(env, F80, a.sign, a.sig, a.exp)
}

/** FSIN, FCOS. */
function oneResult(wanted: 'sine' | 'cosine'): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const result = underflows(cpu, 0) ? F80.indefinite : trigonometric(readSt(cpu, 0), wanted)
    const set = result === undefined ? C2 : 0
    if (settle(cpu, insn, C2, set) && result !== undefined) writeSt(cpu, 0, result)
  }
}

/** FSINCOS, FPTAN: one result replaces ST(0), another is pushed. */
function twoResults(first: 'sine' | 'tangent', second: (bits: bigint) => bigint | undefined): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const missing = underflows(cpu, 0) || overflows(cpu)
    const bits = readSt(cpu, 0)
    const pushed = missing ? F80.indefinite : second(bits)
    const result = missing ? F80.indefinite : trigonometric(bits, first)
    finishTwo(cpu, insn, result, pushed)
  }
}

function finishTwo(cpu: Cpu, insn: Insn, result: bigint | undefined, pushed: bigint | undefined): void {
  const inRange = result !== undefined && pushed !== undefined
  if (!settle(cpu, insn, C2, inRange ? 0 : C2) || !inRange) return
  writeSt(cpu, 0, result)
  setTop(cpu, topOf(cpu) - 1)
  writeSt(cpu, 0, pushed)
}

/** What FPTAN pushes: 1, or the NaN that the result is. */
function besideTangent(bits: bigint): bigint | undefined {
  const a = unpack(F80, bits)
  if (a.kind >= QNAN) return propagateOne(env, F80, a, bits)
  return a.kind === INFINITY ? invalid(env, F80) : ONE
}

/** ST(1) ← f(ST(1), ST(0)), then a pop: FPATAN, FYL2X, FYL2XP1. */
function popping(f: (y: Float, x: Float, yBits: bigint, xBits: bigint) => bigint): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const missing = underflows(cpu, 0) || underflows(cpu, 1)
    const result = missing ? F80.indefinite : withNaNs(readSt(cpu, 1), readSt(cpu, 0), f)
    if (!settle(cpu, insn)) return
    writeSt(cpu, 1, result)
    pop(cpu)
  }
}

function withNaNs(yBits: bigint, xBits: bigint, f: (y: Float, x: Float, yBits: bigint,
  xBits: bigint) => bigint): bigint {
  const y = unpack(F80, yBits)
  const x = unpack(F80, xBits)
  return propagate(env, F80, x, xBits, y, yBits) ?? f(y, x, yBits, xBits)
}

function noteDenormals(y: Float, x: Float): void {
  denormals(env, y)
  denormals(env, x)
}

/** The angle of the point (ST(0), ST(1)). Special operands: SDM vol. 2, FPATAN, table 3-30. */
function arctangent(y: Float, x: Float): bigint {
  noteDenormals(y, x)
  const result = (v: Scaled): bigint => round(inexact(signed(v, y.sign)))
  if (y.kind === INFINITY) {
    if (x.kind === INFINITY) return result(times(x.sign ? 3n : 1n, PI, -2))
    return result(times(1n, PI, -1))
  }
  if (y.kind === ZERO || x.kind === INFINITY) return x.sign ? result(PI) : zero(F80, y.sign)
  if (x.kind === ZERO) return result(times(1n, PI, -1))
  const up: Scaled = { sig: y.sig, exp: y.exp }
  const right = scaled(x)
  if (x.sign === 0 && magnitude(right) - magnitude(up) > 100) return farRight(y, up, right)
  return result(angle(up, right))
}

/** y/x for a far smaller y > 0: exact quotients are rounded as what lies just below them. */
function farRight(y: Float, up: Scaled, right: Scaled): bigint {
  const quotient = divideScaled(up, right)
  const exact = quotient.sig * right.sig === up.sig << BigInt(up.exp - right.exp - quotient.exp)
  const value = exact ? { sig: (quotient.sig << 2n) - 1n, exp: quotient.exp - 2 } : inexact(quotient)
  return round(signed(value, y.sign))
}

/** y · log2(x) as sign, zero, infinity or number, from the logarithm's own. */
function productWithLogarithm(y: Float, logarithm: Scaled, exact: boolean): bigint {
  const negative = logarithm.sig < 0n ? 1 : 0
  if (y.kind === INFINITY) return logarithm.sig === 0n ? invalid(env, F80) : infinity(F80, y.sign ^ negative)
  if (y.kind === ZERO || logarithm.sig === 0n) return zero(F80, y.sign ^ negative)
  const product = multiplyScaled(scaled(y), logarithm)
  return round(exact ? product : inexact(product))
}

/** ST(1) · log2(ST(0)). Special operands: SDM vol. 2, FYL2X, table 3-46. */
function logarithm(y: Float, x: Float): bigint {
  if (x.kind === ZERO) {
    if (y.kind === ZERO) return invalid(env, F80)
    if (y.kind !== INFINITY) env.flags |= ZE
    return infinity(F80, y.sign ^ 1)
  }
  if (x.sign) return invalid(env, F80)
  if (x.kind === INFINITY) {
    if (y.kind === ZERO) return invalid(env, F80)
    noteDenormals(y, x)
    return infinity(F80, y.sign)
  }
  const power = (x.sig & (x.sig - 1n)) === 0n
  const minusOne: Scaled = x.exp <= 0 ? { sig: x.sig - (1n << BigInt(-x.exp)), exp: x.exp }
    : { sig: (x.sig << BigInt(x.exp)) - 1n, exp: 0 }
  if (y.kind === INFINITY && minusOne.sig === 0n) return invalid(env, F80)
  noteDenormals(y, x)
  // Observed: PE even where the product is exact, but for those of zero and infinity.
  if (power && minusOne.sig !== 0n && y.kind !== ZERO && y.kind !== INFINITY) env.flags |= PE
  if (power) return productWithLogarithm(y, { sig: BigInt(magnitude(scaled(x)) - 1), exp: 0 }, true)
  return productWithLogarithm(y, logarithmOf(x, minusOne), false)
}

/** log2 of a number, by way of its mantissa when it is far from 1. */
function logarithmOf(x: Float, minusOne: Scaled): Scaled {
  const e = magnitude(scaled(x)) - 1
  if (e >= -1 && e <= 1) return log2OnePlus(minusOne)
  const exp = x.exp - e
  const fraction = log2OnePlus({ sig: x.sig - (1n << BigInt(-exp)), exp })
  const at = Math.min(fraction.exp, 0)
  return { sig: (fraction.sig << BigInt(fraction.exp - at)) + (BigInt(e) << BigInt(-at)), exp: at }
}

/**
 * ST(1) · log2(ST(0) + 1). The manual defines it for |ST(0)| < 1 − √½ only; from −1 downwards Intel's processors give
 * back ST(0).
 */
function logarithmPlusOne(y: Float, x: Float, _yBits: bigint, xBits: bigint): bigint {
  if (x.kind === INFINITY) {
    if (x.sign || y.kind === ZERO) return invalid(env, F80)
    noteDenormals(y, x)
    return infinity(F80, y.sign)
  }
  if (x.kind === ZERO) {
    if (y.kind === INFINITY) return invalid(env, F80)
    noteDenormals(y, x)
    return zero(F80, y.sign ^ x.sign)
  }
  const value = scaled(x)
  noteDenormals(y, x)
  if (x.sign && magnitude(value) > 0) {
    if (y.kind === INFINITY) return infinity(F80, y.sign ^ 1)
    return y.kind === ZERO ? zero(F80, y.sign ^ 1) : unchanged(xBits)
  }
  return productWithLogarithm(y, magnitude(value) > 64 ? logarithmOf(x, value) : log2OnePlus(value), false)
}

/** A result without rounding that Intel's processors call imprecise all the same. */
function unchanged(bits: bigint): bigint {
  env.flags |= PE
  return bits
}

/** 2^ST(0) − 1 for |ST(0)| ≤ 1. Beyond, where the manual leaves it open, the operand stays. */
function powerMinusOne(bits: bigint): bigint {
  const a = unpack(F80, bits)
  if (a.kind >= QNAN) return propagateOne(env, F80, a, bits)
  if (a.kind === INFINITY) return a.sign ? ONE | 1n << 79n : bits
  if (a.kind === ZERO) return bits
  denormals(env, a)
  const x = scaled(a)
  if (magnitude(x) > 1 || magnitude(x) === 1 && a.sig & (a.sig - 1n)) return unchanged(bits)
  if (magnitude(x) === 1) return unchanged(a.sign ? 0xbffe_8000_0000_0000_0000n : bits)
  return round(inexact(exp2MinusOne(x)))
}

const f2xm1: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const result = underflows(cpu, 0) ? F80.indefinite : powerMinusOne(readSt(cpu, 0))
  if (settle(cpu, insn)) writeSt(cpu, 0, result)
}

export const x87TranscendentalMeanings: Record<string, Meaning> = {
  fsin: oneResult('sine'), fcos: oneResult('cosine'),
  fsincos: twoResults('sine', bits => trigonometric(bits, 'cosine')), fptan: twoResults('tangent', besideTangent),
  fpatan: popping(arctangent), fyl2x: popping(logarithm), fyl2xp1: popping(logarithmPlusOne), f2xm1,
}
