/** Machines for tests: memory maps with the CMRs that firmware would report for them. */
import {
  type Cmr, createModelMemory, createModuleModel, type MemoryRegion, type ModuleModelOptions, type TdmrLimits,
} from '../src/index.ts'

export const MiB = 2 ** 20
export const GiB = 2 ** 30
export const LIMITS: TdmrLimits = {
  maxTdmrs: 64, maxReservedPerTdmr: 16, entrySize: { size4k: 16, size2m: 16, size1g: 16 },
}

export const region = (start: number, end: number, node = 0): MemoryRegion => ({ start, end, node })
export const cmrsOf = (memory: readonly MemoryRegion[]): Cmr[] =>
  memory.map((r) => ({ base: r.start, size: r.end - r.start }))

/** Two sockets of 16 GiB, with the hole below 4 GiB, four LPs each. */
export const TWO_SOCKETS: MemoryRegion[] = [
  region(0, 0xa0000), region(MiB, 2 * GiB), region(4 * GiB, 18 * GiB), region(18 * GiB, 34 * GiB, 1),
]

export const LPS = Array.from({ length: 8 }, (_, id) => ({ id, package: id >> 2, online: true }))
export const KEY_IDS = { first: 64, count: 64 }

/** A machine with a fresh module. */
export function machine(memory: MemoryRegion[] = TWO_SOCKETS, options: Partial<ModuleModelOptions> = {}) {
  const host = createModelMemory(memory)
  const cmrs = options.cmrs ?? cmrsOf(memory.map((r) => ({ ...r, start: Math.max(r.start, MiB) }))
    .filter((r) => r.end > r.start))
  const model = createModuleModel({
    lps: LPS, cmrs, limits: LIMITS, keyIds: KEY_IDS, initStep: GiB,
    memory: host, ...options,
  })
  return { host, model, init: { lps: LPS, keyIds: KEY_IDS, memory, host } }
}
