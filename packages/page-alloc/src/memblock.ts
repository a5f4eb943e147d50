/**
 * The boot-time allocator: memory and reserved regions as two sorted lists (Linux: mm/memblock.c).
 * It serves until the page allocator is built from what it has not given away.
 */
import type { Acceptor } from './acceptor.ts'
import { PageAllocError } from './errors.ts'
import type { MemoryRange } from './memory-map.ts'
import { alignDown, alignUp, NO_MEMORY, PAGE_SIZE, PHYS_LIMIT, type Range, showRange } from './units.ts'

/** No particular NUMA node. */
export const ANY_NODE = -1
/** The region can be unplugged: its pages belong in ZONE_MOVABLE. */
export const MEMBLOCK_HOTPLUG = 1
/** The region is memory, but must not be mapped or handed out. */
export const MEMBLOCK_NOMAP = 2

/** One region: bytes `[start, end)`, its node, flags. */
export interface MemblockRegion {
  readonly start: number
  readonly end: number
  readonly node: number
  readonly flags: number
}

/** What to allocate. Bytes. */
export interface MemblockRequest {
  readonly size: number
  /** Power of two; 64 when left out (a cache line, as SMP_CACHE_BYTES). */
  readonly align?: number
  /** Lowest address; page 0 is never handed out. */
  readonly min?: number
  /** The allocation ends at or below. */
  readonly max?: number
  /** Preferred node; others are tried after it unless `exact`. */
  readonly node?: number
  readonly exact?: boolean
  /** Overrides the direction that the memblock was created with. */
  readonly topDown?: boolean
}

/** Bytes in total. `memory = free + reservedMemory + nomap`. */
export interface MemblockTotals {
  readonly memory: number
  readonly reserved: number
  /** Reserved bytes that are memory (reservations may cover holes). */
  readonly reservedMemory: number
  readonly nomap: number
  readonly free: number
}

/** The boot-time allocator. */
export interface Memblock {
  add(start: number, end: number, node?: number, flags?: number): void
  remove(start: number, end: number): void
  reserve(start: number, end: number, node?: number): void
  /** Gives a reservation back. */
  free(start: number, end: number): void
  /** Sets the node of the memory in a range, splitting regions at its ends. */
  setNode(start: number, end: number, node: number): void
  /** Sets (`on`) or clears flags of the memory in a range. */
  setFlags(start: number, end: number, flags: number, on: boolean): void
  /** Splits regions so that a range is covered by whole ones: indices `[first, last)` into the list. */
  isolate(list: 'memory' | 'reserved', start: number, end: number): { first: number; last: number }
  memory(): readonly MemblockRegion[]
  reserved(): readonly MemblockRegion[]
  /** Memory that is neither reserved nor NOMAP, by address. */
  freeRanges(): MemblockRegion[]
  /** An address that satisfies the request, or {@link NO_MEMORY}; reserves nothing. */
  find(request: MemblockRequest): number
  /** Finds, reserves and accepts; {@link NO_MEMORY} when there is none. What fails to be accepted stays reserved. */
  alloc(request: MemblockRequest): number
  totals(): MemblockTotals
}

/** Options of {@link createMemblock}. */
export interface MemblockOptions {
  /** Search from low addresses up (hot-pluggable systems want this). Default: top-down. */
  readonly bottomUp?: boolean
  /** Accepts what `alloc` returns. */
  readonly acceptor?: Acceptor
}

const same = (a: MemblockRegion, b: MemblockRegion): boolean =>
  a.end === b.start && a.node === b.node && a.flags === b.flags

function merge(list: MemblockRegion[]): MemblockRegion[] {
  const out: MemblockRegion[] = []
  for (const r of list) {
    const last = out.at(-1)
    if (last !== undefined && same(last, r)) out[out.length - 1] = { ...last, end: r.end }
    else out.push(r)
  }
  return out
}

/** Parts of `[start, end)` that no region covers. */
function gaps(list: readonly Range[], start: number, end: number): Range[] {
  const out: Range[] = []
  let at = start
  for (const r of list) {
    if (r.end <= at) continue
    if (r.start >= end) break
    if (r.start > at) out.push({ start: at, end: r.start })
    at = Math.max(at, r.end)
  }
  if (at < end) out.push({ start: at, end })
  return out
}

/** Adds what is not there yet; what is there keeps its node and flags. */
function insert(list: readonly MemblockRegion[], r: MemblockRegion): MemblockRegion[] {
  const added = gaps(list, r.start, r.end).map((g) => ({ ...r, start: g.start, end: g.end }))
  return merge([...list, ...added].sort((a, b) => a.start - b.start))
}

function cut(list: readonly MemblockRegion[], start: number, end: number): MemblockRegion[] {
  return list.flatMap((r) => {
    if (r.end <= start || r.start >= end) return [r]
    const out: MemblockRegion[] = []
    if (r.start < start) out.push({ ...r, end: start })
    if (r.end > end) out.push({ ...r, start: end })
    return out
  })
}

function splitAt(list: readonly MemblockRegion[], address: number): MemblockRegion[] {
  return list.flatMap((r) => (r.start < address && address < r.end
    ? [{ ...r, end: address }, { ...r, start: address }]
    : [r]))
}

const bytes = (list: readonly Range[]): number => list.reduce((n, r) => n + (r.end - r.start), 0)

function check(start: number, end: number): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start || end > PHYS_LIMIT) {
    throw new PageAllocError(`memblock: ${start}..${end} is no range of physical addresses below 2^52`)
  }
}

/** Creates an empty memblock. */
export function createMemblock(options: MemblockOptions = {}): Memblock {
  const lists: { memory: MemblockRegion[]; reserved: MemblockRegion[] } = { memory: [], reserved: [] }

  const edit = (start: number, end: number, change: (r: MemblockRegion) => MemblockRegion): void => {
    check(start, end)
    const split = splitAt(splitAt(lists.memory, start), end)
    lists.memory = merge(split.map((r) => (r.start >= start && r.end <= end ? change(r) : r)))
  }

  const freeRanges = (): MemblockRegion[] =>
    lists.memory.filter((m) => (m.flags & MEMBLOCK_NOMAP) === 0)
      .flatMap((m) => gaps(lists.reserved, m.start, m.end).map((g) => ({ ...m, start: g.start, end: g.end })))

  const findOn = (request: MemblockRequest, node: number): number => {
    const { size, align = 64, topDown = !(options.bottomUp ?? false) } = request
    const min = Math.max(request.min ?? 0, PAGE_SIZE)
    const max = request.max ?? PHYS_LIMIT
    const free = merge(freeRanges().filter((r) => node === ANY_NODE || r.node === node)
      .map((r) => ({ ...r, node: 0, flags: 0 })))
    if (topDown) free.reverse()
    for (const r of free) {
      const low = Math.max(r.start, min)
      const high = Math.min(r.end, max)
      const at = topDown ? alignDown(Math.max(high - size, 0), align) : alignUp(low, align)
      if (at >= low && at + size <= high) return at
    }
    return NO_MEMORY
  }

  const find = (request: MemblockRequest): number => {
    const { size, align = 64, node = ANY_NODE } = request
    if (!Number.isSafeInteger(size) || size <= 0) throw new PageAllocError(`memblock: size ${size} is not positive`)
    if (!Number.isSafeInteger(align) || align < 1 || Math.log2(align) % 1 !== 0) {
      throw new PageAllocError(`memblock: align ${align} is no power of two`)
    }
    const at = findOn(request, node)
    return at !== NO_MEMORY || node === ANY_NODE || request.exact === true ? at : findOn(request, ANY_NODE)
  }

  const reserve = (start: number, end: number, node = ANY_NODE): void => {
    check(start, end)
    if (end > start) lists.reserved = insert(lists.reserved, { start, end, node, flags: 0 })
  }

  const free = (start: number, end: number): void => {
    check(start, end)
    lists.reserved = cut(lists.reserved, start, end)
  }

  const alloc = (request: MemblockRequest): number => {
    for (;;) {
      const at = find(request)
      if (at === NO_MEMORY) return at
      const end = at + request.size
      reserve(at, end)
      const result = options.acceptor?.accept(at, end)
      if (result === undefined || result.status === 'ok') return at
      free(at, end)
      if (result.status === 'busy') return NO_MEMORY
      // What cannot be accepted stays reserved, and so does the page before it, whose reads may run over its end.
      for (const bad of result.ranges) reserve(alignDown(Math.max(bad.start - 1, 0), PAGE_SIZE), bad.end)
    }
  }

  return {
    add(start, end, node = 0, flags = 0) {
      check(start, end)
      if (end > start) lists.memory = insert(lists.memory, { start, end, node, flags })
    },
    remove(start, end) {
      check(start, end)
      lists.memory = cut(lists.memory, start, end)
    },
    reserve,
    free,
    setNode: (start, end, node) => edit(start, end, (r) => ({ ...r, node })),
    setFlags: (start, end, flags, on) =>
      edit(start, end, (r) => ({ ...r, flags: on ? r.flags | flags : r.flags & ~flags })),
    isolate(name, start, end) {
      check(start, end)
      const list = splitAt(splitAt(lists[name], start), end)
      lists[name] = list
      const first = list.findIndex((r) => r.end > start)
      const last = list.findIndex((r) => r.start >= end)
      return { first: first < 0 ? list.length : first, last: last < 0 ? list.length : last }
    },
    memory: () => lists.memory,
    reserved: () => lists.reserved,
    freeRanges,
    find,
    alloc,
    totals() {
      const memory = bytes(lists.memory)
      const nomap = bytes(lists.memory.filter((r) => (r.flags & MEMBLOCK_NOMAP) !== 0))
      const free = bytes(freeRanges())
      return { memory, nomap, free, reserved: bytes(lists.reserved), reservedMemory: memory - nomap - free }
    },
  }
}

/**
 * Adds the memory of a normalised map: usable and unaccepted ranges become memory, on the node that `nodeOf` says.
 * Ranges that span nodes are split where `nodes` says so.
 */
export function addMap(
  memblock: Memblock, map: readonly MemoryRange[], nodes: readonly (Range & { node: number })[] = [],
): void {
  for (const r of map) {
    if (r.kind !== 'usable' && r.kind !== 'unaccepted') continue
    memblock.add(r.start, r.end, 0)
  }
  const memory = [...memblock.memory()]
  for (const n of nodes) {
    for (const m of memory) {
      const start = Math.max(m.start, n.start)
      const end = Math.min(m.end, n.end)
      if (start < end) memblock.setNode(start, end, n.node)
    }
  }
}

/** A line for each region, for logs. */
export const describeMemblock = (memblock: Memblock): string =>
  [
    ...memblock.memory().map((r) => `memory   ${showRange(r.start, r.end)} node ${r.node}`),
    ...memblock.reserved().map((r) => `reserved ${showRange(r.start, r.end)}`),
  ].join('\n')
