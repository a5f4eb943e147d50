/**
 * A host that carries messages, and firmware that answers them: a report is the data that it was asked for, twice;
 * TSC_INFO is `TSC`.
 */
import { gcm } from '@noble/ciphers/aes.js'
import {
  CertGuid, CertTableEntry, Ghcb, GuestMessageHeader, GuestMessageType, GuestRequestVmmError, guidBytes, ReportRequest,
  ReportResponseHeader, TscInfoResponse, VmgExit,
} from '@cofferdam/spec'
import type { createBox } from './fixture.ts'

const PAGE = 4096
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** Scale and offset that the firmware tells. */
export const TSC = { tscScale: 0x1_8000_0000n, tscOffset: 0x1234n }

export interface FirmwareOptions {
  /** Pages of certificates that the host has. */
  readonly certificatePages?: number
  /** Changes the answer on its way. */
  readonly tamper?: (page: Uint8Array) => void
  /** Status of TSC_INFO. */
  readonly tscStatus?: number
}

/** Serves guest requests of a box; what was asked for is in `asked`. */
export function serveReports(box: ReturnType<typeof createBox>, options: FirmwareOptions = {}) {
  const key = new Uint8Array(32).fill(1)
  const asked: { data: Uint8Array, vmpl: number, sequence: bigint }[] = []
  const { certificatePages = 1 } = options

  const nonceOf = (sequence: bigint): Uint8Array => {
    const nonce = new Uint8Array(12)
    viewOf(nonce).setBigUint64(0, sequence, true)
    return nonce
  }
  const bodyFor = (messageType: number, payload: Uint8Array, sequence: bigint): Uint8Array => {
    if (messageType === GuestMessageType.TSC_INFO_REQ) {
      return TscInfoResponse.create({ status: options.tscStatus ?? 0, ...TSC })
    }
    if (messageType !== GuestMessageType.REPORT_REQ) throw new Error('the firmware was not asked for a report')
    const { reportData, vmpl } = ReportRequest.read(viewOf(payload))
    asked.push({ data: reportData, vmpl, sequence })
    const body = new Uint8Array(ReportResponseHeader.size + 128)
    ReportResponseHeader.write(viewOf(body), { status: 0, reportSize: 128 })
    body.set(reportData, ReportResponseHeader.size)
    body.set(reportData, ReportResponseHeader.size + 64)
    return body
  }
  const answer = (request: Uint8Array, response: Uint8Array): void => {
    const { sequence, messageSize, messageType } = GuestMessageHeader.read(viewOf(request))
    const sealed = new Uint8Array(messageSize + 16)
    sealed.set(request.subarray(0x60, 0x60 + messageSize))
    sealed.set(request.subarray(0, 16), messageSize)
    const payload = gcm(key, nonceOf(sequence), request.subarray(0x30, 0x60)).decrypt(sealed)
    const body = bodyFor(messageType, payload, sequence)
    response.fill(0)
    response.set(GuestMessageHeader.create({
      sequence: sequence + 1n, algorithm: 1, headerVersion: 1, headerSize: 0x60, messageType: messageType + 1,
      messageVersion: 1, messageSize: body.length,
    }))
    const out = gcm(key, nonceOf(sequence + 1n), response.subarray(0x30, 0x60)).encrypt(body)
    response.set(out.subarray(0, body.length), 0x60)
    response.set(out.subarray(body.length))
    options.tamper?.(response)
  }

  box.host.serve = (ghcb) => {
    const code = Number(Ghcb.get(ghcb, 'swExitCode'))
    if (code !== VmgExit.GUEST_REQUEST && code !== VmgExit.EXT_GUEST_REQUEST) return
    const pages = [Ghcb.get(ghcb, 'swExitInfo1'), Ghcb.get(ghcb, 'swExitInfo2')]
    const [request, response] = box.guestPages.splice(0).map((address) => box.at(address).bytes)
    if (pages.some((value) => value !== 0n)) throw new Error('the answer was not cleared')
    const room = Number(Ghcb.get(ghcb, 'rbx'))
    if (code === VmgExit.EXT_GUEST_REQUEST && room < certificatePages) {
      Ghcb.write(ghcb, {
        rbx: BigInt(certificatePages), swExitInfo2: BigInt(GuestRequestVmmError.INVALID_LENGTH) << 32n,
      })
      return
    }
    answer(request, response)
    if (code !== VmgExit.EXT_GUEST_REQUEST || certificatePages === 0) return
    const table = box.at(Number(Ghcb.get(ghcb, 'rax'))).bytes
    CertTableEntry.write(viewOf(table), { guid: guidBytes(CertGuid.VCEK), offset: 48, length: 5 })
    table.set([9, 8, 7, 6, 5], 48)
  }
  return asked
}

export { PAGE }
