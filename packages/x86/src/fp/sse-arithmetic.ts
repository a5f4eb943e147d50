/** Floating-point arithmetic of SSE to SSE4.1 and AVX: packed and scalar forms of one table of operations. */
import type { Cpu, Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { firstSource, readOperand, readXmm, regOf, vectorBytes, writeXmm } from '../vector/operands.ts'
import { A, B, R, type Vec } from '../vector/vec.ts'
import { add, compare, divide, EQUAL, GREATER, LESS, multiply, squareRoot, UNORDERED } from './arithmetic.ts'
import { checkVector } from './checks.ts'
import { roundToIntegral } from './convert.ts'
import * as host from './native.ts'
import { beginSse, env, finishSse, getLane, native, setLane } from './sse-env.ts'
import { DENORMAL, F32, F64, unpack, type Format } from './softfloat.ts'

/** r[k] ← a[i] op b[j]. */
export type LaneOp = (a: Vec, i: number, b: Vec, j: number, r: Vec, k: number, imm: number) => void

function lane(f: Format, quick: host.NativeOp, exact: (a: bigint, b: bigint) => bigint): LaneOp {
  return (a, i, b, j, r, k) => {
    if (native && quick(a, i, b, j, r, k)) return
    setLane(f, r, k, exact(getLane(f, a, i), getLane(f, b, j)))
  }
}

type Pair = readonly [LaneOp, LaneOp]

const ADD: Pair = [lane(F32, host.add32, (a, b) => add(env, F32, a, b)), lane(F64, host.add64, (a, b) => add(env,
  F64, a, b))]
const SUB: Pair = [lane(F32, host.subtract32, (a, b) => add(env, F32, a, b, 1)),
  lane(F64, host.subtract64, (a, b) => add(env, F64, a, b, 1))]
const MUL: Pair = [lane(F32, host.multiply32, (a, b) => multiply(env, F32, a, b)),
  lane(F64, host.multiply64, (a, b) => multiply(env, F64, a, b))]
const DIV: Pair = [lane(F32, host.divide32, (a, b) => divide(env, F32, a, b)),
  lane(F64, host.divide64, (a, b) => divide(env, F64, a, b))]
const SQRT: Pair = [lane(F32, host.root32, (_, b) => squareRoot(env, F32, b)),
  lane(F64, host.root64, (_, b) => squareRoot(env, F64, b))]

/** How lanes relate: natively for normal numbers and zeros, else with all the flags. */
function relate(f: Format, a: Vec, i: number, b: Vec, j: number, quietly: boolean): number {
  const x = f === F32 ? a.f32[i] : a.f64[i]
  const y = f === F32 ? b.f32[j] : b.f64[j]
  if (host.comparable(f === F32 ? 4 : 8, x, y)) return x < y ? LESS : x > y ? GREATER : EQUAL
  return compare(env, f, getLane(f, a, i), getLane(f, b, j), quietly)
}

/** MIN (`wanted` LESS) and MAX: the second operand unless the first is strictly better; so with NaNs and two zeros. */
function extreme(f: Format, wanted: number): LaneOp {
  const sign = BigInt(f === F32 ? 31 : 63)
  return (a, i, b, j, r, k) => {
    const first = relate(f, a, i, b, j, false) === wanted
    const bits = first ? getLane(f, a, i) : getLane(f, b, j)
    const flushed = env.daz && unpack(f, bits).kind === DENORMAL
    setLane(f, r, k, flushed ? bits >> sign << sign : bits)
  }
}

/**
 * The 32 predicates: bits of `RESULTS` say for which relations (LESS 1, EQUAL 2, GREATER 4, UNORDERED 8) the
 * predicate holds; `SIGNALS` has a bit for those that raise invalid for quiet NaNs too (SDM vol. 2, CMPPD, table 3-1).
 */
const RESULTS = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15] as const
const SIGNALS = [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0] as const
const RELATION_BIT = { [LESS]: 1, [EQUAL]: 2, [GREATER]: 4, [UNORDERED]: 8 } as Record<number, number>

function predicate(f: Format): LaneOp {
  return (a, i, b, j, r, k, imm) => {
    const p = imm & 15
    const signals = SIGNALS[p] ^ (imm >> 4 & 1)
    const relation = relate(f, a, i, b, j, !signals)
    const yes = (RESULTS[p] & RELATION_BIT[relation]) !== 0
    if (f === F32) r.i32[k] = yes ? -1 : 0
    else r.i64[k] = yes ? -1n : 0n
  }
}

/** ROUNDPS …: imm8[1:0] the mode, imm8[2] MXCSR's instead, imm8[3] no precision exception. */
function round(f: Format): LaneOp {
  return (_a, _i, b, j, r, k, imm) => {
    const mode = imm & 4 ? env.rounding : imm & 3
    setLane(f, r, k, roundToIntegral(env, f, getLane(f, b, j), mode, !(imm & 8)))
  }
}

const both = (make: (f: Format) => LaneOp): Pair => [make(F32), make(F64)]

/** All lanes: legacy `op dst, src`, VEX `op dst, src1, src2`; `unary` forms have no first source even with VEX. */
function packed(f: Format, op: LaneOp, unary: boolean, legacyMask: number): Meaning {
  const width = f === F32 ? 4 : 8
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const bytes = vectorBytes(insn)
    const first = unary ? 0 : firstSource(insn)
    readOperand(cpu, insn, first + 1, bytes, B)
    readXmm(cpu, regOf(insn, first), bytes, A)
    for (let i = 0; i < bytes / width; i++) op(A, i, B, i, R, i, insn.vex ? insn.immLo : insn.immLo & legacyMask)
    finish(cpu, insn, bytes)
  }
}

function finish(cpu: Cpu, insn: Insn, bytes: number): void {
  finishSse(cpu)
  writeXmm(cpu, insn, insn.reg0, bytes, R)
}

/** The lowest lane; the others are those of the first source (with VEX) or of the destination. */
function scalar(f: Format, op: LaneOp, legacyMask: number): Meaning {
  const width = f === F32 ? 4 : 8
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, width, B, false)
    readXmm(cpu, regOf(insn, first), 16, A)
    R.u64[0] = A.u64[0]
    R.u64[1] = A.u64[1]
    op(A, 0, B, 0, R, 0, insn.vex ? insn.immLo : insn.immLo & legacyMask)
    finish(cpu, insn, 16)
  }
}

/** `legacyMask`: the bits of imm8 that count without VEX. */
function family(name: string, [single, double]: Pair, unary = false, legacyMask = 0xff): Record<string, Meaning> {
  return {
    [`${name}ps`]: packed(F32, single, unary, legacyMask), [`${name}pd`]: packed(F64, double, unary, legacyMask),
    [`${name}ss`]: scalar(F32, single, legacyMask), [`${name}sd`]: scalar(F64, double, legacyMask),
  }
}

/** HADDPS …: neighbouring lanes of the first source, then of the second, within each half. */
function horizontal(f: Format, op: LaneOp): Meaning {
  return halves(f, (lanes, base) => {
    for (let i = 0; i < lanes / 2; i++) {
      op(A, base + 2 * i, A, base + 2 * i + 1, R, base + i, 0)
      op(B, base + 2 * i, B, base + 2 * i + 1, R, base + lanes / 2 + i, 0)
    }
  })
}

/** ADDSUBPS …: even lanes are subtracted, odd ones added. */
function alternate(f: Format, [single, double]: Pair, [subSingle, subDouble]: Pair): Meaning {
  const plus = f === F32 ? single : double
  const minus = f === F32 ? subSingle : subDouble
  return halves(f, (lanes, base) => {
    for (let i = base; i < base + lanes; i++) (i & 1 ? plus : minus)(A, i, B, i, R, i, 0)
  })
}

/** Calls `work` for each 128-bit half with A, B filled and R wanted. */
function halves(f: Format, work: (lanes: number, base: number) => void): Meaning {
  const lanes = f === F32 ? 4 : 2
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const bytes = vectorBytes(insn)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, bytes, B)
    readXmm(cpu, regOf(insn, first), bytes, A)
    for (let base = 0; base < bytes / (16 / lanes); base += lanes) work(lanes, base)
    finish(cpu, insn, bytes)
  }
}

/**
 * DPPS, DPPD: products that imm8[7:4] chooses, summed, to the lanes that imm8[3:0] chooses. As on Intel processors the
 * order of addends differs by lane (it shows when several are NaNs), and an unmasked exception ends the instruction
 * at the step that raises it.
 */
function dotProduct(f: Format, mul: LaneOp, plus: LaneOp): Meaning {
  const lanes = f === F32 ? 4 : 2
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const bytes = vectorBytes(insn)
    const count = bytes / (16 / lanes)
    const imm = insn.immLo
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, bytes, B)
    readXmm(cpu, regOf(insn, first), bytes, A)
    for (let i = 0; i < count; i++) {
      if (imm >> (4 + i % lanes) & 1) mul(A, i, B, i, R, i, 0)
      else setLane(f, R, i, 0n)
    }
    for (let step = 1; step < lanes; step *= 2) {
      finishSse(cpu)
      A.u8.set(R.u8)
      const swap = lanes === 4 && step === 1 ? 1 : 0
      for (let i = 0; i < count; i++) plus(A, i ^ swap, A, i ^ swap ^ step, R, i, 0)
    }
    for (let i = 0; i < count; i++) if (!(imm >> i % lanes & 1)) setLane(f, R, i, 0n)
    finish(cpu, insn, bytes)
  }
}

/** UCOMISS … (`quietly`), COMISS …: ZF PF CF as after an unsigned comparison, all three for unordered. */
function compareFlags(f: Format, quietly: boolean): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    beginSse(cpu)
    const width = f === F32 ? 4 : 8
    readOperand(cpu, insn, 1, width, B, false)
    readXmm(cpu, insn.reg0, width, A)
    const relation = relate(f, A, 0, B, 0, quietly)
    finishSse(cpu)
    cpu.setFlags(relation === UNORDERED ? 0x45 : relation === EQUAL ? 0x40 : relation === LESS ? 1 : 0, 0x8d5)
  }
}

export const sseArithmeticMeanings: Record<string, Meaning> = {
  ...family('add', ADD), ...family('sub', SUB), ...family('mul', MUL), ...family('div', DIV), ...family('sqrt', SQRT,
    true),
  ...family('min', both(f => extreme(f, LESS))), ...family('max', both(f => extreme(f, GREATER))),
  ...family('cmp', both(predicate), false, 7), ...family('round', both(round), true),
  haddps: horizontal(F32, ADD[0]), haddpd: horizontal(F64, ADD[1]),
  hsubps: horizontal(F32, SUB[0]), hsubpd: horizontal(F64, SUB[1]),
  addsubps: alternate(F32, ADD, SUB), addsubpd: alternate(F64, ADD, SUB),
  dpps: dotProduct(F32, MUL[0], ADD[0]), dppd: dotProduct(F64, MUL[1], ADD[1]),
  ucomiss: compareFlags(F32, true), ucomisd: compareFlags(F64, true),
  comiss: compareFlags(F32, false), comisd: compareFlags(F64, false),
}
