/** Seeded operands: random bits are poor tests of arithmetic, so most values come from lists of awkward ones. */

export interface Random {
  /** 0 ≤ value < 2^32. */
  u32(): number
  /** 0 ≤ value < n. */
  below(n: number): number
  u64(): bigint
  pick<T>(list: readonly T[]): T
}

/** xorshift128 (Marsaglia 2003), seeded by splitmix-like steps. */
export function createRandom(seed: number): Random {
  const s = Uint32Array.from({ length: 4 }, (_, i) => Math.imul(seed + i * 0x9e3779b9 | 1, 0x85ebca6b) ^ 0x6a09e667 + i)
  const u32 = (): number => {
    let t = s[3]
    t ^= t << 11
    t ^= t >>> 8
    s.copyWithin(1, 0, 3)
    const x = s[1]
    s[0] = t ^ x ^ x >>> 19
    return s[0]
  }
  for (let i = 0; i < 16; i++) u32()
  const below = (n: number): number => Math.floor(u32() / 0x1_0000_0000 * n)
  const u64 = (): bigint => BigInt(u32()) << 32n | BigInt(u32())
  return { u32, below, u64, pick: list => list[below(list.length)] }
}

/** A float of `fraction` fraction bits and `exponent` exponent bits: zeros, denormals, edges, NaNs, near 1, random. */
function awkwardFloat(random: Random, fraction: number, exponent: number): bigint {
  const ones = (1n << BigInt(fraction)) - 1n
  const bias = (1 << (exponent - 1)) - 1
  const top = 2 * bias + 1
  const e = random.pick([0, 0, 1, top, top, top - 1, bias, bias, bias - 1, bias + 1, bias + random.below(70) - 10,
    bias + fraction - 3 + random.below(6), bias + 29 + random.below(6), bias + 61 + random.below(5),
    random.below(top), random.below(top), 1 + random.below(fraction + 3)])
  const f = random.pick([0n, 0n, 1n, ones, ones - 1n, 1n << BigInt(fraction - 1), (1n << BigInt(fraction - 1)) - 1n,
    random.u64() & ones, random.u64() & ones, random.u64() & ones & ones << BigInt(random.below(fraction)) & ones,
    (random.u64() & ones) >> BigInt(random.below(fraction))])
  return BigInt(random.below(2)) << BigInt(fraction + exponent) | BigInt(e) << BigInt(fraction) | f
}

/** 32 bits that are awkward as a binary32. */
export const awkwardF32 = (random: Random): number => Number(awkwardFloat(random, 23, 8))
/** 64 bits that are awkward as a binary64. */
export const awkwardF64 = (random: Random): bigint => awkwardFloat(random, 52, 11)

/** 16 bits and 64 bits of an x87 extended value, sometimes an unsupported one (integer bit clear). */
export function awkwardF80(random: Random): { exponent: number, significand: bigint } {
  const value = awkwardFloat(random, 63, 15)
  const exponent = Number(value >> 63n)
  const integer = random.below(40) === 0 ? random.below(2) : (exponent & 0x7fff) ? 1 : random.below(8) === 0 ? 1 : 0
  return { exponent, significand: BigInt(integer) << 63n | value & 0x7fff_ffff_ffff_ffffn }
}

const EDGES = [0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n, 0xffff_ffff_ffff_ffffn]

/** An integer of 64 bits: an edge of a width, a small number, its negative, or anything. */
export function awkwardInt(random: Random): bigint {
  switch (random.below(4)) {
    case 0: return random.pick(EDGES)
    case 1: return BigInt(random.below(40))
    case 2: return BigInt.asUintN(64, BigInt(-random.below(40)))
    default: return random.u64()
  }
}

/** Fills bytes with lanes of one kind: any bits, integers of some width, binary32 or binary64. */
export function fillAwkward(random: Random, out: Uint8Array, kind = random.below(6)): void {
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength)
  for (let i = 0; i + 8 <= out.length; i += 8) {
    switch (kind) {
      case 0: case 1:
        view.setUint32(i, awkwardF32(random), true)
        view.setUint32(i + 4, awkwardF32(random), true)
        break
      case 2: case 3: view.setBigUint64(i, awkwardF64(random), true); break
      case 4: for (let k = 0; k < 8; k++) out[i + k] = Number(awkwardInt(random) & 0xffn); break
      default: view.setBigUint64(i, awkwardInt(random), true)
    }
  }
}
