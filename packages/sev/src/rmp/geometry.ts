/**
 * Where the RMP lies and what it covers, from RMP_BASE, RMP_END and RMP_CFG (APM vol. 2, §15.36.4; Linux
 * arch/x86/virt/svm/sev.c). Sizes and addresses are bytes.
 */
import { RMP_BOOKKEEPING_BYTES, RMP_ENTRY_BYTES, RST_ENTRIES, RmpCfg, RstEntry } from '@cofferdam/spec'

const PAGE = 4096
const GIB = 2 ** 30
/** RMP_BASE and RMP_END: bits 51:13 are the address; RMP_END's low bits are ones. */
const ADDRESS = 0x000f_ffff_ffff_e000n
const LOW = 0x1fffn
/** The firmware wants both ends of the table aligned to this. */
export const RMP_ALIGNMENT = 2 ** 20

/** The MSRs' values; a value of 0 means that the BIOS reserved no memory. */
export interface RmpMsrs {
  readonly base: bigint
  readonly end: bigint
  /** RMP_CFG; 0 on processors without the segmented form. */
  readonly cfg: bigint
}

/** One piece of the table: system pages `firstPage` … `firstPage + pages − 1` have their entries from `address` on. */
export interface RmpSegment {
  readonly firstPage: number
  readonly pages: number
  readonly address: number
}

/** The table's pieces; one that starts at page 0 when the RMP is not segmented. */
export interface RmpGeometry {
  readonly segmented: boolean
  /** First byte of the bookkeeping area. */
  readonly base: number
  readonly segments: readonly RmpSegment[]
  /** Pages that one segment may cover; `segments` has gaps where the table names none. */
  readonly segmentPages: number
}

/** Why there is no RMP at the place that the MSRs name. */
export type RmpProblem = 'not programmed' | 'end before base' | 'no room for an entry' | 'segment size out of range'

/** What CPUID 8000_0025 says about the segmented form. */
export interface SegmentLimits {
  readonly minShift: number
  readonly maxShift: number
}

/** Bytes that the RMP needs to cover physical addresses below `end`, bookkeeping included, and where it ends itself. */
export function rmpNeededBytes(end: number): number {
  return RMP_BOOKKEEPING_BYTES + Math.ceil(end / PAGE) * RMP_ENTRY_BYTES
}

/** Value of RMP_END for a table of `bytes` at `base`. */
export const rmpEndMsr = (base: number, bytes: number): bigint => BigInt(base) + BigInt(bytes) - 1n

/**
 * Reads the MSRs, and of the segmented form the segment table.
 * @param readQword reads 8 bytes of physical memory, for the segment table
 */
export function rmpGeometry(
  msrs: RmpMsrs, readQword: (address: number) => bigint, limits: SegmentLimits = { minShift: 36, maxShift: 43 },
): RmpGeometry | RmpProblem {
  const base = Number(msrs.base & ADDRESS)
  if (base === 0) return 'not programmed'
  if (RmpCfg.get(msrs.cfg, 'SEGMENTED_RMP_EN') !== 0n) return segmentedGeometry(base, msrs.cfg, readQword, limits)
  if ((msrs.end & ADDRESS) === 0n) return 'not programmed'
  const bytes = Number((msrs.end | LOW) + 1n) - base
  if (bytes <= 0) return 'end before base'
  const pages = Math.floor((bytes - RMP_BOOKKEEPING_BYTES) / RMP_ENTRY_BYTES)
  if (pages < 1) return 'no room for an entry'
  return {
    segmented: false, base, segmentPages: 2 ** 40,
    segments: [{ firstPage: 0, pages, address: base + RMP_BOOKKEEPING_BYTES }],
  }
}

function segmentedGeometry(
  base: number, cfg: bigint, readQword: (address: number) => bigint, limits: SegmentLimits,
): RmpGeometry | RmpProblem {
  const shift = Number(RmpCfg.get(cfg, 'segmentShift'))
  if (shift < limits.minShift || shift > limits.maxShift) return 'segment size out of range'
  const segmentBytes = 2 ** shift
  const segments: RmpSegment[] = []
  for (let i = 0; i < RST_ENTRIES; i++) {
    const entry = readQword(base + RMP_BOOKKEEPING_BYTES + 8 * i)
    // A mapped size above the segment's counts as the segment's.
    const bytes = Math.min(Number(RstEntry.get(entry, 'mappedGiB')) * GIB, segmentBytes)
    if (bytes === 0) continue
    const address = Number(RstEntry.get(entry, 'base')) * RMP_ALIGNMENT
    segments.push({ firstPage: i * (segmentBytes / PAGE), pages: bytes / PAGE, address })
  }
  if (segments.length === 0) return 'no room for an entry'
  return { segmented: true, base, segments, segmentPages: segmentBytes / PAGE }
}

/** Address of a page's entry, or −1 where the table does not reach. */
export function rmpEntryAddress({ segments, segmentPages }: RmpGeometry, page: number): number {
  for (const { firstPage, pages, address } of segments) {
    const index = page - firstPage
    if (index >= 0 && index < segmentPages) return index < pages ? address + index * RMP_ENTRY_BYTES : -1
  }
  return -1
}

/** Whether entries exist for every page below `end` (bytes). */
export function rmpCoversUpTo(geometry: RmpGeometry, end: number): boolean {
  for (let at = 0, pages = Math.ceil(end / PAGE); at < pages;) {
    const segment = geometry.segments.find(({ firstPage, pages: n }) => firstPage <= at && at < firstPage + n)
    if (segment === undefined) return false
    at = segment.firstPage + segment.pages
  }
  return true
}

/** The physical ranges that the table itself takes. */
export function rmpRanges({ segmented, base, segments }: RmpGeometry): { start: number; bytes: number }[] {
  const head = RMP_BOOKKEEPING_BYTES + (segmented ? PAGE : 0)
  const tables = segments.map(({ address, pages }) => ({ start: address, bytes: pages * RMP_ENTRY_BYTES }))
  if (segmented) return [{ start: base, bytes: head }, ...tables]
  return [{ start: base, bytes: head + tables[0].bytes }]
}
