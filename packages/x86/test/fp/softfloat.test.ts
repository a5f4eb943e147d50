import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { add, compare, divide, fusedMultiplyAdd, multiply, squareRoot } from '../../src/fp/arithmetic.ts'
import { convert, fromInteger, roundToIntegral, toInteger } from '../../src/fp/convert.ts'
import { bitLength, createEnv, DE, DOWN, F32, F64, F80, IE, NEAREST, OE, PE, UE, UP, ZE, ZERO_RC, type FloatEnv,
  type Format }
  from '../../src/fp/softfloat.ts'

const view = new DataView(new ArrayBuffer(8))
const bits64 = (x: number): bigint => { view.setFloat64(0, x); return view.getBigUint64(0) }
const bits32 = (x: number): bigint => { view.setFloat32(0, x); return BigInt(view.getUint32(0)) }
const float64 = (bits: bigint): number => { view.setBigUint64(0, bits); return view.getFloat64(0) }
const float32 = (bits: bigint): number => { view.setUint32(0, Number(bits)); return view.getFloat32(0) }

const ONE80 = 0x3fff_8000_0000_0000_0000n

/** Any binary64, often with an exponent near another's. */
const double = fc.oneof(fc.double(), fc.double({ min: -4, max: 4 }), fc.integer().map(Number), fc.constantFrom(0,
  -0, 5e-324, 2 ** -1022))
const single = fc.oneof(fc.float(), fc.float({ min: -4, max: 4 }), fc.constantFrom(0, -0, 2 ** -149, 2 ** -126))

/** Runs with a fresh environment; returns the bits and the flags. */
function run(f: (env: FloatEnv) => bigint, env = createEnv()): { bits: bigint, flags: number } {
  const bits = f(env)
  return { bits, flags: env.flags }
}

describe('binary64 to nearest', () => {
  type Pair = (env: FloatEnv, f: Format, a: bigint, b: bigint) => bigint
  const operations: [string, Pair, (x: number, y: number) => number][] = [
    ['add', (e, f, a, b) => add(e, f, a, b), (x, y) => x + y],
    ['subtract', (e, f, a, b) => add(e, f, a, b, 1), (x, y) => x - y],
    ['multiply', (e, f, a, b) => multiply(e, f, a, b), (x, y) => x * y],
    ['divide', (e, f, a, b) => divide(e, f, a, b), (x, y) => x / y],
  ]
  it.each(operations)('%s is what the host computes', (_, ours, host) => {
    fc.assert(fc.property(double, double, (x, y) => {
      expect(float64(run(e => ours(e, F64, bits64(x), bits64(y))).bits)).toBe(host(x, y))
    }))
  })
  it('takes square roots as the host does', () => {
    fc.assert(fc.property(double, x => {
      expect(float64(run(e => squareRoot(e, F64, bits64(x))).bits)).toBe(Math.sqrt(x))
    }))
  })
  it('raises PE exactly when the result is not exact', () => {
    expect(run(e => add(e, F64, bits64(1), bits64(2 ** -60))).flags).toBe(PE)
    expect(run(e => add(e, F64, bits64(1), bits64(2 ** -52))).flags).toBe(0)
    expect(run(e => divide(e, F64, bits64(1), bits64(3))).flags).toBe(PE)
    expect(run(e => divide(e, F64, bits64(3), bits64(2))).flags).toBe(0)
  })
})

describe('binary32 to nearest', () => {
  it('multiplies, divides and converts as the host does', () => {
    fc.assert(fc.property(single, single, (x, y) => {
      expect(float32(run(e => multiply(e, F32, bits32(x), bits32(y))).bits)).toBe(Math.fround(x * y))
      expect(float32(run(e => divide(e, F32, bits32(x), bits32(y))).bits)).toBe(Math.fround(x / y))
    }))
    fc.assert(fc.property(double, x => {
      expect(float32(run(e => convert(e, F64, F32, bits64(x))).bits)).toBe(Math.fround(x))
    }))
  })
  it('multiplies and adds with one rounding', () => {
    // 1 + 2^-12 squared is 1 + 2^-11 + 2^-24: the last bit survives only if the product was not rounded.
    const x = bits32(1 + 2 ** -12)
    expect(float32(run(e => fusedMultiplyAdd(e, F32, x, x, bits32(-1 - 2 ** -11))).bits)).toBe(2 ** -24)
  })
})

describe('rounding', () => {
  it.each([
    [NEAREST, 1, -1], [DOWN, 1, -1 - 2 ** -52], [UP, 1 + 2 ** -52, -1], [ZERO_RC, 1, -1],
  ])('mode %i gives %d and %d for ±(1 + 2^-60)', (rounding, positive, negative) => {
    const env = (): FloatEnv => ({ ...createEnv(), rounding })
    expect(float64(run(e => add(e, F64, bits64(1), bits64(2 ** -60)), env()).bits)).toBe(positive)
    expect(float64(run(e => add(e, F64, bits64(-1), bits64(-(2 ** -60))), env()).bits)).toBe(negative)
  })
  it('makes a zero sum of opposite operands negative only when rounding down', () => {
    expect(float64(run(e => add(e, F64, bits64(1), bits64(-1))).bits)).toBe(0)
    expect(float64(run(e => add(e, F64, bits64(1), bits64(-1)), { ...createEnv(), rounding: DOWN }).bits)).toBe(-0)
  })
  it('overflows to the largest number when rounding towards zero', () => {
    const max = bits64(Number.MAX_VALUE)
    expect(run(e => add(e, F64, max, max))).toEqual({ bits: bits64(Infinity), flags: OE | PE })
    expect(run(e => add(e, F64, max, max), { ...createEnv(), rounding: ZERO_RC })).toEqual({ bits: max,
      flags: OE | PE })
  })
  it('rounds to integers by every mode, PE only when asked for', () => {
    for (const [rounding, value] of [[NEAREST, 2], [DOWN, 2], [UP, 3], [ZERO_RC, 2]] as const) {
      expect(run(e => roundToIntegral(e, F64, bits64(2.5), rounding))).toEqual({ bits: bits64(value), flags: PE })
      expect(run(e => roundToIntegral(e, F64, bits64(2.5), rounding, false))).toEqual({ bits: bits64(value), flags: 0 })
    }
  })
})

describe('tiny results', () => {
  const least = bits64(2 ** -1022)
  it('are found after rounding', () => {
    // (1 − 2^-53) · 2^-1022 rounds up to the smallest normal number: not tiny with unbounded exponent range.
    const almost = bits64(1 - 2 ** -53)
    expect(run(e => multiply(e, F64, least, almost)).flags & PE).toBe(PE)
    expect(run(e => multiply(e, F64, least, bits64(0.5)))).toEqual({ bits: bits64(2 ** -1023), flags: 0 })
    expect(run(e => multiply(e, F64, bits64(5e-324), bits64(0.5))).flags).toBe(DE | UE | PE)
  })
  it('become zero with FTZ, denormal operands with DAZ', () => {
    expect(run(e => multiply(e, F64, least, bits64(0.5)), { ...createEnv(), ftz: true })).toEqual({ bits: 0n,
      flags: UE | PE })
    const daz = { ...createEnv(), daz: true }
    expect(run(e => add(e, F64, bits64(5e-324), bits64(1)), daz)).toEqual({ bits: bits64(1), flags: 0 })
  })
  it('raise UE even when exact, once underflow is unmasked', () => {
    expect(run(e => multiply(e, F64, least, bits64(0.5)), { ...createEnv(), unmasked: UE }).flags).toBe(UE)
  })
})

describe('NaN operands', () => {
  const [q1, q2, s1] = [0x7ff8_0000_0000_0001n, 0x7ff8_0000_0000_0002n, 0x7ff0_0000_0000_0009n]
  it('give the first operand with SSE, quieted, and IE for signalling ones', () => {
    expect(run(e => add(e, F64, q1, q2))).toEqual({ bits: q1, flags: 0 })
    expect(run(e => add(e, F64, s1, q2))).toEqual({ bits: s1 | 1n << 51n, flags: IE })
  })
  it('give the larger significand with x87, quiet before signalling', () => {
    const x87 = (): FloatEnv => ({ ...createEnv(), x87: true })
    const [a, b, s] = [0x7fff_c000_0000_0000_0001n, 0x7fff_c000_0000_0000_0002n, 0x7fff_8000_0000_0000_0009n]
    expect(run(e => add(e, F80, a, b), x87()).bits).toBe(b)
    expect(run(e => add(e, F80, s, a), x87())).toEqual({ bits: a, flags: IE })
  })
  it('come from invalid operations as the indefinite', () => {
    expect(run(e => divide(e, F64, 0n, 0n))).toEqual({ bits: F64.indefinite, flags: IE })
    expect(run(e => squareRoot(e, F32, bits32(-1)))).toEqual({ bits: F32.indefinite, flags: IE })
    expect(run(e => divide(e, F64, bits64(1), 0n))).toEqual({ bits: bits64(Infinity), flags: ZE })
  })
  it('compare unordered; quietly they raise nothing', () => {
    const env = createEnv()
    expect([compare(env, F64, q1, 0n, true), env.flags]).toEqual([2, 0])
    expect([compare(env, F64, q1, 0n, false), env.flags]).toEqual([2, IE])
  })
})

describe('integers', () => {
  it('survive binary64 up to 53 bits and the extended format up to 64', () => {
    fc.assert(fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), value => {
      const { bits, flags } = run(e => fromInteger(e, F80, value))
      expect(flags).toBe(0)
      expect(toInteger(createEnv(), F80, bits, 64)).toBe(value)
    }))
  })
  it('out of range are the integer indefinite with IE alone', () => {
    expect(run(e => toInteger(e, F64, bits64(2 ** 31), 32))).toEqual({ bits: -(2n ** 31n), flags: IE })
    expect(run(e => toInteger(e, F64, bits64(-(2 ** 31) - 0.25), 32))).toEqual({ bits: -(2n ** 31n), flags: PE })
  })
})

describe('extended precision', () => {
  it('is cut to what FCW.PC says, its range is not', () => {
    const third = run(e => divide(e, F80, ONE80, 0x4000_c000_0000_0000_0000n, 24)).bits
    expect(third & 0xff_ffff_ffffn).toBe(0n)
    expect(third >> 40n & 1n).toBe(1n)
  })
  it('counts bits', () => {
    fc.assert(fc.property(fc.bigInt(0n, 2n ** 700n), value => {
      expect(bitLength(value)).toBe(value === 0n ? 0 : value.toString(2).length)
    }))
    expect(bitLength(2n ** 64n - 1n)).toBe(64)
  })
})
