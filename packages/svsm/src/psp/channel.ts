/**
 * The SVSM's own messages to the SNP firmware, sealed with VMPCK0, which the host carries (56860 §7, §8.26; 56421
 * §4.1.7, §4.1.8).
 */
import { gcm } from '@noble/ciphers/aes.js'
import {
  AEAD_AES_256_GCM, GUEST_MESSAGE_AAD_BYTES, GUEST_MESSAGE_AAD_OFFSET, GUEST_MESSAGE_HEADER_VERSION, GuestMessageHeader,
  GuestRequestVmmError, VmgExit,
} from '@cofferdam/spec'
import type { GhcbAnswer, HostCalls } from '../ghcb.ts'
import { CERTIFICATE_PAGES, SHARED, type SvsmPlaces } from '../image.ts'
import { viewOf } from '../memory.ts'
import { isFault, type SvsmProcessor } from '../processor.ts'

/** A request of version 1, and what its answer has to be like. */
export interface FirmwareMessage {
  readonly type: number
  readonly payload: Uint8Array
  readonly answerType: number
  /** Bytes of an answer, at least. */
  readonly answerBytes: number
  /** Certificates of the host are wanted with the answer, at `SvsmPlaces.certificates`. */
  readonly certificates?: boolean
}

export interface FirmwareAnswer {
  readonly payload: Uint8Array
  /** Pages that the host's certificates need, where there was not room enough for them; else 0. */
  readonly missingPages: number
}

/** A channel to the firmware: one message at a time, from whichever processor. */
export interface FirmwareChannel {
  /** Answers null when the firmware's answer did not come, or is not its own: the channel is then closed for good. */
  send(processor: SvsmProcessor, message: FirmwareMessage): FirmwareAnswer | null
  snapshot(): FirmwareChannelState
  /** Takes the state of a channel with the same key. */
  restore(saved: Omit<FirmwareChannelState, 'key'>): void
}

/** What a snapshot keeps: VMPCK0 among it. */
export interface FirmwareChannelState {
  readonly key: Uint8Array
  readonly sequence: bigint
  readonly broken: boolean
}

const PAGE = 4096
const TAG = 16
const HEADER = GuestMessageHeader.size
const LAST_SEQUENCE = 0xffff_ffff_ffff_fffen

const nonceOf = (sequence: bigint): Uint8Array => {
  const nonce = new Uint8Array(12)
  viewOf(nonce).setBigUint64(0, sequence, true)
  return nonce
}
const aadOf = (page: Uint8Array): Uint8Array =>
  page.subarray(GUEST_MESSAGE_AAD_OFFSET, GUEST_MESSAGE_AAD_OFFSET + GUEST_MESSAGE_AAD_BYTES)

function seal(key: Uint8Array, sequence: bigint, { type, payload }: FirmwareMessage): Uint8Array {
  const page = new Uint8Array(PAGE)
  page.set(GuestMessageHeader.create({
    sequence, algorithm: AEAD_AES_256_GCM, headerVersion: GUEST_MESSAGE_HEADER_VERSION, headerSize: HEADER,
    messageType: type, messageVersion: 1, messageSize: payload.length,
  }))
  const sealed = gcm(key, nonceOf(sequence), aadOf(page)).encrypt(payload)
  page.set(sealed.subarray(0, payload.length), HEADER)
  page.set(sealed.subarray(payload.length), GuestMessageHeader.offset.authTag)
  return page
}

/** What an answer says; null when it is not the answer to `sequence`, or was tampered with. */
function open(key: Uint8Array, sequence: bigint, message: FirmwareMessage, page: Uint8Array): Uint8Array | null {
  const { answerType, answerBytes } = message
  const header = GuestMessageHeader.read(viewOf(page))
  const isAnswer = header.sequence === sequence + 1n && header.messageType === answerType
    && header.algorithm === AEAD_AES_256_GCM && header.vmpck === 0 && header.messageSize <= PAGE - HEADER
  if (!isAnswer || header.messageSize < answerBytes) return null
  const sealed = new Uint8Array(header.messageSize + TAG)
  sealed.set(page.subarray(HEADER, HEADER + header.messageSize))
  sealed.set(page.subarray(0, TAG), header.messageSize)
  try {
    return gcm(key, nonceOf(header.sequence), aadOf(page)).decrypt(sealed)
  } catch {
    return null
  }
}

/** Pages that the host wants for its certificates and was not given. */
const missingIn = ({ info2, rbx }: GhcbAnswer): number =>
  (Number(info2 >> 32n) === GuestRequestVmmError.INVALID_LENGTH ? Number(rbx) : 0)

/** @param key VMPCK0 */
export function createFirmwareChannel(host: HostCalls, places: SvsmPlaces, key: Uint8Array): FirmwareChannel {
  let sequence = 1n
  /** A number was used, and nobody knows for what: the key must not be used again (Linux, snp_disable_vmpck). */
  let broken = key.every((byte) => byte === 0)

  const share = (processor: SvsmProcessor, certificates: boolean): boolean => {
    const pages = [places.request, places.response]
    for (let i = 0; certificates && i < CERTIFICATE_PAGES; i++) pages.push(places.certificates + i * PAGE)
    return pages.every((page) => host.share(processor, page))
  }

  /** Has the host carry what lies in the request's page; null when it did not. */
  const carry = (processor: SvsmProcessor, extended: boolean): GhcbAnswer | null => host.request(processor, {
    code: extended ? VmgExit.EXT_GUEST_REQUEST : VmgExit.GUEST_REQUEST,
    info1: BigInt(places.request), info2: BigInt(places.response),
    ...(extended && { rax: BigInt(places.certificates), rbx: BigInt(CERTIFICATE_PAGES) }),
  })

  return {
    snapshot: () => ({ key: key.slice(), sequence, broken }),
    restore(saved) { ({ sequence, broken } = saved) },
    send(processor, message) {
      const { certificates = false } = message
      if (broken || sequence >= LAST_SEQUENCE || !share(processor, certificates)) return null
      if (isFault(processor.store(places.request + SHARED, seal(key, sequence, message)))) return null
      broken = true
      let answer = carry(processor, certificates)
      const missingPages = answer === null ? 0 : missingIn(answer)
      // The message goes all the same, so that its number is used up for this and nothing else.
      if (missingPages > 0) answer = carry(processor, false)
      const page = new Uint8Array(PAGE)
      if (answer === null || (answer.info1 & 0xffff_ffffn) !== 0n || answer.info2 !== 0n) return null
      if (isFault(processor.load(places.response + SHARED, page))) return null
      const payload = open(key, sequence, message, page)
      if (payload === null) return null
      sequence += 2n
      broken = false
      return { payload, missingPages }
    },
  }
}
