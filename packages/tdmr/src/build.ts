/** From a memory map to TDMRs with their PAMTs and reserved areas. */
import { fail, ok, type Result, type TdmrError } from './errors.ts'
import { type Cmr, type MemoryRegion, tdxMemory } from './memory.ts'
import { type PamtLimits, type PamtSet, pamtSizes, pamtTotal, placePamts } from './pamt.ts'
import { countHoles, type Part, partition } from './partition.ts'
import { contains, gaps, merge, overlap, type Range, total } from './ranges.ts'

/** Where PAMTs come from: contiguous memory that is TDX memory and in use by nobody. */
export interface PamtAllocator {
  /** `size` bytes (a multiple of 4 KiB) on `node`, or anywhere if undefined: their address, or -1. */
  alloc(size: number, node: number | undefined): number
  free(start: number, size: number): void
}

/** The module's limits, as its metadata says. */
export interface TdmrLimits extends PamtLimits {
  readonly maxTdmrs: number
  readonly maxReservedPerTdmr: number
}

/** One TDMR, ready to be given to TDH.SYS.CONFIG. */
export interface Tdmr extends Range, PamtSet {
  /** The node that most of its memory is on. */
  readonly node: number
  /** Everything in it that is no memory, and what lies in it of anybody's PAMTs: by address, joined. */
  readonly reserved: readonly Range[]
  /** What was allocated for its PAMTs. */
  readonly pamt: Range
  /** Whether the PAMTs came from its own node. */
  readonly ownNode: boolean
}

/** All TDMRs of a machine. */
export interface TdmrPlan {
  readonly tdmrs: readonly Tdmr[]
  /** The memory that they cover. */
  readonly memory: readonly MemoryRegion[]
  /** What was taken from the allocator, to be given back if TDX is given up. */
  readonly allocations: readonly Range[]
  /** Bytes of memory, of PAMTs, and their ratio. */
  readonly memoryBytes: number
  readonly pamtBytes: number
  readonly overhead: number
  readonly limits: TdmrLimits
}

/** What {@link buildTdmrs} needs. */
export interface BuildOptions {
  readonly memory: readonly MemoryRegion[]
  readonly cmrs: readonly Cmr[]
  readonly limits: TdmrLimits
  readonly pamts: PamtAllocator
}

/** One way to try: how many reserved areas are kept for PAMTs, the largest TDMR, and all PAMTs in one piece or not. */
interface Attempt {
  readonly slack: number
  readonly maxSize: number
  readonly together: boolean
}

interface Placed {
  readonly part: Part
  readonly pamt: Range
  readonly set: PamtSet
  readonly ownNode: boolean
}

/** Memory for the PAMTs of all parts; nothing stays allocated when it fails. */
function allocate(
  parts: readonly Part[], attempt: Attempt, options: BuildOptions, usable: readonly Range[],
): Result<{ placed: Placed[]; allocations: Range[] }, TdmrError> {
  const allocations: Range[] = []
  const giveUp = (error: TdmrError): { ok: false; error: TdmrError } => {
    for (const r of allocations) options.pamts.free(r.start, r.end - r.start)
    return fail(error)
  }
  const take = (size: number, part: Part): Result<{ range: Range; ownNode: boolean }, TdmrError> => {
    let start = options.pamts.alloc(size, part.node)
    const ownNode = start >= 0
    if (!ownNode) start = options.pamts.alloc(size, undefined)
    if (start < 0) return giveUp({ kind: 'no-pamt-memory', tdmr: part, size, node: part.node })
    const range = { start, end: start + size }
    const clash = allocations.some((r) => overlap(r, range))
    allocations.push(range)
    if (clash || start % 4096 !== 0 || !usable.some((m) => contains(m, range))) {
      return giveUp({ kind: 'bad-pamt-memory', pamt: range })
    }
    return ok({ range, ownNode })
  }

  const sizes = parts.map((p) => pamtSizes(p.end - p.start, options.limits))
  const placed: Placed[] = []
  if (attempt.together) {
    const whole = take(sizes.reduce((n, s) => n + pamtTotal(s), 0), { ...parts[0], end: parts[parts.length - 1].end })
    if (!whole.ok) return whole
    let at = whole.value.range.start
    parts.forEach((part, i) => {
      const pamt = { start: at, end: at + pamtTotal(sizes[i]) }
      const ownNode = whole.value.ownNode && part.node === parts[0].node
      placed.push({ part, pamt, set: placePamts(at, sizes[i]), ownNode })
      at = pamt.end
    })
  } else {
    for (const [i, part] of parts.entries()) {
      const got = take(pamtTotal(sizes[i]), part)
      if (!got.ok) return got
      const { range: pamt, ownNode } = got.value
      placed.push({ part, pamt, set: placePamts(pamt.start, sizes[i]), ownNode })
    }
  }
  return ok({ placed, allocations })
}

function tryOnce(
  attempt: Attempt, options: BuildOptions, memory: readonly MemoryRegion[],
): Result<TdmrPlan, TdmrError> {
  const { limits, pamts } = options
  const max = limits.maxReservedPerTdmr
  const parts = partition(memory, {
    maxTdmrs: limits.maxTdmrs, maxHoles: max - attempt.slack, maxSize: attempt.maxSize, maxReserved: max,
  })
  if (!parts.ok) return parts
  const usable = merge(memory)
  const got = allocate(parts.value, attempt, options, usable)
  if (!got.ok) return got
  const { placed, allocations } = got.value
  const taken = merge(placed.map((p) => p.pamt))
  const tdmrs: Tdmr[] = []
  for (const { part, pamt, set, ownNode } of placed) {
    const inside = taken.filter((r) => overlap(r, part))
      .map((r) => ({ start: Math.max(r.start, part.start), end: Math.min(r.end, part.end) }))
    const reserved = merge([...gaps(usable, part), ...inside])
    if (reserved.length > max) {
      for (const r of allocations) pamts.free(r.start, r.end - r.start)
      const holes = countHoles(usable, part)
      const at = { start: part.start, end: part.end }
      return fail({ kind: 'limit', limit: 'max_reserved_per_tdmr', at, needed: reserved.length, max, holes })
    }
    tdmrs.push({ ...part, ...set, pamt, ownNode, reserved })
  }
  const memoryBytes = total(memory)
  const pamtBytes = total(allocations)
  return ok({ tdmrs, memory, allocations, memoryBytes, pamtBytes, overhead: pamtBytes / memoryBytes, limits })
}

/** The next way to try after an error, or undefined when there is none. */
function next(attempt: Attempt, error: TdmrError, limits: TdmrLimits): Attempt | undefined {
  if (error.kind === 'no-pamt-memory' && !attempt.together) {
    // Memory is in pieces: smaller TDMRs have smaller PAMTs.
    const half = Math.floor((error.tdmr.end - error.tdmr.start) / 2 ** 31) * 2 ** 30
    if (half >= 2 ** 30) return { ...attempt, maxSize: half }
  }
  const byPamts = error.kind === 'limit' && error.limit === 'max_reserved_per_tdmr' && error.needed > error.holes
  if (byPamts && attempt.slack + 1 < limits.maxReservedPerTdmr) return { ...attempt, slack: attempt.slack + 1 }
  const tried = attempt.slack > 0 || attempt.maxSize < Infinity || byPamts
  return tried && !attempt.together ? { slack: 0, maxSize: Infinity, together: true } : undefined
}

/**
 * Builds TDMRs over all memory and allocates their PAMTs: one stretch of memory for each TDMR, on its own node if
 * that has it. When PAMTs break a limit, smaller TDMRs and then PAMTs in one piece are tried. Returns the plan, or the
 * first error; then nothing stays allocated.
 */
export function buildTdmrs(options: BuildOptions): Result<TdmrPlan, TdmrError> {
  const memory = tdxMemory(options.memory, options.cmrs)
  if (!memory.ok) return memory
  let attempt: Attempt | undefined = { slack: 0, maxSize: Infinity, together: false }
  let first: Result<TdmrPlan, TdmrError> | undefined
  while (attempt !== undefined) {
    const plan: Result<TdmrPlan, TdmrError> = tryOnce(attempt, options, memory.value)
    if (plan.ok) return plan
    first ??= plan
    attempt = next(attempt, plan.error, options.limits)
  }
  return first ?? fail({ kind: 'no-memory' })
}

/** Gives all PAMTs of a plan back. */
export function freePamts(plan: TdmrPlan, pamts: PamtAllocator): void {
  for (const r of plan.allocations) pamts.free(r.start, r.end - r.start)
}
