/** Cache leaves: 4 (Intel), 0x8000001D (AMD), and the older summaries 0x80000005/6. */
import { EAX, EBX, ECX, EDX } from './features.ts'
import type { CpuidLeaf } from './leaves.ts'
import type { CacheInfo } from './model.ts'
import { threadsPerPackage } from './topology-leaves.ts'

const TYPE_CODE = { data: 1, instruction: 2, unified: 3 } as const

/** Deterministic cache parameters; both vendors use one layout (SDM vol. 2 CPUID leaf 4, APM Fn8000_001D). */
export const cacheLeaf: CpuidLeaf = ({ model, topology }, subleaf, out) => {
  const cache = model.caches[subleaf] as CacheInfo | undefined
  if (cache === undefined) return
  const isIntel = model.vendor === 'GenuineIntel'
  const sharing = cache.sharedBy === 'package' ? threadsPerPackage(topology) : topology.threadsPerCore
  // Intel counts addressable IDs, which are a power of two; AMD counts threads.
  const sharingCount = isIntel ? 2 ** Math.ceil(Math.log2(sharing)) : sharing
  const cores = 2 ** Math.ceil(Math.log2(topology.coresPerPackage))
  const selfInitialising = 1 << 8
  out[EAX] = TYPE_CODE[cache.type] | (cache.level << 5) | selfInitialising | ((sharingCount - 1) << 14) |
    (isIntel ? (Math.min(cores, 64) - 1) << 26 : 0)
  out[EBX] = (cache.lineSize - 1) | ((cache.ways - 1) << 22)
  out[ECX] = cache.size / (cache.ways * cache.lineSize) - 1
  out[EDX] = cache.inclusive ? 2 : 0
}

/** Associativity codes of Fn8000_0006 (APM vol. 3 table E-4). */
const WAYS_CODE = new Map([
  [1, 1], [2, 2], [4, 4], [8, 6], [16, 8], [32, 0xa], [48, 0xb], [64, 0xc], [96, 0xd], [128, 0xe],
])

/** The older summaries: L1 caches, or L2 and L3. Intel shows the L2 only. */
export const amdCacheSummary = (level: 1 | 2): CpuidLeaf => ({ model }, _subleaf, out) => {
  const find = (l: number, type: CacheInfo['type']): CacheInfo | undefined =>
    model.caches.find((c) => c.level === l && c.type === type)
  const { tlb } = model
  if (tlb !== undefined) {
    out[EAX] = level === 1 ? tlb.l1Large : tlb.l2Large
    out[EBX] = level === 1 ? tlb.l1Small : tlb.l2Small
  }
  if (level === 1) {
    const pack = (c: CacheInfo | undefined): number =>
      c === undefined ? 0 : ((c.size >>> 10) << 24) | (c.ways << 16) | (1 << 8) | c.lineSize
    out[ECX] = pack(find(1, 'data'))
    out[EDX] = pack(find(1, 'instruction'))
    return
  }
  const l2 = find(2, 'unified')
  const isAmd = model.vendor === 'AuthenticAMD'
  if (l2 !== undefined) {
    const ways = WAYS_CODE.get(l2.ways) ?? 0
    out[ECX] = ((l2.size >>> 10) << 16) | (ways << 12) | (isAmd ? 1 << 8 : 0) | l2.lineSize
  }
  const l3 = find(3, 'unified')
  if (l3 === undefined || !isAmd) return
  const halfMegabytes = Math.floor(l3.size / 0x8_0000)
  out[EDX] = (halfMegabytes << 18) | ((WAYS_CODE.get(l3.ways) ?? 9) << 12) | (1 << 8) | l3.lineSize
}
