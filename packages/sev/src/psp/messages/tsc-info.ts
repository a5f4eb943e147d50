/** MSG_TSC_INFO_REQ: how the guest's TSC follows the host's (AMD 56860 §7.10). */
import { GuestMessageStatus, GuestMessageType, TSC_INFO_REQUEST_BYTES, TscInfoResponse } from '@cofferdam/spec'
import { isZero } from '../../bytes.ts'
import type { MessageHandler } from './types.ts'

export const tscInfoMessage: MessageHandler = {
  type: GuestMessageType.TSC_INFO_REQ, response: GuestMessageType.TSC_INFO_RSP, versions: [1],
  bytes: TSC_INFO_REQUEST_BYTES,
  run({ facts }, guest, { payload }) {
    if (!isZero(payload)) return TscInfoResponse.create({ status: GuestMessageStatus.INVALID_PARAM })
    return TscInfoResponse.create({
      status: GuestMessageStatus.SUCCESS, tscScale: guest.tscScale, tscOffset: 0n, tscFactor: facts.tscFactor,
    })
  },
}
