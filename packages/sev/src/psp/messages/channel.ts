/** The encrypted channel between a guest and the firmware: AES-256-GCM under a VMPCK (AMD 56860 §8.26). */
import { gcm } from '@noble/ciphers/aes.js'
import {
  AEAD_AES_256_GCM, GUEST_MESSAGE_AAD_BYTES, GUEST_MESSAGE_AAD_OFFSET, GUEST_MESSAGE_HEADER_VERSION,
  GuestMessageHeader,
} from '@cofferdam/spec'
import { concat, viewOf } from '../../bytes.ts'

const PAGE = 4096
const TAG_BYTES = 16
/** The longest payload that a page holds. */
export const MAX_PAYLOAD = PAGE - GuestMessageHeader.size

/** A message, decrypted. */
export interface GuestMessage {
  readonly type: number
  readonly version: number
  readonly sequence: bigint
  /** Which VMPCK, 0 to 3. */
  readonly vmpck: number
  readonly payload: Uint8Array
}

/** The sequence number, little-endian, is the nonce. */
function nonce(sequence: bigint): Uint8Array {
  const iv = new Uint8Array(12)
  viewOf(iv).setBigUint64(0, sequence, true)
  return iv
}

const aadOf = (page: Uint8Array): Uint8Array =>
  page.subarray(GUEST_MESSAGE_AAD_OFFSET, GUEST_MESSAGE_AAD_OFFSET + GUEST_MESSAGE_AAD_BYTES)

/** A page with a message, sealed. @throws RangeError for a payload that does not fit */
export function sealMessage(key: Uint8Array, message: GuestMessage): Uint8Array {
  const { type, version, sequence, vmpck, payload } = message
  if (payload.length > MAX_PAYLOAD) throw new RangeError(`a payload has at most ${MAX_PAYLOAD} bytes`)
  const page = new Uint8Array(PAGE)
  GuestMessageHeader.write(viewOf(page), {
    sequence, algorithm: AEAD_AES_256_GCM, headerVersion: GUEST_MESSAGE_HEADER_VERSION,
    headerSize: GuestMessageHeader.size, messageType: type, messageVersion: version, messageSize: payload.length, vmpck,
  })
  const sealed = gcm(key, nonce(sequence), aadOf(page)).encrypt(payload)
  page.set(sealed.subarray(0, payload.length), GuestMessageHeader.size)
  page.set(sealed.subarray(payload.length), GuestMessageHeader.offset.authTag)
  return page
}

/** A header's fields that have to be as they are. */
export type HeaderFlaw = 'algorithm' | 'header' | 'size' | 'vmpck'

/** The header of a page, or what is wrong with it. */
export function messageHeader(page: Uint8Array): Omit<GuestMessage, 'payload'> & { size: number } | HeaderFlaw {
  const h = GuestMessageHeader.read(viewOf(page))
  if (h.algorithm !== AEAD_AES_256_GCM) return 'algorithm'
  if (h.headerVersion !== GUEST_MESSAGE_HEADER_VERSION || h.headerSize !== GuestMessageHeader.size) return 'header'
  if (h.messageSize > MAX_PAYLOAD) return 'size'
  if (h.vmpck > 3) return 'vmpck'
  return {
    type: h.messageType, version: h.messageVersion, sequence: h.sequence, vmpck: h.vmpck, size: h.messageSize,
  }
}

/** The payload of a page whose header is right; null when its tag is not. */
export function openMessage(key: Uint8Array, page: Uint8Array): Uint8Array | null {
  const header = messageHeader(page)
  if (typeof header === 'string') return null
  const tag = page.subarray(0, TAG_BYTES)
  const sealed = page.subarray(GuestMessageHeader.size, GuestMessageHeader.size + header.size)
  try {
    return gcm(key, nonce(header.sequence), aadOf(page)).decrypt(concat(sealed, tag))
  } catch {
    return null
  }
}
