/**
 * Lazy status flags. An instruction leaves what its flags follow from: a kind, the operand size and two values A and B.
 * The flags themselves are computed when somebody asks (SDM vol. 1, §3.4.3.1 for what each flag means).
 */
import {
  I64, add, and, call, constant, eq, eqz, geS, geU, gtS, gtU, i32, leS, leU, load32, load64, ltS, ltU, ne,
  or, popcnt, shl, shrU, sub, typeOf, wrap, xor, extend16, extend8, I32,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { WasmFunction } from '../wasm/function.ts'
import type { ModuleWriter } from '../wasm/module.ts'
import { CC_A, CC_B, CC_OP } from '../state.ts'

/** How the flags follow from A and B. */
export const KIND = {
  /** A holds the six flags at their places in EFLAGS. */
  IMAGE: 0,
  /** A = result, B = addend. */
  ADD: 1,
  /** A − B. */
  SUB: 2,
  /** A = result; CF = OF = AF = 0. */
  LOGIC: 3,
  /** A = result, B = CF as it was. */
  INC: 4,
  DEC: 5,
  /** SHL, SHLD, SHRD: A = result; bit 0 of B is CF, the sign of B is OF. */
  SHL: 6,
  /** SHR and SAR: A = result; bit 0 of B is CF, OF is where the signs of A and B differ. */
  SHR: 7,
  /** ADC with carry in: A = result, B = addend. */
  ADC: 8,
  /** SBB with borrow in: A − B − 1. */
  SBB: 9,
  /** A = result, B = CF and OF as one bit; AF = ZF = 0 (multiplication). */
  RESULT: 10,
} as const
export const KIND_COUNT = 11

/** The value of CC_OP for a kind and a size. */
export const ccOp = (kind: number, size: number): number => kind * 4 + (31 - Math.clz32(size))

export const FLAG = { CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 } as const
export const STATUS_FLAGS = 0x8d5

/** Truncates to the operand size (narrow operands are zero-extended i32). */
export const truncate = (size: number, e: Expr): Expr =>
  size === 1 ? and(e, i32(0xff)) : size === 2 ? and(e, i32(0xffff)) : e
/** Sign-extends inside the operand's type. */
export const signed = (size: number, e: Expr): Expr => (size === 1 ? extend8(e) : size === 2 ? extend16(e) : e)
const isNegative = (size: number, e: Expr): Expr => ltS(signed(size, e), constant(typeOf(size), 0))
const bit0 = (e: Expr): Expr => (e.type === I64 ? wrap(e) : e)

/** What is known of the last instruction that set flags. */
export interface FlagSource {
  readonly kind: number
  readonly size: number
  readonly a: Expr
  readonly b: Expr
}

function carry({ kind, a, b }: FlagSource): Expr {
  switch (kind) {
    case KIND.IMAGE: return and(bit0(a), i32(1))
    case KIND.ADD: case KIND.SUB: return ltU(a, b)
    case KIND.INC: case KIND.DEC: case KIND.RESULT: return bit0(b)
    case KIND.SHL: case KIND.SHR: return and(bit0(b), i32(1))
    case KIND.ADC: case KIND.SBB: return leU(a, b)
    default: return i32(0)
  }
}

function result({ kind, size, a, b }: FlagSource): Expr {
  if (kind === KIND.SUB) return truncate(size, sub(a, b))
  if (kind === KIND.SBB) return truncate(size, sub(sub(a, b), constant(a.type, 1)))
  return a
}

/** The most negative value of a size. */
const minimum = (size: number): number | bigint =>
  (size === 8 ? -(1n << 63n) : size === 4 ? -(2 ** 31) : size === 2 ? 0x8000 : 0x80)
/** The most positive value of a size. */
const maximum = (size: number): number | bigint =>
  (size === 8 ? (1n << 63n) - 1n : size === 4 ? 2 ** 31 - 1 : size === 2 ? 0x7fff : 0x7f)

function overflow(source: FlagSource): Expr {
  const { kind, size, a, b } = source
  const one = constant(a.type, 1)
  switch (kind) {
    case KIND.IMAGE: return and(shrU(bit0(a), i32(11)), i32(1))
    // (result ^ addend) & (result ^ augend): both operands differ in sign from the result.
    case KIND.ADD: return isNegative(size, and(xor(a, b), xor(a, sub(a, b))))
    case KIND.ADC: return isNegative(size, and(xor(a, b), xor(a, sub(sub(a, b), one))))
    case KIND.SUB: return isNegative(size, and(xor(a, b), xor(a, sub(a, b))))
    case KIND.SBB: return isNegative(size, and(xor(a, b), xor(a, sub(sub(a, b), one))))
    case KIND.INC: return eq(a, constant(a.type, minimum(size)))
    case KIND.DEC: return eq(a, constant(a.type, maximum(size)))
    case KIND.SHL: return isNegative(size, b)
    case KIND.SHR: return isNegative(size, xor(a, b))
    case KIND.RESULT: return bit0(b)
    default: return i32(0)
  }
}

function zero(s: FlagSource): Expr {
  switch (s.kind) {
    case KIND.IMAGE: return and(shrU(bit0(s.a), i32(6)), i32(1))
    case KIND.SUB: return eq(s.a, s.b)
    case KIND.RESULT: return i32(0)
    default: return eqz(result(s))
  }
}
const sign = (s: FlagSource): Expr =>
  (s.kind === KIND.IMAGE ? and(shrU(bit0(s.a), i32(7)), i32(1)) : isNegative(s.size, result(s)))
const parity = (s: FlagSource): Expr =>
  s.kind === KIND.IMAGE ? and(shrU(bit0(s.a), i32(2)), i32(1)) : eqz(
    and(popcnt(and(bit0(result(s)), i32(0xff))), i32(1))
  )

/** AF as 0 or 0x10. */
function adjust(s: FlagSource): Expr {
  const { kind, a, b } = s
  const at = (e: Expr): Expr => and(bit0(e), i32(FLAG.AF))
  const one = constant(a.type, 1)
  switch (kind) {
    case KIND.IMAGE: return at(a)
    case KIND.ADD: return at(xor(xor(a, b), sub(a, b)))
    case KIND.ADC: return at(xor(xor(a, b), sub(sub(a, b), one)))
    case KIND.SUB: return at(xor(xor(a, b), sub(a, b)))
    case KIND.SBB: return at(xor(xor(a, b), sub(sub(a, b), one)))
    case KIND.INC: return at(xor(a, sub(a, one)))
    case KIND.DEC: return at(xor(a, add(a, one)))
    default: return i32(0)
  }
}

/** The shortest test for the condition codes that compare, when the flags come from A − B. */
function compareCondition(cc: number, { size, a, b }: FlagSource): Expr | null {
  const sa = signed(size, a)
  const sb = signed(size, b)
  switch (cc) {
    case 2: return ltU(a, b)
    case 3: return geU(a, b)
    case 4: return eq(a, b)
    case 5: return ne(a, b)
    case 6: return leU(a, b)
    case 7: return gtU(a, b)
    case 12: return ltS(sa, sb)
    case 13: return geS(sa, sb)
    case 14: return leS(sa, sb)
    case 15: return gtS(sa, sb)
    default: return null
  }
}

/** The same for results of AND, OR, XOR and TEST, whose CF and OF are 0. */
function logicCondition(cc: number, { size, a }: FlagSource): Expr | null {
  const none = constant(a.type, 0)
  const s = signed(size, a)
  switch (cc) {
    case 0: case 2: return i32(0)
    case 1: case 3: return i32(1)
    case 4: case 6: return eqz(a)
    case 5: case 7: return ne(a, none)
    case 8: case 12: return ltS(s, none)
    case 9: case 13: return geS(s, none)
    case 14: return leS(s, none)
    case 15: return gtS(s, none)
    default: return null
  }
}

/** A condition code (SDM vol. 2, appendix B.1.4.7) as i32: zero or not. */
export function condition(cc: number, source: FlagSource): Expr {
  const short = source.kind === KIND.SUB ? compareCondition(cc, source)
    : source.kind === KIND.LOGIC ? logicCondition(cc, source) : null
  if (short !== null) return short
  const value = ((): Expr => {
    switch (cc & 14) {
      case 0: return overflow(source)
      case 2: return carry(source)
      case 4: return zero(source)
      case 6: return or(carry(source), zero(source))
      case 8: return sign(source)
      case 10: return parity(source)
      case 12: return xor(sign(source), overflow(source))
      default: return or(zero(source), xor(sign(source), overflow(source)))
    }
  })()
  return (cc & 1) === 0 ? value : eqz(value)
}

/** All six flags at their places in EFLAGS. */
export function flagImage(s: FlagSource): Expr {
  if (s.kind === KIND.IMAGE) return and(bit0(s.a), i32(STATUS_FLAGS))
  return [
    shl(parity(s), i32(2)), adjust(s), shl(zero(s), i32(6)), shl(sign(s), i32(7)), shl(overflow(s), i32(11)),
  ].reduce(or, carry(s))
}

/** Functions over flags whose kind is only known when they run. */
export interface FlagFunctions {
  /** () → i32: the six flags. */
  readonly image: number
  /** () → i32 by even condition code / 2. */
  readonly conditions: readonly number[]
}

/** The lazy flags in memory as a source of a given kind and size. */
export function memorySource(kind: number, size: number): FlagSource {
  const read = (at: number): Expr => (typeOf(size) === I64 ? load64(i32(0), at) : load32(i32(0), at))
  return { kind, size, a: read(CC_A), b: read(CC_B) }
}

/** Adds the functions to a module: a jump by CC_OP to code that knows its kind. */
export function writeFlagFunctions(module: ModuleWriter): FlagFunctions {
  const write = (name: string, compute: (s: FlagSource) => Expr): number => {
    const number = module.declare([], [I32])
    const f = new WasmFunction([])
    writeByKind(f, load32(i32(0), CC_OP), memorySource, compute)
    module.define(number, f)
    module.export(name, number)
    return number
  }
  return {
    image: write('flagImage', flagImage),
    conditions: [0, 2, 4, 6, 8, 10, 12, 14].map((cc) => write(`condition${cc}`, (s) => condition(cc, s))),
  }
}

/** Writes a function body that computes from flags of whatever kind `op` says. */
export function writeByKind(
  f: WasmFunction, op: Expr, source: (kind: number, size: number) => FlagSource, compute: (s: FlagSource) => Expr,
): void {
  nestCases(f, KIND_COUNT * 4, (at) => { f.return(compute(source(at >> 2, 1 << (at & 3)))) }, op)
  f.emit(i32(0))
}

/** Emits a br_table over `cases` bodies; each body must leave. */
export function nestCases(f: WasmFunction, cases: number, body: (at: number) => void, index: Expr): void {
  const labels: number[] = new Array<number>(cases).fill(0)
  const open = (at: number): void => {
    if (at < 0) {
      f.brTable(index, labels)
      return
    }
    f.block((end) => {
      labels[at] = end
      open(at - 1)
    })
    body(at)
  }
  // The outermost block belongs to the last case, so that case 0 follows the table directly.
  open(cases - 1)
}

/** A generic condition: a call, inverted for odd codes. */
export function genericCondition(functions: FlagFunctions, cc: number): Expr {
  const value = call(functions.conditions[cc >> 1], I32, [])
  return (cc & 1) === 0 ? value : eqz(value)
}
