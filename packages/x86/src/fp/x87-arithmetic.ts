/** FADD … FDIVR, FSQRT, comparisons, and what else computes from one or two numbers. */
import type { Cpu, Meaning } from '../cpu.ts'
import { MEM, type Insn } from '../insn.ts'
import { FSW } from '../state.ts'
import { add, compare, divide, EQUAL, LESS, multiply, squareRoot, UNORDERED } from './arithmetic.ts'
import { checkX87 } from './checks.ts'
import { fromInteger, roundToIntegral } from './convert.ts'
import { widen } from './x87-memory.ts'
import { DENORMAL, F80, INFINITY, QNAN, SNAN, UNSUPPORTED, unpack, ZERO, type FloatEnv } from './softfloat.ts'
import { beginX87, C0, C1, C2, C3, env, escapeOpcode, freeSt, isEmpty, notePointers, pop, precision, readSt, settle,
  setTop, topOf,
  underflows, writeSt } from './x87-state.ts'

type Operation = (env: FloatEnv, a: bigint, b: bigint, precision: number) => bigint

const OPERATIONS: Record<string, Operation> = {
  add: (e, a, b, p) => add(e, F80, a, b, 0, p),
  mul: (e, a, b, p) => multiply(e, F80, a, b, p),
  sub: (e, a, b, p) => add(e, F80, a, b, 1, p),
  subr: (e, a, b, p) => add(e, F80, b, a, 1, p),
  div: (e, a, b, p) => divide(e, F80, a, b, p),
  divr: (e, a, b, p) => divide(e, F80, b, a, p),
}

/** Address of the memory operand, if that is what operand 0 is. */
function memoryOperand(cpu: Cpu, insn: Insn): bigint | undefined {
  return insn.kind0 === MEM ? cpu.operandAddress(insn, insn.size, false) : undefined
}

/** The source: memory (a float or a signed integer, widened) or a register. */
function loadSource(cpu: Cpu, insn: Insn, address: bigint, integer: boolean): bigint {
  if (!integer) return widen(cpu, address, insn.size)
  const value = insn.size === 2 ? cpu.load(address, 2) << 16 >> 16 : cpu.load(address, 4) | 0
  return fromInteger(env, F80, BigInt(value))
}

/** dst ← dst op src: `fadd m`, `fadd st0, sti`, `fadd sti, st0`, with FADDP's pop and FIADD's integers. */
function binary(operation: Operation, pops: boolean, integer: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const address = memoryOperand(cpu, insn)
    const source = address === undefined ? readSt(cpu, insn.reg1) : loadSource(cpu, insn, address, integer)
    const to = address === undefined ? insn.reg0 : 0
    const missing = underflows(cpu, to) || address === undefined && underflows(cpu, insn.reg1)
    const result = missing ? F80.indefinite : operation(env, readSt(cpu, to), source, precision)
    if (!settle(cpu, insn, 0, 0, address)) return
    writeSt(cpu, to, result)
    if (pops) pop(cpu)
  }
}

/** ST(0) ← f(ST(0)). */
function unary(f: (bits: bigint) => bigint): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const result = underflows(cpu, 0) ? F80.indefinite : f(readSt(cpu, 0))
    if (settle(cpu, insn)) writeSt(cpu, 0, result)
  }
}

const conditionOf = (relation: number): number =>
  relation === UNORDERED ? C3 | C2 | C0 : relation === EQUAL ? C3 : relation === LESS ? C0 : 0

/** FCOM, FUCOM (`quietly`), FICOM, with 0 to 2 pops: the relation in C3, C2, C0. */
function comparison(quietly: boolean, pops: number, integer = false): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const address = memoryOperand(cpu, insn)
    const i = pops === 2 ? 1 : insn.reg0
    const source = address === undefined ? readSt(cpu, i) : loadSource(cpu, insn, address, integer)
    const missing = underflows(cpu, 0) || address === undefined && underflows(cpu, i)
    const relation = missing ? UNORDERED : compare(env, F80, readSt(cpu, 0), source, quietly)
    if (!settle(cpu, insn, C3 | C2 | C0, conditionOf(relation), address)) return
    for (let k = 0; k < pops; k++) pop(cpu)
  }
}

/** C1 for instructions that leave it alone but for a stack fault. */
const keptC1 = (cpu: Cpu, stackFault: boolean): number => stackFault ? 0 : cpu.views.u32[FSW >> 2] & C1

/** FCOMI, FUCOMI: the relation in ZF, PF, CF, also when an unmasked exception is left pending. */
function compareToFlags(quietly: boolean, pops: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const missing = underflows(cpu, 0) || underflows(cpu, insn.reg1)
    const relation = missing ? UNORDERED : compare(env, F80, readSt(cpu, 0), readSt(cpu, insn.reg1), quietly)
    const goesOn = settle(cpu, insn, 0, keptC1(cpu, missing))
    cpu.setFlags(relation === UNORDERED ? 0x45 : relation === EQUAL ? 0x40 : relation === LESS ? 1 : 0, 0x8d5)
    if (goesOn && pops) pop(cpu)
  }
}

const ftst: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const relation = underflows(cpu, 0) ? UNORDERED : compare(env, F80, readSt(cpu, 0), 0n, false)
  settle(cpu, insn, C3 | C2 | C0, conditionOf(relation))
}

/** FXAM: class in C3, C2, C0, sign in C1; never an exception. */
const fxam: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const a = unpack(F80, readSt(cpu, 0))
  let kind = C2
  if (isEmpty(cpu, 0)) kind = C3 | C0
  else if (a.kind === UNSUPPORTED) kind = 0
  else if (a.kind === QNAN || a.kind === SNAN) kind = C0
  else if (a.kind === INFINITY) kind = C2 | C0
  else if (a.kind === ZERO) kind = C3
  else if (a.kind === DENORMAL) kind = C3 | C2
  settle(cpu, insn, C3 | C2 | C0, kind | (a.sign ? C1 : 0))
}

/** FXCH: empty registers become the indefinite NaN first. */
const fxch: Meaning = (cpu, insn) => {
  beginX87(cpu)
  const i = insn.reg0
  const first = underflows(cpu, 0) ? F80.indefinite : readSt(cpu, 0)
  const second = underflows(cpu, i) ? F80.indefinite : readSt(cpu, i)
  if (!settle(cpu, insn)) return
  writeSt(cpu, 0, second)
  writeSt(cpu, i, first)
}

/** FCMOVcc: condition by bits of EFLAGS. */
function conditionalMove(mask: number, wanted: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    const missing = underflows(cpu, 0) || underflows(cpu, insn.reg1)
    if (!settle(cpu, insn, 0, keptC1(cpu, missing))) return
    if (missing) return writeSt(cpu, 0, F80.indefinite)
    if (((cpu.getFlags() & mask) !== 0) === wanted) writeSt(cpu, 0, readSt(cpu, insn.reg1))
  }
}

/** FINCSTP, FDECSTP. */
function rotate(by: number): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    settle(cpu, insn)
    setTop(cpu, topOf(cpu) + by)
  }
}

/** FFREE and the undocumented FFREEP. */
function free(pops: boolean): Meaning {
  return (cpu, insn) => {
    beginX87(cpu)
    settle(cpu, insn)
    freeSt(cpu, insn.reg0)
    if (pops) pop(cpu)
  }
}

/** FNOP, and the FENI, FDISI, FSETPM of old coprocessors (DB E0 …), which are control instructions and don't wait. */
const fnop: Meaning = (cpu, insn) => {
  checkX87(cpu, false)
  if (escapeOpcode(cpu, insn) >> 8 !== 1) return
  beginX87(cpu)
  notePointers(cpu, insn)
}

const SIGN = 1n << 79n

export const x87ArithmeticMeanings: Record<string, Meaning> = {
  fsqrt: unary(bits => squareRoot(env, F80, bits, precision)),
  fchs: unary(bits => bits ^ SIGN), fabs: unary(bits => bits & ~SIGN),
  frndint: unary(bits => roundToIntegral(env, F80, bits)),
  fcom: comparison(false, 0), fcomp: comparison(false, 1), fcompp: comparison(false, 2),
  fucom: comparison(true, 0), fucomp: comparison(true, 1), fucompp: comparison(true, 2),
  ficom: comparison(false, 0, true), ficomp: comparison(false, 1, true),
  fcomi: compareToFlags(false, false), fcomip: compareToFlags(false, true),
  fucomi: compareToFlags(true, false), fucomip: compareToFlags(true, true),
  ftst, fxam, fxch, fnop,
  fcmovb: conditionalMove(0x01, true), fcmovnb: conditionalMove(0x01, false),
  fcmove: conditionalMove(0x40, true), fcmovne: conditionalMove(0x40, false),
  fcmovbe: conditionalMove(0x41, true), fcmovnbe: conditionalMove(0x41, false),
  fcmovu: conditionalMove(0x04, true), fcmovnu: conditionalMove(0x04, false),
  fincstp: rotate(1), fdecstp: rotate(-1), ffree: free(false), ffreep: free(true),
}
for (const [name, operation] of Object.entries(OPERATIONS)) {
  x87ArithmeticMeanings[`f${name}`] = binary(operation, false, false)
  x87ArithmeticMeanings[`f${name}p`] = binary(operation, true, false)
  x87ArithmeticMeanings[`fi${name}`] = binary(operation, false, true)
}
