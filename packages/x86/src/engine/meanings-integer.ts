/** Integer instructions (SDM vol. 2). Flags that the manual leaves undefined are set as noted beside. */
import {
  I32, I64, add, and, clz, constant, ctz, divS, divU, eq, eqz, extendS, extendU, i32, i64, leU, ltU, mul, ne, or,
  popcnt, remS, remU, rotl, rotr, select, shl, shrS, shrU, sub, typeOf, wrap, xor,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { IMM } from '../insn.ts'
import { SYSFLAGS, YIELDS } from '../state.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { FLAG, KIND, signed, truncate } from './flags.ts'

const RAX = 0
const RDX = 2
const RSP = 4
const RBP = 5

const sized = (b: Builder, v: number | bigint): Expr => constant(typeOf(b.form.size), v)
/** An i32 truth value in the operand's type. */
const widen = (b: Builder, e: Expr): Expr => (b.form.size === 8 ? extendU(e) : e)
const narrow = (e: Expr): Expr => (e.type === I64 ? wrap(e) : e)
const bits = (b: Builder): number => b.form.size * 8

const addition: WasmMeaning = (b) => {
  const y = b.let(b.get(1))
  b.modify(0, (a) => {
    const r = b.let(truncate(b.form.size, add(a, y)))
    b.flags(KIND.ADD, r, y)
    return r
  })
}

const subtraction: WasmMeaning = (b) => {
  const y = b.let(b.get(1))
  b.modify(0, (old) => {
    const a = b.let(old)
    b.flags(KIND.SUB, a, y)
    return truncate(b.form.size, sub(a, y))
  })
}

const logic = (f: (a: Expr, y: Expr) => Expr): WasmMeaning => (b) => {
  const y = b.let(b.get(1))
  b.modify(0, (a) => {
    const r = b.let(f(a, y))
    b.flags(KIND.LOGIC, r, r)
    return r
  })
}

/** ADC and SBB: without a carry in they are ADD and SUB, and their flags are kept as those. */
const withCarry = (subtract: boolean): WasmMeaning => (b) => {
  const c = b.let(b.condition(2))
  const y = b.let(b.get(1))
  b.modify(0, (old) => {
    const a = b.let(old)
    const ct = widen(b, c)
    const r = b.let(truncate(b.form.size, subtract ? sub(sub(a, y), ct) : add(add(a, y), ct)))
    if (b.flagsNeeded) b.flagsEither(c, subtract ? KIND.SBB : KIND.ADC, subtract ? KIND.SUB : KIND.ADD, subtract ? a : r, y)
    return r
  })
}

const increment = (by: 1 | -1): WasmMeaning => (b) => {
  const c = b.flagsNeeded ? b.let(b.condition(2)) : i32(0)
  b.modify(0, (a) => {
    const r = b.let(truncate(b.form.size, add(a, sized(b, by))))
    b.flags(by === 1 ? KIND.INC : KIND.DEC, r, widen(b, c))
    return r
  })
}

/** The masked count of a shift, in the operand's type. */
const shiftCount = (b: Builder): Expr => {
  const masked = and(b.get(1, 1), i32(b.form.size === 8 ? 63 : 31))
  return b.let(b.form.size === 8 ? extendU(masked) : masked)
}

/**
 * SHL, SHR, SAR: a count of 0 changes no flag. OF of counts above 1 is undefined; Intel processors set it as for a shift
 * of the same operand by 1. `carries` makes B of the flags' kind from the operand, the count and the count less one.
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

/** The sign bit of the operand size. */
const signBit = (b: Builder): Expr => sized(b, b.form.size === 8 ? -(1n << 63n) : b.form.size === 4 ? -(2 ** 31) : 1 << (bits(b) - 1))
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
 * ROL and ROR change CF and OF only. OF of counts above 1 is undefined: Intel processors leave it alone when they rotate a
 * register by an immediate, else they set it as for a rotation of the same operand by 1.
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
        const of = b.form.kinds[1] === IMM && b.form.memory === 0 ? select(eq(c, sized(b, 1)), byOne, and(old, i32(FLAG.OF))) : byOne
        b.imageFlags(or(or(and(old, i32(~(FLAG.CF | FLAG.OF))), carry), of))
      })
    }
    return r
  })
}

/**
 * RCL and RCR rotate through CF: as ROL and ROR of one bit more. Counts are taken modulo 9 and 17 for 8 and 16 bits; one
 * that leaves nothing to rotate changes no flag. OF is as for a count of 1 (undefined for others).
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
 * SHLD and SHRD. 16-bit operands with a count above 16 are undefined; they shift through the 48-bit concatenation. OF of
 * counts above 1 is undefined; Intel processors set it as for a shift of the same operands by 1.
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

/** Upper half of an unsigned 64 × 64 product. */
export function mulHighU(b: Builder, x: Expr, y: Expr): Expr {
  const low = i64(0xffff_ffff)
  const [a, c] = [b.let(x), b.let(y)]
  const al = b.let(and(a, low))
  const ah = b.let(shrU(a, i64(32)))
  const cl = b.let(and(c, low))
  const ch = b.let(shrU(c, i64(32)))
  const p1 = b.let(mul(al, ch))
  const p2 = b.let(mul(ah, cl))
  const mid = b.let(add(add(and(p1, low), and(p2, low)), shrU(mul(al, cl), i64(32))))
  return b.let(add(add(mul(ah, ch), shrU(p1, i64(32))), add(shrU(p2, i64(32)), shrU(mid, i64(32)))))
}

const mulHighS = (b: Builder, x: Expr, y: Expr): Expr => {
  const [a, c] = [b.let(x), b.let(y)]
  const high = mulHighU(b, a, c)
  return b.let(sub(sub(high, and(shrS(a, i64(63)), c)), and(shrS(c, i64(63)), a)))
}

/** MUL and one-operand IMUL. Undefined: SF and PF follow the low half, ZF is 0, as Intel processors have it. */
const multiply = (isSigned: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const y = b.let(b.get(0))
  const a = b.let(b.gpr(RAX, size))
  if (size === 8) {
    const high = isSigned ? mulHighS(b, a, y) : mulHighU(b, a, y)
    const low = b.let(mul(a, y))
    b.setGpr(RAX, low, 8)
    b.setGpr(RDX, high, 8)
    b.flags(KIND.RESULT, low, extendU(isSigned ? ne(high, shrS(low, i64(63))) : ne(high, i64(0))))
    return
  }
  const up = (e: Expr): Expr => (isSigned ? extendS(signed(size, e)) : extendU(e))
  const product = b.let(mul(up(a), up(y)))
  const low = b.let(truncate(size, wrap(product)))
  if (size === 1) {
    b.setGpr(RAX, and(wrap(product), i32(0xffff)), 2)
  } else {
    b.setGpr(RAX, low, size)
    b.setGpr(RDX, truncate(size, wrap(shrU(product, i64(size * 8)))), size)
  }
  b.flags(KIND.RESULT, low, ne(product, up(low)))
}

/** Two- and three-operand IMUL. */
const multiplyInto = (x: number, y: number): WasmMeaning => (b) => {
  const { size } = b.form
  const a = b.let(b.get(x))
  const c = b.let(b.get(y))
  const r = b.let(truncate(size, mul(a, c)))
  if (b.flagsNeeded) {
    const wide = size === 8
      ? extendU(ne(mulHighS(b, a, c), shrS(r, i64(63))))
      : ne(mul(extendS(signed(size, a)), extendS(signed(size, c))), extendS(signed(size, r)))
    b.flags(KIND.RESULT, r, wide)
  }
  b.set(0, r)
}
const imul: WasmMeaning = (b) => {
  if (b.form.kinds[1] === 0) multiply(true)(b)
  else if (b.form.kinds[2] === 0) multiplyInto(0, 1)(b)
  else multiplyInto(1, 2)(b)
}

/** DIV and IDIV; flags are undefined and stay. Anything that may raise #DE, and true 128-bit dividends, go to the host. */
const divide = (isSigned: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const y = b.let(b.get(0))
  b.hostIf(eqz(y))
  if (size === 8) {
    const a = b.let(b.gpr(RAX, 8))
    b.hostIf(ne(b.gpr(RDX, 8), isSigned ? shrS(a, i64(63)) : i64(0)))
    if (isSigned) b.hostIf(and(eq(a, i64(-(1n << 63n))), eq(y, i64(-1))))
    const q = b.let((isSigned ? divS : divU)(a, y))
    const r = b.let((isSigned ? remS : remU)(a, y))
    b.setGpr(RAX, q, 8)
    b.setGpr(RDX, r, 8)
    return
  }
  const up = (e: Expr): Expr => (isSigned ? extendS(signed(size, e)) : extendU(e))
  const dividend = b.let(size === 1
    ? (isSigned ? extendS(signed(2, b.gpr(RAX, 2))) : extendU(b.gpr(RAX, 2)))
    : size === 2
      ? extend32(isSigned, or(b.gpr(RAX, 2), shl(b.gpr(RDX, 2), i32(16))))
      : or(extendU(b.gpr(RAX, 4)), shl(extendU(b.gpr(RDX, 4)), i64(32))))
  const d = b.let(up(y))
  if (isSigned) b.hostIf(and(eq(dividend, i64(-(1n << 63n))), eq(d, i64(-1))))
  const q = b.let((isSigned ? divS : divU)(dividend, d))
  b.hostIf(ne(up(truncate(size, wrap(q))), q))
  const r = b.let((isSigned ? remS : remU)(dividend, d))
  if (size === 1) {
    b.setGpr(RAX, or(and(wrap(q), i32(0xff)), shl(and(wrap(r), i32(0xff)), i32(8))), 2)
    return
  }
  b.setGpr(RAX, truncate(size, wrap(q)), size)
  b.setGpr(RDX, truncate(size, wrap(r)), size)
}
const extend32 = (isSigned: boolean, e: Expr): Expr => (isSigned ? extendS(e) : extendU(e))

/** BT, BTS, BTR, BTC: only CF changes. A register offset reaches memory outside the operand. */
const bitTest = (change: ((a: Expr, bit: Expr) => Expr) | null): WasmMeaning => (b) => {
  const { size, kinds, memory } = b.form
  const offset = b.let(b.get(1))
  const mask = sized(b, bits(b) - 1)
  const setCarry = (bitAsCarry: Expr): void => { b.replaceFlags(FLAG.CF, bitAsCarry) }
  const apply = (a: Expr): Expr => {
    const position = b.let(and(offset, mask))
    if (b.flagsNeeded) setCarry(b.let(narrow(and(shrU(a, position), sized(b, 1)))))
    return change === null ? a : truncate(size, change(a, shl(sized(b, 1), position)))
  }
  if (memory === 0 || kinds[1] === 4) {
    if (change === null) apply(b.let(b.get(0)))
    else b.modify(0, (old) => apply(b.let(old)))
    return
  }
  const far = extendTo64(size, offset)
  const address = b.let(add(b.address(), mul(shrS(far, i64(size === 8 ? 6 : size === 4 ? 5 : 4)), i64(size))))
  if (change === null) apply(b.load(size, address))
  else b.modifyAt(size, address, (old) => apply(b.let(old)))
}
const extendTo64 = (size: number, e: Expr): Expr => (size === 8 ? e : extendS(signed(size, e)))

/**
 * BSF and BSR leave the destination alone when the source is 0, as processors do. Flags but ZF are undefined: Intel
 * processors clear them but for PF, which follows the position (that of 0 when the source is 0).
 */
const bitScan = (reverse: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const v = b.let(b.get(1))
  const position = reverse ? sub(sized(b, size === 8 ? 63 : 31), clz(v)) : ctz(v)
  const none = b.let(eqz(v))
  const r = b.let(position)
  b.f.if(eqz(none), () => { b.set(0, r) })
  // Bit 8 tells position 0 from a source of 0.
  if (b.flagsNeeded) {
    const result = b.let(select(none, sized(b, 0), or(r, sized(b, 0x100))))
    b.flags(KIND.LOGIC, result, result)
  }
}

/** TZCNT, LZCNT, POPCNT. */
const count = (f: (size: number, v: Expr) => Expr, carryOnZero: boolean): WasmMeaning => (b) => {
  const { size } = b.form
  const v = b.let(b.get(1))
  const r = b.let(f(size, v))
  b.set(0, r)
  if (!b.flagsNeeded) return
  const zf = shl(carryOnZero ? eqz(r) : eqz(v), i32(6))
  b.imageFlags(carryOnZero ? or(zf, eqz(v)) : zf)
}

/** BMI1 and BMI2 operations whose flags follow the result, with CF given. */
const bmi = (f: (b: Builder) => { r: Expr; carry: Expr | null }): WasmMeaning => (b) => {
  const { r, carry } = f(b)
  const v = b.let(r)
  if (b.flagsNeeded) {
    const sf = shl(narrow(shrU(v, sized(b, bits(b) - 1))), i32(7))
    b.imageFlags(or(or(sf, shl(eqz(v), i32(6))), carry ?? i32(0)))
  }
  b.set(0, v)
}

const countOperand = (b: Builder, slot: number): Expr => {
  const masked = and(narrow(b.get(slot)), i32(bits(b) - 1))
  return b.let(b.form.size === 8 ? extendU(masked) : masked)
}

const bzhi = bmi((b) => {
  const a = b.let(b.get(1))
  const n = b.let(and(narrow(b.get(2)), i32(0xff)))
  const wide = b.form.size === 8 ? extendU(n) : n
  const inside = ltU(n, i32(bits(b)))
  return { r: select(inside, and(a, sub(shl(sized(b, 1), wide), sized(b, 1))), a), carry: eqz(inside) }
})

const bextr: WasmMeaning = (b) => {
  const a = b.let(b.get(1))
  const control = b.let(narrow(b.get(2)))
  const start = b.let(and(control, i32(0xff)))
  const length = b.let(and(shrU(control, i32(8)), i32(0xff)))
  const wide = (e: Expr): Expr => (b.form.size === 8 ? extendU(e) : e)
  const shifted = select(ltU(start, i32(bits(b))), shrU(a, wide(start)), sized(b, 0))
  const r = b.let(select(ltU(length, i32(bits(b))), and(shifted, sub(shl(sized(b, 1), wide(length)), sized(b, 1))), shifted))
  b.set(0, r)
  b.imageFlags(shl(eqz(r), i32(6)))
}

/** ADCX and ADOX: a chain through one flag. */
const chain = (flag: number): WasmMeaning => (b) => {
  const image = b.let(b.flagImage())
  const c = b.let(flag === FLAG.CF ? and(image, i32(1)) : and(shrU(image, i32(11)), i32(1)))
  const a = b.let(b.get(0))
  const y = b.let(b.get(1))
  const r = b.let(add(add(a, y), widen(b, c)))
  b.set(0, r)
  const carry = select(c, leU(r, a), ltU(r, a))
  b.imageFlags(or(and(image, i32(~flag)), flag === FLAG.CF ? carry : shl(carry, i32(11))))
}

const mulx: WasmMeaning = (b) => {
  const y = b.let(b.get(2))
  const a = b.let(b.gpr(RDX, b.form.size))
  if (b.form.size === 8) {
    const high = mulHighU(b, a, y)
    b.set(1, mul(a, y))
    b.set(0, high)
    return
  }
  const product = b.let(mul(extendU(a), extendU(y)))
  b.set(1, wrap(product))
  b.set(0, wrap(shrU(product, i64(32))))
}

/** PDEP and PEXT bit by bit over the mask. */
const parallelBits = (deposit: boolean): WasmMeaning => (b) => {
  const { f } = b
  const source = b.let(b.get(1))
  const type = typeOf(b.form.size)
  const mask = f.newLocal(type)
  const from = f.newLocal(type)
  const to = f.newLocal(type)
  const bit = f.newLocal(type)
  const get = (index: number): Expr => b.localValue(index, type)
  f.set(mask, b.get(2))
  f.set(from, source)
  f.set(to, sized(b, 0))
  f.set(bit, sized(b, 1))
  f.block((end) => {
    f.loop((head) => {
      f.brIf(eqz(get(mask)), end)
      const lowest = b.let(and(get(mask), sub(sized(b, 0), get(mask))))
      if (deposit) f.set(to, or(get(to), select(eqz(and(get(from), get(bit))), sized(b, 0), lowest)))
      else f.set(to, or(get(to), select(eqz(and(get(from), lowest)), sized(b, 0), get(bit))))
      f.set(bit, shl(get(bit), sized(b, 1)))
      f.set(mask, xor(get(mask), lowest))
      f.br(head)
    })
  })
  b.set(0, get(to))
}

const byteSwap = (size: number, v: Expr): Expr => {
  if (size === 2) return and(or(shl(v, i32(8)), shrU(v, i32(8))), i32(0xffff))
  if (size === 4) return or(and(rotl(v, i32(8)), i32(0x00ff_00ff)), and(rotr(v, i32(8)), i32(0xff00_ff00)))
  const swap16 = (e: Expr): Expr => or(and(rotl(e, i32(8)), i32(0x00ff_00ff)), and(rotr(e, i32(8)), i32(0xff00_ff00)))
  return or(shl(extendU(swap16(wrap(v))), i64(32)), extendU(swap16(wrap(shrU(v, i64(32))))))
}

const cmpxchg: WasmMeaning = (b) => {
  const { size } = b.form
  const accumulator = b.let(b.gpr(RAX, size))
  const source = b.let(b.get(1))
  let seen = accumulator
  if (b.form.memory === 0) {
    // A register keeps all its 64 bits when the comparison fails.
    seen = b.let(b.get(0))
    b.f.if(eq(seen, accumulator), () => { b.set(0, source) })
  } else {
    b.modify(0, (old) => {
      seen = b.let(old)
      return select(eq(seen, accumulator), source, seen)
    })
  }
  b.flags(KIND.SUB, accumulator, seen)
  // A 32-bit failure clears the upper half of RAX, a success leaves it (SDM CMPXCHG: "accumulator := temp" only then).
  b.f.if(ne(seen, accumulator), () => { b.setGpr(RAX, seen, size) })
}

const xadd: WasmMeaning = (b) => {
  const y = b.let(b.get(1))
  let seen = y
  b.modify(0, (old) => {
    seen = b.let(old)
    const r = b.let(truncate(b.form.size, add(seen, y)))
    b.flags(KIND.ADD, r, y)
    // The register gets the old value before the destination, so that XADD of a register with itself adds.
    if (b.form.memory === 0) b.set(1, seen)
    return r
  })
  if (b.form.memory !== 0) b.set(1, seen)
}

const exchange: WasmMeaning = (b) => {
  const memorySlot = b.form.kinds[1] === 3 ? 1 : 0
  const other = b.let(b.get(1 - memorySlot))
  let seen = other
  b.modify(memorySlot, (old) => {
    seen = b.let(old)
    return other
  })
  b.set(1 - memorySlot, seen)
}

const extension = (isSigned: boolean): WasmMeaning => (b) => {
  const { size, size2 } = b.form
  const v = b.get(1, size2)
  if (!isSigned) {
    b.set(0, size === 8 && v.type === I32 ? extendU(v) : v)
    return
  }
  const s = size2 === 8 ? v : signed(size2, v)
  b.set(0, size === 8 && s.type === I32 ? extendS(s) : size === 2 ? and(s, i32(0xffff)) : s)
}

const push: WasmMeaning = (b) => {
  const size = b.form.size
  const v = b.let(b.get(0))
  const sp = b.let(sub(b.gpr(RSP, 8), i64(size)))
  b.store(size, sp, v)
  b.setGpr(RSP, sp, 8)
}

/** Marks forms of POP whose memory operand is based on RSP. */
export const POP_RSP_BASED = 1

const pop: WasmMeaning = (b) => {
  const { size } = b.form
  const sp = b.let(b.gpr(RSP, 8))
  const v = b.load(size, sp)
  const after = add(sp, i64(size))
  if (b.form.memory === 0) {
    b.setGpr(RSP, after, 8)
    b.set(0, v)
    return
  }
  // A memory destination based on RSP uses the value after the pop; RSP itself is changed only when the store is through.
  const address = b.immediate() === POP_RSP_BASED ? add(b.address(), i64(size)) : b.address()
  b.store(size, address, v)
  b.setGpr(RSP, after, 8)
}

const leave: WasmMeaning = (b) => {
  const { size } = b.form
  const bp = b.let(b.gpr(RBP, 8))
  const v = b.load(size, bp)
  b.setGpr(RSP, add(bp, i64(size)), 8)
  b.setGpr(RBP, v, size)
}

const widenAccumulator: WasmMeaning = (b) => {
  const { size } = b.form
  if (size === 8) b.setGpr(RAX, extendS(b.gpr(RAX, 4)), 8)
  else b.setGpr(RAX, truncate(size, signed(size / 2, b.gpr(RAX, size / 2))), size)
}
const spreadSign: WasmMeaning = (b) => {
  const { size } = b.form
  b.setGpr(RDX, truncate(size, shrS(signed(size, b.gpr(RAX, size)), sized(b, size === 8 ? 63 : 31))), size)
}

/** CMC, CLC, STC. */
const carryFlag = (f: (image: Expr) => Expr): WasmMeaning => (b) => {
  b.imageFlags(f(b.flagImage()))
}

const compareAnd = (b: Builder): void => {
  const r = b.let(and(b.get(0), b.get(1)))
  b.flags(KIND.LOGIC, r, r)
}

export const integerMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ['mov', (b) => { b.set(0, b.get(1)) }],
  ['lea', (b) => { b.set(0, b.form.size === 8 ? b.address(false) : truncate(b.form.size, wrap(b.address(false)))) }],
  ['movzx', extension(false)],
  ['movsx', extension(true)],
  ['add', addition],
  ['sub', subtraction],
  ['cmp', (b) => {
    const a = b.let(b.get(0))
    b.flags(KIND.SUB, a, b.let(b.get(1)))
  }],
  ['and', logic(and)],
  ['or', logic(or)],
  ['xor', logic(xor)],
  ['test', compareAnd],
  ['adc', withCarry(false)],
  ['sbb', withCarry(true)],
  ['inc', increment(1)],
  ['dec', increment(-1)],
  ['neg', (b) => {
    b.modify(0, (old) => {
      const a = b.let(old)
      b.flags(KIND.SUB, sized(b, 0), a)
      return truncate(b.form.size, sub(sized(b, 0), a))
    })
  }],
  ['not', (b) => { b.modify(0, (a) => truncate(b.form.size, xor(a, sized(b, -1)))) }],
  ['shl', shift(KIND.SHL, shl, (_size, a) => a, leftCarries)],
  ['shr', shift(KIND.SHR, shrU, (_size, a) => a, rightCarries)],
  ['sar', shift(KIND.SHR, shrS, signed, (b, a, _c, less) => truncate(b.form.size, shrS(a, less)))],
  ['rol', rotate(true)],
  ['ror', rotate(false)],
  ['rcl', rotateCarry(true)],
  ['rcr', rotateCarry(false)],
  ['shld', doubleShift(true)],
  ['shrd', doubleShift(false)],
  ['mul', multiply(false)],
  ['imul', imul],
  ['div', divide(false)],
  ['idiv', divide(true)],
  ['bt', bitTest(null)],
  ['bts', bitTest(or)],
  ['btr', bitTest((a, bit) => and(a, xor(bit, constant(bit.type, -1))))],
  ['btc', bitTest(xor)],
  ['bsf', bitScan(false)],
  ['bsr', bitScan(true)],
  ['tzcnt', count((size, v) => (size === 2 ? ctz(or(v, i32(0x10000))) : ctz(v)), true)],
  ['lzcnt', count((size, v) => (size === 2 ? sub(clz(v), i32(16)) : clz(v)), true)],
  ['popcnt', count((_size, v) => popcnt(v), false)],
  ['andn', bmi((b) => ({ r: and(xor(b.get(1), sized(b, -1)), b.get(2)), carry: null }))],
  ['bzhi', bzhi],
  ['bextr', bextr],
  ['blsr', bmi((b) => {
    const a = b.let(b.get(1))
    return { r: and(a, sub(a, sized(b, 1))), carry: eqz(a) }
  })],
  ['blsi', bmi((b) => {
    const a = b.let(b.get(1))
    return { r: and(a, sub(sized(b, 0), a)), carry: ne(a, sized(b, 0)) }
  })],
  ['blsmsk', bmi((b) => {
    const a = b.let(b.get(1))
    return { r: xor(a, sub(a, sized(b, 1))), carry: eqz(a) }
  })],
  ['shlx', (b) => { b.set(0, shl(b.let(b.get(1)), countOperand(b, 2))) }],
  ['shrx', (b) => { b.set(0, shrU(b.let(b.get(1)), countOperand(b, 2))) }],
  ['sarx', (b) => { b.set(0, shrS(b.let(b.get(1)), countOperand(b, 2))) }],
  ['rorx', (b) => { b.set(0, rotr(b.let(b.get(1)), countOperand(b, 2))) }],
  ['mulx', mulx],
  ['pdep', parallelBits(true)],
  ['pext', parallelBits(false)],
  ['adcx', chain(FLAG.CF)],
  ['adox', chain(FLAG.OF)],
  // 16 bits are undefined; processors answer 0.
  ['bswap', (b) => { b.set(0, b.form.size === 2 ? i32(0) : byteSwap(b.form.size, b.let(b.get(0)))) }],
  ['movbe', (b) => { b.set(0, byteSwap(b.form.size, b.let(b.get(1)))) }],
  ['cmpxchg', cmpxchg],
  ['xadd', xadd],
  ['xchg', exchange],
  ['push', push],
  ['pop', pop],
  ['leave', leave],
  ['cbw', widenAccumulator],
  ['cwd', spreadSign],
  ['setcc', (b) => { b.set(0, b.condition(b.form.cc)) }],
  ['cmovcc', (b) => {
    const v = b.let(b.get(1))
    b.set(0, select(b.condition(b.form.cc), v, b.get(0)))
  }],
  ['nop', () => { /* nothing, as its name says */ }],
  ['pause', (b) => { b.hostIf(b.state32(YIELDS)) }],
  ...['lfence', 'mfence', 'sfence', 'serialize'].map((n) => [n, (): void => { /* every access is done when its instruction is */ }] as const),
  ...['movnti', 'movdiri'].map((n) => [n, (b: Builder): void => { b.set(0, b.get(1)) }] as const),
  ['clc', carryFlag((image) => and(image, i32(~1)))],
  ['stc', carryFlag((image) => or(image, i32(1)))],
  ['cmc', carryFlag((image) => xor(image, i32(1)))],
  ['cld', (b) => { b.setState32(SYSFLAGS, and(b.state32(SYSFLAGS), i32(~0x400))) }],
  ['std', (b) => { b.setState32(SYSFLAGS, or(b.state32(SYSFLAGS), i32(0x400))) }],
  ['lahf', (b) => { b.setAh(or(and(b.flagImage(), i32(0xff)), i32(2))) }],
  ['sahf', (b) => {
    const ah = and(b.ah(), i32(FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF))
    b.imageFlags(or(ah, and(b.flagImage(), i32(FLAG.OF))))
  }],
]

