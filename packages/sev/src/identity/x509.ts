/** X.509 certificates in the shape of AMD's (57230): building and signing them, and reading what a verifier needs. */
import {
  BitString, Boolean as Asn1Boolean, Constructed, IA5String, Integer, Null, ObjectIdentifier, OctetString, Primitive,
  Sequence, Set as Asn1Set, UTCTime, Utf8String, fromBER,
} from 'asn1js'
import type { BaseBlock } from 'asn1js'
import { sha1 } from '@noble/hashes/legacy.js'
import { SevInputError } from '../error.ts'
import { rsaPssSign } from './rsa.ts'
import type { RsaPrivateKey, RsaPublicKey } from './rsa.ts'

const OID = {
  rsaEncryption: '1.2.840.113549.1.1.1', rsassaPss: '1.2.840.113549.1.1.10', mgf1: '1.2.840.113549.1.1.8',
  sha384: '2.16.840.1.101.3.4.2.2', ecPublicKey: '1.2.840.10045.2.1', secp384r1: '1.3.132.0.34',
  subjectKeyId: '2.5.29.14', keyUsage: '2.5.29.15', basicConstraints: '2.5.29.19', crlPoints: '2.5.29.31',
  authorityKeyId: '2.5.29.35', comment: '2.16.840.1.113730.1.13',
} as const

const seq = (...value: BaseBlock[]): Sequence => new Sequence({ value })
const oid = (value: string): ObjectIdentifier => new ObjectIdentifier({ value })
const int = (value: bigint | number): Integer => Integer.fromBigInt(BigInt(value))
const bits = (valueHex: Uint8Array): BitString => new BitString({ valueHex: valueHex.slice().buffer })
const octets = (valueHex: Uint8Array): OctetString => new OctetString({ valueHex: valueHex.slice().buffer })
const context = (tagNumber: number, ...value: BaseBlock[]): Constructed =>
  new Constructed({ idBlock: { tagClass: 3, tagNumber }, value })
const contextBytes = (tagNumber: number, valueHex: Uint8Array): Primitive =>
  new Primitive({ idBlock: { tagClass: 3, tagNumber }, valueHex: valueHex.slice().buffer })

/** DER of a value. */
const der = (block: BaseBlock): Uint8Array => new Uint8Array(block.toBER())

/** RSASSA-PSS with SHA-384 and a salt of 48 bytes. */
function pssAlgorithm(): Sequence {
  const sha384 = (): Sequence => seq(oid(OID.sha384), new Null())
  return seq(oid(OID.rsassaPss),
    seq(context(0, sha384()), context(1, seq(oid(OID.mgf1), sha384())), context(2, int(48))))
}

/** A distinguished name as AMD's certificates have it, in their order. */
function amdName(commonName: string): Sequence {
  const attributes: [string, string][] = [
    ['2.5.4.11', 'Engineering'], ['2.5.4.6', 'US'], ['2.5.4.7', 'Santa Clara'], ['2.5.4.8', 'CA'],
    ['2.5.4.10', 'Advanced Micro Devices'], ['2.5.4.3', commonName],
  ]
  return seq(...attributes.map(([type, value]) =>
    new Asn1Set({ value: [seq(oid(type), new Utf8String({ value }))] })))
}

/** The public key of a certificate to be made. */
export type SubjectKey = { readonly rsa: RsaPublicKey } | { readonly p384: Uint8Array }

function publicKeyInfo(key: SubjectKey): Sequence {
  if ('p384' in key) return seq(seq(oid(OID.ecPublicKey), oid(OID.secp384r1)), bits(key.p384))
  return seq(seq(oid(OID.rsaEncryption), new Null()), bits(rsaKeyDer(key.rsa)))
}

const rsaKeyDer = ({ n, e }: RsaPublicKey): Uint8Array => der(seq(int(n), int(e)))

/** An extension with its DER inside. */
export interface RawExtension {
  readonly id: string
  readonly critical?: boolean
  readonly value: Uint8Array
}

/** Extension values of AMD's: an INTEGER, an IA5String. */
export const integerValue = (value: number): Uint8Array => der(int(value))
export const textValue = (value: string): Uint8Array => der(new IA5String({ value }))

/**
 * Extensions of a certificate authority, as ARK and ASK have them: the root signs revocation lists as well, and says
 * nothing of the length of the path.
 */
export function authorityExtensions(key: RsaPublicKey, issuer: RsaPublicKey, crl: string): RawExtension[] {
  const root = key.n === issuer.n
  const id = (of: RsaPublicKey): Uint8Array => sha1(rsaKeyDer(of))
  const uri = contextBytes(6, new TextEncoder().encode(crl))
  return [
    { id: OID.subjectKeyId, value: der(octets(id(key))) },
    { id: OID.authorityKeyId, value: der(seq(contextBytes(0, id(issuer)))) },
    {
      id: OID.basicConstraints, critical: true,
      value: der(seq(new Asn1Boolean({ value: true }), ...(root ? [] : [int(0)]))),
    },
    // keyCertSign; of the root cRLSign too (RFC 5280, §4.2.1.3).
    { id: OID.keyUsage, critical: true, value: root ? Uint8Array.of(3, 2, 1, 6) : Uint8Array.of(3, 2, 2, 4) },
    { id: OID.crlPoints, value: der(seq(seq(context(0, context(0, uri))))) },
  ]
}

/** A comment that programs pass over and people see. */
export const commentExtension = (text: string): RawExtension => ({ id: OID.comment, value: textValue(text) })

/** A certificate to be made. Times are seconds since 1970, before 2050. */
export interface CertificatePlan {
  readonly serial: number
  readonly issuer: string
  readonly subject: string
  readonly notBefore: number
  readonly notAfter: number
  readonly key: SubjectKey
  readonly extensions: readonly RawExtension[]
}

/** Makes and signs a certificate; DER. `salt` is the signature's. */
export function makeCertificate(plan: CertificatePlan, signer: RsaPrivateKey, salt: Uint8Array): Uint8Array {
  const time = (seconds: number): UTCTime => new UTCTime({ valueDate: new Date(seconds * 1000) })
  const extension = ({ id, critical = false, value }: RawExtension): Sequence =>
    seq(oid(id), ...(critical ? [new Asn1Boolean({ value: true })] : []), octets(value))
  const body = seq(
    context(0, int(2)), int(plan.serial), pssAlgorithm(), amdName(plan.issuer),
    seq(time(plan.notBefore), time(plan.notAfter)), amdName(plan.subject), publicKeyInfo(plan.key),
    context(3, seq(...plan.extensions.map(extension))),
  )
  return der(seq(body, pssAlgorithm(), bits(rsaPssSign(signer, der(body), salt))))
}

/** What a verifier reads of a certificate. */
export interface ParsedCertificate {
  /** The bytes that are signed. */
  readonly signed: Uint8Array
  readonly signature: Uint8Array
  /** Object identifier of the signature's algorithm. */
  readonly algorithm: string
  readonly serial: bigint
  /** Common names. */
  readonly issuer: string
  readonly subject: string
  /** Whole names, DER, to compare. */
  readonly issuerName: Uint8Array
  readonly subjectName: Uint8Array
  /** Seconds since 1970. */
  readonly notBefore: number
  readonly notAfter: number
  readonly key: SubjectKey | null
  /** Extension values by object identifier. */
  readonly extensions: ReadonlyMap<string, Uint8Array>
}

/** The children of a constructed value. */
function children(block: BaseBlock | undefined): BaseBlock[] {
  const value: unknown = block === undefined ? undefined : (block.valueBlock as { value?: unknown }).value
  return Array.isArray(value) ? value as BaseBlock[] : []
}

const hexOf = (block: BaseBlock | undefined): Uint8Array =>
  (block instanceof OctetString || block instanceof BitString || block instanceof Integer
    ? new Uint8Array(block.valueBlock.valueHexView) : new Uint8Array())

const rawOf = (block: BaseBlock | undefined): Uint8Array =>
  (block === undefined ? new Uint8Array() : new Uint8Array(block.valueBeforeDecodeView))

const idOf = (block: BaseBlock | undefined): string => (block instanceof ObjectIdentifier ? block.getValue() : '')

const unsigned = (bytes: Uint8Array): bigint => bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n)

/** Text of a string type, whichever it is. */
function textOf(block: BaseBlock | undefined): string {
  const value: unknown = block === undefined ? '' : (block.valueBlock as { value?: unknown }).value
  return typeof value === 'string' ? value : ''
}

function commonName(name: BaseBlock | undefined): string {
  for (const set of children(name)) {
    const [type, value] = children(children(set)[0])
    if (idOf(type) === '2.5.4.3') return textOf(value)
  }
  return ''
}

function readKey(info: BaseBlock | undefined): SubjectKey | null {
  const [algorithm, value] = children(info)
  const [id, parameters] = children(algorithm)
  if (idOf(id) === OID.ecPublicKey) return idOf(parameters) === OID.secp384r1 ? { p384: hexOf(value) } : null
  if (idOf(id) !== OID.rsaEncryption) return null
  const [n, e] = children(decode(hexOf(value)))
  if (!(n instanceof Integer && e instanceof Integer)) return null
  return { rsa: { n: unsigned(hexOf(n)), e: unsigned(hexOf(e)) } }
}

/** `fromBER`, which throws of some malformed bytes and answers an offset of −1 of others. */
function decode(bytes: Uint8Array): BaseBlock | undefined {
  try {
    const { offset, result } = fromBER(bytes.slice().buffer)
    return offset < 0 ? undefined : result
  } catch {
    return undefined
  }
}

/**
 * Reads a certificate.
 * @throws SevInputError for what is no certificate
 */
export function parseCertificate(bytes: Uint8Array, name = 'certificate'): ParsedCertificate {
  try {
    const found = readCertificate(bytes)
    if (found !== null) return found
  } catch {
    // Malformed values inside a well-formed frame, of which the decoder throws when they are looked at.
  }
  throw new SevInputError(name, 'its bytes', 'an X.509 certificate, version 3')
}

function readCertificate(bytes: Uint8Array): ParsedCertificate | null {
  const [body, algorithm, signature] = children(decode(bytes))
  const fields = children(body)
  const validity = children(fields[4])
  if (fields.length < 8 || !(signature instanceof BitString) || validity.length !== 2) return null
  const seconds = (block: BaseBlock): number => (block instanceof UTCTime ? block.toDate().getTime() / 1000 : NaN)
  const extensions = new Map<string, Uint8Array>()
  for (const entry of children(children(fields.at(-1))[0])) {
    const parts = children(entry)
    extensions.set(idOf(parts[0]), hexOf(parts.at(-1)))
  }
  return {
    signed: rawOf(body), signature: hexOf(signature), algorithm: idOf(children(algorithm)[0]),
    serial: unsigned(hexOf(fields[1])), issuer: commonName(fields[3]), subject: commonName(fields[5]),
    issuerName: rawOf(fields[3]), subjectName: rawOf(fields[5]), notBefore: seconds(validity[0]),
    notAfter: seconds(validity[1]), key: readKey(fields[6]), extensions,
  }
}

/** The number in an extension that holds a DER INTEGER, or null. */
export function integerOf(value: Uint8Array | undefined): number | null {
  if (value === undefined) return null
  const result = decode(value)
  return result instanceof Integer ? Number(unsigned(hexOf(result))) : null
}

/** Whether the signature is RSASSA-PSS. */
export const isPss = ({ algorithm }: ParsedCertificate): boolean => algorithm === OID.rsassaPss

/** PEM of DER certificates, one after the other. */
export function toPem(...certificates: readonly Uint8Array[]): string {
  return certificates.map((bytes) => {
    const text = btoa(String.fromCharCode(...bytes)).replace(/.{64}/g, '$&\n').trimEnd()
    return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`
  }).join('')
}

/** DER certificates of a PEM text. @throws SevInputError when one is no base64 */
export function fromPem(text: string, name = 'certificates'): Uint8Array[] {
  const found = [...text.matchAll(/-----BEGIN CERTIFICATE-----([\sA-Za-z0-9+/=]*)-----END CERTIFICATE-----/g)]
  return found.map(([, body]) => {
    try {
      return Uint8Array.from(atob(body.replace(/\s/g, '')), (c) => c.charCodeAt(0))
    } catch {
      throw new SevInputError(name, 'its PEM text', 'base64 between the lines')
    }
  })
}
