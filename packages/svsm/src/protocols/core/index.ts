/** The core protocol (58019 §7). */
import { SvsmCoreCall } from '@cofferdam/spec'
import type { SvsmProtocolTable } from '../../call.ts'
import { configureVtom } from './configure-vtom.ts'
import { createVcpu } from './create-vcpu.ts'
import { deleteVcpu } from './delete-vcpu.ts'
import { depositMem } from './deposit-mem.ts'
import { pvalidate } from './pvalidate.ts'
import { queryProtocol } from './query-protocol.ts'
import { remapCa } from './remap-ca.ts'
import { withdrawMem } from './withdraw-mem.ts'

export const coreProtocol: SvsmProtocolTable = {
  name: 'core', versions: { min: 1, max: 1 },
  calls: new Map([
    [SvsmCoreCall.REMAP_CA, { name: 'remap-ca', serve: remapCa }],
    [SvsmCoreCall.PVALIDATE, { name: 'pvalidate', serve: pvalidate }],
    [SvsmCoreCall.CREATE_VCPU, { name: 'create-vcpu', serve: createVcpu }],
    [SvsmCoreCall.DELETE_VCPU, { name: 'delete-vcpu', serve: deleteVcpu }],
    [SvsmCoreCall.DEPOSIT_MEM, { name: 'deposit-mem', serve: depositMem }],
    [SvsmCoreCall.WITHDRAW_MEM, { name: 'withdraw-mem', serve: withdrawMem }],
    [SvsmCoreCall.QUERY_PROTOCOL, { name: 'query-protocol', serve: queryProtocol }],
    [SvsmCoreCall.CONFIGURE_VTOM, { name: 'configure-vtom', serve: configureVtom }],
  ]),
}
