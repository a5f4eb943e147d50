/**
 * Attestation reports for the SVSM itself, at VMPL0: messages to the SNP firmware, sealed with VMPCK0, which the host
 * carries (56860 §7.3, §8.26; 56421 §4.1.7, §4.1.8).
 */
import { gcm } from '@noble/ciphers/aes.js'
import {
  AEAD_AES_256_GCM, CertTableEntry, GUEST_MESSAGE_AAD_BYTES, GUEST_MESSAGE_AAD_OFFSET, GUEST_MESSAGE_HEADER_VERSION, GuestMessageHeader,
  GuestMessageStatus, GuestMessageType, GuestRequestVmmError, ReportRequest, ReportResponseHeader, VmgExit,
} from '@cofferdam/spec'
import type { GhcbAnswer, HostCalls } from '../ghcb.ts'
import { CERTIFICATE_PAGES, SHARED, type SvsmPlaces } from '../image.ts'
import { viewOf } from '../memory.ts'
import { isFault, type SvsmProcessor } from '../processor.ts'

/** A report, and the host's certificates where they were asked for. */
export interface Attested {
  readonly report: Uint8Array
  readonly certificates: Uint8Array
}

/** What stood in the way: nothing that asking again helps with, or certificates that need so many pages. */
export type Unattested = 'failed' | { readonly certificatePages: number }

export interface Reports {
  /** @param data what the report is to carry, 64 bytes */
  get(processor: SvsmProcessor, data: Uint8Array, certificates: boolean): Attested | Unattested
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

/** MSG_REPORT_REQ at VMPL0, sealed. */
function seal(key: Uint8Array, sequence: bigint, data: Uint8Array): Uint8Array {
  const payload = ReportRequest.create({ reportData: data })
  const page = new Uint8Array(PAGE)
  page.set(GuestMessageHeader.create({
    sequence, algorithm: AEAD_AES_256_GCM, headerVersion: GUEST_MESSAGE_HEADER_VERSION, headerSize: HEADER,
    messageType: GuestMessageType.REPORT_REQ, messageVersion: 1, messageSize: payload.length,
  }))
  const sealed = gcm(key, nonceOf(sequence), aadOf(page)).encrypt(payload)
  page.set(sealed.subarray(0, payload.length), HEADER)
  page.set(sealed.subarray(payload.length), GuestMessageHeader.offset.authTag)
  return page
}

/** The report in an answer; null when it is not the answer to `sequence`, or was tampered with. */
function open(key: Uint8Array, sequence: bigint, page: Uint8Array): Uint8Array | null {
  const header = GuestMessageHeader.read(viewOf(page))
  const isAnswer = header.sequence === sequence + 1n && header.messageType === GuestMessageType.REPORT_RSP
    && header.algorithm === AEAD_AES_256_GCM && header.vmpck === 0 && header.messageSize <= PAGE - HEADER
  if (!isAnswer || header.messageSize < ReportResponseHeader.size) return null
  const sealed = new Uint8Array(header.messageSize + TAG)
  sealed.set(page.subarray(HEADER, HEADER + header.messageSize))
  sealed.set(page.subarray(0, TAG), header.messageSize)
  let payload: Uint8Array
  try {
    payload = gcm(key, nonceOf(header.sequence), aadOf(page)).decrypt(sealed)
  } catch {
    return null
  }
  const { status, reportSize } = ReportResponseHeader.read(viewOf(payload))
  const end = ReportResponseHeader.size + reportSize
  return status === GuestMessageStatus.SUCCESS && end <= payload.length ? payload.slice(ReportResponseHeader.size, end) : null
}

/**
 * The host's table of certificates without what is behind it; nothing where its first entry is empty (56421 §4.1.8).
 */
function certificatesIn(table: Uint8Array): Uint8Array {
  const view = viewOf(table)
  let end = 0
  for (let at = 0; at + CertTableEntry.size <= table.length; at += CertTableEntry.size) {
    const { offset, length } = CertTableEntry.read(view, at)
    if (offset === 0 && length === 0) break
    end = Math.max(end, offset + length)
  }
  return table.subarray(0, Math.min(end, table.length))
}

const refusedFor = ({ info2 }: GhcbAnswer): number => Number(info2 >> 32n)

/** @param key VMPCK0 */
export function createReports(host: HostCalls, places: SvsmPlaces, key: Uint8Array): Reports {
  let sequence = 1n
  /** A number was used, and nobody knows for what: the key must not be used again (Linux, snp_disable_vmpck). */
  let broken = key.every((byte) => byte === 0)

  const share = (processor: SvsmProcessor): boolean => {
    const pages = [places.request, places.response]
    for (let i = 0; i < CERTIFICATE_PAGES; i++) pages.push(places.certificates + i * PAGE)
    return pages.every((page) => host.share(processor, page))
  }

  /** Sends a sealed message; null when the host did not carry it. */
  const send = (processor: SvsmProcessor, extended: boolean): GhcbAnswer | null => host.request(processor, {
    code: extended ? VmgExit.EXT_GUEST_REQUEST : VmgExit.GUEST_REQUEST,
    info1: BigInt(places.request), info2: BigInt(places.response),
    ...(extended && { rax: BigInt(places.certificates), rbx: BigInt(CERTIFICATE_PAGES) }),
  })

  return {
    get(processor, data, certificates) {
      if (broken || sequence >= LAST_SEQUENCE || !share(processor)) return 'failed'
      if (isFault(processor.store(places.request + SHARED, seal(key, sequence, data)))) return 'failed'
      broken = true
      let answer = send(processor, certificates)
      const pages = answer !== null && refusedFor(answer) === GuestRequestVmmError.INVALID_LENGTH ? Number(answer.rbx) : 0
      // The message goes all the same, so that its number is used up for this and nothing else.
      if (pages > 0) answer = send(processor, false)
      const page = new Uint8Array(PAGE)
      if (answer === null || (answer.info1 & 0xffff_ffffn) !== 0n || answer.info2 !== 0n) return 'failed'
      if (isFault(processor.load(places.response + SHARED, page))) return 'failed'
      const report = open(key, sequence, page)
      if (report === null) return 'failed'
      sequence += 2n
      broken = false
      if (pages > 0) return { certificatePages: pages }
      const table = new Uint8Array(certificates ? CERTIFICATE_PAGES * PAGE : 0)
      for (let at = 0; at < table.length; at += PAGE) {
        if (isFault(processor.load(places.certificates + SHARED + at, table.subarray(at, at + PAGE)))) return 'failed'
      }
      return { report, certificates: certificatesIn(table) }
    },
  }
}
