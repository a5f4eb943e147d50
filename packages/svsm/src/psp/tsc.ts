/** The scale and offset of the guest's time stamp, which VMSAs need with Secure TSC (56860 §7.10; APM §15.36.18). */
import { GuestMessageStatus, GuestMessageType, TSC_INFO_REQUEST_BYTES, TscInfoResponse } from '@cofferdam/spec'
import { viewOf } from '../memory.ts'
import type { SvsmProcessor } from '../processor.ts'
import type { FirmwareChannel } from './channel.ts'

/** Fields of a VMSA. */
export interface GuestTsc {
  readonly guestTscScale: bigint
  readonly guestTscOffset: bigint
}

/** Asks the firmware by MSG_TSC_INFO_REQ; null when it gives no answer. */
export function askForTsc(processor: SvsmProcessor, channel: FirmwareChannel): GuestTsc | null {
  const answer = channel.send(processor, {
    type: GuestMessageType.TSC_INFO_REQ, payload: new Uint8Array(TSC_INFO_REQUEST_BYTES),
    answerType: GuestMessageType.TSC_INFO_RSP, answerBytes: TscInfoResponse.size,
  })
  if (answer === null) return null
  const { status, tscScale, tscOffset } = TscInfoResponse.read(viewOf(answer.payload))
  return status === GuestMessageStatus.SUCCESS ? { guestTscScale: tscScale, guestTscOffset: tscOffset } : null
}
