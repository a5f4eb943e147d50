/** Loads and stores of numbers: FLD, FST, FILD, FIST, FISTTP, FBLD, FBSTP, constants. */
import { guestFault, type Cpu, type Meaning } from '../cpu.ts'
import { MEM, type Insn } from '../insn.ts'
import { convert, fromInteger, toInteger } from './convert.ts'
import { DE, DENORMAL, encode, F32, F64, F80, IE, NEAREST, OE, PE, quiet, SNAN, UE, unpack, UP, ZERO_RC, type Format }
  from './softfloat.ts'
import { effectiveAddress, effectiveOffset } from '../system/effective.ts'
import { loadParts, partAddress } from '../system/parts.ts'
import { beginX87, env, isEmpty, pop, readSt, settle, settlePush, underflows, writeSt } from './x87-state.ts'

/** Ten bytes are loaded and stored as eight and two. */
const TEN = [8, 2]

/** Ten bytes in memory. */
function load80(cpu: Cpu, insn: Insn): bigint {
  const bytes = new Uint8Array(10)
  loadParts(cpu, insn, bytes, TEN)
  return bytes.reduceRight((value, byte) => value << 8n | BigInt(byte), 0n)
}

function bytesOf(value: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number(value >> BigInt(8 * i) & 0xffn))
}

/**
 * A float of 4 or 8 bytes in memory as an extended one. Signalling NaNs stay signalling and a denormal is remembered
 * (`env.widened`): what they raise is the business of the operation.
 */
export function widen(cpu: Cpu, address: bigint, size: number): bigint {
  const from = size === 4 ? F32 : F64
  const bits = size === 4 ? BigInt(cpu.load(address, 4) >>> 0) : cpu.load64(address)
  const a = unpack(from, bits)
  if (a.kind === DENORMAL) env.widened = true
  const { flags } = env
  const wide = convert(env, from, F80, bits)
  env.flags = flags
  return a.kind === SNAN ? wide & ~(1n << 62n) : wide
}

/** FLD m32, m64, m80, ST(i). The narrow ones quiet NaNs and know denormals; the others copy bits. */
const fld: Meaning = (cpu, insn) => {
  beginX87(cpu)
  if (insn.kind0 !== MEM) {
    const empty = underflows(cpu, insn.reg0)
    return settlePush(cpu, insn, empty ? F80.indefinite : readSt(cpu, insn.reg0))
  }
  const address = insn.size === 10 ? effectiveAddress(cpu, insn) : cpu.operandAddress(insn, insn.size, false)
  let bits = insn.size === 10 ? load80(cpu, insn) : widen(cpu, address, insn.size)
  if (insn.size !== 10 && isEmpty(cpu, 7)) {
    if (unpack(F80, bits).kind === SNAN) env.flags |= IE
    if (env.widened) env.flags |= DE
    if (unpack(F80, bits).kind === SNAN) bits = quiet(F80, bits)
  }
  settlePush(cpu, insn, bits, address)
}

const fild: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const address = cpu.operandAddress(insn, insn.size, false)
  const value = insn.size === 8 ? BigInt.asIntN(64, cpu.load64(address))
    : BigInt(insn.size === 2 ? cpu.load(address, 2) << 16 >> 16 : cpu.load(address, 4) | 0)
  settlePush(cpu, insn, fromInteger(env, F80, value), address)
}

/** FST, FSTP to memory or a register. */
function storeFloat(pops: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const empty = underflows(cpu, 0)
    if (insn.kind0 !== MEM) {
      if (!settle(cpu, insn)) return
      writeSt(cpu, insn.reg0, empty ? F80.indefinite : readSt(cpu, 0))
    } else if (!storeNarrow(cpu, insn, empty)) return
    if (pops) pop(cpu)
  }
}

const NARROW: Record<number, Format> = { 4: F32, 8: F64, 10: F80 }

function storeNarrow(cpu: Cpu, insn: Insn, empty: boolean): boolean {
  const to = NARROW[insn.size]
  const bits = empty ? to.indefinite : to === F80 ? readSt(cpu, 0) : convertForStore(to, readSt(cpu, 0))
  return storeValue(cpu, insn, bits)
}

/** Storing a denormal extended number raises underflow and precision only, never the denormal exception. */
function convertForStore(to: Format, bits: bigint): bigint {
  const { flags } = env
  const result = convert(env, F80, to, bits)
  env.flags = flags | env.flags & ~DE
  return result
}

/**
 * Raises what the store would, and answers where its parts go. Ten bytes are stored as eight and two, each checked for
 * itself: the eight stay when the two fault (observed on Intel processors).
 */
function checkStore(cpu: Cpu, insn: Insn, bits: bigint): readonly bigint[] {
  const offset = effectiveOffset(cpu, insn)
  const part = (from: number, length: number): bigint => {
    const at = partAddress(cpu, insn, offset, from, length, true)
    cpu.checkWrite(at, length)
    return at
  }
  if (insn.size !== 10) return [part(0, insn.size)]
  const first = part(0, 8)
  try {
    return [first, part(8, 2)]
  } catch (fault) {
    if (fault === guestFault) cpu.storeBytes(first, bytesOf(BigInt.asUintN(64, bits), 8))
    throw fault
  }
}

/**
 * Stores unless an unmasked exception keeps memory as it is, which is then not looked at: invalid operation, over- and
 * underflow (PE and C1 are then not set); a loss of precision does not.
 */
function storeValue(cpu: Cpu, insn: Insn, bits: bigint): boolean {
  const address = effectiveAddress(cpu, insn)
  const refused = (env.flags & env.unmasked & (OE | UE)) !== 0
  const parts = (env.flags & env.unmasked & (IE | OE | UE)) === 0 ? checkStore(cpu, insn, bits) : []
  if (refused) env.flags &= ~PE
  if (!settle(cpu, insn, 0, 0, address) || refused) return false
  const bytes = bytesOf(BigInt.asUintN(8 * insn.size, bits), insn.size)
  parts.forEach((at, i) => { cpu.storeBytes(at, bytes.subarray(8 * i, 8 * i + 8)) })
  return true
}

/** FIST, FISTP, FISTTP (`truncate`). */
function storeInteger(pops: boolean, truncate: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const width = 8 * insn.size
    const value = underflows(cpu, 0) ? -(1n << BigInt(width - 1))
      : toInteger(env, F80, readSt(cpu, 0), width, truncate ? ZERO_RC : env.rounding)
    if (storeValue(cpu, insn, value) && pops) pop(cpu)
  }
}

/** FBLD: 18 decimal digits and a sign. Digits above 9 count for what they are, as on real processors. */
const fbld: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const address = effectiveAddress(cpu, insn)
  const bits = load80(cpu, insn)
  let value = 0n
  for (let i = 17; i >= 0; i--) value = value * 10n + (bits >> BigInt(4 * i) & 15n)
  const magnitude = fromInteger(env, F80, value)
  settlePush(cpu, insn, bits >> 79n ? magnitude | 1n << 79n : magnitude, address)
}

const BCD_INDEFINITE = 0xffff_c000_0000_0000_0000n

const fbstp: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const bits = underflows(cpu, 0) ? BCD_INDEFINITE : decimal(readSt(cpu, 0))
  if (storeValue(cpu, insn, bits)) pop(cpu)
}

function decimal(bits: bigint): bigint {
  const { flags } = env
  const value = toInteger(env, F80, bits, 64)
  const magnitude = value < 0n ? -value : value
  if (magnitude >= 10n ** 18n) {
    env.flags = flags | IE
    env.roundedUp = false
    return BCD_INDEFINITE
  }
  return BigInt(`0x${magnitude}`) | bits >> 79n << 79n
}

/** A constant by its truncated significand and whether the next bit is set (rounding to nearest goes up). */
function constant(exponent: number, significand: bigint, next: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const up = env.rounding === UP || env.rounding === NEAREST && next
    settlePush(cpu, insn, encode(F80, 0, exponent, significand + (up ? 1n : 0n)))
  }
}

/** FLD1 and FLDZ, which are exact. */
function exact(bits: bigint): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    settlePush(cpu, insn, bits)
  }
}

/** FSTPNCE (undocumented D9 D8+i): FSTP that copies even an empty register without complaint. */
const fstpnce: Meaning = (cpu, insn) => {
  beginX87(cpu)
  settle(cpu, insn)
  if (!isEmpty(cpu, 0)) writeSt(cpu, insn.reg0, readSt(cpu, 0))
  pop(cpu)
}

export const x87MemoryMeanings: Record<string, Meaning> = {
  fld, fild, fbld, fbstp, fstpnce,
  fst: storeFloat(false), fstp: storeFloat(true),
  fist: storeInteger(false, false), fistp: storeInteger(true, false), fisttp: storeInteger(true, true),
  fld1: exact(0x3fff_8000_0000_0000_0000n), fldz: exact(0n),
  fldl2t: constant(0x4000, 0xd49a_784b_cd1b_8afen, false), fldl2e: constant(0x3fff, 0xb8aa_3b29_5c17_f0bbn, true),
  fldpi: constant(0x4000, 0xc90f_daa2_2168_c234n, true), fldlg2: constant(0x3ffd, 0x9a20_9a84_fbcf_f798n, true),
  fldln2: constant(0x3ffe, 0xb172_17f7_d1cf_79abn, true),
}
