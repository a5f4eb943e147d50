/** Values of operands, as the meanings of integer instructions want them. */
import { I64, constant, extendS, extendU, typeOf, wrap } from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import type { Builder } from './builder.ts'
import { signed } from './flags.ts'

export const RAX = 0
export const RDX = 2
export const RSP = 4
export const RBP = 5

export const sized = (b: Builder, v: number | bigint): Expr => constant(typeOf(b.form.size), v)

/** An i32 truth value in the operand's type. */
export const widen = (b: Builder, e: Expr): Expr => (b.form.size === 8 ? extendU(e) : e)

export const narrow = (e: Expr): Expr => (e.type === I64 ? wrap(e) : e)

export const bits = (b: Builder): number => b.form.size * 8

/** The sign bit of the operand size. */
export const signBit = (b: Builder): Expr =>
  sized(b, b.form.size === 8 ? -(1n << 63n) : b.form.size === 4 ? -(2 ** 31) : 1 << (bits(b) - 1))

export const extendTo64 = (size: number, e: Expr): Expr => (size === 8 ? e : extendS(signed(size, e)))

export const extend32 = (isSigned: boolean, e: Expr): Expr => (isSigned ? extendS(e) : extendU(e))
