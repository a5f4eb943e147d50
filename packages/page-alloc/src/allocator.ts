/** The page allocator: zones, buddy lists, per-CPU lists and unaccepted memory behind one interface. */
import { type AcceptWorker, acceptOne, createAcceptWorker } from './accepting.ts'
import type { Acceptor } from './acceptor.ts'
import { allocPages, freeRun, Gfp, splitRun } from './alloc.ts'
import { allocContigIn, isolateRange, orderAt, unisolateRange } from './contig.ts'
import { type Core, type PageEvent, type PoisonPort, ZONES } from './core.ts'
import { PageAllocError } from './errors.ts'
import type { Memblock } from './memblock.ts'
import { drainZone } from './pcp.ts'
import { releasePages } from './release.ts'
import {
  formatZones, type Meminfo, meminfo, metadataBytes, type Stretch, stretches, type ZoneInfo, zoneInfos,
} from './report.ts'
import { type PageAllocSnapshot, restoreCore, type RestorePorts, takeSnapshot } from './snapshot.ts'
import { BLOCK_BYTES, MAX_ORDER, NO_MEMORY, PAGE_SIZE } from './units.ts'
import { setWatermarks, type WatermarkOptions } from './watermarks.ts'
import { buildZones, type ZoneOptions } from './zones.ts'

/**
 * When memory is accepted. `byWorkers`: not by this call but by processors that run an `acceptWorker` each; until they
 * are through, requests accept what they need. `budget`: bytes that the background worker may accept in all.
 */
export type Policy =
  | { readonly kind: 'eager'; readonly byWorkers?: boolean }
  | { readonly kind: 'lazy' }
  | { readonly kind: 'background'; readonly budget?: number }

/** Where and how much for {@link PageAllocator.allocContig}. */
export interface ContigRequest {
  /** Preferred node, default 0; with `Gfp.thisNode` the only one. */
  readonly node?: number
  /** {@link Gfp} bits; the zone bits and `thisNode` count. */
  readonly flags?: number
  /** The first page frame is a multiple of this (any number), default 1. */
  readonly align?: number
}

/** Options of {@link createPageAllocator}. */
export interface PageAllocOptions extends ZoneOptions, WatermarkOptions {
  readonly memblock: Memblock
  readonly acceptor?: Acceptor
  /** Default: lazy. */
  readonly policy?: Policy
  readonly poison?: PoisonPort
  readonly onEvent?: (event: PageEvent) => void
}

/** The page allocator. Pages are page frame numbers. */
export interface PageAllocator {
  /**
   * 2^order pages in a row, aligned to their size: the first page frame, or {@link NO_MEMORY}.
   * @param flags {@link Gfp} bits. @param node preferred node. @param cpu whose per-CPU lists serve it.
   */
  alloc(order: number, flags?: number, node?: number, cpu?: number): number
  /** Returns what `alloc` gave. @throws PageAllocError when no allocated run of this order begins at `pfn`. */
  free(pfn: number, order: number, cpu?: number): void
  /** Makes 2^order single pages of one run (order below the largest), to be freed one by one. */
  split(pfn: number, order: number): void
  /** Any number of pages in a row: the first page frame, or {@link NO_MEMORY}. Accepts what is not accepted. */
  allocContig(pages: number, request?: ContigRequest): number
  /** Returns what `allocContig` gave. @throws PageAllocError when it was not given. */
  freeContig(pfn: number, pages: number): void
  /** Takes free pages of whole 4 MiB blocks out of circulation; returns how many pages there are still in use. */
  isolate(start: number, end: number): number
  unisolate(start: number, end: number): void
  /** Adds reserved pages `[start, end)`, whose reservation has ended. */
  release(start: number, end: number): void
  /** Returns all that processors hold on their own lists. */
  drain(): void
  policy(): Policy
  /** Changes when memory is accepted; *eager* accepts all of it now. */
  setPolicy(policy: Policy): void
  /**
   * Accepts in the background while `idle` says so and the policy's budget lasts, at most `bytes` now; returns the
   * bytes of the blocks that it accepted. Does nothing under other policies.
   */
  background(bytes: number, idle?: () => boolean): number
  /** One more processor that accepts memory in steps: eager acceptance by several, without waiting for the port. */
  acceptWorker(): AcceptWorker
  zones(): ZoneInfo[]
  meminfo(): Meminfo
  /** All memory by address, as stretches in one state: for maps of memory. */
  stretches(): Stretch[]
  /** {@link zones} as a table. */
  format(): string
  /** Ranges of memory that are out of use, as bytes. */
  failed(): ReturnType<Acceptor['failed']>
  /** Bytes that the allocator's own arrays take. */
  metadataBytes(): number
  /** All state as plain data. @throws PageAllocError while an acceptance is under way. */
  snapshot(): PageAllocSnapshot
}

const checkOrder = (order: number): void => {
  if (!Number.isInteger(order) || order < 0 || order > MAX_ORDER) {
    throw new PageAllocError(`order ${order} is not in 0..${MAX_ORDER}`)
  }
}

function wrap(c: Core, watermarks: WatermarkOptions, initial: Policy, alreadySpent: number): PageAllocator {
  let policy = initial
  let spent = alreadySpent

  const acceptAll = (limit: number, idle: () => boolean): number => {
    let bytes = 0
    for (let zone = 0; zone < c.unaccepted.length; zone++) {
      while (bytes < limit && c.unaccepted[zone] > 0 && idle() && acceptOne(c, zone)) bytes += BLOCK_BYTES
    }
    return bytes
  }

  /** All that is left, if the policy says so. */
  const acceptEagerly = (): void => {
    if (policy.kind === 'eager' && policy.byWorkers !== true) acceptAll(Infinity, () => true)
  }

  const checkPlace = (node: number, cpu: number): void => {
    if (!(node >= 0 && node < c.nodes)) throw new PageAllocError(`node ${node}: there are ${c.nodes}`)
    if (!(cpu >= 0 && cpu < c.cpus)) throw new PageAllocError(`cpu ${cpu}: there are ${c.cpus}`)
  }

  const setPolicy = (next: Policy): void => {
    policy = next
    spent = 0
    acceptEagerly()
  }
  acceptEagerly()

  return {
    alloc(order, flags = Gfp.unmovable, node = 0, cpu = 0) {
      checkOrder(order)
      checkPlace(node, cpu)
      return allocPages(c, order, flags, node, cpu)
    },
    free(pfn, order, cpu = 0) {
      checkOrder(order)
      checkPlace(0, cpu)
      freeRun(c, pfn, order, cpu)
    },
    split(pfn, order) {
      checkOrder(order)
      splitRun(c, pfn, order)
    },
    allocContig(pages, request = {}) {
      if (!Number.isSafeInteger(pages) || pages < 1) throw new PageAllocError(`allocContig: ${pages} pages`)
      const { node = 0, flags = 0, align = 1 } = request
      checkPlace(node, 0)
      const highest = [2, 0, 1, 3][(flags >> 2) & 3]
      const lists = (flags & Gfp.thisNode) !== 0 ? c.nodelists : c.zonelists
      for (const zone of lists[node * ZONES + highest]) {
        const pfn = allocContigIn(c, zone, pages, align)
        if (pfn >= 0) return pfn
      }
      return NO_MEMORY
    },
    freeContig(pfn, pages) {
      const runs: [number, number][] = []
      for (let at = pfn; at < pfn + pages;) {
        const order = orderAt(c, at)
        runs.push([at, order])
        at += 2 ** order
        if (at > pfn + pages) throw new PageAllocError(`freeContig: the run at page ${at} goes on beyond the range`)
      }
      for (const [at, order] of runs) freeRun(c, at, order, 0)
    },
    isolate: (start, end) => isolateRange(c, start, end),
    unisolate: (start, end) => unisolateRange(c, start, end),
    release(start, end) {
      releasePages(c, start, end)
      setWatermarks(c, watermarks)
      acceptEagerly()
    },
    drain() {
      for (let zone = 0; zone < c.pcp.length; zone++) drainZone(c, zone)
    },
    policy: () => policy,
    setPolicy,
    background(bytes, idle = () => true) {
      if (policy.kind !== 'background') return 0
      const done = acceptAll(Math.min(bytes, (policy.budget ?? Infinity) - spent), idle)
      spent += done
      return done
    },
    acceptWorker: () => createAcceptWorker(c),
    zones: () => zoneInfos(c),
    meminfo: () => meminfo(c),
    stretches: () => stretches(c),
    format: () => formatZones(zoneInfos(c)),
    failed: () => c.acceptor?.failed() ?? [],
    metadataBytes: () => metadataBytes(c),
    snapshot() {
      if (c.acceptor !== undefined && c.acceptor.active() > 0) {
        throw new PageAllocError('snapshot: memory is being accepted; finish or cancel that first')
      }
      return takeSnapshot(c, watermarks, policy, spent)
    },
  }
}

/**
 * Builds zones from memblock and gives the allocator all that is not reserved. The memblock must not be used to
 * allocate afterwards. Unaccepted memory waits, or is accepted here under the *eager* policy.
 */
export function createPageAllocator(options: PageAllocOptions): PageAllocator {
  const c = buildZones(options.memblock, options, options)
  let start = 0
  let end = 0
  for (const r of options.memblock.freeRanges()) {
    const from = Math.ceil(r.start / PAGE_SIZE)
    const to = Math.floor(r.end / PAGE_SIZE)
    // Neighbours that differ in node or flags are one range here: blocks are whole whoever describes them.
    if (from !== end) {
      if (end > start) releasePages(c, start, end)
      start = from
    }
    end = Math.max(to, from)
  }
  if (end > start) releasePages(c, start, end)
  const { minFree, pcpBatch, pcpHigh } = options
  const watermarks = { minFree, pcpBatch, pcpHigh }
  setWatermarks(c, watermarks)
  return wrap(c, watermarks, options.policy ?? { kind: 'lazy' }, 0)
}

/** An allocator that behaves exactly as the one whose snapshot it is would have. */
export function restorePageAllocator(from: PageAllocSnapshot, ports: RestorePorts = {}): PageAllocator {
  // An eager allocator has nothing left to accept, so building it again accepts nothing.
  return wrap(restoreCore(from, ports), from.watermarks, from.policy, from.spent)
}
