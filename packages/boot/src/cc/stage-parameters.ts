/** What the boot stage is told, and what it says when it gives up. */
import { layout } from '@cofferdam/spec'

/** The page of parameters; ranges to accept follow from `RANGES` on, the last one with 0 pages. */
export const StageParameters = layout(0x30, {
  /** Where the kernel is entered, and boot_params for RSI. */
  entry: [0x00, 8],
  bootParams: [0x08, 8],
  secrets: [0x10, 8],
  cpuid: [0x18, 8],
  /** Guest physical address of the page that becomes the GHCB, and the linear address that maps it without C-bit. */
  ghcb: [0x20, 8],
  ghcbShared: [0x28, 8],
})
/** Where the ranges begin. */
export const RANGES = 0x40
/** A range to accept: first page and number of pages. */
export const StageRange = layout(16, { page: [0, 8], pages: [8, 8] })
/** Ranges that fit in the page, without the one that ends the list. */
export const STAGE_RANGES = (4096 - RANGES) / StageRange.size - 1

/** Reason set of our termination requests (56421 §2.3.1 leaves sets from 2 on to vendors), and the reasons. */
export const STAGE_TERMINATION_SET = 0xc
/** Why the boot stage gave up, by the reason code of its set ({@link STAGE_TERMINATION_SET}). */
export const STAGE_TERMINATION: Readonly<Record<number, string>> = {
  1: 'the host speaks no GHCB protocol version 2',
  2: 'the host does not support SEV-SNP guests',
  3: 'the host refused to register the GHCB page',
  4: 'the host refused a page state change',
  5: 'PVALIDATE failed: a page is not what the host said, or was validated before',
  6: 'the SVSM refused to validate a page',
}
/** The reasons by name. */
export const REASON = { protocol: 1, snp: 2, register: 3, psc: 4, pvalidate: 5, svsm: 6 } as const

/** Parameters and ranges as a page. @throws RangeError when there are more than {@link STAGE_RANGES} ranges */
export function stageParameters(
  values: Parameters<typeof StageParameters.create>[0], ranges: readonly { start: number, length: number }[],
): Uint8Array {
  if (ranges.length > STAGE_RANGES) throw new RangeError(`boot stage: ${ranges.length} ranges of memory to accept`)
  const page = new Uint8Array(4096)
  page.set(StageParameters.create(values))
  const view = new DataView(page.buffer)
  ranges.forEach(({ start, length }, i) => {
    StageRange.write(view, { page: BigInt(start / 4096), pages: BigInt(length / 4096) }, RANGES + i * StageRange.size)
  })
  return page
}

/** A word of the parameter page that the program keeps for itself: not 0 when validated pages need no touch. */
export const NEEDS_NO_TOUCH = StageParameters.size
/** Another one: where it is in the list of ranges. */
export const NEXT_RANGE = NEEDS_NO_TOUCH + 8
