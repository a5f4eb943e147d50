/** What can be wrong with a memory map, as values: which rule, where, how much. */
import { GiB, type Range, show } from './ranges.ts'

/** Why TDMRs cannot be built. */
export type TdmrError =
  /** There is no memory above the first megabyte. */
  | { readonly kind: 'no-memory' }
  /** Two regions of the map claim the same memory. */
  | { readonly kind: 'regions-overlap'; readonly a: Range; readonly b: Range }
  /** A range of system memory is in no CMR. */
  | { readonly kind: 'not-convertible'; readonly range: Range; readonly region: Range }
  /** A limit of the module is too low; `at` is the part of memory where it was reached. */
  | {
    readonly kind: 'limit'
    readonly limit: 'max_tdmrs' | 'max_reserved_per_tdmr'
    readonly at: Range
    readonly needed: number
    readonly max: number
    /** Reserved areas of `needed` that are holes; the others are PAMTs. */
    readonly holes: number
  }
  /** No contiguous memory for the PAMTs of a TDMR. */
  | { readonly kind: 'no-pamt-memory'; readonly tdmr: Range; readonly size: number; readonly node: number }
  /** The allocator gave memory for PAMTs that is no TDX memory, or is given away already. */
  | { readonly kind: 'bad-pamt-memory'; readonly pamt: Range }

/** The error in words. */
export function describeTdmrError(e: TdmrError): string {
  switch (e.kind) {
    case 'no-memory':
      return 'no memory above the first megabyte'
    case 'regions-overlap':
      return `memory regions ${show(e.a)} and ${show(e.b)} overlap`
    case 'not-convertible':
      return `memory ${show(e.range)} (of region ${show(e.region)}) is in no CMR: it cannot be TDX memory`
    case 'limit':
      return e.limit === 'max_tdmrs'
        ? `TDMRs: ${e.needed} needed, the module takes ${e.max} (max_tdmrs); the first too many would begin at ` +
          `0x${e.at.start.toString(16)}`
        : `reserved areas: ${e.needed} needed in ${show(e.at)} (${e.holes} holes, ${e.needed - e.holes} PAMTs), ` +
          `the module takes ${e.max} in a TDMR (max_reserved_per_tdmr)`
    case 'no-pamt-memory':
      return `no ${e.size} contiguous bytes for the PAMTs of TDMR ${show(e.tdmr)} ` +
        `(${(e.tdmr.end - e.tdmr.start) / GiB} GiB, node ${e.node})`
    case 'bad-pamt-memory':
      return `the allocator gave ${show(e.pamt)} for a PAMT, which is not free TDX memory`
  }
}

/** Success, or why not. */
export type Result<T, E> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: E }

export const ok = <T>(value: T): { ok: true; value: T } => ({ ok: true, value })
export const fail = <E>(error: E): { ok: false; error: E } => ({ ok: false, error })
