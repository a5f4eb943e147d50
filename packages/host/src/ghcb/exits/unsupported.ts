import type { GhcbServer } from '../types.ts'

/** UNSUPPORTED_EVENT (8000_FFFFh): the guest cannot handle a #VC with the code in EXITINFO1. */
export const unsupportedExit: GhcbServer = {
  name: 'unsupported-event',
  serve({ info1, info2 }, guest, { index }) {
    guest.end({
      why: `vCPU ${index}: the guest does not support the #VC event 0x${info1.toString(16)} (0x${info2.toString(16)})`,
    })
    return {}
  },
}
