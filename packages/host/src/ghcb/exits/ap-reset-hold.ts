import type { GhcbServer } from '../types.ts'

/** AP_RESET_HOLD (8000_0004h): the processor waits for a start-up IPI; EXITINFO2 is then 1. */
export const apResetHoldExit: GhcbServer = {
  name: 'ap-reset-hold',
  serve(_request, _guest, vcpu) {
    vcpu.pause('reset-hold')
    return { info2: 1n }
  },
}
