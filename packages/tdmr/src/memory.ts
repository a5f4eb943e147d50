/** Which memory TDX is given: all system memory above the first megabyte, if all of it is convertible. */
import { fail, ok, type Result, type TdmrError } from './errors.ts'
import { alignDown, alignUp, gaps, KiB4, merge, MiB, overlap, type Range } from './ranges.ts'

/** A region of system memory, bytes. Legacy persistent memory counts: it can become system memory later. */
export interface MemoryRegion extends Range {
  readonly node: number
  /** `pmem`: legacy persistent memory (e820 types 7 and 12). Default `ram`. */
  readonly kind?: 'ram' | 'pmem'
}

/** A CMR (convertible memory range) as the module reports it. */
export interface Cmr {
  readonly base: number
  readonly size: number
}

/**
 * The memory to cover with TDMRs, sorted, cut to pages, without the first megabyte (which firmware never makes
 * convertible, and system software never gives to anybody).
 */
export function tdxMemory(
  regions: readonly MemoryRegion[], cmrs: readonly Cmr[],
): Result<MemoryRegion[], TdmrError> {
  const sorted = [...regions].sort((a, b) => a.start - b.start)
  for (let i = 1; i < sorted.length; i++) {
    if (overlap(sorted[i - 1], sorted[i])) return fail({ kind: 'regions-overlap', a: sorted[i - 1], b: sorted[i] })
  }
  const memory = sorted
    .map((r) => ({ ...r, start: alignUp(Math.max(r.start, MiB), KiB4), end: alignDown(r.end, KiB4) }))
    .filter((r) => r.start < r.end)
  if (memory.length === 0) return fail({ kind: 'no-memory' })
  const convertible = merge(cmrs.map((c) => ({ start: c.base, end: c.base + c.size })))
  for (const region of memory) {
    const [range] = gaps(convertible, region)
    if (range !== undefined) return fail({ kind: 'not-convertible', range, region })
  }
  return ok(memory)
}
