/** Conversions among floating-point formats and integers, and rounding to an integer (IEEE 754 §5.4.1, §5.8, §5.9). */
import { bitLength, DENORMAL, denormals, encode, IE, INFINITY, infinity, invalid, PE, propagateOne, QNAN, quiet,
  roundPack, roundsUp,
  SNAN, UNSUPPORTED, unpack, ZERO, zero, type Float, type FloatEnv, type Format } from './softfloat.ts'

/** A value of format `from` in format `to`. NaNs keep the high bits of their fraction. */
export function convert(env: FloatEnv, from: Format, to: Format, bits: bigint): bigint {
  const a = unpack(from, bits)
  if (a.kind === UNSUPPORTED) return invalid(env, to)
  if (a.kind === QNAN || a.kind === SNAN) {
    if (a.kind === SNAN) env.flags |= IE
    const fraction = a.sig & (1n << BigInt(from.precision - 1)) - 1n
    const shift = BigInt(Math.abs(to.precision - from.precision))
    const moved = to.precision > from.precision ? fraction << shift : fraction >> shift
    return quiet(to, encode(to, a.sign, to.top, moved | 1n << BigInt(to.precision - 1)))
  }
  if (a.kind === INFINITY) return infinity(to, a.sign)
  denormals(env, a)
  if (a.sig === 0n) return zero(to, a.sign)
  return roundPack(env, to, a.sign, a.sig, a.exp)
}

/** A signed integer as a floating-point number. */
export function fromInteger(env: FloatEnv, to: Format, value: bigint, precision?: number): bigint {
  if (value === 0n) return zero(to, 0)
  return roundPack(env, to, value < 0n ? 1 : 0, value < 0n ? -value : value, 0, precision)
}

/** Magnitude of a finite number rounded to an integer, with PE and `roundedUp`. */
function roundMagnitude(env: FloatEnv, a: Float, rounding: number): bigint {
  env.roundedUp = false
  if (a.exp >= 0) return a.sig << BigInt(a.exp)
  const length = bitLength(a.sig)
  // Below a quarter only the sign and "not zero" matter.
  const shift = Math.min(-a.exp, length + 2)
  const sig = a.sig
  const kept = sig >> BigInt(shift)
  const rest = sig - (kept << BigInt(shift))
  if (rest === 0n) return kept
  env.flags |= PE
  const up = roundsUp(rounding, a.sign, kept, rest, shift)
  env.roundedUp = up
  return up ? kept + 1n : kept
}

/**
 * A number as a signed integer of `width` bits; out of range and NaN give the "integer indefinite" (only the top bit
 * set) and IE alone.
 */
export function toInteger(env: FloatEnv, f: Format, bits: bigint, width: number, rounding = env.rounding): bigint {
  const a = unpack(f, bits)
  const indefinite = -(1n << BigInt(width - 1))
  if (env.daz && a.kind === DENORMAL) denormals(env, a)
  if (a.kind === ZERO) return 0n
  const flags = env.flags
  // Anything of 2^70 and more is out of range whatever the width: don't build it.
  if (a.kind < INFINITY && a.exp + bitLength(a.sig) < 70) {
    const magnitude = roundMagnitude(env, a, rounding)
    const value = a.sign ? -magnitude : magnitude
    if (value >= indefinite && value < -indefinite) return value
  }
  env.flags = flags | IE
  env.roundedUp = false
  return indefinite
}

/** A number rounded to an integer in its own format. `precise` false suppresses PE (imm8[3] of ROUNDPS). */
export function roundToIntegral(env: FloatEnv, f: Format, bits: bigint, rounding = env.rounding,
  precise = true): bigint {
  const a = unpack(f, bits)
  if (a.kind >= QNAN) return propagateOne(env, f, a, bits)
  if (a.kind === INFINITY) return bits
  if (env.x87 || env.daz) denormals(env, a)
  if (a.kind === ZERO) return zero(f, a.sign)
  const flags = env.flags
  if (a.exp >= 0) return bits
  const magnitude = roundMagnitude(env, a, rounding)
  if (!precise) env.flags = flags
  if (magnitude === 0n) return zero(f, a.sign)
  const up = env.roundedUp
  const result = roundPack(env, f, a.sign, magnitude, 0)
  env.roundedUp = up
  return result
}
