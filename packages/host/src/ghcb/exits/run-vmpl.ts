import { GhcbError } from '@cofferdam/spec'
import type { GhcbReply } from '../page.ts'
import type { GhcbServer, Malformed } from '../types.ts'

/** SNP_RUN_VMPL (8000_0018h): EXITINFO1 names the VMPL whose VMSA this processor runs next. */
export const runVmplExit: GhcbServer = {
  name: 'run-vmpl',
  serve({ info1 }, guest, vcpu): GhcbReply | Malformed {
    return info1 < 4n && guest.runVmpl(vcpu, Number(info1)) ? {} : { error: GhcbError.INVALID_INPUT }
  },
}
