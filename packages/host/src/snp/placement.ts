/** Where the reverse map goes, and what it covers (requirements of SEV-SNP hosts; APM vol. 2, §15.36.4). */
import { RMP_BOOKKEEPING_BYTES, RMP_ENTRY_BYTES } from '@cofferdam/spec'

const PAGE = 4096
/** The table begins and ends at multiples of this: kernels map and flush around it in 2 MiB pages. */
export const RMP_ALIGNMENT = 2 ** 21

/** Bytes of a table for physical addresses below `end`, in whole 2 MiB. */
export const rmpTableBytes = (end: number): number =>
  Math.ceil((RMP_BOOKKEEPING_BYTES + Math.ceil(end / PAGE) * RMP_ENTRY_BYTES) / RMP_ALIGNMENT) * RMP_ALIGNMENT

/** Physical addresses below this are covered by a table at `base` that ends before `end`. */
export const rmpCoverage = (base: number, end: number): number =>
  Math.max(0, Math.floor((end - base - RMP_BOOKKEEPING_BYTES) / RMP_ENTRY_BYTES)) * PAGE

/** What a placed table means for a machine's memory. */
export interface RmpVerdict {
  /** All RAM, the table's own included, has entries. */
  readonly covers: boolean
  /** Bytes that the table would need, and has. */
  readonly needed: number
  readonly got: number
}

/**
 * Judges a table as a host does before it turns SNP on: RAM that is partly covered is reason not to.
 * @param ramEnd end of the highest RAM
 */
export function judgeRmp(base: number, bytes: number, ramEnd: number): RmpVerdict {
  const needed = RMP_BOOKKEEPING_BYTES + Math.ceil(ramEnd / PAGE) * RMP_ENTRY_BYTES
  return { covers: rmpCoverage(base, base + bytes) >= ramEnd, needed, got: bytes }
}
