/**
 * Cutting memory into TDMRs: ranges of whole GiBs that cover all of it, with few enough holes in each and few enough
 * of them. The rules: TDH.SYS.CONFIG (a TDMR is a multiple of 1 GiB, aligned to 1 GiB; what is no memory in it is a
 * reserved area, of which there are at most max_reserved_per_tdmr).
 */
import { fail, ok, type Result, type TdmrError } from './errors.ts'
import type { MemoryRegion } from './memory.ts'
import { firstAbove, GiB, merge, type Range } from './ranges.ts'

/** A TDMR to be: where, and the node that most of its memory is on. */
export interface Part extends Range {
  readonly node: number
}

/** What a partition has to keep to. */
export interface PartitionLimits {
  readonly maxTdmrs: number
  /** Holes in one TDMR: the module's limit, less what is kept for PAMTs. */
  readonly maxHoles: number
  /** Largest TDMR in bytes. */
  readonly maxSize: number
  /** The module's own limit, for messages. */
  readonly maxReserved: number
}

/** Stretches of `r` that are no memory, by a merged list of memory. */
export function countHoles(memory: readonly Range[], r: Range): number {
  const first = firstAbove(memory, r.start)
  let last = firstAbove(memory, r.end - 1)
  // `last` is the first range that ends at or above the end; it counts if it begins below.
  if (last === memory.length || memory[last].start >= r.end) last--
  if (last < first) return 1
  return last - first + (memory[first].start > r.start ? 1 : 0) + (memory[last].end < r.end ? 1 : 0)
}

/** Every GiB that holds memory, with the node of most of it. */
function usedGiBs(memory: readonly MemoryRegion[]): Part[] {
  const bytes = new Map<number, Map<number, number>>()
  for (const m of memory) {
    for (let at = Math.floor(m.start / GiB); at * GiB < m.end; at++) {
      const byNode = bytes.get(at) ?? new Map<number, number>()
      const size = Math.min(m.end, (at + 1) * GiB) - Math.max(m.start, at * GiB)
      byNode.set(m.node, (byNode.get(m.node) ?? 0) + size)
      bytes.set(at, byNode)
    }
  }
  return [...bytes].sort(([a], [b]) => a - b).map(([at, byNode]) => {
    const [[node]] = [...byNode].sort(([a, x], [b, y]) => y - x || a - b)
    return { start: at * GiB, end: (at + 1) * GiB, node }
  })
}

/** The node of a range: that of most of its memory. */
export function nodeOf(memory: readonly MemoryRegion[], r: Range): number {
  const bytes = new Map<number, number>()
  for (const m of memory) {
    const size = Math.min(m.end, r.end) - Math.max(m.start, r.start)
    if (size > 0) bytes.set(m.node, (bytes.get(m.node) ?? 0) + size)
  }
  const [best] = [...bytes].sort(([a, x], [b, y]) => y - x || a - b)
  return best?.[0] ?? 0
}

/** Grows TDMRs GiB by GiB while `joins` and the limits allow. */
function grow(
  memory: readonly Range[], gibs: readonly Part[], limits: PartitionLimits, joins: (last: Part, next: Part) => boolean,
): Result<Part[], TdmrError> {
  const parts: Part[] = []
  for (const g of gibs) {
    const needed = countHoles(memory, g)
    if (needed > limits.maxHoles) {
      const { maxReserved: max } = limits
      return fail({ kind: 'limit', limit: 'max_reserved_per_tdmr', at: g, needed, max, holes: needed })
    }
    const last = parts.at(-1)
    const joined = last === undefined ? g : { ...last, end: g.end }
    if (
      last !== undefined && joins(last, g) && joined.end - joined.start <= limits.maxSize &&
      countHoles(memory, joined) <= limits.maxHoles
    ) parts[parts.length - 1] = joined
    else parts.push(g)
  }
  return ok(parts)
}

/** Joins neighbours, across as little unused address space as possible, until there are few enough. */
function consolidate(memory: readonly Range[], parts: readonly Part[], limits: PartitionLimits): Part[] {
  const out = [...parts]
  while (out.length > limits.maxTdmrs) {
    let best = -1
    let gap = Infinity
    for (let i = 0; i + 1 < out.length; i++) {
      const joined = { start: out[i].start, end: out[i + 1].end }
      const between = out[i + 1].start - out[i].end
      if (between >= gap || joined.end - joined.start > limits.maxSize) continue
      if (countHoles(memory, joined) > limits.maxHoles) continue
      best = i
      gap = between
    }
    if (best < 0) break
    out.splice(best, 2, { ...out[best], end: out[best + 1].end })
  }
  return out
}

/**
 * TDMRs over all memory. First one for each stretch of used GiBs of one node, split where it has too many holes; if
 * these are too many, neighbours are joined; and if that is not enough, as few as there can be.
 */
export function partition(regions: readonly MemoryRegion[], limits: PartitionLimits): Result<Part[], TdmrError> {
  const memory = merge(regions)
  const gibs = usedGiBs(regions)
  const apart = grow(memory, gibs, limits, (last, next) => last.end === next.start && last.node === next.node)
  if (!apart.ok) return apart
  let parts = consolidate(memory, apart.value, limits)
  if (parts.length > limits.maxTdmrs) {
    // Taking as much as fits, from the left, gives the smallest number that there is.
    const fewest = grow(memory, gibs, limits, () => true)
    if (!fewest.ok) return fewest
    parts = fewest.value
  }
  if (parts.length > limits.maxTdmrs) {
    const at = parts[limits.maxTdmrs]
    return fail({ kind: 'limit', limit: 'max_tdmrs', at, needed: parts.length, max: limits.maxTdmrs, holes: 0 })
  }
  return ok(parts.map((p) => ({ ...p, node: nodeOf(regions, p) })))
}
