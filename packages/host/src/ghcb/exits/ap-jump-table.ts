import { GhcbError } from '@cofferdam/spec'
import type { GhcbServer } from '../types.ts'

/** AP_JUMP_TABLE (8000_0005h): refused, an SNP guest keeps the address in its secrets page (56421 §4.1.5). */
export const apJumpTableExit: GhcbServer = {
  name: 'ap-jump-table',
  serve: () => ({ error: GhcbError.INVALID_EVENT }),
}
