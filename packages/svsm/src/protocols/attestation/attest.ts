/** What both calls have in common: the structure at RCX, the report over nonce and manifest, the answer's buffers. */
import { sha512 } from '@noble/hashes/sha2.js'
import { SvsmAttestRequest, SvsmLocation, SvsmResult, type LayoutRecord } from '@cofferdam/spec'
import { refuse, success, type SvsmAnswer, type SvsmState } from '../../call.ts'
import { copyIn, copyOut, viewOf } from '../../memory.ts'
import type { SvsmProcessor } from '../../processor.ts'
import type { GuestVcpu } from '../../vcpus.ts'

/** A buffer that a guest names. */
interface Buffer {
  readonly gpa: bigint
  readonly bytes: number
}

/** A request, copied and checked. */
export interface AttestRequest {
  readonly report: Buffer
  readonly manifest: Buffer
  readonly certificates: Buffer
  readonly nonce: Uint8Array
  /** The fields behind those of SVSM_ATTEST_SERVICES. */
  readonly service: Uint8Array
}

type Fields = LayoutRecord<typeof SvsmAttestRequest.fields>

const NONCE_BYTES = 64
const PAGE = 4096n

/** Notes reserved bits of a request; answers whether there were any. */
export function isReserved(value: number, field: string, caller: GuestVcpu, svsm: SvsmState): boolean {
  if (value === 0) return false
  const bits = BigInt(value)
  svsm.fact(caller, { kind: 'svsm-reserved', call: 'of the attestation protocol', field, value: bits, bits })
  return true
}

const BUFFERS = ['report', 'nonce', 'manifest', 'certificates'] as const

/** Copies the request of `length` bytes at RCX; what is wrong with it. */
export function readRequest(
  rcx: bigint, length: number, caller: GuestVcpu, svsm: SvsmState, processor: SvsmProcessor,
): AttestRequest & { readonly fields: Fields } | SvsmAnswer {
  const copied = copyIn(svsm, processor, rcx, length)
  if (copied === null) return refuse('INVALID_PARAMETER')
  const bytes = new Uint8Array(SvsmAttestRequest.size)
  bytes.set(copied)
  const fields = SvsmAttestRequest.read(viewOf(bytes))
  const locations = BUFFERS.map((name) => SvsmLocation.read(viewOf(fields[name])))
  const reserved = locations.filter((location, i) =>
    isReserved(location.reserved, `the word behind the size of its ${BUFFERS[i]}`, caller, svsm))
  if (reserved.length > 0) return refuse('INVALID_PARAMETER')
  const [report, nonce, manifest, certificates] = locations
  if (report.gpa % PAGE !== 0n || manifest.gpa % PAGE !== 0n) return refuse('INVALID_PARAMETER')
  // Who wants no certificates names no buffer for them: its address does not count then.
  if (certificates.bytes > 0 && certificates.gpa % PAGE !== 0n) return refuse('INVALID_PARAMETER')
  if (nonce.bytes !== NONCE_BYTES || nonce.gpa % PAGE > PAGE - BigInt(NONCE_BYTES)) return refuse('INVALID_PARAMETER')
  const random = copyIn(svsm, processor, nonce.gpa, NONCE_BYTES)
  if (random === null) return refuse('INVALID_PARAMETER')
  return { report, manifest, certificates, nonce: random, service: fields.serviceGuid, fields }
}

/** Has the firmware vouch for a manifest, and hands report, manifest and certificates to the guest. */
export function attest(
  request: AttestRequest, manifest: Uint8Array, svsm: SvsmState, processor: SvsmProcessor,
): SvsmAnswer {
  const hash = sha512.create().update(request.nonce).update(manifest).digest()
  const wanted = request.certificates.bytes > 0
  const attested = svsm.reports.get(processor, hash, wanted)
  if (attested === 'failed') return refuse('INVALID_REQUEST')
  const rcx = BigInt(manifest.length)
  if ('certificatePages' in attested) {
    return { code: SvsmResult.INVALID_PARAMETER, rcx, rdx: BigInt(attested.certificatePages) * PAGE }
  }
  const { report, certificates } = attested
  // The guest learns the sizes in any case: it asks again with larger buffers.
  const sizes = { rcx, rdx: BigInt(certificates.length), r8: BigInt(report.length) }
  const parts = [[request.report, report], [request.manifest, manifest], [request.certificates, certificates]] as const
  if (parts.some(([{ bytes }, part]) => part.length > bytes)) return { code: SvsmResult.INVALID_PARAMETER, ...sizes }
  for (const [{ gpa }, part] of parts) {
    if (part.length > 0 && !copyOut(svsm, processor, gpa, part)) return refuse('INVALID_ADDRESS')
  }
  return success(sizes)
}
