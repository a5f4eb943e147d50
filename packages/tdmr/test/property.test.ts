import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  buildTdmrs, createModelMemory, describeInitError, initTdx, type MemoryRegion, type Range, type TdmrError,
  type TdmrLimits, type TdmrPlan,
} from '../src/index.ts'
import { cmrsOf, GiB, LIMITS, machine, MiB } from './machines.ts'

const PAGE = 4096
const TOP = 4096 * GiB

const amount = (x: number): string => (
  x % GiB === 0 ? `${x / GiB} GiB` : x % MiB === 0 ? `${x / MiB} MiB` : `${x / 1024} KiB`)
const show = (r: Range): string => `${amount(r.start)}..${amount(r.end)}`

/**
 * A map of 1 to 64 regions over up to 4 TiB and 8 nodes: gaps and lengths from a page to hundreds of GiBs. Built from
 * gaps and lengths, so that it shrinks to few regions at small round addresses.
 */
const size = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 64 }).map((n) => n * GiB) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 2048 }).map((n) => n * MiB) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 2 ** 20 }).map((n) => n * PAGE) },
)
const memoryMap = fc.array(
  fc.record({ gap: fc.oneof(fc.constant(0), size), size, node: fc.nat({ max: 7 }) }), { minLength: 1, maxLength: 64 },
).map((steps) => {
  const regions: MemoryRegion[] = []
  let at = 0
  for (const s of steps) {
    const start = at + s.gap
    const end = Math.min(start + s.size, TOP)
    if (start < end) regions.push({ start, end, node: s.node })
    at = end
  }
  // A counterexample is read by people.
  const text = (): string => regions.map((r) => `${show(r)} node ${r.node}`).join(', ')
  return Object.defineProperty(regions, fc.toStringMethod, { value: text })
})

const limits = fc.record({
  maxTdmrs: fc.constantFrom(1, 2, 4, 16, 64), maxReservedPerTdmr: fc.constantFrom(1, 2, 4, 16),
}).map((l) => ({ ...LIMITS, ...l }))

const inside = (list: readonly Range[], at: number): Range[] => list.filter((r) => at >= r.start && at < r.end)

/** Addresses where anything begins or ends: between two of them, nothing changes. */
function probes(plan: TdmrPlan, memory: readonly MemoryRegion[]): number[] {
  const edges = new Set<number>()
  for (const r of [...memory, ...plan.tdmrs, ...plan.tdmrs.flatMap((t) => t.reserved), ...plan.allocations]) {
    edges.add(r.start).add(r.end)
  }
  return [...edges].sort((a, b) => a - b)
}

function checkCover(plan: TdmrPlan, memory: readonly MemoryRegion[]): void {
  for (const at of probes(plan, memory)) {
    const usable = at >= MiB && inside(memory, at).length > 0
    const pamt = inside(plan.allocations, at).length
    const tdmrs = inside(plan.tdmrs, at)
    const reserved = tdmrs.flatMap((t) => inside((t as TdmrPlan['tdmrs'][number]).reserved, at)).length
    const where = `at ${(at / GiB).toFixed(6)} GiB`
    expect(tdmrs.length, `TDMRs ${where}`).toBe(usable ? 1 : Math.min(tdmrs.length, 1))
    expect(pamt, `PAMTs ${where}`).toBeLessThanOrEqual(usable ? 1 : 0)
    if (tdmrs.length === 1) expect(reserved, `reserved areas ${where}`).toBe(usable && pamt === 0 ? 0 : 1)
  }
}

/** Holes of a GiB, counted the slow way. */
function holesOf(memory: readonly MemoryRegion[], r: Range): number {
  const usable = memory.map((m) => ({ start: Math.max(m.start, MiB, r.start), end: Math.min(m.end, r.end) }))
    .filter((m) => m.start < m.end).sort((a, b) => a.start - b.start)
  let at = r.start
  let holes = 0
  for (const m of usable) {
    if (m.start > at) holes++
    at = m.end
  }
  return holes + (at < r.end ? 1 : 0)
}

/** The smallest number of TDMRs that any host could do with, or Infinity, PAMTs apart. */
function fewestTdmrs(memory: readonly MemoryRegion[], maxReserved: number): number {
  const gibs = new Set<number>()
  for (const m of memory) {
    for (let g = Math.floor(Math.max(m.start, MiB) / GiB); g * GiB < m.end; g++) gibs.add(g)
  }
  let count = 0
  let start = -1
  for (const g of [...gibs].sort((a, b) => a - b)) {
    if (holesOf(memory, { start: g * GiB, end: (g + 1) * GiB }) > maxReserved) return Infinity
    if (start >= 0 && holesOf(memory, { start, end: (g + 1) * GiB }) <= maxReserved) continue
    count++
    start = g * GiB
  }
  return count
}

/** The error must be true: no choice of TDMRs would have done. Where PAMTs decide, at most by what they can add. */
function checkError(error: TdmrError, memory: readonly MemoryRegion[], max: TdmrLimits): void {
  switch (error.kind) {
    case 'no-memory':
      expect(memory.every((m) => m.end <= MiB)).toBe(true)
      return
    case 'limit':
      if (error.limit === 'max_tdmrs') {
        expect(fewestTdmrs(memory, max.maxReservedPerTdmr)).toBe(error.needed)
        expect(error.needed).toBeGreaterThan(max.maxTdmrs)
      } else {
        expect(holesOf(memory, error.at)).toBe(error.holes)
        expect(error.needed).toBeGreaterThan(max.maxReservedPerTdmr)
        // Without the PAMTs of all TDMRs in it, it would have been within the limit or is not by holes alone.
        expect(error.needed - error.holes).toBeLessThanOrEqual(error.holes > max.maxReservedPerTdmr ? 0 : max.maxTdmrs)
      }
      return
    case 'no-pamt-memory':
      expect(memory.some((m) => m.end - Math.max(m.start, MiB) >= error.size && m.node === error.node)).toBe(false)
      return
    default:
      throw new Error(`a well-formed map got ${error.kind}`)
  }
}

describe('TDMRs for any memory map', () => {
  it('cover every usable page outside reserved areas once, and the module accepts them; or the error is true', () => {
    let built = 0
    let total = 0
    fc.assert(fc.property(memoryMap, limits, (memory, max) => {
      total++
      const pamts = createModelMemory(memory)
      const result = buildTdmrs({ memory, cmrs: cmrsOf(memory), limits: max, pamts })
      if (!result.ok) {
        expect(pamts.allocated()).toEqual([])
        checkError(result.error, memory, max)
        return
      }
      built++
      checkCover(result.value, memory)
      const m = machine(memory, { limits: max, initStep: 64 * GiB, cmrs: cmrsOf(memory) })
      const init = initTdx(m.init, m.model)
      if (!init.ok) throw new Error(`${describeInitError(init.error)} for ${memory.map(show).join(', ')}`)
      expect(m.model.violations).toEqual([])
      expect(init.tdx.plan.tdmrs.map((t) => t.start)).toEqual(result.value.tdmrs.map((t) => t.start))
    }), { numRuns: 300 })
    // A generator that only made errors would prove nothing.
    expect(built).toBeGreaterThan(total / 4)
  })

  it('are refused whole when any page is in no CMR', () => {
    fc.assert(fc.property(memoryMap, fc.nat(), fc.nat(), (memory, which, where) => {
      const usable = memory.filter((m) => m.end > MiB + PAGE)
      fc.pre(usable.length > 0)
      const victim = usable[which % usable.length]
      const first = Math.max(victim.start, MiB)
      const page = first + (where % ((victim.end - first) / PAGE)) * PAGE
      const cmrs = cmrsOf(memory).flatMap((c) => {
        if (page < c.base || page >= c.base + c.size) return [c]
        return [{ base: c.base, size: page - c.base }, { base: page + PAGE, size: c.base + c.size - page - PAGE }]
      })
      const result = buildTdmrs({ memory, cmrs, limits: LIMITS, pamts: createModelMemory(memory) })
      const range = { start: page, end: page + PAGE }
      expect(result).toMatchObject({ ok: false, error: { kind: 'not-convertible', range } })
    }), { numRuns: 100 })
  })
})
