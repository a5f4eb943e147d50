/** The allocator's state, in one record of flat arrays: what a snapshot holds. Nothing here is for other packages. */
import type { Acceptor } from './acceptor.ts'
import type { PageStore } from './pages.ts'
import { MAX_ORDER } from './units.ts'

/** Zones of a node, low to high. */
export const ZONE_TYPES = ['DMA', 'DMA32', 'Normal', 'Movable'] as const
/** Name of a zone type. */
export type ZoneType = (typeof ZONE_TYPES)[number]
/** Zone types per node; zone number = node * 4 + type. */
export const ZONES = 4
/** Index of the Movable zone in {@link ZONE_TYPES}. */
export const ZONE_MOVABLE = 3

/** Migrate types: how the pages of a block can be got back. */
export const MigrateType = { unmovable: 0, movable: 1, reclaimable: 2, isolate: 3 } as const
/** Migrate types that blocks have lists for, `isolate` included. */
export const MTS = 4
export const ORDERS = MAX_ORDER + 1
/** Orders that per-CPU lists hold: 0 to 3 (Linux: PAGE_ALLOC_COSTLY_ORDER). */
export const PCP_ORDERS = 4
/** Migrate types that per-CPU lists hold. */
export const PCP_MTS = 3
export const PCP_LISTS = PCP_ORDERS * PCP_MTS

/** Watermarks of a zone, by index. */
export const Mark = { min: 0, low: 1, high: 2, promo: 3 } as const

/** Something that the host should hear of. */
export type PageEvent =
  /** Memory could not be accepted, and is out of use. */
  | { readonly kind: 'accept-failed'; readonly start: number; readonly end: number; readonly reason: string }
  /** A page that was free has been written to: somebody used it after giving it back. */
  | { readonly kind: 'poison-damaged'; readonly pfn: number; readonly order: number }

/** Page poisoning: the allocator has no access to memory, so the pattern is the port's. */
export interface PoisonPort {
  /** Fills pages that were freed. */
  fill(pfn: number, pages: number): void
  /** Whether the pattern is still there, when pages are handed out. */
  intact(pfn: number, pages: number): boolean
}

/** All state. Arrays by zone are indexed by zone number. */
export interface Core {
  readonly nodes: number
  readonly cpus: number
  readonly store: PageStore
  /** Buddy lists by (zone, migrate type, order): pages, or for the largest order blocks. */
  readonly head: Int32Array
  readonly tail: Int32Array
  readonly count: Int32Array
  /** Orders whose list is not empty, a bit each, by (zone, migrate type). */
  readonly orders: Uint16Array
  readonly unacceptedHead: Int32Array
  readonly unacceptedTail: Int32Array
  /** Per-CPU lists by (zone, cpu, migrate type, order). */
  readonly pcpHead: Int32Array
  readonly pcpTail: Int32Array
  /** Pages on a processor's lists, by (zone, cpu). */
  readonly pcpCount: Int32Array
  /** Which list a drain looks at next, by (zone, cpu). */
  readonly pcpTurn: Uint8Array
  readonly pcpHigh: Int32Array
  readonly pcpBatch: Int32Array
  /**
   * Pages, by zone. present = managed + reserved;
   * managed = used + free + pcp + isolated + unaccepted + accepting + bad.
   */
  readonly present: Float64Array
  readonly managed: Float64Array
  readonly free: Float64Array
  readonly pcp: Float64Array
  readonly isolated: Float64Array
  readonly unaccepted: Float64Array
  readonly accepting: Float64Array
  readonly bad: Float64Array
  /** Watermarks by (zone, {@link Mark}), in pages. */
  readonly marks: Float64Array
  /** Pages to leave to requests that need this zone, by (zone, highest zone type of the request). */
  readonly reserve: Float64Array
  /** Zones to try, in order, by (node, highest zone type). */
  readonly zonelists: Int32Array[]
  /** Zones to try by (node, highest zone type), of that node alone. */
  readonly nodelists: Int32Array[]
  /** Present pages as ranges of page frames, by address. */
  readonly spans: { readonly start: number; readonly end: number; readonly zone: number }[]
  readonly acceptor: Acceptor | undefined
  readonly poison: PoisonPort | undefined
  readonly onEvent: ((event: PageEvent) => void) | undefined
}

/** Index into the buddy lists. */
export const listOf = (zone: number, mt: number, order: number): number => (zone * MTS + mt) * ORDERS + order
