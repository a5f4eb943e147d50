import type { PageTablePort } from '../src/index.ts'

/** Sparse memory of 8-byte words for tests, with a log of what was set and a list of refused addresses. */
export interface SparseMemory {
  readonly words: Map<number, bigint>
  readonly refuse: Map<number, number>
  readonly refuseWrites: Set<number>
  readonly loads: { pa: number, key: number }[]
  store64(pa: number, value: bigint): void
  load64(pa: number): bigint
  store32(pa: number, value: number): void
  port(): PageTablePort
}

export function createSparseMemory(): SparseMemory {
  const words = new Map<number, bigint>()
  const refuse = new Map<number, number>()
  const refuseWrites = new Set<number>()
  const loads: { pa: number, key: number }[] = []
  const load64 = (pa: number): bigint => words.get(pa) ?? 0n
  const half = (pa: number): number => Number((load64(pa - (pa % 8)) >> (pa % 8 === 0 ? 0n : 32n)) & 0xffff_ffffn)
  const store32 = (pa: number, value: number): void => {
    const shift = pa % 8 === 0 ? 0n : 32n
    const word = load64(pa - (pa % 8))
    words.set(pa - (pa % 8), (word & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift))
  }
  return {
    words, refuse, refuseWrites, loads, load64, store32,
    store64: (pa, value) => { words.set(pa, value) },
    port() {
      const port: PageTablePort = {
        high: 0,
        refused: 0,
        load64(pa, key) {
          loads.push({ pa, key })
          port.refused = refuse.get(pa) ?? 0
          port.high = half(pa + 4)
          return half(pa)
        },
        load32(pa, key) {
          loads.push({ pa, key })
          port.refused = refuse.get(pa) ?? 0
          return half(pa)
        },
        setBits(pa, _key, bits) {
          if (refuseWrites.has(pa)) { port.refused = 77; return false }
          store32(pa, half(pa) | bits)
          return true
        },
      }
      return port
    },
  }
}
