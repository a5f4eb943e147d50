import { ApCreationInfo, ApCreationRequest, GhcbError } from '@cofferdam/spec'
import type { GhcbReply } from '../page.ts'
import type { GhcbServer, Malformed } from '../types.ts'

const LARGE = 0x1f_ffffn

/** AP_CREATION (8000_0013h): a VMSA for a processor to run with, or an end to its running (56421 §4.1.9). */
export const apCreationExit: GhcbServer = {
  name: 'ap-creation',
  serve({ info1, info2, page }, guest, vcpu): GhcbReply | Malformed {
    const request = Number(ApCreationInfo.get(info1, 'request'))
    const isCreation = request === ApCreationRequest.CREATE || request === ApCreationRequest.CREATE_ON_INIT
    if (!isCreation && request !== ApCreationRequest.DESTROY) return { error: GhcbError.INVALID_INPUT }
    // A VMSA at a multiple of 2 MiB makes processors see collisions that are none (Linux, snp_alloc_vmsa_page).
    if (isCreation && ((info2 & 0xfffn) !== 0n || (info2 & LARGE) === 0n || info2 >= 1n << 52n)) {
      return { error: GhcbError.INVALID_INPUT }
    }
    const done = guest.createAp({
      apicId: Number(ApCreationInfo.get(info1, 'apicId')), vmpl: Number(ApCreationInfo.get(info1, 'vmpl')),
      vmsa: isCreation ? Number(info2) : undefined, onInit: request === ApCreationRequest.CREATE_ON_INIT,
      features: page.peek('rax'),
    }, vcpu)
    return done ? {} : { error: GhcbError.INVALID_INPUT }
  },
}
