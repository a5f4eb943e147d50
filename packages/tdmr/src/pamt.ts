/** PAMTs: the module's metadata for every page of a TDMR, in memory that the host gives (about 1/256 of it). */
import { alignUp, GiB, KiB4, MiB, type Range } from './ranges.ts'

/** What the module's metadata says about PAMTs. */
export interface PamtLimits {
  /** Bytes of an entry by page size. */
  readonly entrySize: { readonly size4k: number; readonly size2m: number; readonly size1g: number }
  /**
   * Dynamic PAMT: the area for 4 KiB pages is a bitmap with so many bits for each page, and the PAMT of 4 KiB pages
   * is added later, where it is needed. Left out: the whole table is given at once.
   */
  readonly bitmapBits?: number
}

/** Bytes of a TDMR's PAMTs, each a multiple of 4 KiB. */
export interface PamtSizes {
  readonly size4k: number
  readonly size2m: number
  readonly size1g: number
}

/** The PAMTs of one TDMR. */
export interface PamtSet {
  readonly pamt4k: Range
  readonly pamt2m: Range
  readonly pamt1g: Range
}

/** How much memory the PAMTs of a TDMR of `size` bytes take. */
export function pamtSizes(size: number, limits: PamtLimits): PamtSizes {
  const { entrySize, bitmapBits } = limits
  const pages = size / KiB4
  const bytes4k = bitmapBits === undefined ? pages * entrySize.size4k : Math.ceil((pages * bitmapBits) / 8)
  return {
    size4k: alignUp(bytes4k, KiB4),
    size2m: alignUp((size / (2 * MiB)) * entrySize.size2m, KiB4),
    size1g: alignUp((size / GiB) * entrySize.size1g, KiB4),
  }
}

/** Bytes of all three. */
export const pamtTotal = (s: PamtSizes): number => s.size4k + s.size2m + s.size1g

/** The three tables, one after the other from `base`. */
export function placePamts(base: number, s: PamtSizes): PamtSet {
  const end4k = base + s.size4k
  const end2m = end4k + s.size2m
  return {
    pamt4k: { start: base, end: end4k },
    pamt2m: { start: end4k, end: end2m },
    pamt1g: { start: end2m, end: end2m + s.size1g },
  }
}
