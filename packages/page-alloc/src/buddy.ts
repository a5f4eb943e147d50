/**
 * Buddy lists of one zone: taking a run of pages, giving one back, borrowing from other migrate types
 * (Linux: mm/page_alloc.c, __rmqueue and __free_one_page). The block that migrate types are kept for is the largest
 * order, so that free pages of a block are always on the lists of one type.
 */
import { type Core, listOf, MigrateType, MTS, ORDERS } from './core.ts'
import { link, unlink } from './lists.ts'
import { BlockState, dropSlot, PageKind, takeSlot } from './pages.ts'
import { BLOCK_PAGES, MAX_ORDER, NO_MEMORY } from './units.ts'

/** Which types to borrow from, nearest first (Linux: fallbacks[]). */
const FALLBACKS = [
  [MigrateType.reclaimable, MigrateType.movable],
  [MigrateType.reclaimable, MigrateType.unmovable],
  [MigrateType.unmovable, MigrateType.movable],
] as const

/** Free pages on lists change: isolated ones are no use to anybody. */
function account(c: Core, zone: number, mt: number, pages: number): void {
  if (mt === MigrateType.isolate) c.isolated[zone] += pages
  else c.free[zone] += pages
}

function noteAdded(c: Core, list: number, zone: number, mt: number, order: number): void {
  if (c.count[list]++ === 0) c.orders[zone * MTS + mt] |= 1 << order
}

function noteTaken(c: Core, list: number, zone: number, mt: number, order: number): void {
  if (--c.count[list] === 0) c.orders[zone * MTS + mt] &= ~(1 << order)
}

/** Puts a run on its list; counts it as free. */
export function addPages(c: Core, page: number, order: number, last: boolean): void {
  const s = c.store
  const slot = page >> 10
  const block = s.slotBlock[slot]
  const zone = s.blockZone[block]
  const mt = s.blockMt[block]
  const list = listOf(zone, mt, order)
  s.pageState[page] = PageKind.free | order
  s.slotFree[slot] += 1 << order
  link(c.head, c.tail, s.pageNext, s.pagePrev, list, page, last)
  noteAdded(c, list, zone, mt, order)
  account(c, zone, mt, 1 << order)
}

/** Takes a run off its list; its state is none. */
export function takePages(c: Core, page: number, order: number): void {
  const s = c.store
  const slot = page >> 10
  const block = s.slotBlock[slot]
  const zone = s.blockZone[block]
  const mt = s.blockMt[block]
  const list = listOf(zone, mt, order)
  s.pageState[page] = PageKind.none
  s.slotFree[slot] -= 1 << order
  unlink(c.head, c.tail, s.pageNext, s.pagePrev, list, page)
  noteTaken(c, list, zone, mt, order)
  account(c, zone, mt, -(1 << order))
}

/** Puts a whole block on its list. */
export function addBlockFree(c: Core, block: number, last: boolean): void {
  const s = c.store
  const zone = s.blockZone[block]
  const mt = s.blockMt[block]
  const list = listOf(zone, mt, MAX_ORDER)
  s.blockState[block] = BlockState.free
  link(c.head, c.tail, s.blockNext, s.blockPrev, list, block, last)
  noteAdded(c, list, zone, mt, MAX_ORDER)
  account(c, zone, mt, BLOCK_PAGES)
}

/** Takes a whole free block off its list; the caller sets what it is now. */
export function takeBlock(c: Core, block: number): void {
  const s = c.store
  const zone = s.blockZone[block]
  const mt = s.blockMt[block]
  const list = listOf(zone, mt, MAX_ORDER)
  unlink(c.head, c.tail, s.blockNext, s.blockPrev, list, block)
  noteTaken(c, list, zone, mt, MAX_ORDER)
  account(c, zone, mt, -BLOCK_PAGES)
}

/** Returns a run (order 0 to 9) whose state is none, merging it with its buddies. */
export function freePages(c: Core, page: number, order: number, last: boolean): void {
  const s = c.store
  while (order < MAX_ORDER) {
    const buddy = page ^ (1 << order)
    if (s.pageState[buddy] !== (PageKind.free | order)) {
      addPages(c, page, order, last)
      return
    }
    takePages(c, buddy, order)
    page &= ~(1 << order)
    order++
  }
  const block = s.slotBlock[page >> 10]
  dropSlot(s, block)
  addBlockFree(c, block, last)
}

/** Cuts a run of `from` pages down to `order`, giving the upper halves back. */
function expand(c: Core, page: number, order: number, from: number): void {
  for (let o = from - 1; o >= order; o--) addPages(c, page + (1 << o), o, false)
}

/** Takes the first run of exactly `from`, cut to `order`: a page index, or for the largest order a block. */
function takeFirst(c: Core, zone: number, mt: number, order: number, from: number): number {
  const item = c.head[listOf(zone, mt, from)]
  if (from < MAX_ORDER) {
    takePages(c, item, from)
    expand(c, item, order, from)
    return item
  }
  takeBlock(c, item)
  if (order === MAX_ORDER) return item
  const page = takeSlot(c.store, item)
  expand(c, page, order, MAX_ORDER)
  return page
}

/** The smallest run that fits, of one migrate type. */
function takeSmallest(c: Core, zone: number, order: number, mt: number): number {
  const fits = c.orders[zone * MTS + mt] >>> order << order
  return fits === 0 ? NO_MEMORY : takeFirst(c, zone, mt, order, 31 - Math.clz32(fits & -fits))
}

/** Moves a block, and what of it is free, to another migrate type. */
export function setBlockType(c: Core, block: number, mt: number): void {
  const s = c.store
  if (s.blockMt[block] === mt) return
  if (s.blockState[block] === BlockState.free) {
    takeBlock(c, block)
    s.blockMt[block] = mt
    addBlockFree(c, block, false)
    return
  }
  const slot = s.blockSlot[block]
  if (slot < 0) {
    s.blockMt[block] = mt
    return
  }
  const from = s.blockMt[block]
  for (let at = 0; at < BLOCK_PAGES;) {
    const page = slot * BLOCK_PAGES + at
    const state = s.pageState[page]
    const order = state & 15
    if ((state & PageKind.mask) === PageKind.free) {
      s.blockMt[block] = from
      takePages(c, page, order)
      s.blockMt[block] = mt
      addPages(c, page, order, false)
    }
    at += state === 0 ? 1 : 1 << order
  }
  s.blockMt[block] = mt
}

/** Pages of a block's slot that are allocated or on per-CPU lists as `movable`, or as anything else. */
function countUsed(c: Core, slot: number, movable: boolean): number {
  const s = c.store
  let pages = 0
  for (let at = 0; at < BLOCK_PAGES;) {
    const state = s.pageState[slot * BLOCK_PAGES + at]
    const size = state === 0 ? 1 : 1 << (state & 15)
    const kind = state & PageKind.mask
    const isMovable = ((state >> 4) & 3) === MigrateType.movable
    if ((kind === PageKind.used || kind === PageKind.pcp) && isMovable === movable) pages += size
    at += size
  }
  return pages
}

/**
 * Converts a whole block of another type when the run found in it is large, or half of the block is free or in like
 * use; so types stay together (Linux: try_to_claim_block).
 */
function claim(c: Core, zone: number, order: number, mt: number): number {
  const s = c.store
  for (let from = MAX_ORDER; from >= order; from--) {
    // Only large runs are worth a block to movable requests, whose pages can be moved away later.
    if (from < MAX_ORDER >> 1 && mt === MigrateType.movable) break
    for (const other of FALLBACKS[mt]) {
      const item = c.head[listOf(zone, other, from)]
      if (item < 0) continue
      if (from === MAX_ORDER) {
        setBlockType(c, item, mt)
        return takeFirst(c, zone, mt, order, MAX_ORDER)
      }
      const slot = item >> 10
      const alike = mt === MigrateType.movable ? countUsed(c, slot, true)
        : other === MigrateType.movable ? countUsed(c, slot, false) : 0
      if (s.slotFree[slot] + alike >= BLOCK_PAGES / 2) {
        setBlockType(c, s.slotBlock[slot], mt)
        return takeSmallest(c, zone, order, mt)
      }
      break
    }
  }
  return NO_MEMORY
}

/** Takes the smallest run of another type, leaving its block what it is. */
function steal(c: Core, zone: number, order: number, mt: number): number {
  for (let from = order; from < ORDERS; from++) {
    for (const other of FALLBACKS[mt]) {
      if (c.head[listOf(zone, other, from)] >= 0) return takeFirst(c, zone, other, order, from)
    }
  }
  return NO_MEMORY
}

/** A run of pages for a migrate type, from any: a page index; for the largest order a block; or {@link NO_MEMORY}. */
export function takeRun(c: Core, zone: number, order: number, mt: number): number {
  const own = takeSmallest(c, zone, order, mt)
  if (own >= 0) return own
  const claimed = claim(c, zone, order, mt)
  return claimed >= 0 ? claimed : steal(c, zone, order, mt)
}

/** Whether any list that allocation may use has a run of `order` or more. */
export function hasRun(c: Core, zone: number, order: number): boolean {
  const at = zone * MTS
  return ((c.orders[at] | c.orders[at + 1] | c.orders[at + 2]) >>> order) !== 0
}

/** Gives back pages `[from, to)` of a block that are in no list: as few runs as their alignment allows. */
export function freeRange(c: Core, block: number, from: number, to: number, last: boolean): void {
  const s = c.store
  if (from === 0 && to === BLOCK_PAGES && s.blockSlot[block] < 0) {
    addBlockFree(c, block, last)
    return
  }
  const base = s.blockSlot[block] < 0 ? takeSlot(s, block) : s.blockSlot[block] * BLOCK_PAGES
  for (let at = from; at < to;) {
    let order = at === 0 ? MAX_ORDER - 1 : Math.min(MAX_ORDER - 1, 31 - Math.clz32(at & -at))
    while (at + (1 << order) > to) order--
    freePages(c, base + at, order, last)
    at += 1 << order
  }
}
