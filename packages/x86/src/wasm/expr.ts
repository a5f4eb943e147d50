/**
 * Typed WebAssembly expressions as trees. Meanings of instructions are written over these; `WasmFunction` emits them.
 * Constructors fold the few constants that operands of known value leave behind.
 */

export const I32 = 0x7f
export const I64 = 0x7e
export const V128 = 0x7b
export type ValueType = typeof I32 | typeof I64 | typeof V128

/** Opcodes that the emitter treats apart; all others are plain unary or binary operators. */
export const OP = {
  CALL: 0x10, SELECT: 0x1b, LOCAL_GET: 0x20, LOCAL_TEE: 0x22, CONST32: 0x41, CONST64: 0x42,
} as const
/** Vector operators are 0xfd00 + their number. */
export const SIMD = 0xfd00

export class Expr {
  readonly type: ValueType
  readonly op: number
  readonly a: Expr | null
  readonly b: Expr | null
  /** Constant, local number, offset, callee or lane; the condition's tree is in `c`. */
  readonly k: number | bigint
  readonly c: Expr | null
  readonly args: readonly Expr[] | null
  /** Set on locals made by `WasmFunction.let`: reading them again is free. */
  stable = false

  constructor(
    type: ValueType, op: number, a: Expr | null, b: Expr | null, k: number | bigint = 0, c: Expr | null = null,
    args: readonly Expr[] | null = null,
  ) {
    this.type = type
    this.op = op
    this.a = a
    this.b = b
    this.k = k
    this.c = c
    this.args = args
  }
}

export const i32 = (v: number): Expr => new Expr(I32, OP.CONST32, null, null, v | 0)
export const i64 = (v: number | bigint): Expr => new Expr(I64, OP.CONST64, null, null, v)
/** A constant of either integer type. */
export const constant = (type: ValueType, v: number | bigint): Expr =>
  type === I64 ? i64(v) : i32(typeof v === 'bigint' ? Number(BigInt.asIntN(32, v)) : v)
export const local = (index: number, type: ValueType): Expr => new Expr(type, OP.LOCAL_GET, null, null, index)

export const isConstant = (e: Expr): boolean => e.op === OP.CONST32 || e.op === OP.CONST64
const isZero = (e: Expr): boolean => isConstant(e) && (e.k === 0 || e.k === 0n)

type Binary = (a: Expr, b: Expr) => Expr
type Unary = (a: Expr) => Expr

const arithmetic = (op32: number, op64: number): Binary => (a, b) =>
  new Expr(a.type, a.type === I64 ? op64 : op32, a, b)
const comparison = (op32: number, op64: number): Binary => (a, b) => new Expr(I32, a.type === I64 ? op64 : op32, a, b)
const unary = (op32: number, op64: number): Unary => (a) => new Expr(a.type, a.type === I64 ? op64 : op32, a, null)

const plainAdd = arithmetic(0x6a, 0x7c)
const plainSub = arithmetic(0x6b, 0x7d)
const plainShl = arithmetic(0x74, 0x86)
export const add: Binary = (a, b) => (isZero(b) ? a : isZero(a) ? b : plainAdd(a, b))
export const sub: Binary = (a, b) => (isZero(b) ? a : plainSub(a, b))
export const shl: Binary = (a, b) => (isZero(b) ? a : plainShl(a, b))
export const mul = arithmetic(0x6c, 0x7e)
export const divS = arithmetic(0x6d, 0x7f)
export const divU = arithmetic(0x6e, 0x80)
export const remS = arithmetic(0x6f, 0x81)
export const remU = arithmetic(0x70, 0x82)
export const and = arithmetic(0x71, 0x83)
export const or = arithmetic(0x72, 0x84)
export const xor = arithmetic(0x73, 0x85)
export const shrS = arithmetic(0x75, 0x87)
export const shrU = arithmetic(0x76, 0x88)
export const rotl = arithmetic(0x77, 0x89)
export const rotr = arithmetic(0x78, 0x8a)
export const eq = comparison(0x46, 0x51)
export const ne = comparison(0x47, 0x52)
export const ltS = comparison(0x48, 0x53)
export const ltU = comparison(0x49, 0x54)
export const gtS = comparison(0x4a, 0x55)
export const gtU = comparison(0x4b, 0x56)
export const leS = comparison(0x4c, 0x57)
export const leU = comparison(0x4d, 0x58)
export const geS = comparison(0x4e, 0x59)
export const geU = comparison(0x4f, 0x5a)
export const eqz: Unary = (a) => new Expr(I32, a.type === I64 ? 0x50 : 0x45, a, null)
export const clz = unary(0x67, 0x79)
export const ctz = unary(0x68, 0x7a)
export const popcnt = unary(0x69, 0x7b)
export const extend8 = unary(0xc0, 0xc2)
export const extend16 = unary(0xc1, 0xc3)

/** i64 → i32. */
export const wrap: Unary = (a) => {
  if (a.op === 0xad || a.op === 0xac) return a.a as Expr
  if (a.op === OP.CONST64) return i32(Number(BigInt.asIntN(32, BigInt(a.k))))
  return new Expr(I32, 0xa7, a, null)
}
/** i32 → i64, zero-extended. */
export const extendU: Unary = (a) => (a.op === OP.CONST32 ? i64(Number(a.k) >>> 0) : new Expr(I64, 0xad, a, null))
/** i32 → i64, sign-extended. */
export const extendS: Unary = (a) => (a.op === OP.CONST32 ? i64(a.k) : new Expr(I64, 0xac, a, null))

const loader = (op: number, type: ValueType) => (address: Expr, offset = 0): Expr =>
  new Expr(type, op, address, null, offset)
export const load32 = loader(0x28, I32)
export const load64 = loader(0x29, I64)
export const load8U = loader(0x2d, I32)
export const load16U = loader(0x2f, I32)
export const load32S64 = loader(0x34, I64)
export const load128 = loader(SIMD | 0, V128)
/** The zero-extending load of `size` bytes in the type that operands of that size have. */
export const loadSized = (size: number, address: Expr, offset = 0): Expr =>
  size === 8 ? load64(address, offset) : size === 4 ? load32(address, offset) : size === 2 ? load16U(address, offset)
    : size === 1 ? load8U(address, offset) : load128(address, offset)

/** The store opcode for operands of `size` bytes. */
export const storeOpcode = (size: number): number =>
  size === 8 ? 0x37 : size === 4 ? 0x36 : size === 2 ? 0x3b : size === 1 ? 0x3a : SIMD | 11

/** The type that an operand of `size` bytes has: narrow ones are zero-extended i32. */
export const typeOf = (size: number): ValueType => (size === 16 ? V128 : size === 8 ? I64 : I32)

export const select = (condition: Expr, whenTrue: Expr, whenFalse: Expr): Expr =>
  new Expr(whenTrue.type, OP.SELECT, whenTrue, whenFalse, 0, condition)
export const call = (callee: number, type: ValueType, args: readonly Expr[]): Expr =>
  new Expr(type, OP.CALL, null, null, callee, null, args)

/** A vector operator by its number (WebAssembly SIMD); `type` is that of the result. */
export const simd = (number: number, a: Expr, b: Expr | null = null, type: ValueType = V128): Expr =>
  new Expr(type, SIMD | number, a, b)
/** A vector operator with a lane immediate (extract, replace). */
export const simdLane = (number: number, lane: number, a: Expr, b: Expr | null = null, type: ValueType = V128): Expr =>
  new Expr(type, SIMD | number, a, b, lane)
/** A 128-bit constant from its two halves. */
export const v128 = (lo: bigint, hi: bigint): Expr =>
  new Expr(V128, SIMD | 12, null, null, (hi << 64n) | BigInt.asUintN(64, lo))
/** i8x16.shuffle: `lanes` are 16 indexes below 32, lane 0 in the lowest byte. */
export const shuffle = (lanes: readonly number[], a: Expr, b: Expr): Expr =>
  new Expr(V128, SIMD | 13, a, b, lanes.reduceRight((k, lane) => (k << 8n) | BigInt(lane), 0n))
