/**
 * IEEE 754 binary floating point as x86 processors do it, for binary32, binary64 and the x87 extended format: exact in
 * BigInt, with the flags of MXCSR and of the x87 status word (the same bits). What is particular to x86: tininess is
 * found after rounding, the denormal-operand flag, DAZ and FTZ, two rules for NaN operands (SDM vol. 1, §4.8.3.5,
 * §11.5.2).
 */

/** Flags of MXCSR 5:0 and FSW 5:0. */
export const IE = 1
export const DE = 2
export const ZE = 4
export const OE = 8
export const UE = 16
export const PE = 32

/** Rounding control of MXCSR 14:13 and FCW 11:10. */
export const NEAREST = 0
export const DOWN = 1
export const UP = 2
export const ZERO_RC = 3

/** What operations run under, and what they leave behind. */
export interface FloatEnv {
  rounding: number
  /** Exceptions raised so far; operations only add. */
  flags: number
  /** Exceptions that are not masked, at the bits of `flags`: over- and underflow then give other results. */
  unmasked: number
  /** Denormal operands count as zero and raise nothing. */
  daz: boolean
  /** Tiny results become zero (where underflow is masked). */
  ftz: boolean
  /** NaN rule and wrapped results of x87 instead of SSE. */
  x87: boolean
  /** The last rounding went away from zero: x87's C1. */
  roundedUp: boolean
  /** An operand was a denormal of a narrower format before it was widened (x87 memory operands): DE is due for it. */
  widened: boolean
}

/** An environment of masked exceptions, rounding to nearest. */
export function createEnv(): FloatEnv {
  return { rounding: NEAREST, flags: 0, unmasked: 0, daz: false, ftz: false, x87: false, roundedUp: false,
    widened: false }
}

/** A binary format. Values travel as BigInts of all their bits (32, 64 or 80). */
export interface Format {
  /** Bits of the significand with the integer bit. */
  readonly precision: number
  /** Bits of the encoding below the exponent: `precision`, less an implicit integer bit. */
  readonly stored: number
  readonly bias: number
  /** Largest biased exponent: infinities and NaNs. */
  readonly top: number
  /** The default NaN ("real indefinite"). */
  readonly indefinite: bigint
}

export const F16: Format = { precision: 11, stored: 10, bias: 15, top: 31, indefinite: 0xfe00n }
export const F32: Format = { precision: 24, stored: 23, bias: 127, top: 255, indefinite: 0xffc0_0000n }
export const F64: Format = { precision: 53, stored: 52, bias: 1023, top: 2047, indefinite: 0xfff8_0000_0000_0000n }
export const F80: Format = { precision: 64, stored: 64, bias: 16383, top: 32767,
  indefinite: 0xffff_c000_0000_0000_0000n }

export const ZERO = 0
export const DENORMAL = 1
export const NORMAL = 2
export const INFINITY = 3
export const QNAN = 4
export const SNAN = 5
/** x87 encodings that no processor since the 387 takes for a number: integer bit clear with a non-zero exponent. */
export const UNSUPPORTED = 6

/** An operand taken apart: (−1)^sign · sig · 2^exp for finite ones. For NaNs `sig` holds the stored fraction bits. */
export interface Float {
  kind: number
  sign: number
  exp: number
  sig: bigint
}

const mask = (bits: number): bigint => (1n << BigInt(bits)) - 1n

/** Takes an encoding apart. */
export function unpack(f: Format, bits: bigint): Float {
  const fraction = bits & mask(f.stored)
  const sign = Number(bits >> BigInt(f.stored)) > f.top ? 1 : 0
  const biased = Number(bits >> BigInt(f.stored)) & f.top
  const explicit = f.stored === f.precision
  if (biased === f.top) {
    const rest = explicit ? fraction & mask(63) : fraction
    if (explicit && fraction >> 63n === 0n) return { kind: UNSUPPORTED, sign, exp: 0, sig: fraction }
    if (rest === 0n) return { kind: INFINITY, sign, exp: 0, sig: 0n }
    return { kind: rest >> BigInt(f.precision - 2) ? QNAN : SNAN, sign, exp: 0, sig: fraction }
  }
  const scale = 1 - f.bias - (f.precision - 1)
  if (biased === 0) return { kind: fraction === 0n ? ZERO : DENORMAL, sign, exp: scale, sig: fraction }
  if (explicit && fraction >> 63n === 0n) return { kind: UNSUPPORTED, sign, exp: 0, sig: fraction }
  const sig = explicit ? fraction : fraction | 1n << BigInt(f.stored)
  return { kind: NORMAL, sign, exp: scale + biased - 1, sig }
}

/**
 * Puts an encoding together from the biased exponent and a significand with its integer bit (if the number has
 * one).
 */
export function encode(f: Format, sign: number, biased: number, sig: bigint): bigint {
  return BigInt(sign ? biased + f.top + 1 : biased) << BigInt(f.stored) | sig & mask(f.stored)
}

export const zero = (f: Format, sign: number): bigint => encode(f, sign, 0, 0n)
export const infinity = (f: Format, sign: number): bigint =>
  encode(f, sign, f.top, f.stored === f.precision ? 1n << 63n : 0n)

const asFloat = new Float64Array(1)
const asWords = new Uint32Array(asFloat.buffer)

/** Position of the highest set bit, counted from 1; 0 for 0. */
export function bitLength(value: bigint): number {
  asFloat[0] = Number(value)
  const exponent = asWords[1] >>> 20
  if (exponent === 0x7ff) return 512 + bitLength(value >> 512n)
  if (exponent === 0) return 0
  const length = exponent - 1022
  // The conversion may have rounded up to the next power of two.
  return length > 53 && value >> BigInt(length - 1) === 0n ? length - 1 : length
}

/** `sig >> shift` with what falls off kept as a sticky lowest bit. */
export function shiftJam(sig: bigint, shift: number): bigint {
  if (shift <= 0) return sig << BigInt(-shift)
  const kept = sig >> BigInt(shift)
  return kept << BigInt(shift) === sig ? kept : kept | 1n
}

/** Whether a discarded part rounds the magnitude up. `rest` is compared with half a unit of `shift` bits. */
export function roundsUp(rounding: number, sign: number, kept: bigint, rest: bigint, shift: number): boolean {
  if (rest === 0n) return false
  switch (rounding) {
    case NEAREST: {
      const half = 1n << BigInt(shift - 1)
      return rest > half || rest === half && (kept & 1n) === 1n
    }
    case DOWN: return sign === 1
    case UP: return sign === 0
    default: return false
  }
}

/**
 * Rounds (−1)^sign · sig · 2^exp (sig > 0) to `precision` bits of format `f` and encodes it, with all that can happen
 * on the way. A `sig` whose lowest bit is sticky must be at least two bits longer than the precision.
 */
export function roundPack(env: FloatEnv, f: Format, sign: number, sig: bigint, exp: number,
  precision = f.precision): bigint {
  const length = bitLength(sig)
  const emin = 1 - f.bias
  let e = exp + length - 1
  const shift = length - precision
  let kept = sig
  let rest = 0n
  if (shift > 0) {
    kept = sig >> BigInt(shift)
    rest = BigInt.asUintN(shift, sig)
  } else kept = sig << BigInt(-shift)
  const up = roundsUp(env.rounding, sign, kept, rest, shift)
  if (up) {
    kept += 1n
    if (kept >> BigInt(precision)) {
      kept >>= 1n
      e++
    }
  }
  if (e < emin && !(env.unmasked & UE)) return packTiny(env, f, sign, sig, exp, precision)
  if (e > f.bias && !(env.unmasked & OE)) {
    env.flags |= OE | PE
    return packOverflow(env, f, sign, precision)
  }
  if (rest !== 0n) env.flags |= PE
  env.roundedUp = up
  // Unmasked: the result goes to the handler with its exponent wrapped (SDM vol. 1, §4.9.1.4, §4.9.1.5).
  if (e < emin) {
    env.flags |= UE
    e += WRAP
    if (e < emin) return packFar(env, zero(f, sign), false)
  } else if (e > f.bias) {
    env.flags |= OE
    e -= WRAP
    if (e > f.bias) return packFar(env, infinity(f, sign), true)
  }
  return encode(f, sign, e + f.bias, kept << BigInt(f.precision - precision))
}

/** What the exponent of an unmasked over- or underflow is wrapped by in the x87 format. */
const WRAP = 3 * 2 ** 13

/** A result that even wrapping does not bring back (FSCALE): zero or infinity whatever the rounding. */
function packFar(env: FloatEnv, bits: bigint, up: boolean): bigint {
  env.flags |= PE
  env.roundedUp = up
  return bits
}

function packOverflow(env: FloatEnv, f: Format, sign: number, precision: number): bigint {
  const away = env.rounding === NEAREST || env.rounding === (sign ? DOWN : UP)
  env.roundedUp = away
  if (away) return infinity(f, sign)
  return encode(f, sign, f.top - 1, mask(precision) << BigInt(f.precision - precision))
}

/** A result below the normal range with underflow masked: denormalised and rounded once, or flushed. */
function packTiny(env: FloatEnv, f: Format, sign: number, sig: bigint, exp: number, precision: number): bigint {
  if (env.ftz) {
    env.flags |= UE | PE
    return zero(f, sign)
  }
  const shift = 1 - f.bias - (precision - 1) - exp
  let kept = sig
  let rest = 0n
  if (shift > 0) {
    kept = sig >> BigInt(shift)
    rest = BigInt.asUintN(shift, sig)
  } else kept = sig << BigInt(-shift)
  const up = roundsUp(env.rounding, sign, kept, rest, shift)
  if (up) kept += 1n
  if (rest !== 0n) env.flags |= UE | PE
  env.roundedUp = up
  // A carry into the integer bit makes the smallest normal number, whose biased exponent is 1.
  const biased = kept >> BigInt(precision - 1) ? 1 : 0
  return encode(f, sign, biased, kept << BigInt(f.precision - precision))
}

/** The NaN with its quiet bit set. */
export function quiet(f: Format, bits: bigint): bigint {
  return bits | 1n << BigInt(f.precision - 2)
}

const isNaNKind = (x: Float): boolean => x.kind === QNAN || x.kind === SNAN

/** The invalid-operation exception with its masked result. */
export function invalid(env: FloatEnv, f: Format): bigint {
  env.flags |= IE
  return f.indefinite
}

/**
 * The NaN (or unsupported operand) among two operands as a result; undefined when there is none. SSE gives the first
 * operand's, x87 the one with the larger significand, quiet ones before signalling ones (SDM vol. 1, table 4-7).
 */
export function propagate(env: FloatEnv, f: Format, a: Float, aBits: bigint, b: Float,
  bBits: bigint): bigint | undefined {
  if (a.kind < QNAN && b.kind < QNAN) return undefined
  if (a.kind === UNSUPPORTED || b.kind === UNSUPPORTED) return invalid(env, f)
  if (a.kind === SNAN || b.kind === SNAN) env.flags |= IE
  if (!isNaNKind(b)) return quiet(f, aBits)
  if (!isNaNKind(a)) return quiet(f, bBits)
  if (!env.x87) return quiet(f, aBits)
  if (a.kind !== b.kind) return a.kind === QNAN ? aBits : bBits
  if (a.sig !== b.sig) return quiet(f, a.sig > b.sig ? aBits : bBits)
  return quiet(f, a.sign < b.sign ? aBits : bBits)
}

/** The result that a single NaN or unsupported operand gives. */
export function propagateOne(env: FloatEnv, f: Format, a: Float, bits: bigint): bigint {
  if (a.kind === UNSUPPORTED) return invalid(env, f)
  if (a.kind === SNAN) env.flags |= IE
  return quiet(f, bits)
}

/** Notes denormal operands, or with DAZ makes them zeros. */
export function denormals(env: FloatEnv, a: Float): void {
  if (env.widened) env.flags |= DE
  if (a.kind !== DENORMAL) return
  if (env.daz) {
    a.kind = ZERO
    a.sig = 0n
  } else env.flags |= DE
}
