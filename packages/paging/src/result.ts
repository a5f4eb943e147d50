/** What a walk found. */

/** The address translates and the access is allowed. */
export const WALK_OK = 0
/** #PF with `errorCode`. */
export const WALK_PAGE_FAULT = 1
/** Nested page fault (NPT): `errorCode`, `stage` and `gpa` make up the #VMEXIT. */
export const WALK_NESTED_FAULT = 2
/** EPT violation: `errorCode` is the exit qualification, but for what only the processor knows. */
export const WALK_EPT_VIOLATION = 3
/** EPT misconfiguration at `gpa`. */
export const WALK_EPT_MISCONFIGURATION = 4
/** The port refused an access to a table; `refusal` is its code. */
export const WALK_REFUSED = 5

/** A nested fault struck the page that the access wants. */
export const STAGE_FINAL = 1
/** A nested fault struck while a table of the guest was read or updated. */
export const STAGE_TABLE = 2

/** Filled by a walk; allocate one and use it again and again. */
export interface WalkResult {
  /** One of the WALK_ numbers. */
  status: number
  /** On success: physical address of the 4 KiB page that holds the address (also inside a huge page), no key bits. */
  page: number
  /** log2 of the page's size: 12, 21, 22 or 30; in two dimensions the smaller one. */
  shift: number
  /** PERM_ bits, together over all levels and both dimensions. */
  perms: number
  /** Protection key of the page. */
  pkey: number
  /** Key bits of the page's entry (C-bit, KeyID), and of the nested entry. */
  key: number
  nestedKey: number
  /** Index into the PAT: PAT, PCD, PWT of the page's entry. */
  pat: number
  /** Memory type of the nested page: its PAT index (NPT), or type and IPAT in bits 2:0 and 3 (EPT). */
  nestedPat: number
  /** Error code of #PF or #NPF, or the exit qualification of EPT. */
  errorCode: number
  /** STAGE_FINAL or STAGE_TABLE of a nested fault, else 0. */
  stage: number
  /** Two dimensions: guest physical address of the page found, or of the access that faulted in the nested tables. */
  gpa: number
  /** log2 of the guest's own page size, and of the nested one (for guards that compare them). */
  guestShift: number
  nestedShift: number
  /** Level of the entry at which the walk ended: 1 PTE, 2 PDE, 3 PDPTE, 4 PML4E, 5 PML5E. */
  level: number
  /** The port's code when an access to a table was refused, and the physical address of the entry. */
  refusal: number
  entry: number
}

/** A result record, to be used again for every walk. */
export function createWalkResult(): WalkResult {
  return {
    // Numbers beyond 2^31 appear here: fields that start as doubles stay so and never change their representation.
    page: 2 ** 40, gpa: 2 ** 40, entry: 2 ** 40,
    status: WALK_OK, shift: 12, perms: 0, pkey: 0, key: 0, nestedKey: 0, pat: 0, nestedPat: 0, errorCode: 0, stage: 0,
    guestShift: 12, nestedShift: 12, level: 0, refusal: 0,
  }
}

/** Names of the entries by level (SDM vol. 3, §4.5). */
export const ENTRY_NAMES = ['page', 'PTE', 'PDE', 'PDPTE', 'PML4E', 'PML5E'] as const

/** EXITINFO1 of a nested page fault (APM vol. 2, §15.25.6): bit 32 final address, bit 33 guest table. */
export function nestedFaultInfo(result: WalkResult): bigint {
  return BigInt(result.errorCode >>> 0) | (result.stage === STAGE_TABLE ? 1n << 33n : 1n << 32n)
}
