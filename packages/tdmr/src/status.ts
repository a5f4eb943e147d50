/**
 * Status codes that initialisation can meet. RAX 63:32 is the code, 31:0 details (an operand, or up to four numbers).
 * Source: intel/tdx-module tdx_1.5, include/auto_gen/tdx_error_codes_defs.h.
 */

/** Codes by name, details zero. */
export const Status = {
  TDX_SUCCESS: 0n,
  TDX_INTERRUPTED_RESUMABLE: 0x8000_0003_0000_0000n,
  TDX_OPERAND_INVALID: 0xc000_0100_0000_0000n,
  TDX_OPERAND_ADDR_RANGE_ERROR: 0xc000_0101_0000_0000n,
  TDX_OPERAND_BUSY: 0x8000_0200_0000_0000n,
  TDX_SYS_BUSY: 0x8000_0202_0000_0000n,
  TDX_RND_NO_ENTROPY: 0x8000_0203_0000_0000n,
  TDX_SYS_INIT_NOT_PENDING: 0xc000_0500_0000_0000n,
  TDX_SYS_LP_INIT_NOT_DONE: 0xc000_0502_0000_0000n,
  TDX_SYS_LP_INIT_DONE: 0xc000_0503_0000_0000n,
  TDX_SYS_NOT_READY: 0xc000_0505_0000_0000n,
  TDX_SYS_SHUTDOWN: 0xc000_0506_0000_0000n,
  TDX_SYS_KEY_CONFIG_NOT_PENDING: 0xc000_0507_0000_0000n,
  TDX_SYS_LP_INIT_NOT_PENDING: 0xc000_050b_0000_0000n,
  TDX_SYS_CONFIG_NOT_PENDING: 0xc000_050c_0000_0000n,
  TDX_KEY_GENERATION_FAILED: 0x8000_0800_0000_0000n,
  TDX_KEY_CONFIGURED: 0x0000_0815_0000_0000n,
  TDX_INVALID_TDMR: 0xc000_0a00_0000_0000n,
  TDX_NON_ORDERED_TDMR: 0xc000_0a01_0000_0000n,
  TDX_TDMR_OUTSIDE_CMRS: 0xc000_0a02_0000_0000n,
  TDX_TDMR_ALREADY_INITIALIZED: 0x0000_0a03_0000_0000n,
  TDX_INVALID_PAMT: 0xc000_0a10_0000_0000n,
  TDX_PAMT_OUTSIDE_CMRS: 0xc000_0a11_0000_0000n,
  TDX_PAMT_OVERLAP: 0xc000_0a12_0000_0000n,
  TDX_INVALID_RESERVED_IN_TDMR: 0xc000_0a20_0000_0000n,
  TDX_NON_ORDERED_RESERVED_IN_TDMR: 0xc000_0a21_0000_0000n,
  TDX_CMR_LIST_INVALID: 0xc000_0a22_0000_0000n,
  TDX_METADATA_FIELD_ID_INCORRECT: 0xc000_0c00_0000_0000n,
  TDX_METADATA_FIELD_NOT_READABLE: 0xc000_0c02_0000_0000n,
} as const

/** Operand ids of {@link Status.TDX_OPERAND_INVALID} and its like. */
export const Operand = { rax: 0n, rcx: 1n, rdx: 2n, r8: 8n } as const

const NAMES: ReadonlyMap<bigint, string> = new Map(Object.entries(Status).map(([name, code]) => [code, name]))
const OPERANDS: ReadonlyMap<bigint, string> =
  new Map(Object.entries(Operand).map(([name, id]) => [id, name.toUpperCase()]))

/** The code without its details. */
export const statusCode = (rax: bigint): bigint => rax & 0xffff_ffff_0000_0000n

/** Bit 63: the call did not do what it was asked for. */
export const isError = (rax: bigint): boolean => (rax >> 63n) !== 0n

/** A status for people: name, what the details say, the number. */
export function describeStatus(rax: bigint): string {
  const code = statusCode(rax)
  const name = NAMES.get(code) ?? 'unknown status'
  const low = rax & 0xffff_ffffn
  let detail = ''
  switch (code) {
    case Status.TDX_OPERAND_INVALID:
    case Status.TDX_OPERAND_BUSY:
    case Status.TDX_OPERAND_ADDR_RANGE_ERROR:
      detail = `, operand ${OPERANDS.get(low) ?? low.toString()}`
      break
    case Status.TDX_INVALID_TDMR:
    case Status.TDX_NON_ORDERED_TDMR:
    case Status.TDX_TDMR_OUTSIDE_CMRS:
      detail = `, TDMR ${low & 0xffn}`
      break
    case Status.TDX_INVALID_RESERVED_IN_TDMR:
    case Status.TDX_NON_ORDERED_RESERVED_IN_TDMR:
      detail = `, TDMR ${low & 0xffn} reserved area ${(low >> 8n) & 0xffn}`
      break
    case Status.TDX_INVALID_PAMT:
    case Status.TDX_PAMT_OUTSIDE_CMRS:
    case Status.TDX_PAMT_OVERLAP:
      detail = `, TDMR ${low & 0xffn} PAMT of ${['4K', '2M', '1G'][Number((low >> 8n) & 0xffn)] ?? 'unknown size'}`
      if (code === Status.TDX_PAMT_OVERLAP) detail += ` with TDMR ${(low >> 16n) & 0xffn}`
      break
  }
  return `${name} (0x${rax.toString(16).padStart(16, '0')}${detail})`
}
