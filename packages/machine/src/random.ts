/** The machine's only source of randomness. */

/** A seeded stream of random numbers; streams of different names are independent of each other. */
export interface Random {
  next64(): bigint
  /** 0 to 2^32 − 1. */
  next32(): number
  /** Where the stream is, as two halves of 32 bits. */
  snapshot(): readonly [number, number]
  restore(saved: readonly [number, number]): void
}

/** SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) from a seed and a name. */
export function createRandom(seed: number, name: string): Random {
  let state = BigInt.asUintN(64, BigInt(seed) * 0x9e37_79b9_7f4a_7c15n + 0x1234_5678n)
  for (let i = 0; i < name.length; i++) {
    state = BigInt.asUintN(64, (state ^ BigInt(name.charCodeAt(i))) * 0x100_0000_01b3n)
  }
  const next64 = (): bigint => {
    state = BigInt.asUintN(64, state + 0x9e37_79b9_7f4a_7c15n)
    let z = state
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n)
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn)
    return z ^ (z >> 31n)
  }
  return {
    next64,
    next32: () => Number(next64() >> 32n),
    snapshot: () => [Number(state & 0xffff_ffffn), Number(state >> 32n)],
    restore([low, high]) { state = BigInt(high) << 32n | BigInt(low) },
  }
}
