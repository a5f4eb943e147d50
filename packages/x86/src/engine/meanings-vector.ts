/** Vector integer instructions, moves and shuffles that WebAssembly SIMD has; all others are TypeScript meanings. */
import {
  I32, I64, eqz, gtU, i32, i64, or, select, shl, shuffle, simd, simdLane, v128, wrap,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { MEM, XMM_REG } from '../insn.ts'
import type { Builder, WasmMeaning } from './builder.ts'
import { shaMeanings } from './meanings-sha.ts'
import { pcmpistri, pcmpistrm } from './meanings-strings42.ts'

const zero = v128(0n, 0n)
const halves = (b: Builder): number[] => (b.form.size === 32 ? [0, 1] : [0])

/** VEX instructions of 128 bits clear bits 255:128 of their destination. */
const clearUpper = (b: Builder, slot = 0): void => {
  if (b.form.vex && b.form.size !== 32) b.setVector(slot, 1, zero)
}

/** Two-operand (legacy) or three-operand (VEX) operation on both halves. Legacy memory operands must be aligned. */
const binary = (f: (a: Expr, y: Expr, b: Builder) => Expr): WasmMeaning => (b) => {
  const source = b.form.vex ? 2 : 1
  if (b.form.kinds[source] === MEM) b.vectorAddress(b.form.size, false, !b.form.vex)
  const first = b.form.vex ? 1 : 0
  const results = halves(b).map((h) => b.let(f(b.let(b.vector(first, h)), b.let(b.vector(source, h)), b)))
  results.forEach((r, h) => { b.setVector(0, h, r) })
  clearUpper(b)
}
const simple = (number: number): WasmMeaning => binary((a, y) => simd(number, a, y))

/** One source, and perhaps an immediate. */
const unary = (f: (a: Expr, b: Builder) => Expr): WasmMeaning => (b) => {
  if (b.form.kinds[1] === MEM) b.vectorAddress(b.form.size, false, !b.form.vex)
  const results = halves(b).map((h) => b.let(f(b.let(b.vector(1, h)), b)))
  results.forEach((r, h) => { b.setVector(0, h, r) })
  clearUpper(b)
}

/** Moves of whole registers; `aligned` for MOVAPS and its kin. */
const move = (aligned: boolean): WasmMeaning => (b) => {
  const { size, kinds } = b.form
  if (kinds[0] === MEM) {
    b.vectorAddress(size, true, aligned)
    for (const h of halves(b)) b.setVector(0, h, b.vector(1, h))
    b.commitVector(size)
    return
  }
  if (kinds[1] === MEM) b.vectorAddress(size, false, aligned)
  const values = halves(b).map((h) => b.let(b.vector(1, h)))
  values.forEach((v, h) => { b.setVector(0, h, v) })
  clearUpper(b)
}

const low64 = (v: Expr): Expr => simdLane(29, 0, v, null, I64)
const low32 = (v: Expr): Expr => simdLane(27, 0, v, null, I32)
const fromLow64 = (e: Expr): Expr => simdLane(30, 0, zero, e)
const fromLow32 = (e: Expr): Expr => simdLane(28, 0, zero, e)

/** MOVD and MOVQ: between XMM and a general register or memory; the register's rest is cleared. */
const moveScalar: WasmMeaning = (b) => {
  const { size, kinds } = b.form
  if (kinds[0] === XMM_REG) {
    const v = kinds[1] === XMM_REG ? low64(b.vector(1, 0)) : b.get(1, size)
    b.setVector(0, 0, v.type === I64 ? fromLow64(v) : fromLow32(v))
    if (b.form.vex) b.setVector(0, 1, zero)
    return
  }
  const v = b.vector(1, 0)
  b.set(0, size === 8 ? low64(v) : low32(v), size)
}

/** MOVHPS, MOVLPS and their PD twins: one 64-bit half, memory on one side. */
const moveHalf = (lane: number): WasmMeaning => (b) => {
  if (b.form.kinds[0] === MEM) {
    b.set(0, simdLane(29, lane, b.vector(1, 0), null, I64), 8)
    return
  }
  const memorySlot = b.form.vex ? 2 : 1
  if (b.form.kinds[memorySlot] !== MEM) return b.hostIf(i32(1))
  const v = b.get(memorySlot, 8)
  b.setVector(0, 0, simdLane(30, lane, b.vector(b.form.vex ? 1 : 0, 0), v))
  if (b.form.vex) b.setVector(0, 1, zero)
}

/**
 * Shifts whose count is an immediate or the low 64 bits of a register; too large a count clears (or fills with the
 * sign).
 */
const shift = (number: number, width: number, arithmetic: boolean): WasmMeaning => (b) => {
  const countSlot = b.form.vex ? 2 : 1
  const valueSlot = b.form.vex ? 1 : 0
  const apply = (count: Expr, over: Expr | null): void => {
    const results = halves(b).map((h) => {
      const shifted = simd(number, b.vector(valueSlot, h), count)
      return b.let(over === null ? shifted : select(over, zero, shifted))
    })
    results.forEach((r, h) => { b.setVector(0, h, r) })
    clearUpper(b)
  }
  if (b.form.kinds[countSlot] !== MEM && b.form.kinds[countSlot] !== XMM_REG) {
    const count = b.immediate()
    if (count < width) apply(i32(count), null)
    else apply(i32(arithmetic ? width - 1 : 0), arithmetic ? null : i32(1))
    return
  }
  if (b.form.kinds[countSlot] === MEM) b.vectorAddress(16, false, !b.form.vex)
  const wide = b.let(low64(b.vector(countSlot, 0)))
  const over = b.let(gtU(wide, i64(width - 1)))
  const count = b.let(select(over, i32(width - 1), wrap(wide)))
  apply(count, arithmetic ? null : over)
}

/** PSLLDQ and PSRLDQ. */
const byteShift = (left: boolean): WasmMeaning => (b) => {
  const n = Math.min(b.immediate(), 16)
  const lanes = Array.from({ length: 16 }, (_, i) => (left ? (i >= n ? i - n : 16) : (i + n < 16 ? i + n : 16)))
  const slot = b.form.vex ? 1 : 0
  const results = halves(b).map((h) => b.let(shuffle(lanes, b.vector(slot, h), zero)))
  results.forEach((r, h) => { b.setVector(0, h, r) })
  clearUpper(b)
}

const lanes32 = (imm: number): number[] =>
  [0, 2, 4, 6].flatMap((s) => [0, 1, 2, 3].map((i) => ((imm >> s) & 3) * 4 + i))
const lanes16 = (imm: number, high: boolean): number[] => {
  const chosen = [0, 2, 4, 6].flatMap((s) => [0, 1].map((i) => ((imm >> s) & 3) * 2 + i + (high ? 8 : 0)))
  const kept = Array.from({ length: 8 }, (_, i) => i + (high ? 0 : 8))
  return high ? [...kept, ...chosen] : [...chosen, ...kept]
}
/** Interleaves the low or the high halves, in units of `width` bytes. */
const unpack = (width: number, high: boolean): WasmMeaning => {
  const lanes: number[] = []
  for (let unit = 0; unit < 8 / width; unit++) {
    for (const from of [0, 16]) for (let i = 0; i < width; i++) lanes.push(from + (high ? 8 : 0) + unit * width + i)
  }
  return binary((a, y) => shuffle(lanes, a, y))
}

/** PSHUFB: an index with bit 7 gives 0; WebAssembly's swizzle gives 0 above 15, so the bits between are cleared. */
const byteShuffle = binary((a, y) => simd(14, a, simd(78, y, v128(0x8f8f8f8f8f8f8f8fn, 0x8f8f8f8f8f8f8f8fn))))

const alignRight = binary((a, y, b) => {
  const n = b.immediate()
  if (n >= 32) return zero
  const lanes = Array.from({ length: 16 }, (_, i) => i + n)
  return n < 16 ? shuffle(lanes, y, a) : shuffle(lanes.map((l) => (l < 32 ? l - 16 : 16)), a, zero)
})

/** PMOVMSKB, MOVMSKPS, MOVMSKPD. */
const mask = (number: number, bitsPerHalf: number): WasmMeaning => (b) => {
  // The vector's width is that of the source: the destination is a general register.
  const sources = b.form.size2 === 32 ? [0, 1] : [0]
  const parts = sources.map((h) => simd(number, b.vector(1, h), null, I32))
  const value = parts.length === 1 ? parts[0] : or(parts[0], shl32(parts[1], bitsPerHalf))
  b.set(0, value, 4)
}
const shl32 = (e: Expr, n: number): Expr => shl(e, i32(n))

/** PTEST: ZF = (dst & src) is 0, CF = (src & ~dst) is 0. */
const ptest: WasmMeaning = (b) => {
  if (b.form.kinds[1] === MEM) b.vectorAddress(b.form.size, false, !b.form.vex)
  const any = (f: (a: Expr, y: Expr) => Expr): Expr =>
    halves(b).map((h) => simd(83, f(b.vector(0, h), b.vector(1, h)), null, I32)).reduce(or)
  const zf = b.let(eqz(any((a, y) => simd(78, a, y))))
  const cf = eqz(any((a, y) => simd(79, y, a)))
  b.imageFlags(or(shl32(zf, 6), cf))
}

/** Operations that WebAssembly has under another name, by its number. */
const SIMD_NUMBERS = {
  pand: 78, por: 80, pxor: 81,
  paddb: 110, paddw: 142, paddd: 174, paddq: 206, psubb: 113, psubw: 145, psubd: 177, psubq: 209,
  paddsb: 111, paddusb: 112, paddsw: 143, paddusw: 144, psubsb: 114, psubusb: 115, psubsw: 146, psubusw: 147,
  pcmpeqb: 35, pcmpeqw: 45, pcmpeqd: 55, pcmpeqq: 214, pcmpgtb: 39, pcmpgtw: 49, pcmpgtd: 59, pcmpgtq: 217,
  pminub: 119, pminsb: 118, pmaxub: 121, pmaxsb: 120, pminuw: 151, pminsw: 150, pmaxuw: 153, pmaxsw: 152,
  pminud: 183, pminsd: 182, pmaxud: 185, pmaxsd: 184, pavgb: 123, pavgw: 155, pmullw: 149, pmulld: 181, pmaddwd: 186,
  packsswb: 101, packuswb: 102, packssdw: 133, packusdw: 134,
} as const

const andNot = binary((a, y) => simd(79, y, a))
const bitwise: [string, WasmMeaning][] = (['ps', 'pd'] as const).flatMap((t) => [
  [`and${t}`, simple(78)], [`or${t}`, simple(80)], [`xor${t}`, simple(81)], [`andn${t}`, andNot],
] as [string, WasmMeaning][])

/** PMULUDQ: even 32-bit lanes. */
const evenLanes = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]
const multiplyEven = (number: number): WasmMeaning =>
  binary((a, y) => simd(number, shuffle(evenLanes, a, a), shuffle(evenLanes, y, y)))

/** MULHI by widening: lanes of 16 bits, the upper halves of 32-bit products. */
const highLanes = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31]
const multiplyHigh = (low: number, high: number): WasmMeaning =>
  binary((a, y) => shuffle(highLanes, simd(low, a, y), simd(high, a, y)))

const broadcast = (size: number): WasmMeaning => (b) => {
  const scalar = b.form.kinds[1] === MEM ? b.get(1, size) : size === 8 ? low64(b.vector(1, 0)) : low32(b.vector(1, 0))
  const v = b.let(simd(size === 8 ? 18 : size === 4 ? 17 : size === 2 ? 16 : 15, scalar))
  for (const h of halves(b)) b.setVector(0, h, v)
  clearUpper(b)
}

/** A register's half into the other's: MOVHLPS (the source's upper to the lower) and MOVLHPS (lower to upper). */
const exchangeHalf = (lanes: readonly number[]): WasmMeaning => (b) => {
  const first = b.form.vex ? 1 : 0
  b.setVector(0, 0, b.let(shuffle(lanes, b.vector(first, 0), b.vector(first + 1, 0))))
  clearUpper(b)
}
const sequence = (from: number, length: number): number[] => Array.from({ length }, (_, i) => from + i)

/** Chooses units of `width` bytes by the bits of the immediate; with `each`, both halves use the same eight. */
const blend = (width: number, each: boolean): WasmMeaning => (b) => {
  const source = b.form.vex ? 2 : 1
  if (b.form.kinds[source] === MEM) b.vectorAddress(b.form.size, false, !b.form.vex)
  const units = 16 / width
  const results = halves(b).map((h) => {
    const bits = b.immediate() >> (each ? 0 : h * units)
    const lanes = sequence(0, 16).map((at) => at + ((bits >> Math.floor(at / width)) & 1) * 16)
    return b.let(shuffle(lanes, b.vector(source - 1, h), b.vector(source, h)))
  })
  results.forEach((r, h) => { b.setVector(0, h, r) })
  clearUpper(b)
}

/** VPERMQ and VPERMPD: any four quadwords. */
const permuteQuads: WasmMeaning = (b) => {
  if (b.form.kinds[1] === MEM) b.vectorAddress(32, false, false)
  const low = b.let(b.vector(1, 0))
  const high = b.let(b.vector(1, 1))
  const from = (at: number): number[] => sequence(((b.immediate() >> at) & 3) * 8, 8)
  const results = [0, 4].map((at) => b.let(shuffle([...from(at), ...from(at + 2)], low, high)))
  results.forEach((r, h) => { b.setVector(0, h, r) })
}

/** VPERM2I128 and VPERM2F128: any two of four halves, or zeros. */
const permuteHalves: WasmMeaning = (b) => {
  if (b.form.kinds[2] === MEM) b.vectorAddress(32, false, false)
  const all = [b.vector(1, 0), b.vector(1, 1), b.vector(2, 0), b.vector(2, 1)].map((v) => b.let(v))
  for (const h of [0, 1]) {
    const chosen = b.immediate() >> (h * 4)
    b.setVector(0, h, (chosen & 8) === 0 ? all[chosen & 3] : zero)
  }
}

const broadcast128: WasmMeaning = (b) => {
  b.vectorAddress(16, false, false)
  const v = b.let(b.vector(1, 0))
  b.setVector(0, 0, v)
  b.setVector(0, 1, v)
}

const insert128: WasmMeaning = (b) => {
  if (b.form.kinds[2] === MEM) b.vectorAddress(16, false, false)
  const at = b.immediate() & 1
  const v = b.let(b.vector(2, 0))
  const other = b.let(b.vector(1, 1 - at))
  b.setVector(0, at, v)
  b.setVector(0, 1 - at, other)
}
const extract128: WasmMeaning = (b) => {
  const v = b.let(b.vector(1, b.immediate() & 1))
  if (b.form.kinds[0] === MEM) {
    b.vectorAddress(16, true, false)
    b.setVector(0, 0, v)
    b.commitVector(16)
    return
  }
  b.setVector(0, 0, v)
  b.setVector(0, 1, zero)
}

/** Operations whose meaning needs the immediate when it is generated. */
export const IMMEDIATE_OPS: ReadonlySet<string> = new Set([
  'pshufd', 'pshuflw', 'pshufhw', 'palignr', 'psllw', 'pslld', 'psllq', 'psrlw', 'psrld', 'psrlq', 'psraw', 'psrad',
  'pcmpistri', 'pcmpistrm', 'pslldq', 'psrldq', 'vinserti128', 'vinsertf128', 'vextracti128', 'vextractf128', 'shufps',
  'shufpd',
  'pblendw', 'vpblendd', 'blendps', 'blendpd', 'vpermq', 'vpermpd', 'vperm2i128', 'vperm2f128',
])

const shufps = binary((a, y, b) => {
  const imm = b.immediate()
  const lane = (s: number, from: number): number[] => [0, 1, 2, 3].map((i) => from + ((imm >> s) & 3) * 4 + i)
  return shuffle([...lane(0, 0), ...lane(2, 0), ...lane(4, 16), ...lane(6, 16)], a, y)
})

export const vectorWasmMeanings: readonly (readonly [string, WasmMeaning])[] = [
  ...Object.entries(SIMD_NUMBERS).map(([name, number]) => [name, simple(number)] as const),
  ...bitwise,
  ['pandn', andNot],
  ...['movaps', 'movapd', 'movdqa', 'movntdq', 'movntps', 'movntpd', 'movntdqa'].map((n) => [n, move(true)] as const),
  ...['movups', 'movupd', 'movdqu', 'lddqu'].map((n) => [n, move(false)] as const),
  ['movd', moveScalar], ['movq', moveScalar],
  ['movhps', moveHalf(1)], ['movhpd', moveHalf(1)], ['movlps', moveHalf(0)], ['movlpd', moveHalf(0)],
  ['psllw', shift(139, 16, false)], ['pslld', shift(171, 32, false)], ['psllq', shift(203, 64, false)],
  ['psrlw', shift(141, 16, false)], ['psrld', shift(173, 32, false)], ['psrlq', shift(205, 64, false)],
  ['psraw', shift(140, 16, true)], ['psrad', shift(172, 32, true)],
  ['pslldq', byteShift(true)], ['psrldq', byteShift(false)],
  ['pshufd', unary((a, b) => shuffle(lanes32(b.immediate()), a, a))],
  ['pshuflw', unary((a, b) => shuffle(lanes16(b.immediate(), false), a, a))],
  ['pshufhw', unary((a, b) => shuffle(lanes16(b.immediate(), true), a, a))],
  ['shufps', shufps],
  ['pshufb', byteShuffle], ['palignr', alignRight],
  ['punpcklbw', unpack(1, false)], ['punpcklwd', unpack(2, false)], ['punpckldq', unpack(4, false)],
  ['punpcklqdq', unpack(8, false)],
  ['punpckhbw', unpack(1, true)], ['punpckhwd', unpack(2, true)], ['punpckhdq', unpack(4, true)],
  ['punpckhqdq', unpack(8, true)],
  ['unpcklps', unpack(4, false)], ['unpckhps', unpack(4, true)], ['unpcklpd', unpack(8, false)],
  ['unpckhpd', unpack(8, true)],
  ['pmuludq', multiplyEven(222)], ['pmuldq', multiplyEven(220)],
  ['pmulhw', multiplyHigh(188, 189)], ['pmulhuw', multiplyHigh(190, 191)],
  ['pabsb', unary((a) => simd(96, a))], ['pabsw', unary((a) => simd(128, a))], ['pabsd', unary((a) => simd(160, a))],
  ['pmovmskb', mask(100, 16)], ['movmskps', mask(164, 4)], ['movmskpd', mask(196, 2)],
  ['ptest', ptest],
  ...shaMeanings,
  ['pcmpistri', pcmpistri], ['pcmpistrm', pcmpistrm],
  ['vpbroadcastb', broadcast(1)], ['vpbroadcastw', broadcast(2)], ['vpbroadcastd', broadcast(4)],
  ['vpbroadcastq', broadcast(8)], ['vbroadcastss', broadcast(4)], ['vbroadcastsd', broadcast(8)],
  ['movhlps', exchangeHalf([...sequence(24, 8), ...sequence(8, 8)])],
  ['movlhps', exchangeHalf([...sequence(0, 8), ...sequence(16, 8)])],
  ['pblendw', blend(2, true)], ['vpblendd', blend(4, false)], ['blendps', blend(4, false)],
  ['blendpd', blend(8, false)],
  ['vpermq', permuteQuads], ['vpermpd', permuteQuads], ['vperm2i128', permuteHalves], ['vperm2f128', permuteHalves],
  ['vbroadcasti128', broadcast128], ['vbroadcastf128', broadcast128],
  ['vinserti128', insert128], ['vinsertf128', insert128], ['vextracti128', extract128], ['vextractf128', extract128],
  ['vzeroupper', (b) => { for (let r = 0; r < 16; r++) b.clearUpper(r) }],
]
