import { refuse, success, type SvsmServer } from '../../call.ts'

/**
 * SVSM_CORE_CONFIGURE_VTOM (58019 §7.1, call 7): a query (RCX bit 0) is told that there is none; the rest is refused.
 */
export const configureVtom: SvsmServer = ({ rcx }) =>
  ((rcx & 1n) === 0n ? refuse('INVALID_REQUEST') : success({ rcx: 0n }))
