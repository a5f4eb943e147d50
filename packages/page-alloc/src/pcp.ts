/**
 * Per-CPU lists: each processor keeps a few small runs of each zone to itself, and trades batches with the buddy
 * lists (Linux: mm/page_alloc.c, rmqueue_pcplist, free_frozen_page_commit, free_pcppages_bulk).
 */
import { freePages, takeRun } from './buddy.ts'
import { type Core, PCP_LISTS, PCP_ORDERS } from './core.ts'
import { link, unlink } from './lists.ts'
import { PageKind } from './pages.ts'
import { NO_MEMORY } from './units.ts'

const listBase = (c: Core, zone: number, cpu: number): number => (zone * c.cpus + cpu) * PCP_LISTS

/** Takes a run off a processor's list, filling it from the zone first if it is empty. */
export function takePcp(c: Core, zone: number, order: number, mt: number, cpu: number): number {
  const s = c.store
  const at = zone * c.cpus + cpu
  const list = listBase(c, zone, cpu) + mt * PCP_ORDERS + order
  if (c.pcpHead[list] < 0) {
    for (let left = Math.max(1, c.pcpBatch[zone] >> order); left > 0; left--) {
      const page = takeRun(c, zone, order, mt)
      if (page < 0) break
      s.pageState[page] = PageKind.pcp | (mt << 4) | order
      link(c.pcpHead, c.pcpTail, s.pageNext, s.pagePrev, list, page, true)
      c.pcpCount[at] += 1 << order
      c.pcp[zone] += 1 << order
    }
  }
  const page = c.pcpHead[list]
  if (page < 0) return NO_MEMORY
  unlink(c.pcpHead, c.pcpTail, s.pageNext, s.pagePrev, list, page)
  c.pcpCount[at] -= 1 << order
  c.pcp[zone] -= 1 << order
  return page
}

/** Returns up to `pages` pages of a processor's lists to the buddy lists, coldest first, list by list in turn. */
export function drainPcp(c: Core, zone: number, cpu: number, pages: number): void {
  const s = c.store
  const at = zone * c.cpus + cpu
  const base = listBase(c, zone, cpu)
  for (let left = pages; left > 0 && c.pcpCount[at] > 0;) {
    const turn = c.pcpTurn[at]
    c.pcpTurn[at] = turn + 1 === PCP_LISTS ? 0 : turn + 1
    const page = c.pcpTail[base + turn]
    if (page < 0) continue
    const order = s.pageState[page] & 15
    unlink(c.pcpHead, c.pcpTail, s.pageNext, s.pagePrev, base + turn, page)
    c.pcpCount[at] -= 1 << order
    c.pcp[zone] -= 1 << order
    s.pageState[page] = PageKind.none
    freePages(c, page, order, false)
    left -= 1 << order
  }
}

/** Puts a run that was freed on a processor's list; a batch goes back when the list is over its high mark. */
export function givePcp(c: Core, zone: number, page: number, order: number, mt: number, cpu: number): void {
  const s = c.store
  const at = zone * c.cpus + cpu
  const list = listBase(c, zone, cpu) + mt * PCP_ORDERS + order
  s.pageState[page] = PageKind.pcp | (mt << 4) | order
  link(c.pcpHead, c.pcpTail, s.pageNext, s.pagePrev, list, page, false)
  c.pcp[zone] += 1 << order
  c.pcpCount[at] += 1 << order
  if (c.pcpCount[at] > c.pcpHigh[zone]) drainPcp(c, zone, cpu, c.pcpBatch[zone])
}

/** Empties all lists of all processors for a zone. */
export function drainZone(c: Core, zone: number): void {
  for (let cpu = 0; cpu < c.cpus; cpu++) drainPcp(c, zone, cpu, Infinity)
}
