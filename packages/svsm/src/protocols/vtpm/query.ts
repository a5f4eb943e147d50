import { SVSM_VTPM_PLATFORM_COMMAND_SEND } from '@cofferdam/spec'
import { success, type SvsmServer } from '../../call.ts'

/**
 * SVSM_VTPM_QUERY (58019 §8.1, call 0): RCX is a bitmap of platform commands, RDX of features, of which there are
 * none.
 */
export const vtpmQuery: SvsmServer = () => success({ rcx: 1n << BigInt(SVSM_VTPM_PLATFORM_COMMAND_SEND), rdx: 0n })
