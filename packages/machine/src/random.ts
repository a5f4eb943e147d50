/** SplitMix64: the machine's only source of randomness, from its seed. */
export function createRandom(seed: number): () => bigint {
  let state = BigInt.asUintN(64, BigInt(Math.trunc(seed)) * 0x9e37_79b9_7f4a_7c15n + 0x1234_5678n)
  return () => {
    state = BigInt.asUintN(64, state + 0x9e37_79b9_7f4a_7c15n)
    let z = state
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n)
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn)
    return z ^ (z >> 31n)
  }
}
