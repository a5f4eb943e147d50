/**
 * Runs of any length: more than the buddy lists can give, such as the 1 GiB and more of a PAMT, and isolation of
 * ranges (Linux: alloc_contig_pages, mm/page_isolation.c).
 */
import { beginBlock, endBlock, reportFailures } from './accepting.ts'
import { freeRange, setBlockType, takeBlock, takePages } from './buddy.ts'
import { type Core, MigrateType } from './core.ts'
import { PageAllocError } from './errors.ts'
import { blockIn, blockOf, blocksAt, BlockState, PageKind, takeSlot } from './pages.ts'
import { drainZone } from './pcp.ts'
import { alignDown, alignUp, BLOCK_BYTES, BLOCK_PAGES, MAX_ORDER, NO_MEMORY, PAGE_SIZE, showRange } from './units.ts'

/** Calls `visit` with each stretch `[from, to)` of a block that can be had; stops when it returns true. */
function eachFree(c: Core, block: number, visit: (from: number, to: number) => boolean): boolean {
  const s = c.store
  if (s.blockMt[block] === MigrateType.isolate) return false
  const state = s.blockState[block]
  if (state === BlockState.free) return visit(0, BLOCK_PAGES)
  if (state === BlockState.unaccepted) {
    const start = s.blockPfn[block] * PAGE_SIZE
    return c.acceptor?.isBusy(start, start + BLOCK_BYTES) !== true && visit(0, BLOCK_PAGES)
  }
  if (state !== BlockState.split) return false
  const base = s.blockSlot[block] * BLOCK_PAGES
  for (let at = 0; at < BLOCK_PAGES;) {
    const page = s.pageState[base + at]
    const size = page === PageKind.none ? 1 : 1 << (page & 15)
    if ((page & PageKind.mask) === PageKind.free && visit(at, at + size)) return true
    at += size
  }
  return false
}

/** First page frame of `pages` free ones in a row in `zone`, aligned to `align` pages. */
function findRun(c: Core, zone: number, pages: number, align: number): number {
  const s = c.store
  let start = 0
  let end = -1
  for (let block = 0; block < s.blocks; block++) {
    if (s.blockZone[block] !== zone) continue
    const pfn = s.blockPfn[block]
    const found = eachFree(c, block, (from, to) => {
      if (pfn + from !== end) start = alignUp(pfn + from, align)
      end = pfn + to
      return end - start >= pages
    })
    if (found) return start
  }
  return NO_MEMORY
}

/** Marks pages `[from, to)` of a block used, as runs that `free` understands. They must be in no list. */
function markUsed(c: Core, block: number, from: number, to: number): void {
  const s = c.store
  if (to - from === BLOCK_PAGES && s.blockSlot[block] < 0) {
    s.blockState[block] = BlockState.used
    return
  }
  const base = s.blockSlot[block] * BLOCK_PAGES
  for (let at = from; at < to;) {
    let order = at === 0 ? MAX_ORDER - 1 : Math.min(MAX_ORDER - 1, 31 - Math.clz32(at & -at))
    while (at + (1 << order) > to) order--
    s.pageState[base + at] = PageKind.used | (MigrateType.unmovable << 4) | order
    at += 1 << order
  }
}

/** Takes `[from, to)` of a block, all of it free, out of the lists and marks it used; the rest stays free. */
function captureIn(c: Core, block: number, from: number, to: number): void {
  const s = c.store
  if (s.blockState[block] === BlockState.free) {
    takeBlock(c, block)
    if (to - from < BLOCK_PAGES) takeSlot(s, block)
  } else {
    const base = s.blockSlot[block] * BLOCK_PAGES
    const runs: number[] = []
    eachFree(c, block, (a, b) => {
      if (a < to && from < b) runs.push(a)
      return false
    })
    const low = Math.min(from, ...runs)
    let high = to
    for (const a of runs) {
      const order = s.pageState[base + a] & 15
      high = Math.max(high, a + (1 << order))
      takePages(c, base + a, order)
    }
    markUsed(c, block, from, to)
    if (low < from) freeRange(c, block, low, from, false)
    if (to < high) freeRange(c, block, to, high, false)
    return
  }
  markUsed(c, block, from, to)
  if (from > 0) freeRange(c, block, 0, from, false)
  if (to < BLOCK_PAGES) freeRange(c, block, to, BLOCK_PAGES, false)
}

/** Accepts the unaccepted blocks of a run; whether there were any. */
function acceptRun(c: Core, zone: number, start: number, end: number): boolean {
  const s = c.store
  const before = c.acceptor?.failed().length ?? 0
  let worked = false
  for (let pfn = alignDown(start, BLOCK_PAGES); pfn < end; pfn += BLOCK_PAGES) {
    const block = blockIn(c.store, pfn, zone)
    if (s.blockState[block] !== BlockState.unaccepted) continue
    worked = true
    const at = s.blockPfn[block] * PAGE_SIZE
    beginBlock(c, block)
    c.acceptor?.accept(at, at + BLOCK_BYTES)
    endBlock(c, block)
  }
  reportFailures(c, before)
  return worked
}

/** `pages` pages in a row from one zone: the first page frame, or {@link NO_MEMORY}. */
export function allocContigIn(c: Core, zone: number, pages: number, align: number): number {
  if (c.present[zone] < pages) return NO_MEMORY
  drainZone(c, zone)
  for (;;) {
    const start = findRun(c, zone, pages, align)
    if (start < 0) return start
    // Acceptance may fail, or somebody may take pages meanwhile: look again at what is free then.
    if (acceptRun(c, zone, start, start + pages)) continue
    for (let pfn = start; pfn < start + pages;) {
      const base = alignDown(pfn, BLOCK_PAGES)
      const next = Math.min(start + pages, base + BLOCK_PAGES)
      captureIn(c, blockIn(c.store, base, zone), pfn - base, next - base)
      pfn = next
    }
    return start
  }
}

/**
 * Order of the allocated run at a page frame.
 * @throws PageAllocError when no run begins there.
 */
export function orderAt(c: Core, pfn: number): number {
  const s = c.store
  const block = blockOf(s, pfn)
  const offset = pfn & (BLOCK_PAGES - 1)
  if (block >= 0 && s.blockState[block] === BlockState.used && offset === 0) return MAX_ORDER
  const slot = block < 0 ? -1 : s.blockSlot[block]
  const state = slot < 0 ? 0 : s.pageState[slot * BLOCK_PAGES + offset]
  if ((state & PageKind.mask) === PageKind.used) return state & 15
  throw new PageAllocError(`page 0x${(pfn * PAGE_SIZE).toString(16)} begins no allocated run`)
}

/** Blocks of `[start, end)`: all must be one zone's memory. */
function blocksIn(c: Core, start: number, end: number): number[] {
  if (start % BLOCK_PAGES !== 0 || end % BLOCK_PAGES !== 0) {
    const range = showRange(start * PAGE_SIZE, end * PAGE_SIZE)
    throw new PageAllocError(`isolate: ${range} is not made of whole 4 MiB blocks`)
  }
  const out: number[] = []
  for (let pfn = start; pfn < end; pfn += BLOCK_PAGES) out.push(...blocksAt(c.store, pfn))
  return out
}

/** See `PageAllocator.isolate`. */
export function isolateRange(c: Core, start: number, end: number): number {
  const blocks = blocksIn(c, start, end)
  for (const zone of new Set(blocks.map((b) => c.store.blockZone[b]))) drainZone(c, zone)
  let inUse = 0
  for (const block of blocks) {
    setBlockType(c, block, MigrateType.isolate)
    const s = c.store
    if (s.blockState[block] === BlockState.used) inUse += BLOCK_PAGES
    if (s.blockState[block] !== BlockState.split) continue
    const base = s.blockSlot[block] * BLOCK_PAGES
    for (let at = 0; at < BLOCK_PAGES;) {
      const state = s.pageState[base + at]
      const size = state === PageKind.none ? 1 : 1 << (state & 15)
      if ((state & PageKind.mask) === PageKind.used) inUse += size
      at += size
    }
  }
  return inUse
}

/** See `PageAllocator.unisolate`. */
export function unisolateRange(c: Core, start: number, end: number): void {
  for (const block of blocksIn(c, start, end)) {
    if (c.store.blockMt[block] === MigrateType.isolate) setBlockType(c, block, MigrateType.movable)
  }
}

