/**
 * Sizes that every part of the allocator shares. Addresses and sizes are bytes as JavaScript numbers below 2^52;
 * page frame numbers (pfn) are addresses divided by {@link PAGE_SIZE}.
 */

/** log2 of {@link PAGE_SIZE}. */
export const PAGE_SHIFT = 12
/** Bytes in a page. */
export const PAGE_SIZE = 4096
/** Largest order of the buddy lists: blocks of 2^10 pages, 4 MiB (Linux: MAX_PAGE_ORDER). */
export const MAX_ORDER = 10
/** Pages in a block of the largest order. */
export const BLOCK_PAGES = 1024
/** Bytes in a block of the largest order. */
export const BLOCK_BYTES = BLOCK_PAGES * PAGE_SIZE
/** First address that cannot be physical memory (x86: MAXPHYADDR is at most 52). */
export const PHYS_LIMIT = 2 ** 52
/** What `alloc` and friends return when there is no memory: a value, never an exception. */
export const NO_MEMORY = -1

/** Half-open range of bytes `[start, end)`. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** `x` rounded down to a multiple of `unit`. */
export const alignDown = (x: number, unit: number): number => x - (x % unit)
/** `x` rounded up to a multiple of `unit`. */
export const alignUp = (x: number, unit: number): number => {
  const over = x % unit
  return over === 0 ? x : x + (unit - over)
}
/** `[0xstart, 0xend)`, for messages. */
export const showRange = (start: number, end: number): string => `[0x${start.toString(16)}, 0x${end.toString(16)})`
