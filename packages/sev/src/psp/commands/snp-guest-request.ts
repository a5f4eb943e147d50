/** SNP_GUEST_REQUEST: a sealed message from a guest, answered in kind (AMD 56860 §8.27). */
import { PspCommand, PspStatus, SnpGuestRequest, SnpGuestState, SnpPlatformState } from '@cofferdam/spec'
import { messageHeader, openMessage, sealMessage } from '../messages/channel.ts'
import { keyMessage } from '../messages/key.ts'
import { reportMessage } from '../messages/report.ts'
import { tscInfoMessage } from '../messages/tsc-info.ts'
import type { MessageHandler } from '../messages/types.ts'
import { PAGE, guestAt, pageAt, writableStatus } from '../pages.ts'
import type { PspHandler } from '../types.ts'

/** The index of requests. */
const MESSAGES: ReadonlyMap<number, MessageHandler> =
  new Map([reportMessage, keyMessage, tscInfoMessage].map((m) => [m.type, m]))

/** Sequence numbers end before they could repeat. */
const LAST_SEQUENCE = 0xffff_ffff_ffff_fffen

export const snpGuestRequest: PspHandler = {
  id: PspCommand.SNP_GUEST_REQUEST, name: 'SNP_GUEST_REQUEST', snp: [SnpPlatformState.INIT],
  bytes: SnpGuestRequest.size,
  run(firmware, buffer) {
    const { gctxPaddr, requestPaddr, responsePaddr } = SnpGuestRequest.read(buffer)
    const guest = guestAt(firmware, gctxPaddr)
    if (typeof guest === 'number') return guest
    if (guest.state !== SnpGuestState.RUNNING) return PspStatus.INVALID_GUEST_STATE
    if (pageAt(firmware, requestPaddr) < 0 || pageAt(firmware, responsePaddr) < 0) return PspStatus.INVALID_ADDRESS
    const writable = writableStatus(firmware, responsePaddr, PAGE)
    if (writable !== PspStatus.SUCCESS) return writable
    const page = new Uint8Array(PAGE)
    firmware.memory.read(Number(requestPaddr), page)
    const header = messageHeader(page)
    if (typeof header === 'string') return PspStatus.INVALID_PARAM
    const { vmpck, sequence, type, version } = header
    if (guest.messages[vmpck] >= LAST_SEQUENCE) return PspStatus.AEAD_OFLOW
    // Each number once and in order: an old message, or one out of turn, is none.
    if (sequence !== guest.messages[vmpck] + 1n) return PspStatus.INVALID_PARAM
    const payload = openMessage(guest.vmpck[vmpck], page)
    if (payload === null) return PspStatus.BAD_MEASUREMENT
    const handler = MESSAGES.get(type)
    if (handler === undefined || !handler.versions.includes(version) || payload.length < handler.bytes) {
      return PspStatus.INVALID_PARAM
    }
    const answer = handler.run(firmware, guest, { type, version, sequence, vmpck, payload })
    guest.messages[vmpck] += 2n
    firmware.memory.write(Number(responsePaddr), sealMessage(guest.vmpck[vmpck], {
      type: handler.response, version, sequence: sequence + 1n, vmpck, payload: answer,
    }))
    return PspStatus.SUCCESS
  },
}
