/**
 * Who a machine is to verifiers: its chip id, its endorsement keys, and the chain of certificates ARK, ASK, VCEK (and
 * ASVK, VLEK) that vouch for them, all from the machine's seed. Names, extensions and algorithms are AMD's (57230), so
 * that AMD's verifiers take the chain once they are given its root; a comment in the authorities says that no AMD
 * hardware is behind it.
 */
import { p384 } from '@noble/curves/nist.js'
import { VcekOid } from '@cofferdam/spec'
import { toHex } from '../bytes.ts'
import { createDerive } from './derive.ts'
import type { Derive } from './derive.ts'
import { rsaKeyFrom } from './rsa.ts'
import type { PrimalityTest, RsaPrivateKey } from './rsa.ts'
import { decodeTcb } from './tcb.ts'
import type { SevProduct, TcbParts } from './tcb.ts'
import { authorityExtensions, commentExtension, integerValue, makeCertificate, textValue, toPem } from './x509.ts'
import type { RawExtension } from './x509.ts'

/** Validity of all certificates: the ARK of Milan began on 22 October 2020, for 25 years. */
const NOT_BEFORE = Date.UTC(2020, 9, 22) / 1000
const NOT_AFTER = Date.UTC(2045, 9, 22) / 1000

/** A key that signs reports. */
export interface EndorsementKey {
  readonly privateKey: Uint8Array
  /** Uncompressed point, 97 bytes. */
  readonly publicKey: Uint8Array
}

/**
 * A machine's identity. Certificates are made when first asked for, which takes some tenths of a second, half of that
 * with a quick test of primes.
 */
export interface SevIdentity {
  readonly product: SevProduct
  /** CHIP_ID, 64 bytes; of Turin all but the first 8 are 0. */
  readonly chipId: Uint8Array
  readonly derive: Derive
  /** The chip's key at a TCB version. */
  vcek(tcb: bigint): EndorsementKey
  /** The key of a seed that a cloud provider loaded, at a TCB version. */
  vlek(seed: Uint8Array, tcb: bigint): EndorsementKey
  /** DER certificates. */
  ark(): Uint8Array
  ask(): Uint8Array
  asvk(): Uint8Array
  vcekCertificate(tcb: bigint): Uint8Array
  vlekCertificate(seed: Uint8Array, tcb: bigint, cspId: string): Uint8Array
  /** ASK and ARK as AMD's key server gives them: `cert_chain`, PEM. */
  chainPem(): string
}

/** PRODUCT_NAME of VCEKs; that of VLEKs has no stepping (google/go-sev-guest kds/kds.go, ParseProductName). */
const STEPPING: Readonly<Record<SevProduct, string>> = { Milan: 'Milan-B0', Genoa: 'Genoa-B1', Turin: 'Turin' }
/** Serial numbers of AMD's authorities are the product's, then 0 for the ARK, 1 for the ASK, 101h for the ASVK. */
const SERIAL: Readonly<Record<SevProduct, number>> = { Milan: 0x1_0000, Genoa: 0x2_0000, Turin: 0x3_0000 }

/** What finds an identity's keys sooner. */
export interface SevIdentityOptions {
  /** A quick test of primes of 1024 bits, such as OpenSSL's. The keys are the same without. */
  readonly isPrime?: PrimalityTest | undefined
}

/** Creates the identity of a seed. */
export function createSevIdentity(
  seed: Uint8Array, product: SevProduct = 'Milan', { isPrime }: SevIdentityOptions = {},
): SevIdentity {
  const derive = createDerive(seed)
  const chipId = new Uint8Array(64)
  chipId.set(derive('chip id', product === 'Turin' ? 8 : 64))
  const rsaKeys = new Map<string, RsaPrivateKey>()
  const rsa = (label: string): RsaPrivateKey => {
    const key = rsaKeys.get(label) ?? rsaKeyFrom(derive, label, isPrime)
    rsaKeys.set(label, key)
    return key
  }
  const made = new Map<string, Uint8Array>()
  const once = (label: string, make: () => Uint8Array): Uint8Array => {
    const bytes = made.get(label) ?? make()
    made.set(label, bytes)
    return bytes
  }
  const endorsement = (label: string, from: Derive): EndorsementKey => {
    const privateKey = p384.utils.randomSecretKey(from(label, p384.lengths.seed ?? 72))
    return { privateKey, publicKey: p384.getPublicKey(privateKey, false) }
  }
  const vcek = (tcb: bigint): EndorsementKey => endorsement(`vcek ${tcb.toString(16)}`, derive)
  const vlek = (vlekSeed: Uint8Array, tcb: bigint): EndorsementKey =>
    endorsement(`vlek ${tcb.toString(16)}`, createDerive(vlekSeed))

  const authority = (label: string, name: string, serial: number): Uint8Array => once(label, () => {
    const crl = `https://kdsintf.amd.com/${label === 'asvk' ? 'vlek' : 'vcek'}/v1/${product}/crl`
    const key = rsa(label)
    const ark = rsa('ark')
    return makeCertificate({
      serial: SERIAL[product] + serial, issuer: `ARK-${product}`, subject: name, notBefore: NOT_BEFORE,
      notAfter: NOT_AFTER, key: { rsa: key },
      extensions: [
        ...authorityExtensions(key, ark, crl),
        commentExtension('Cofferdam: an emulated machine, no AMD hardware'),
      ],
    }, ark, derive(`${label} signature`, 48))
  })

  const leaf = (label: string, issuer: string, kind: 'VCEK' | 'VLEK', key: EndorsementKey, rest: RawExtension[]) =>
    once(label, () => makeCertificate({
      serial: 0, issuer, subject: `SEV-${kind}`, notBefore: NOT_BEFORE, notAfter: NOT_AFTER,
      key: { p384: key.publicKey }, extensions: rest,
    }, rsa(kind === 'VCEK' ? 'ask' : 'asvk'), derive(`${label} signature`, 48)))

  const identity: SevIdentity = {
    product, chipId, derive, vcek, vlek,
    ark: () => authority('ark', `ARK-${product}`, 0),
    ask: () => authority('ask', `SEV-${product}`, 1),
    asvk: () => authority('asvk', `SEV-VLEK-${product}`, 0x101),
    vcekCertificate: (tcb) => leaf(`vcek ${tcb.toString(16)}`, `SEV-${product}`, 'VCEK', vcek(tcb), [
      ...tcbExtensions(product, STEPPING[product], decodeTcb(product, tcb)),
      // The bytes themselves, as AMD has them, and no OCTET STRING around them.
      { id: VcekOid.HWID, value: product === 'Turin' ? chipId.slice(0, 8) : chipId },
    ]),
    vlekCertificate: (vlekSeed, tcb, cspId) =>
      leaf(`vlek ${toHex(vlekSeed)} ${tcb.toString(16)}`, `SEV-VLEK-${product}`, 'VLEK', vlek(vlekSeed, tcb), [
        ...tcbExtensions(product, product, decodeTcb(product, tcb)),
        { id: VcekOid.CSP_ID, value: textValue(cspId) },
      ]),
    chainPem: () => toPem(identity.ask(), identity.ark()),
  }
  return identity
}

/** Extensions that say which product and TCB version a key belongs to. */
function tcbExtensions(product: SevProduct, name: string, tcb: TcbParts): RawExtension[] {
  const turin = product === 'Turin'
  const parts: [string, number][] = [
    ...(turin ? [[VcekOid.FMC_SPL, tcb.fmc] as [string, number]] : []),
    [VcekOid.BL_SPL, tcb.bootLoader], [VcekOid.TEE_SPL, tcb.tee], [VcekOid.SNP_SPL, tcb.snp],
    ...(turin ? [] : [[VcekOid.SPL_4, 0] as [string, number]]),
    [VcekOid.SPL_5, 0], [VcekOid.SPL_6, 0], [VcekOid.SPL_7, 0], [VcekOid.UCODE_SPL, tcb.microcode],
  ]
  return [
    { id: VcekOid.STRUCT_VERSION, value: integerValue(turin ? 1 : 0) },
    { id: VcekOid.PRODUCT_NAME, value: textValue(name) },
    ...parts.map(([id, value]) => ({ id, value: integerValue(value) })),
  ]
}
