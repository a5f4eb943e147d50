/** Allocation and free: the paths that run for every page (Linux: get_page_from_freelist, __free_frozen_pages). */
import { acceptForRequest } from './accepting.ts'
import { addBlockFree, freePages, hasRun, takeRun } from './buddy.ts'
import { type Core, Mark, MigrateType, PCP_ORDERS, ZONES } from './core.ts'
import { PageAllocError } from './errors.ts'
import { BlockState, blockOf, PageKind, pfnOf } from './pages.ts'
import { drainZone, givePcp, takePcp } from './pcp.ts'
import { BLOCK_PAGES, MAX_ORDER, NO_MEMORY, PAGE_SIZE } from './units.ts'
import { watermarkOk } from './watermarks.ts'

/**
 * What a request may and wants; values are or-ed. Nothing set: unmovable, from the Normal zone or below, any node.
 */
export const Gfp = {
  unmovable: 0,
  movable: 1,
  reclaimable: 2,
  /** Only ZONE_DMA. */
  dma: 4,
  /** ZONE_DMA32 or below. */
  dma32: 8,
  /** ZONE_MOVABLE may be used too. */
  movableZone: 12,
  /** The preferred node or none. */
  thisNode: 16,
  /** May use half of what min watermarks keep back. */
  high: 32,
  /** Cannot wait: with `high`, may use five eighths. */
  atomic: 64,
  /** Ignores watermarks: for what frees memory. */
  memalloc: 128,
} as const

/** Highest zone type by bits 3:2 of a request. */
const HIGHEST = [2, 0, 1, 3] as const

/** How far below the min watermark a request may go: its own minimum in pages. */
function minimum(c: Core, zone: number, flags: number): number {
  let min = c.marks[zone * 4 + Mark.min]
  if ((flags & Gfp.high) !== 0) {
    min -= Math.floor(min / 2)
    if ((flags & Gfp.atomic) !== 0) min -= Math.floor(min / 4)
  }
  return min
}

/** Takes a run from a zone and marks it used: its page frame, or {@link NO_MEMORY}. */
function takeFrom(c: Core, zone: number, order: number, mt: number, cpu: number): number {
  const s = c.store
  if (order < PCP_ORDERS && c.pcpBatch[zone] > 0) {
    const page = takePcp(c, zone, order, mt, cpu)
    if (page < 0) return NO_MEMORY
    s.pageState[page] = PageKind.used | (mt << 4) | order
    return pfnOf(s, page)
  }
  const run = takeRun(c, zone, order, mt)
  if (run < 0) return NO_MEMORY
  if (order < MAX_ORDER) {
    s.pageState[run] = PageKind.used | (mt << 4) | order
    return pfnOf(s, run)
  }
  s.blockState[run] = BlockState.used
  return s.blockPfn[run]
}

/** One pass over the zones with a watermark; -1: none of them. `mark` < 0 ignores watermarks. */
function tryZones(c: Core, order: number, flags: number, node: number, cpu: number, mark: number): number {
  const highest = HIGHEST[(flags >> 2) & 3]
  const zones = ((flags & Gfp.thisNode) !== 0 ? c.nodelists : c.zonelists)[node * ZONES + highest]
  const mt = flags & 3
  for (let i = 0; i < zones.length;) {
    const zone = zones[i++]
    if (c.unaccepted[zone] > 0) {
      const short = c.free[zone] < c.marks[zone * 4 + Mark.promo] + (1 << order) - 1
      if (short || (order > 0 && !hasRun(c, zone, order))) acceptForRequest(c, zone, order)
    }
    if (mark >= 0) {
      const pages = mark === Mark.min ? minimum(c, zone, flags) : c.marks[zone * 4 + mark]
      if (!watermarkOk(c, zone, order, pages, highest)) continue
    }
    const pfn = takeFrom(c, zone, order, mt, cpu)
    if (pfn >= 0) return pfn
  }
  return NO_MEMORY
}

/** When the low watermarks forbid: down to the min ones or below; then again with what processors hold given back. */
function allocSlow(c: Core, order: number, flags: number, node: number, cpu: number): number {
  const last = (flags & Gfp.memalloc) !== 0 ? -1 : Mark.min
  const pfn = tryZones(c, order, flags, node, cpu, last)
  if (pfn >= 0) return pfn
  for (let zone = 0; zone < c.pcp.length; zone++) if (c.pcp[zone] > 0) drainZone(c, zone)
  return tryZones(c, order, flags, node, cpu, last)
}

/** See `PageAllocator.alloc`. */
export function allocPages(c: Core, order: number, flags: number, node: number, cpu: number): number {
  let pfn = tryZones(c, order, flags, node, cpu, Mark.low)
  if (pfn < 0) pfn = allocSlow(c, order, flags, node, cpu)
  if (pfn >= 0 && c.poison !== undefined && !c.poison.intact(pfn, 1 << order)) {
    c.onEvent?.({ kind: 'poison-damaged', pfn, order })
  }
  return pfn
}

function badFree(pfn: number, order: number): never {
  throw new PageAllocError(`free: page 0x${(pfn * PAGE_SIZE).toString(16)} is no allocated run of order ${order}`)
}

/** Returns a whole block. */
function freeBlock(c: Core, block: number): void {
  c.poison?.fill(c.store.blockPfn[block], BLOCK_PAGES)
  addBlockFree(c, block, false)
}

/** See `PageAllocator.free`. */
export function freeRun(c: Core, pfn: number, order: number, cpu: number): void {
  const s = c.store
  const block = blockOf(s, pfn)
  if (block < 0) badFree(pfn, order)
  const offset = pfn & (BLOCK_PAGES - 1)
  if (order === MAX_ORDER) {
    if (offset !== 0 || s.blockState[block] !== BlockState.used) badFree(pfn, order)
    freeBlock(c, block)
    return
  }
  const slot = s.blockSlot[block]
  const page = slot * BLOCK_PAGES + offset
  if (slot < 0 || (s.pageState[page] & (PageKind.mask | 15)) !== (PageKind.used | order)) badFree(pfn, order)
  c.poison?.fill(pfn, 1 << order)
  const mt = s.blockMt[block]
  const zone = s.blockZone[block]
  if (order < PCP_ORDERS && c.pcpBatch[zone] > 0 && mt !== MigrateType.isolate) {
    givePcp(c, zone, page, order, mt, cpu)
    return
  }
  s.pageState[page] = PageKind.none
  freePages(c, page, order, false)
}

/** See `PageAllocator.split`. */
export function splitRun(c: Core, pfn: number, order: number): void {
  const s = c.store
  const block = blockOf(s, pfn)
  const slot = block < 0 ? -1 : s.blockSlot[block]
  const page = slot * BLOCK_PAGES + (pfn & (BLOCK_PAGES - 1))
  if (slot < 0 || (s.pageState[page] & (PageKind.mask | 15)) !== (PageKind.used | order)) badFree(pfn, order)
  s.pageState.fill(s.pageState[page] & ~15, page, page + (1 << order))
}
