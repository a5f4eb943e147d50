/** Shifts and rotations (SDM vol. 2). Flags that the manual leaves undefined are set as noted beside. */
import {
  and, eq, eqz, extendU, i32, i64, or, remU, rotl, rotr, select, shl, shrS, shrU, sub, wrap, xor,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { IMM } from '../insn.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { FLAG, KIND, signed, truncate } from './flags.ts'
import { bits, narrow, signBit, sized } from './operand-values.ts'

/** The masked count of a shift, in the operand's type. */
const shiftCount = (b: Builder): Expr => {
  const masked = and(b.get(1, 1), i32(b.form.size === 8 ? 63 : 31))
  return b.let(b.form.size === 8 ? extendU(masked) : masked)
}

/**
 * SHL, SHR, SAR: a count of 0 changes no flag. OF of counts above 1 is undefined; Intel processors set it as for a
 * shift of the same operand by 1. `carries` makes B of the flags' kind from the operand, the count and the count less
 * one.
 */
const shift = (
  kind: number, f: (a: Expr, count: Expr) => Expr, extend: (size: number, a: Expr) => Expr,
  carries: (b: Builder, a: Expr, c: Expr, less: Expr) => Expr,
): WasmMeaning => (b) => {
  const { size } = b.form
  const c = shiftCount(b)
  b.modify(0, (old) => {
    const a = b.let(extend(size, old))
    const r = b.let(truncate(size, f(a, c)))
    if (b.flagsNeeded) b.flagsUnless(eqz(c), () => { b.flags(kind, r, carries(b, a, c, sub(c, sized(b, 1)))) })
    return r
  })
}

/** Bit 0 is the last bit that leaves to the left; 8- and 16-bit operands may be shifted by up to 31. */
const leftCarries = (b: Builder, a: Expr, c: Expr): Expr => {
  const last = shrU(a, sub(sized(b, bits(b)), c))
  const overflow = and(xor(a, shl(a, sized(b, 1))), signBit(b))
  return or(b.form.size < 4 ? and(last, sized(b, 1)) : last, overflow)
}

/** The sign stays where it is, for OF. */
const rightCarries = (b: Builder, a: Expr, _c: Expr, less: Expr): Expr =>
  b.form.size < 4 ? or(shrU(a, less), and(a, signBit(b))) : shrS(a, less)

const rotateValue = (size: number, left: boolean, a: Expr, c: Expr): Expr => {
  if (size >= 4) return left ? rotl(a, c) : rotr(a, c)
  const m = i32(size * 8 - 1)
  const d = and(c, m)
  const e = and(sub(i32(0), c), m)
  return truncate(size, left ? or(shl(a, d), shrU(a, e)) : or(shrU(a, d), shl(a, e)))
}

/**
 * ROL and ROR change CF and OF only. OF of counts above 1 is undefined: Intel processors leave it alone when they
 * rotate a register by an immediate, else they set it as for a rotation of the same operand by 1.
 */
const rotate = (left: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const c = shiftCount(b)
  b.modify(0, (old) => {
    const a = b.let(old)
    const r = b.let(rotateValue(size, left, a, c))
    if (b.flagsNeeded) {
      const top = (e: Expr): Expr => narrow(and(shrU(e, sized(b, bits(b) - 1)), sized(b, 1)))
      const low = (e: Expr): Expr => and(narrow(e), i32(1))
      const overflow = left ? top(xor(a, shl(a, sized(b, 1)))) : xor(low(a), top(a))
      const carry = left ? low(r) : top(r)
      b.flagsUnless(eqz(c), () => {
        const old = b.let(b.flagImage())
        const byOne = shl(overflow, i32(11))
        const keeps = b.form.kinds[1] === IMM && b.form.memory === 0
        const of = keeps ? select(eq(c, sized(b, 1)), byOne, and(old, i32(FLAG.OF))) : byOne
        b.imageFlags(or(or(and(old, i32(~(FLAG.CF | FLAG.OF))), carry), of))
      })
    }
    return r
  })
}

/**
 * RCL and RCR rotate through CF: as ROL and ROR of one bit more. Counts are taken modulo 9 and 17 for 8 and 16 bits;
 * one that leaves nothing to rotate changes no flag. OF is as for a count of 1 (undefined for others).
 */
const rotateCarry = (left: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const width = bits(b)
  const masked = shiftCount(b)
  const c = size <= 2 ? b.let(remU(masked, i32(width + 1))) : masked
  const carry = b.let(b.condition(2))
  b.modify(0, (old) => {
    const a = b.let(old)
    const { r, out } = size === 8 ? rotateCarry64(b, left, a, c, carry) : rotateCarry33(b, left, a, c, carry)
    if (b.flagsNeeded) {
      // As for a rotation of the same operand by 1.
      const bit = (n: number): Expr => narrow(and(shrU(a, sized(b, n)), sized(b, 1)))
      const overflow = xor(bit(width - 1), left ? bit(width - 2) : carry)
      b.flagsUnless(eqz(c), () => { b.replaceFlags(FLAG.CF | FLAG.OF, or(out, shl(overflow, i32(11)))) })
    }
    return r
  })
}

/** Up to 32 bits: CF and the operand side by side in 64 bits. `out` is CF afterwards. */
const rotateCarry33 = (b: Builder, left: boolean, a: Expr, c: Expr, carry: Expr): { r: Expr; out: Expr } => {
  const width = bits(b)
  const whole = b.let(or(extendU(a), shl(extendU(carry), i64(width))))
  const n = b.let(extendU(c))
  const back = b.let(sub(i64(width + 1), n))
  const turned = b.let(left ? or(shl(whole, n), shrU(whole, back)) : or(shrU(whole, n), shl(whole, back)))
  return { r: b.let(truncate(b.form.size, wrap(turned))), out: b.let(and(wrap(shrU(turned, i64(width))), i32(1))) }
}

const rotateCarry64 = (b: Builder, left: boolean, a: Expr, c: Expr, carry: Expr): { r: Expr; out: Expr } => {
  const back = b.let(sub(i64(64), c))
  const less = b.let(sub(c, i64(1)))
  const through = extendU(carry)
  // A count of 64 − c is 64 for c = 0, which shifts take as 0: the bits that come round are shifted once before.
  const turned = left
    ? or(or(shl(a, c), shl(through, less)), shrU(shrU(a, i64(1)), back))
    : or(or(shrU(a, c), shl(through, back)), shl(shl(a, i64(1)), back))
  return {
    r: b.let(select(eqz(c), a, turned)),
    out: b.let(and(wrap(left ? shrU(a, back) : shrU(a, less)), i32(1))),
  }
}

/**
 * SHLD and SHRD. 16-bit operands with a count above 16 are undefined; they shift through the 48-bit concatenation. OF
 * of counts above 1 is undefined; Intel processors set it as for a shift of the same operands by 1.
 */
const doubleShift = (left: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const y = b.let(b.get(1))
  const masked = b.let(and(b.get(2, 1), i32(size === 8 ? 63 : 31)))
  const c = b.let(size === 8 ? extendU(masked) : masked)
  b.modify(0, (old) => {
    const a = b.let(old)
    const join = (count: Expr): Expr => {
      if (size === 2) {
        // a:y:a for left, a:y:a for right, as real processors do for counts above 16.
        const wide = left
          ? or(or(shl(extendU(a), i64(32)), shl(extendU(y), i64(16))), extendU(a))
          : or(or(shl(extendU(a), i64(32)), shl(extendU(y), i64(16))), extendU(a))
        const n = extendU(count)
        return left ? and(wrap(shrU(shl(wide, n), i64(32))), i32(0xffff)) : and(wrap(shrU(wide, n)), i32(0xffff))
      }
      const back = sub(sized(b, bits(b)), count)
      const other = left ? shrU(y, back) : shl(y, back)
      return or(left ? shl(a, count) : shrU(a, count), select(eqz(count), sized(b, 0), other))
    }
    const r = b.let(join(c))
    if (b.flagsNeeded) {
      b.flagsUnless(eqz(c), () => {
        const before = b.let(join(sub(c, sized(b, 1))))
        const carry = left ? shrU(before, sized(b, bits(b) - 1)) : and(before, sized(b, 1))
        const overflow = left ? xor(a, shl(a, sized(b, 1))) : xor(a, shl(y, sized(b, bits(b) - 1)))
        b.flags(KIND.SHL, r, or(carry, and(overflow, signBit(b))))
      })
    }
    return r
  })
}

const countOperand = (b: Builder, slot: number): Expr => {
  const masked = and(narrow(b.get(slot)), i32(bits(b) - 1))
  return b.let(b.form.size === 8 ? extendU(masked) : masked)
}

export const shiftMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['shl', shift(KIND.SHL, shl, (_size, a) => a, leftCarries)],
  ['shr', shift(KIND.SHR, shrU, (_size, a) => a, rightCarries)],
  ['sar', shift(KIND.SHR, shrS, signed, (b, a, _c, less) => truncate(b.form.size, shrS(a, less)))],
  ['rol', rotate(true)],
  ['ror', rotate(false)],
  ['rcl', rotateCarry(true)],
  ['rcr', rotateCarry(false)],
  ['shld', doubleShift(true)],
  ['shrd', doubleShift(false)],
  ['shlx', (b) => { b.set(0, shl(b.let(b.get(1)), countOperand(b, 2))) }],
  ['shrx', (b) => { b.set(0, shrU(b.let(b.get(1)), countOperand(b, 2))) }],
  ['sarx', (b) => { b.set(0, shrS(b.let(b.get(1)), countOperand(b, 2))) }],
  ['rorx', (b) => { b.set(0, rotr(b.let(b.get(1)), countOperand(b, 2))) }],
]
