/** What a region's code is written from: its blocks with the ways between them, and its entries. */
import type { Block } from '../engine/code-cache.ts'
import { blockRip } from '../engine/rip.ts'
import { OP } from '../ops.ts'
import type { Flow } from './flow.ts'
import type { Edge, RegionBlock } from './region-writer.ts'

/** RET and indirect jumps compare with at most so many targets. */
const TARGETS = 8

/** For blocks that end in RET: the sites behind those calls of the region that lead to them. */
function returnTargets(
  flow: Flow, chosen: readonly Block[], indexes: ReadonlyMap<Block, number>,
): Map<Block, Set<Block>> {
  const { expand, lastTarget, linked, linkSlots, returnSite } = flow
  const found = new Map<Block, Set<Block>>()
  for (const caller of chosen) {
    const insns = expand(caller)
    const site = returnSite(caller, insns)
    const { taken } = linkSlots(insns)
    const callee = site === null || taken === 0 ? lastTarget(insns) : linked(taken)
    if (site === null || callee === null || !indexes.has(site)) continue
    // The called function's blocks; a call inside it goes on behind itself.
    const seen = new Set<Block>([callee])
    for (const block of seen) {
      if (!indexes.has(block)) continue
      const own = expand(block)
      const { op } = own[own.length - 1].insn
      if (op === OP.ret) {
        found.set(block, (found.get(block) ?? new Set()).add(site))
        continue
      }
      const slots = linkSlots(own)
      const next = op === OP.call ? [returnSite(block, own)] : [slots.taken, slots.next].map(
        (slot) => (slot === 0 ? null : linked(slot))
      )
      for (const b of next) if (b !== null) seen.add(b)
    }
  }
  return found
}

/** The blocks of a region as they are compiled: how far, and where their ends lead. */
export function describeBlocks(flow: Flow, chosen: readonly Block[]): RegionBlock[] {
  const { compilable, expand, lastTarget, linked, linkSlots } = flow
  const indexes = new Map(chosen.map((b, i) => [b, i]))
  const edge = (slot: number): Edge | null => {
    if (slot === 0) return null
    const to = linked(slot)
    return { slot, index: to === null ? -1 : indexes.get(to) ?? -1 }
  }
  const returns = returnTargets(flow, chosen, indexes)
  return chosen.map((block) => {
    const insns = expand(block)
    const compiled = compilable(insns)
    const { taken, next } = linkSlots(insns)
    const last = lastTarget(insns)
    const likely = new Set([...(last === null ? [] : [last]), ...(returns.get(block) ?? [])])
    const targets = compiled < insns.length ? [] : [...likely].flatMap((to) => {
      const index = indexes.get(to)
      return index === undefined || to.page.mode !== block.page.mode ? [] : [{ index, rip: blockRip(to) }]
    }).slice(0, TARGETS)
    return { block, insns, compiled, taken: edge(taken), next: edge(next), targets }
  })
}

/** Where a region is entered, by position: its seeds, and where calls come back to. */
export function entriesOf(flow: Flow, seeds: ReadonlySet<Block>, chosen: readonly Block[]): number[] {
  const wanted = new Set<Block>(seeds)
  for (const block of chosen) {
    const site = flow.returnSite(block, flow.expand(block))
    if (site !== null) wanted.add(site)
  }
  return chosen.flatMap((b, i) => (wanted.has(b) ? [i] : []))
}
