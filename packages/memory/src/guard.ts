/**
 * Guards decide at translation time whether somebody may touch a page: the RMP, TDX ownership, the SEAM range. Their
 * answer lives in the TLB entry; a guard whose state changes flushes what it affects.
 */

/** Who asks, and how. */
export interface GuardRequest {
  /** Physical page number (address / 4096), without key bits. */
  page: number
  /** Key of the access: C-bit and ASID, or KeyID; 0 for none. */
  key: number
  /** 1 read, 2 write, 4 execute, together. */
  access: number
  /** Size of the mapping that led here, as log2 of bytes (12, 21, 30). */
  shift: number
  /** Guest physical page when the access went through nested tables, else −1. */
  guestPage: number
  /** log2 of the nested page's size; 0 when there are no nested tables. */
  nestedShift: number
  /** Context of the asker that guards agree on with the processor's extension (ASID, VMPL, SEAM mode …). */
  context: number
  /** The access is made as user (CPL 3); page walks are supervisor's. */
  user: boolean
  /** The access is a page walk's own, not the instruction's. */
  walk: boolean
}

/** 0 when the access is allowed, else the guard's reason, which the processor's extension turns into a fault. */
export type GuardVerdict = number

/** Decides whether a page may be used: the RMP, a TDX module's ownership. Asked at translations, not at each access. */
export interface Guard {
  readonly name: string
  check(request: Readonly<GuardRequest>): GuardVerdict
}
