/** Half-open ranges of bytes, `[start, end)`, as numbers below 2^52. */
export interface Range {
  readonly start: number
  readonly end: number
}

export const KiB4 = 4096
export const MiB = 2 ** 20
export const GiB = 2 ** 30

/** `x` rounded down to a multiple of `unit`. */
export const alignDown = (x: number, unit: number): number => x - (x % unit)
/** `x` rounded up to a multiple of `unit`. */
export const alignUp = (x: number, unit: number): number => alignDown(x + unit - 1, unit)
/** `[0xstart, 0xend)`, for messages. */
export const show = (r: Range): string => `[0x${r.start.toString(16)}, 0x${r.end.toString(16)})`
/** Whether two ranges share a byte. */
export const overlap = (a: Range, b: Range): boolean => a.start < b.end && b.start < a.end
/** Whether `outer` holds all of `inner`. */
export const contains = (outer: Range, inner: Range): boolean => outer.start <= inner.start && inner.end <= outer.end
/** Bytes in all. */
export const total = (list: readonly Range[]): number => list.reduce((n, r) => n + (r.end - r.start), 0)

/** Sorted, and neighbours and overlaps joined; empty ranges dropped. */
export function merge(list: readonly Range[]): Range[] {
  const out: Range[] = []
  for (const r of [...list].filter((x) => x.end > x.start).sort((a, b) => a.start - b.start)) {
    const last = out.at(-1)
    if (last !== undefined && r.start <= last.end) {
      out[out.length - 1] = { start: last.start, end: Math.max(last.end, r.end) }
    } else out.push({ start: r.start, end: r.end })
  }
  return out
}

/** Parts of `r` that no range of the merged list covers. */
export function gaps(merged: readonly Range[], r: Range): Range[] {
  const out: Range[] = []
  let at = r.start
  for (let i = firstAbove(merged, r.start); i < merged.length && merged[i].start < r.end; i++) {
    if (merged[i].start > at) out.push({ start: at, end: merged[i].start })
    at = Math.max(at, merged[i].end)
  }
  if (at < r.end) out.push({ start: at, end: r.end })
  return out
}

/** Index of the first range of a merged list that ends above `address`. */
export function firstAbove(merged: readonly Range[], address: number): number {
  let low = 0
  let high = merged.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if (merged[mid].end <= address) low = mid + 1
    else high = mid
  }
  return low
}
