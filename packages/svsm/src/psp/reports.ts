/** Attestation reports for the SVSM itself, at VMPL0 (56860 §7.3). */
import {
  CertTableEntry, GuestMessageStatus, GuestMessageType, ReportRequest, ReportResponseHeader,
} from '@cofferdam/spec'
import { CERTIFICATE_PAGES, SHARED, type SvsmPlaces } from '../image.ts'
import { viewOf } from '../memory.ts'
import { isFault, type SvsmProcessor } from '../processor.ts'
import type { FirmwareChannel } from './channel.ts'

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

/** The report in an answer; null where the firmware gave none. */
function reportIn(payload: Uint8Array): Uint8Array | null {
  const { status, reportSize } = ReportResponseHeader.read(viewOf(payload))
  const end = ReportResponseHeader.size + reportSize
  return status === GuestMessageStatus.SUCCESS && end <= payload.length
    ? payload.slice(ReportResponseHeader.size, end)
    : null
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

export function createReports(channel: FirmwareChannel, places: SvsmPlaces): Reports {
  return {
    get(processor, data, certificates) {
      const answer = channel.send(processor, {
        type: GuestMessageType.REPORT_REQ, payload: ReportRequest.create({ reportData: data }),
        answerType: GuestMessageType.REPORT_RSP, answerBytes: ReportResponseHeader.size, certificates,
      })
      const report = answer === null ? null : reportIn(answer.payload)
      if (answer === null || report === null) return 'failed'
      if (answer.missingPages > 0) return { certificatePages: answer.missingPages }
      const table = new Uint8Array(certificates ? CERTIFICATE_PAGES * PAGE : 0)
      for (let at = 0; at < table.length; at += PAGE) {
        if (isFault(processor.load(places.certificates + SHARED + at, table.subarray(at, at + PAGE)))) return 'failed'
      }
      return { report, certificates: certificatesIn(table) }
    },
  }
}
