/** The certificates that a host hands out with an extended guest request (AMD 56421 §4.1.8). */
import { CertGuid, CertTableEntry, guidBytes } from '@cofferdam/spec'
import { concat, isZero, sameBytes, viewOf } from '../bytes.ts'
import { SevInputError } from '../error.ts'
import type { SevIdentity } from '../identity/machine.ts'

/** A certificate by what it is. */
export interface NamedCertificate {
  /** A GUID of `CertGuid`, or another. */
  readonly guid: string
  readonly bytes: Uint8Array
}

/** The table: entries, an empty one, and the certificates behind it. */
export function certificateTable(certificates: readonly NamedCertificate[]): Uint8Array {
  let offset = CertTableEntry.size * (certificates.length + 1)
  const entries = certificates.map(({ guid, bytes }) => {
    const entry = CertTableEntry.create({ guid: guidBytes(guid), offset, length: bytes.length })
    offset += bytes.length
    return entry
  })
  return concat(...entries, new Uint8Array(CertTableEntry.size), ...certificates.map(({ bytes }) => bytes))
}

/** VCEK, ASK and ARK of a machine, for its reported TCB version. */
export const machineCertificates = (identity: SevIdentity, reportedTcb: bigint): Uint8Array => certificateTable([
  { guid: CertGuid.VCEK, bytes: identity.vcekCertificate(reportedTcb) },
  { guid: CertGuid.ASK, bytes: identity.ask() }, { guid: CertGuid.ARK, bytes: identity.ark() },
])

/** Certificates that a table may have. */
const MAX_ENTRIES = 64

/** Reads a table. @throws SevInputError when it does not end, or names bytes that are not there */
export function parseCertificateTable(table: Uint8Array, name = 'certificates'): NamedCertificate[] {
  const found: NamedCertificate[] = []
  const guids = Object.values(CertGuid)
  for (let at = 0; at + CertTableEntry.size <= table.length && found.length < MAX_ENTRIES; at += CertTableEntry.size) {
    const { guid, offset, length } = CertTableEntry.read(viewOf(table), at)
    if (isZero(guid) && offset === 0 && length === 0) return found
    if (offset + length > table.length) throw new SevInputError(name, `entry ${found.length}`, 'bytes in the table')
    const known = guids.find((g) => sameBytes(guidBytes(g), guid))
    found.push({ guid: known ?? guidText(guid), bytes: table.slice(offset, offset + length) })
  }
  throw new SevInputError(name, 'its end', `an empty entry within ${MAX_ENTRIES}`)
}

/** A GUID as text. */
function guidText(bytes: Uint8Array): string {
  const order = [3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15]
  return order.map((i) => (i < 0 ? '-' : bytes[i].toString(16).padStart(2, '0'))).join('')
}
