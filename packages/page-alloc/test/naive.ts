/**
 * The simplest allocator that could be right: a byte for each page of a zone, free or not, and buddy runs worked out
 * from that by looking. A set of free pages has exactly one decomposition into the largest aligned runs, so an
 * allocator that merges whenever it can must have these runs and no others.
 */
export interface NaiveZone {
  /** Page frame of `free[0]`, a multiple of 1024. */
  readonly base: number
  /** 1: the page is free. */
  readonly free: Uint8Array
}

/** A zone of `pages` page frames from `base`, of which none is free. */
export const naiveZone = (base: number, pages: number): NaiveZone => ({ base, free: new Uint8Array(pages) })

/** Free pages in all. */
export const freeOf = ({ free }: NaiveZone): number => free.reduce((n, x) => n + x, 0)

/** Runs of each order that the free pages make up. */
export function runsOf({ free }: NaiveZone): number[] {
  const counts = new Array<number>(11).fill(0)
  for (let at = 0; at < free.length;) {
    if (free[at] === 0) {
      at++
      continue
    }
    let end = at
    while (end < free.length && free[end] === 1) end++
    while (at < end) {
      let order = 10
      while (at % 2 ** order !== 0 || at + 2 ** order > end) order--
      counts[order]++
      at += 2 ** order
    }
  }
  return counts
}

/** Whether a run of `order` can be had at all. */
export const hasRunOf = (zone: NaiveZone, order: number): boolean => runsOf(zone).some((n, o) => o >= order && n > 0)

/** Takes or gives back pages; the first one that was gone already, or not gone, if any. */
export function move({ base, free }: NaiveZone, pfn: number, pages: number, give: boolean): number | undefined {
  for (let at = pfn - base; at < pfn - base + pages; at++) {
    if (free[at] !== (give ? 0 : 1)) return base + at
    free[at] = give ? 1 : 0
  }
  return undefined
}
