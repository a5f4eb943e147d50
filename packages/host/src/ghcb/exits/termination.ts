import { terminationText } from '../termination.ts'
import type { GhcbServer } from '../types.ts'

/** TERMINATION (8000_FFFEh): EXITINFO1 has the reason set in bits 3:0 and the reason in 11:4 (Linux uapi/asm/svm.h). */
export const terminationExit: GhcbServer = {
  name: 'termination',
  serve({ info1, info2 }, guest, { index }) {
    const text = terminationText(Number(info1 & 0xfn), Number(info1 >> 4n & 0xffn))
    const more = info2 === 0n ? '' : `; further information 0x${info2.toString(16)}`
    guest.end({ why: `vCPU ${index}: ${text}${more}` })
    return {}
  },
}
