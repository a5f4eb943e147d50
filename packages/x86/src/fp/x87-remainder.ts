/** FPREM, FPREM1, FSCALE, FXTRACT: work on exponents rather than significands. */
import type { Cpu, Meaning } from '../cpu.ts'
import { fromInteger, toInteger } from './convert.ts'
import { bitLength, createEnv, DE, DENORMAL, denormals, encode, F80, INFINITY, infinity, invalid, propagate,
  propagateOne, QNAN, roundPack, unpack,
  UNSUPPORTED, ZE, ZERO, zero, ZERO_RC, type Float } from './softfloat.ts'
import { beginX87, C0, C1, C2, C3, env, overflows, readSt, setTop, settle, topOf, underflows,
  writeSt } from './x87-state.ts'

/** Bits 2:0 of the quotient in C0, C3, C1. */
const quotientBits = (q: bigint): number => (q & 4n ? C0 : 0) | (q & 2n ? C3 : 0) | (q & 1n ? C1 : 0)

/** The remainder, with condition bits. An exponent difference of 64 and more is only reduced (C2 = 1). */
function remainder(a: Float, b: Float, nearest: boolean): { bits: bigint, condition: number } {
  const difference = a.exp + bitLength(a.sig) - b.exp - bitLength(b.sig)
  // Intel's processors take off 32 to 63 bits at a time.
  const partial = difference >= 64
  const drop = partial ? difference - (difference & 31 | 32) : 0
  const exp = Math.min(a.exp, b.exp + drop)
  const x = a.sig << BigInt(a.exp - exp)
  const y = b.sig << BigInt(b.exp + drop - exp)
  let quotient = x / y
  let rest = x - quotient * y
  let sign = a.sign
  if (nearest && !partial && (2n * rest > y || 2n * rest === y && quotient & 1n)) {
    quotient += 1n
    rest = y - rest
    sign ^= 1
  }
  const bits = rest === 0n ? zero(F80, a.sign) : roundPack(env, F80, sign, rest, exp)
  return { bits, condition: partial ? C2 : quotientBits(quotient) }
}

/** FPREM (truncating quotient), FPREM1 (`nearest`: IEEE 754 remainder). */
function partialRemainder(nearest: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const missing = underflows(cpu, 0) || underflows(cpu, 1)
    const { bits, condition }: Remainder = missing ? { bits: F80.indefinite } : remainderOf(readSt(cpu, 0),
      readSt(cpu, 1), nearest)
    // Where there is no quotient, C0 and C3 stay as they are.
    const quotient = condition !== undefined && !(env.flags & env.unmasked & DE)
    const goesOn = quotient ? settle(cpu, insn, C3 | C2 | C0, condition) : settle(cpu, insn, C2)
    if (goesOn) writeSt(cpu, 0, bits)
  }
}

/** A remainder; `condition` only where there is a quotient. */
interface Remainder { bits: bigint, condition?: number }

function remainderOf(aBits: bigint, bBits: bigint, nearest: boolean): Remainder {
  const a = unpack(F80, aBits)
  const b = unpack(F80, bBits)
  const nan = propagate(env, F80, a, aBits, b, bBits)
  if (nan !== undefined) return { bits: nan }
  if (a.kind === INFINITY || b.kind === ZERO) return { bits: invalid(env, F80) }
  denormals(env, a)
  denormals(env, b)
  if (a.kind === ZERO || b.kind === INFINITY) return { bits: normalise(a, aBits), condition: 0 }
  return remainder(a, b, nearest)
}

/** A pseudo-denormal (exponent 0, integer bit set) as the normal number that it is. */
const normalise = (a: Float, bits: bigint): bigint => a.kind === DENORMAL && a.sig >> 63n ? encode(F80, a.sign, 1,
  a.sig) : bits

/** ST(0) · 2^trunc(ST(1)). */
function scale(aBits: bigint, bBits: bigint): bigint {
  const a = unpack(F80, aBits)
  const b = unpack(F80, bBits)
  const nan = propagate(env, F80, a, aBits, b, bBits)
  if (nan !== undefined) return nan
  if (b.kind === INFINITY && (b.sign ? a.kind === INFINITY : a.kind === ZERO)) return invalid(env, F80)
  denormals(env, a)
  denormals(env, b)
  if (a.kind === INFINITY || a.kind === ZERO) return aBits
  if (b.kind === INFINITY) return b.sign ? zero(F80, a.sign) : infinity(F80, a.sign)
  const steps = toInteger(quietly, F80, bBits, 32, ZERO_RC)
  const by = b.exp + bitLength(b.sig) > 20 ? (b.sign ? -LIMIT : LIMIT) : Number(steps)
  return roundPack(env, F80, a.sign, a.sig, a.exp + Math.max(-LIMIT, Math.min(LIMIT, by)))
}

/** More than any two exponents are apart, and than the wrap of unmasked over- and underflow gives back. */
const LIMIT = 0x10000
const quietly = createEnv()

const fscale: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const missing = underflows(cpu, 0) || underflows(cpu, 1)
  const bits = missing ? F80.indefinite : scale(readSt(cpu, 0), readSt(cpu, 1))
  if (settle(cpu, insn)) writeSt(cpu, 0, bits)
}

/** FXTRACT: the exponent replaces ST(0), the significand with its sign is pushed. */
const fxtract: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const missing = underflows(cpu, 0) || overflows(cpu)
  const { exponent, significand } = missing ? { exponent: F80.indefinite,
    significand: F80.indefinite } : extract(readSt(cpu, 0))
  if (!settle(cpu, insn)) return
  writeSt(cpu, 0, exponent)
  push(cpu, significand)
}

function push(cpu: Cpu, bits: bigint): void {
  setTop(cpu, topOf(cpu) - 1)
  writeSt(cpu, 0, bits)
}

function extract(bits: bigint): { exponent: bigint, significand: bigint } {
  const a = unpack(F80, bits)
  if (a.kind >= QNAN || a.kind === UNSUPPORTED) {
    const nan = propagateOne(env, F80, a, bits)
    return { exponent: nan, significand: nan }
  }
  if (a.kind === INFINITY) return { exponent: infinity(F80, 0), significand: bits }
  if (a.kind === ZERO) {
    env.flags |= ZE
    return { exponent: infinity(F80, 1), significand: bits }
  }
  denormals(env, a)
  const length = bitLength(a.sig)
  const exponent = fromInteger(env, F80, BigInt(a.exp + length - 1))
  return { exponent, significand: encode(F80, a.sign, F80.bias, a.sig << BigInt(64 - length)) }
}

export const x87RemainderMeanings: Record<string, Meaning> = {
  fprem: partialRemainder(false), fprem1: partialRemainder(true), fscale, fxtract,
}
