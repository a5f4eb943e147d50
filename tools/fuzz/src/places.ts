/** Where cases have their code and their data; the same on both processors. */
import { CODE, DATA, type LocalSegment, type Piece } from '@cofferdam/oracle'

const PAGE = 4096
const page = (n: number): number => DATA.AT + n * PAGE

/** Bytes of code between the beginnings of two cases. */
export const SLOT = 64
/** Cases of a batch; the first one begins off a slot, so that some lie across the end of a page. */
export const SLOTS = 8192
const SHIFT = 32
/** Where the bytes of case `n` lie. */
export const slotAt = (n: number): number => CODE.AT + SHIFT + n * SLOT

/**
 * Data memory, `wwrw-r`: what cases fill and what is compared. Around every end of a page there is some: a page that is
 * not mapped before, two writable ones, one that can only be read, a writable one, and one that is not mapped.
 */
export const PIECES: readonly Piece[] = [
  { at: page(0), length: 64 },
  { at: page(1) - 128, length: 256 },
  { at: page(2) - 64, length: 128 },
  { at: page(3) - 64, length: 128 },
  { at: page(4) - 64, length: 64 },
]
/** The middle of the piece that most operands go to. */
export const MAIN = page(1)
/** Ends of pages, and what lies on both sides: none/w, w/w, w/r, r/w, w/none, none/r, r/none. */
export const BOUNDARIES: readonly number[] = [0, 1, 2, 3, 4, 5, 6].map(page)

/**
 * The local descriptor table. Limits end inside the piece around `MAIN`, so that accesses run over them. Code of 16
 * bits reaches 64 KiB: one segment for each such stretch of the code. Linux allows conforming code only if it is not
 * present.
 */
const CODE16_COUNT = Math.ceil(CODE.LENGTH / 0x1_0000)
const code16 = Array.from({ length: CODE16_COUNT }, (_, i): LocalSegment =>
  ({ base: CODE.AT + i * 0x1_0000, limit: 0xffff, wide: false, contents: 2 }))

export const TABLE: readonly LocalSegment[] = [
  ...code16,
  { base: CODE.AT, limit: CODE.LENGTH - 1, wide: true, contents: 2 },
  { base: CODE.AT, limit: CODE.LENGTH - 1, wide: true, contents: 2, limited: true },
  { base: CODE.AT, limit: CODE.LENGTH - 1, wide: true, contents: 3, absent: true },
  { base: DATA.AT, limit: 0xffff, wide: false, contents: 0 },
  { base: DATA.AT - 0x8000, limit: 0xffff, wide: false, contents: 0 },
  { base: DATA.AT - 0x100, limit: MAIN + 60 - (DATA.AT - 0x100), wide: true, contents: 0 },
  { base: DATA.AT - 0x100, limit: MAIN - 60 - (DATA.AT - 0x100), wide: true, contents: 1 },
  { base: DATA.AT, limit: MAIN + 20 - DATA.AT, wide: false, contents: 1 },
  { base: DATA.AT, limit: 0xffff, wide: true, contents: 0, limited: true },
  { base: DATA.AT, limit: 0xffff, wide: true, contents: 0, absent: true },
  { base: 0x2000_0000, limit: 0xf_ffff, wide: true, contents: 0, pages: true },
]
const local = (n: number): number => (CODE16_COUNT + n) * 8 + 7

/** Selectors of entries of the table. */
export const LOCAL = {
  CODE32: local(0), EXECUTE_ONLY: local(1), ABSENT_CODE: local(2),
  DATA16: local(3), DATA16_HIGH: local(4), SHORT: local(5), DOWN: local(6), DOWN16: local(7), READ_ONLY: local(8),
  ABSENT: local(9),
  WRAPS: local(10),
} as const

/** Selector of 16-bit code that has `at` in reach. */
export const code16At = (at: number): number => Math.floor((at - CODE.AT) / 0x1_0000) * 8 + 7
