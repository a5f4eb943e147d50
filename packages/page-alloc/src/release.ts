/** Pages that join the allocator: everything free when it is built, and reservations that end later. */
import { deferBlock, freeAccepted, reportFailures } from './accepting.ts'
import type { Core } from './core.ts'
import { PageAllocError } from './errors.ts'
import { blockIn, BlockState, PageKind } from './pages.ts'
import { alignDown, BLOCK_PAGES, PAGE_SIZE, showRange } from './units.ts'

/** Whether any page of a block's `[from, to)` is already the allocator's. */
function isManaged(c: Core, block: number, from: number, to: number): boolean {
  const s = c.store
  if (s.blockState[block] !== BlockState.split) return s.blockState[block] !== BlockState.reserved
  const base = s.blockSlot[block] * BLOCK_PAGES
  for (let at = 0; at < to;) {
    const state = s.pageState[base + at]
    const size = state === PageKind.none ? 1 : 1 << (state & 15)
    if (state !== PageKind.none && at + size > from) return true
    at += size
  }
  return false
}

/** Gives pages `[from, to)` of a block to the allocator. What is not accepted yet waits, if it is a whole block. */
function releaseIn(c: Core, block: number, from: number, to: number): void {
  const pfn = c.store.blockPfn[block]
  const start = (pfn + from) * PAGE_SIZE
  const end = (pfn + to) * PAGE_SIZE
  c.managed[c.store.blockZone[block]] += to - from
  if (c.acceptor?.contains(start, end) === true) {
    if (to - from === BLOCK_PAGES) {
      deferBlock(c, block)
      return
    }
    const before = c.acceptor.failed().length
    c.acceptor.accept(start, end)
    reportFailures(c, before)
  }
  freeAccepted(c, block, from, to)
}

/**
 * Gives the pages `[start, end)` (page frames) to the allocator. Pages that are no memory are left out.
 * @throws PageAllocError when some of them are the allocator's already.
 */
export function releasePages(c: Core, start: number, end: number): void {
  for (const span of c.spans) {
    const from = Math.max(start, span.start)
    const to = Math.min(end, span.end)
    for (let pfn = from; pfn < to;) {
      const base = alignDown(pfn, BLOCK_PAGES)
      const next = Math.min(to, base + BLOCK_PAGES)
      const block = blockIn(c.store, base, span.zone)
      if (block < 0) throw new Error(`no metadata for page ${pfn}`)
      if (isManaged(c, block, pfn - base, next - base)) {
        throw new PageAllocError(`release: pages of ${showRange(pfn * PAGE_SIZE, next * PAGE_SIZE)} are in use already`)
      }
      releaseIn(c, block, pfn - base, next - base)
      pfn = next
    }
  }
}
