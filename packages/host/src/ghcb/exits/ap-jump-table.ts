import { GhcbAnswer, GhcbError } from '@cofferdam/spec'
import type { GhcbServer } from '../types.ts'

/**
 * AP_JUMP_TABLE (8000_0005h): refused, an SNP guest keeps the address in its secrets page (56421 §4.1.5). There is
 * nothing wrong with asking: OVMF offers its table to any host (edk2 UefiCpuPkg/Library/MpInitLib/AmdSev.c).
 */
export const apJumpTableExit: GhcbServer = {
  name: 'ap-jump-table',
  serve: () => ({ info1: BigInt(GhcbAnswer.MALFORMED_INPUT), info2: BigInt(GhcbError.INVALID_EVENT) }),
}
