/**
 * Verifying a report as a relying party does: by its published layout and a chain of certificates up to a root that the
 * caller trusts. It shares nothing with the code that makes reports but the algorithms themselves.
 */
import { REPORT_SIGNED_BYTES, ReportKeyInfo, ReportSigningKey, VcekOid } from '@cofferdam/spec'
import { isZero, sameBytes } from '../bytes.ts'
import { SevInputError } from '../error.ts'
import { rsaPssVerify } from '../identity/rsa.ts'
import { decodeTcb } from '../identity/tcb.ts'
import type { SevProduct, TcbParts } from '../identity/tcb.ts'
import { integerOf, isPss, parseCertificate } from '../identity/x509.ts'
import type { ParsedCertificate } from '../identity/x509.ts'
import { ecdsaVerify } from './ecdsa.ts'
import { parseReport, productOf } from './parse.ts'
import type { ReportFields } from './parse.ts'

/** What to verify. */
export interface VerifyOptions {
  /** 0x4a0 bytes. */
  readonly report: Uint8Array
  /** DER certificate of the key that signed: VCEK or VLEK. */
  readonly endorsement: Uint8Array
  /** DER certificate that signed it: ASK or ASVK. */
  readonly intermediate: Uint8Array
  /** DER certificate that the caller trusts: ARK. */
  readonly root: Uint8Array
  /** Seconds since 1970; when given, all certificates have to be valid then. */
  readonly now?: number
}

/** Accepted, or the first thing that is wrong. */
export type Verdict =
  | { readonly ok: true; readonly report: ReportFields; readonly product: SevProduct; readonly signer: 'VCEK' | 'VLEK' }
  | { readonly ok: false; readonly reason: string }

const no = (reason: string): Verdict => ({ ok: false, reason })

/** Whether `issuer` signed `subject`, or why it did not. */
function signedBy(subject: ParsedCertificate, issuer: ParsedCertificate): string | null {
  if (!sameBytes(subject.issuerName, issuer.subjectName)) {
    return `${subject.subject} was issued by ${subject.issuer}, not by ${issuer.subject}`
  }
  if (!isPss(subject)) return `${subject.subject} is not signed by RSASSA-PSS`
  const key = issuer.key
  if (key === null || !('rsa' in key) || !rsaPssVerify(key.rsa, subject.signed, subject.signature)) {
    return `the signature of ${subject.subject} is not ${issuer.subject}'s`
  }
  return null
}

/** CA:TRUE in the basic constraints. */
const isAuthority = ({ extensions }: ParsedCertificate): boolean => {
  const value = extensions.get('2.5.29.19')
  return value !== undefined && value.length >= 5 && value[2] === 1 && value[4] !== 0
}

function chainFlaw(chain: readonly [ParsedCertificate, ParsedCertificate, ParsedCertificate], now?: number) {
  const [leaf, intermediate, root] = chain
  const dated = now === undefined ? undefined
    : chain.find(({ notBefore, notAfter }) => !(now >= notBefore && now <= notAfter))
  if (dated !== undefined) return `${dated.subject} is not valid at that time`
  if (!isAuthority(root) || !isAuthority(intermediate)) return 'the chain holds a certificate that may not sign others'
  return signedBy(root, root) ?? signedBy(intermediate, root) ?? signedBy(leaf, intermediate)
}

/** The product in the certificate: `Milan-B0`, `Genoa`, `Turin`. */
function certificateProduct({ extensions }: ParsedCertificate): SevProduct | null {
  const name = new TextDecoder().decode((extensions.get(VcekOid.PRODUCT_NAME) ?? new Uint8Array()).slice(2))
  return (['Milan', 'Genoa', 'Turin'] as const).find((product) => name.startsWith(product)) ?? null
}

/** The part of the TCB version in which report and certificate differ, or null. */
function tcbFlaw(report: ReportFields, leaf: ParsedCertificate, product: SevProduct): keyof TcbParts | null {
  const tcb = decodeTcb(product, report.reportedTcb)
  const parts: [keyof TcbParts, string][] = [
    ['bootLoader', VcekOid.BL_SPL], ['tee', VcekOid.TEE_SPL], ['snp', VcekOid.SNP_SPL],
    ['microcode', VcekOid.UCODE_SPL],
  ]
  if (product === 'Turin') parts.push(['fmc', VcekOid.FMC_SPL])
  return parts.find(([part, id]) => integerOf(leaf.extensions.get(id)) !== tcb[part])?.[0] ?? null
}

function hwidFlaw({ chipId }: ReportFields, { extensions }: ParsedCertificate): string | null {
  // A host may have masked the chip id.
  if (isZero(chipId)) return null
  const hwid = extensions.get(VcekOid.HWID) ?? new Uint8Array()
  const known = hwid.length === 8 || hwid.length === 64
  return known && sameBytes(hwid, chipId.subarray(0, hwid.length)) && isZero(chipId.subarray(hwid.length))
    ? null : "the report's chip id is not the certificate's"
}

function signer(report: ReportFields): 'VCEK' | 'VLEK' | null {
  const key = ReportKeyInfo.get(report.keyInfo, 'signingKey')
  if (key === ReportSigningKey.VCEK) return 'VCEK'
  return key === ReportSigningKey.VLEK ? 'VLEK' : null
}

function verdict(options: VerifyOptions): Verdict {
  const report = parseReport(options.report)
  const leaf = parseCertificate(options.endorsement, 'endorsement certificate')
  const intermediate = parseCertificate(options.intermediate, 'intermediate certificate')
  const root = parseCertificate(options.root, 'root certificate')
  const flaw = chainFlaw([leaf, intermediate, root], options.now)
  if (flaw !== null) return no(flaw)
  const kind = signer(report)
  if (kind === null) return no('the report is not signed')
  if (leaf.subject !== `SEV-${kind}`) {
    return no(`the report is signed by the ${kind}, the certificate is ${leaf.subject}'s`)
  }
  const product = certificateProduct(leaf)
  if (product === null) return no('the endorsement certificate names no known product')
  const reported = productOf(report)
  if (reported !== null && reported !== product) return no(`the report comes from ${reported}, the key from ${product}`)
  const part = tcbFlaw(report, leaf, product)
  if (part !== null) return no(`the ${part} version of the reported TCB is not the certificate's`)
  const hwid = kind === 'VCEK' ? hwidFlaw(report, leaf) : null
  if (hwid !== null) return no(hwid)
  if (leaf.key === null || !('p384' in leaf.key)) return no('the endorsement key is none of P-384')
  if (!ecdsaVerify(leaf.key.p384, options.report.subarray(0, REPORT_SIGNED_BYTES), report.signature)) {
    return no("the report's signature is not the endorsement key's")
  }
  return { ok: true, report, product, signer: kind }
}

/** Verifies a report. Nothing is thrown, whatever the bytes. */
export function verifyReport(options: VerifyOptions): Verdict {
  try {
    return verdict(options)
  } catch (error) {
    if (error instanceof SevInputError) return no(error.message)
    throw error
  }
}
