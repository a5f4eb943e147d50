/** Single bits, counts of bits, BMI and byte order (SDM vol. 2). Undefined flags are set as noted beside. */
import {
  add, and, clz, constant, ctz, eqz, extendU, i32, i64, ltU, mul, ne, or, popcnt, rotl, rotr, select, shl, shrS,
  shrU, sub, typeOf, wrap, xor,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { FLAG, KIND, truncate } from './flags.ts'
import { bits, extendTo64, narrow, sized } from './operand-values.ts'

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
  const mask = sub(shl(sized(b, 1), wide(length)), sized(b, 1))
  const r = b.let(select(ltU(length, i32(bits(b))), and(shifted, mask), shifted))
  b.set(0, r)
  b.imageFlags(shl(eqz(r), i32(6)))
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

export const bitMeanings: readonly (readonly [string, WasmMeaning])[] = [
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
  ['pdep', parallelBits(true)],
  ['pext', parallelBits(false)],
  // 16 bits are undefined; processors answer 0.
  ['bswap', (b) => { b.set(0, b.form.size === 2 ? i32(0) : byteSwap(b.form.size, b.let(b.get(0)))) }],
  ['movbe', (b) => { b.set(0, byteSwap(b.form.size, b.let(b.get(1)))) }],
]
