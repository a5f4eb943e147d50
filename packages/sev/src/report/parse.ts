/** Reading attestation reports, strictly by their published layout (AMD 56860 §7.3, table 23). */
import {
  AttestationReport, ECDSA_P384_SHA384, ReportKeyInfo, ReportPlatformInfo, ReportSigningKey, SnpEcdsaSignature,
  SnpPolicy,
} from '@cofferdam/spec'
import type { LayoutRecord } from '@cofferdam/spec'
import { isZero, toHex, viewOf } from '../bytes.ts'
import { SevInputError } from '../error.ts'
import { decodeTcb } from '../identity/tcb.ts'
import type { SevProduct } from '../identity/tcb.ts'

/** The fields of a report by name. */
export type ReportFields = LayoutRecord<typeof AttestationReport.fields>

/** Versions that there are. */
export const REPORT_VERSIONS = { min: 2, max: 5 } as const

/**
 * Reads a report.
 * @throws SevInputError that names the field: a wrong length or version, reserved bits that are set, fields that the
 * report's version does not have
 */
export function parseReport(bytes: Uint8Array, name = 'report'): ReportFields {
  const wrong = (field: string, expected: string): never => { throw new SevInputError(name, field, expected) }
  if (bytes.length !== AttestationReport.size) {
    wrong(`its ${bytes.length} bytes`, `${AttestationReport.size} bytes`)
  }
  const fields = AttestationReport.read(viewOf(bytes))
  const { version, policy, keyInfo, platformInfo } = fields
  if (version < REPORT_VERSIONS.min || version > REPORT_VERSIONS.max) wrong(`version ${version}`, 'version 2 to 5')
  if (SnpPolicy.get(policy, 'RESERVED_ONE') !== 1n) wrong('policy bit 17', '1')
  if ((policy & ~SnpPolicy.used) !== 0n) wrong('reserved bits of the policy', '0')
  if ((platformInfo & ~ReportPlatformInfo.used) !== 0n) wrong('reserved bits of PLATFORM_INFO', '0')
  if ((keyInfo & ~ReportKeyInfo.used) !== 0) wrong('reserved bits of KEY_INFO', '0')
  const key = ReportKeyInfo.get(keyInfo, 'signingKey')
  if (!Object.values<number>(ReportSigningKey).includes(key)) wrong(`SIGNING_KEY ${key}`, 'VCEK, VLEK or none')
  if (fields.vmpl > 3 && fields.vmpl !== 0xffff_ffff) wrong(`VMPL ${fields.vmpl}`, '0 to 3, or all ones for the host')
  if (fields.reserved1 !== 0 || fields.reserved3 !== 0 || fields.reserved4 !== 0 || !isZero(fields.reserved2) ||
    !isZero(fields.reserved5)) wrong('a reserved field', '0')
  if (version < 3 && (fields.cpuidFamily | fields.cpuidModel | fields.cpuidStepping) !== 0) {
    wrong('the processor model', `0 in version ${version}`)
  }
  if (version < 5 && (fields.launchMitVector | fields.currentMitVector) !== 0n) {
    wrong('the mitigation vectors', `0 in version ${version}`)
  }
  if (fields.signatureAlgorithm !== ECDSA_P384_SHA384) wrong(`signature algorithm ${fields.signatureAlgorithm}`, '1')
  const { reserved } = SnpEcdsaSignature.read(viewOf(fields.signature))
  if (!isZero(reserved)) wrong('reserved bytes of the signature', '0')
  return fields
}

/** The product that a report of version 3 or later comes from; null for older ones and unknown processors. */
export function productOf({ version, cpuidFamily, cpuidModel }: ReportFields): SevProduct | null {
  if (version < 3) return null
  if (cpuidFamily === 0x19) return cpuidModel >= 0x10 && cpuidModel !== 0x21 ? 'Genoa' : 'Milan'
  return cpuidFamily === 0x1a ? 'Turin' : null
}

/** The report's fields in words, one a line. */
export function describeReport(report: ReportFields, product: SevProduct = productOf(report) ?? 'Milan'): string {
  const tcb = (value: bigint): string =>
    Object.entries(decodeTcb(product, value)).filter(([part]) => part !== 'fmc' || product === 'Turin')
      .map(([part, n]) => `${part} ${n}`).join(', ')
  const signer = Object.entries(ReportSigningKey).find(([, n]) => n === ReportKeyInfo.get(report.keyInfo, 'signingKey'))
  const bytes = (value: Uint8Array): string => (isZero(value) ? '0' : toHex(value))
  const { currentMajor, currentMinor, currentBuild } = report
  const lines: [string, string][] = [
    ['version', `${report.version}`], ['VMPL', `${report.vmpl}`], ['guest SVN', `${report.guestSvn}`],
    ['policy', SnpPolicy.describe(report.policy)], ['measurement', toHex(report.measurement)],
    ['report data', bytes(report.reportData)], ['host data', bytes(report.hostData)],
    ['ID key digest', bytes(report.idKeyDigest)], ['author key digest', bytes(report.authorKeyDigest)],
    ['report id', bytes(report.reportId)], ['chip id', bytes(report.chipId)],
    ['firmware', `${currentMajor}.${currentMinor}.${currentBuild}`], ['reported TCB', tcb(report.reportedTcb)],
    ['platform', ReportPlatformInfo.describe(report.platformInfo)], ['signed by', signer?.[0] ?? 'nobody'],
  ]
  return lines.map(([label, value]) => `${label.padEnd(18)}${value}`).join('\n')
}
