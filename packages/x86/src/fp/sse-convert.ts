/** Conversions of SSE, SSE2 and F16C, and the loads and stores of MXCSR. */
import { raise, VECTOR, type Cpu, type Meaning } from '../cpu.ts'
import { MEM, MMX_REG, type Insn } from '../insn.ts'
import { MXCSR } from '../state.ts'
import {
  anyAlignment, enterMmx, firstSource, kindOf, readOperand, readXmm, regOf, vectorBytes, writeGpr32, writeGpr64,
  writeMmx, writeXmm,
} from '../vector/operands.ts'
import { A, B, R, type Vec } from '../vector/vec.ts'
import { checkVector } from './checks.ts'
import { convert, fromInteger, toInteger } from './convert.ts'
import * as host from './native.ts'
import { beginSse, env, finishSse, getLane, native, setLane } from './sse-env.ts'
import { DE, F16, F32, F64, IE, PE, ZERO_RC, type Format } from './softfloat.ts'

/** Bounds below which a rounded number surely fits 32 bits, and 64 bits exactly. */
const SAFE32 = 2 ** 31 - 1
const SAFE64 = 2 ** 51

/** Signed doubleword lane `i` of B as a number of lane `i` of R. Binary64 holds every one exactly. */
function laneFromInteger(to: Format, i: number): void {
  const value = B.i32[i]
  if (to === F64) R.f64[i] = value
  else if (native) {
    R.f32[i] = value
    if (R.f32[i] !== value) env.flags |= PE
  } else setLane(F32, R, i, fromInteger(env, F32, BigInt(value)))
}

/** Lane `i` of `f` in B as a signed doubleword. */
function laneToInteger(f: Format, i: number, rounding: number): number {
  const quick = native ? host.integerNative(f === F32 ? B.f32[i] : B.f64[i], rounding === ZERO_RC, SAFE32) : undefined
  if (quick !== undefined) return quick
  return Number(toInteger(env, f, getLane(f, B, i), 32, rounding))
}

/** The lower half of a MOD/RM source, or all of it, by how many lanes there are. */
function readLanes(cpu: Cpu, insn: Insn, n: number, bytes: number): void {
  readOperand(cpu, insn, n, bytes, B, bytes === 16 && !insn.vex && kindOf(insn, n) === MEM)
}

/** CVTDQ2PS, CVTDQ2PD. */
function fromDoublewords(to: Format): Meaning {
  const width = to === F32 ? 4 : 8
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const bytes = vectorBytes(insn)
    const lanes = bytes / width
    readLanes(cpu, insn, 1, lanes * 4)
    for (let i = 0; i < lanes; i++) laneFromInteger(to, i)
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** CVTPS2DQ, CVTPD2DQ and their truncating forms. From binary64 the result is half a vector, the rest zero. */
function toDoublewords(from: Format, truncate: boolean): Meaning {
  const width = from === F32 ? 4 : 8
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const bytes = vectorBytes(insn)
    readLanes(cpu, insn, 1, bytes)
    R.u8.fill(0)
    for (let i = 0; i < bytes / width; i++) R.i32[i] = laneToInteger(from, i, truncate ? ZERO_RC : env.rounding)
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, from === F32 ? bytes : 16, R)
  }
}

function convertLane(from: Format, to: Format, b: Vec, r: Vec, i: number): void {
  if (native && (from === F32 ? host.widenNative(b.f32[i], r, i) : host.narrowNative(b.f64[i], r, i))) return
  setLane(to, r, i, convert(env, from, to, getLane(from, b, i)))
}

/** CVTPS2PD, CVTPD2PS. */
function betweenPacked(from: Format, to: Format): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const bytes = vectorBytes(insn)
    const lanes = bytes / 8
    readLanes(cpu, insn, 1, from === F32 ? lanes * 4 : bytes)
    R.u8.fill(0)
    for (let i = 0; i < lanes; i++) convertLane(from, to, B, R, i)
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, to === F64 ? bytes : 16, R)
  }
}

/** CVTSS2SD, CVTSD2SS: the other lanes come from the first source. */
function betweenScalars(from: Format, to: Format): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, from === F32 ? 4 : 8, B, false)
    readXmm(cpu, regOf(insn, first), 16, A)
    convertLane(from, to, B, A, 0)
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, 16, A)
  }
}

/** CVTSI2SS, CVTSI2SD: `size2` (4 or 8) is the integer's width. */
function fromGeneral(to: Format): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const first = firstSource(insn)
    const wide = insn.size2 === 8
    readOperand(cpu, insn, first + 1, wide ? 8 : 4, B, false)
    readXmm(cpu, regOf(insn, first), 16, A)
    setLane(to, A, 0, fromInteger(env, to, wide ? B.i64[0] : BigInt(B.i32[0])))
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, 16, A)
  }
}

/** CVTSS2SI, CVTSD2SI and truncating forms: `size` (4 or 8) is the integer's width. */
function toGeneral(from: Format, truncate: boolean): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    readOperand(cpu, insn, 1, from === F32 ? 4 : 8, B, false)
    const limit = insn.size === 8 ? SAFE64 : SAFE32
    const quick = native ? host.integerNative(from === F32 ? B.f32[0] : B.f64[0], truncate, limit) : undefined
    const value = quick === undefined
      ? toInteger(env, from, getLane(from, B, 0), insn.size * 8, truncate ? ZERO_RC : env.rounding) : BigInt(quick)
    finishSse(cpu)
    if (insn.size === 8) writeGpr64(cpu, insn.reg0, value)
    else writeGpr32(cpu, insn.reg0, Number(value))
  }
}

/** CVTPI2PS, CVTPI2PD: two doublewords of an MMX register or memory. CVTPI2PS keeps the upper half. */
function fromMmx(to: Format): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    readOperand(cpu, insn, 1, 8, B, false)
    readXmm(cpu, insn.reg0, 16, R)
    for (let i = 0; i < 2; i++) laneFromInteger(to, i)
    if (insn.kind1 === MMX_REG) enterMmx(cpu)
    finishSse(cpu)
    writeXmm(cpu, insn, insn.reg0, 16, R)
  }
}

/** CVTPS2PI, CVTPD2PI and truncating forms. */
function toMmx(from: Format, truncate: boolean): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    readLanes(cpu, insn, 1, from === F32 ? 8 : 16)
    for (let i = 0; i < 2; i++) R.i32[i] = laneToInteger(from, i, truncate ? ZERO_RC : env.rounding)
    enterMmx(cpu)
    finishSse(cpu)
    writeMmx(cpu, insn.reg0, R)
  }
}

/** VCVTPH2PS: always exact; MXCSR.DAZ does not apply and denormals raise nothing. */
const halfToSingle: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  beginSse(cpu)
  const bytes = vectorBytes(insn)
  anyAlignment(cpu, () => { readOperand(cpu, insn, 1, bytes / 2, B, false) })
  env.daz = false
  for (let i = 0; i < bytes / 4; i++) {
    setLane(F32, R, i, convert(env, F16, F32, BigInt(B.u16[i])))
  }
  env.flags &= IE
  finishSse(cpu)
  writeXmm(cpu, insn, insn.reg0, bytes, R)
}

/** A denormal operand is far below the smallest half: always imprecise, also where underflow is unmasked. */
function toHalf(bits: bigint): bigint {
  const { flags } = env
  env.flags = 0
  const half = convert(env, F32, F16, bits)
  if (env.flags & DE) env.flags |= PE
  env.flags |= flags
  return half
}

/** VCVTPS2PH: imm8[2] takes MXCSR's rounding, else imm8[1:0]; MXCSR.FTZ does not apply. */
const singleToHalf: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  beginSse(cpu)
  const bytes = vectorBytes(insn)
  readXmm(cpu, insn.reg1, bytes, B)
  if (!(insn.immLo & 4)) env.rounding = insn.immLo & 3
  env.ftz = false
  R.u8.fill(0)
  for (let i = 0; i < bytes / 4; i++) R.u16[i] = Number(toHalf(BigInt(B.u32[i])))
  if (insn.kind0 === MEM) {
    // Exceptions come before the address is looked at, and their flags stay when it faults.
    finishSse(cpu)
    anyAlignment(cpu, () => { cpu.storeBytes(cpu.operandAddress(insn, bytes / 2, true), R.first[bytes / 2]) })
    return
  }
  finishSse(cpu)
  writeXmm(cpu, insn, insn.reg0, 16, R)
}

/** LDMXCSR: #GP(0) for reserved bits (31:16). */
const ldmxcsr: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  const value = cpu.load(cpu.operandAddress(insn, 4, false), 4)
  if (value & 0xffff_0000) raise(VECTOR.GP, 0)
  cpu.views.u32[MXCSR >> 2] = value
}

const stmxcsr: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  cpu.store(cpu.operandAddress(insn, 4, true), 4, cpu.views.u32[MXCSR >> 2])
}

export const sseConvertMeanings: Record<string, Meaning> = {
  cvtdq2ps: fromDoublewords(F32), cvtdq2pd: fromDoublewords(F64),
  cvtps2dq: toDoublewords(F32, false), cvttps2dq: toDoublewords(F32, true),
  cvtpd2dq: toDoublewords(F64, false), cvttpd2dq: toDoublewords(F64, true),
  cvtps2pd: betweenPacked(F32, F64), cvtpd2ps: betweenPacked(F64, F32),
  cvtss2sd: betweenScalars(F32, F64), cvtsd2ss: betweenScalars(F64, F32),
  cvtsi2ss: fromGeneral(F32), cvtsi2sd: fromGeneral(F64),
  cvtss2si: toGeneral(F32, false), cvttss2si: toGeneral(F32, true),
  cvtsd2si: toGeneral(F64, false), cvttsd2si: toGeneral(F64, true),
  cvtpi2ps: fromMmx(F32), cvtpi2pd: fromMmx(F64),
  cvtps2pi: toMmx(F32, false), cvttps2pi: toMmx(F32, true), cvtpd2pi: toMmx(F64, false), cvttpd2pi: toMmx(F64, true),
  vcvtph2ps: halfToSingle, vcvtps2ph: singleToHalf,
  ldmxcsr, stmxcsr,
}
