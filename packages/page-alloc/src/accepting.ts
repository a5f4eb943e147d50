/**
 * Unaccepted memory in the zones: blocks wait on a list, and are accepted when watermarks demand (Linux:
 * mm/page_alloc.c, CONFIG_UNACCEPTED_MEMORY). A block under acceptance is on no list, so the port may call back into
 * the allocator: it finds other pages, or none, but never these.
 */
import type { AcceptJob, AcceptFailure, FailedRange } from './acceptor.ts'
import { freeRange, hasRun } from './buddy.ts'
import { type Core, Mark } from './core.ts'
import { link, unlink } from './lists.ts'
import { BlockState } from './pages.ts'
import { BLOCK_BYTES, BLOCK_PAGES, PAGE_SIZE, type Range } from './units.ts'

/** Pages of a block's `[from, to)` that cannot be used: those that failed, and the page before each of these ranges. */
function badPages(failed: readonly FailedRange[], pfn: number, from: number, to: number): Range[] {
  const cuts = failed.map((f) => ({
    start: Math.max(from, Math.floor(f.start / PAGE_SIZE) - 1 - pfn),
    end: Math.min(to, Math.ceil(f.end / PAGE_SIZE) - pfn),
  })).filter((r) => r.start < r.end).sort((a, b) => a.start - b.start)
  const out: Range[] = []
  for (const r of cuts) {
    const last = out.at(-1)
    if (last !== undefined && r.start <= last.end) {
      out[out.length - 1] = { start: last.start, end: Math.max(last.end, r.end) }
    } else out.push(r)
  }
  return out
}

/** Gives pages `[from, to)` of a block to the buddy lists, except those that could not be accepted. */
export function freeAccepted(c: Core, block: number, from: number, to: number): void {
  const failed = c.acceptor?.failed() ?? []
  const bad = failed.length === 0 ? [] : badPages(failed, c.store.blockPfn[block], from, to)
  let at = from
  for (const r of bad) {
    if (at < r.start) freeRange(c, block, at, r.start, true)
    c.bad[c.store.blockZone[block]] += r.end - r.start
    at = r.end
  }
  if (at < to) freeRange(c, block, at, to, true)
  else if (c.store.blockSlot[block] < 0) c.store.blockState[block] = BlockState.reserved
}

/** Tells of ranges that failed since `before` of them were known. */
export function reportFailures(c: Core, before: number): void {
  const failed = c.acceptor?.failed() ?? []
  for (let i = before; i < failed.length; i++) c.onEvent?.({ kind: 'accept-failed', ...failed[i] })
}

/** Puts a block on its zone's list of blocks to accept. */
export function deferBlock(c: Core, block: number): void {
  const s = c.store
  const zone = s.blockZone[block]
  s.blockState[block] = BlockState.unaccepted
  link(c.unacceptedHead, c.unacceptedTail, s.blockNext, s.blockPrev, zone, block, true)
  c.unaccepted[zone] += BLOCK_PAGES
}

const startOf = (c: Core, block: number): number => c.store.blockPfn[block] * PAGE_SIZE

/** Takes a block off the list; it is being accepted from now on. */
export function beginBlock(c: Core, block: number): void {
  const s = c.store
  const zone = s.blockZone[block]
  unlink(c.unacceptedHead, c.unacceptedTail, s.blockNext, s.blockPrev, zone, block)
  s.blockState[block] = BlockState.accepting
  c.unaccepted[zone] -= BLOCK_PAGES
  c.accepting[zone] += BLOCK_PAGES
}

/** Acceptance is over: what of the block can be used is free now. */
export function endBlock(c: Core, block: number): void {
  c.accepting[c.store.blockZone[block]] -= BLOCK_PAGES
  freeAccepted(c, block, 0, BLOCK_PAGES)
}

/** The first block of the zone's list on which nobody is at work, or -1. */
function firstIdle(c: Core, zone: number): number {
  for (let block = c.unacceptedHead[zone]; block >= 0; block = c.store.blockNext[block]) {
    if (c.acceptor === undefined || c.acceptor.active() === 0) return block
    if (!c.acceptor.isBusy(startOf(c, block), startOf(c, block) + BLOCK_BYTES)) return block
  }
  return -1
}

/** Acceptances under way at most, so that a port that allocates as it accepts cannot use up the stack. */
const MAX_ACTIVE = 256

/** Accepts one block of the zone; whether there was one to work on. */
export function acceptOne(c: Core, zone: number): boolean {
  const block = firstIdle(c, zone)
  if (block < 0 || (c.acceptor !== undefined && c.acceptor.active() >= MAX_ACTIVE)) return false
  const before = c.acceptor?.failed().length ?? 0
  const start = startOf(c, block)
  beginBlock(c, block)
  c.acceptor?.accept(start, start + BLOCK_BYTES)
  endBlock(c, block)
  reportFailures(c, before)
  return true
}

/**
 * Accepts as much as it takes to have 2^order pages above the promo watermark; a run that is not there although pages
 * would do is worth one more block. Whether anything was accepted.
 */
export function acceptForRequest(c: Core, zone: number, order: number): boolean {
  const target = c.marks[zone * 4 + Mark.promo] + (1 << order) - 1
  let worked = false
  while (c.free[zone] < target || !hasRun(c, zone, order)) {
    if (!acceptOne(c, zone)) break
    worked = true
  }
  return worked
}

/** A processor that accepts block after block, in steps that its caller carries out. */
export interface AcceptWorker {
  /** The next range to accept (then call `complete`); 'wait' if others hold all that is left; undefined: none left. */
  next(): Range | 'wait' | undefined
  complete(failure?: AcceptFailure): void
}

/** Creates a worker over all zones; several may be at work at once. */
export function createAcceptWorker(c: Core): AcceptWorker {
  let block = -1
  let job: AcceptJob | undefined

  /** Takes the next block that nobody is at work on. */
  const begin = (): 'begun' | 'wait' | 'none' => {
    let left = false
    for (let zone = 0; zone < c.unacceptedHead.length; zone++) {
      if (c.unacceptedHead[zone] < 0) continue
      left = true
      block = firstIdle(c, zone)
      if (block < 0) continue
      beginBlock(c, block)
      const start = startOf(c, block)
      job = c.acceptor?.start(start, start + BLOCK_BYTES)
      return 'begun'
    }
    return left ? 'wait' : 'none'
  }

  return {
    next() {
      for (;;) {
        if (job === undefined) {
          const begun = begin()
          if (begun !== 'begun') return begun === 'wait' ? 'wait' : undefined
        }
        const step = job?.next()
        if (step?.kind === 'accept') return step
        if (step?.kind === 'wait') return 'wait'
        // Nothing (left) to accept in this block: earlier acceptances may have covered it as their guard.
        job = undefined
        endBlock(c, block)
      }
    },
    complete(failure) {
      const before = c.acceptor?.failed().length ?? 0
      job?.complete(failure)
      reportFailures(c, before)
    },
  }
}
