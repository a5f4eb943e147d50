/// <reference types="node" />
import { checkPrimeSync, createHash, webcrypto } from 'node:crypto'
import fc from 'fast-check'
import { AttestationReport, REPORT_SIGNED_BYTES, ReportKeyInfo, VcekOid } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  SevInputError, createSevIdentity, decodeEcdsaKey, decodeTcb, describeReport, ecdsaSign, ecdsaVerify, encodeEcdsaKey,
  encodeTcb, fromPem, parseCertificate, parseReport, tcbAtMost, toPem, verifyReport,
} from '../src/index.ts'
import type { ReportFields, SevIdentity, SevProduct, VerifyOptions } from '../src/index.ts'
import { toHex } from '../src/bytes.ts'
import { vector } from './vectors.ts'

const milan = createSevIdentity(Uint8Array.of(1), 'Milan')
const turin = createSevIdentity(Uint8Array.of(1), 'Turin')
const parts = { fmc: 0, bootLoader: 4, tee: 1, snp: 24, microcode: 213 }
const turinParts = { ...parts, fmc: 2 }

/** A signed report of a machine, with fields of one's own. */
function signed(identity: SevIdentity, fields: Partial<ReportFields> = {}): VerifyOptions {
  const { product } = identity
  const tcb = encodeTcb(product, product === 'Turin' ? turinParts : parts)
  const report = AttestationReport.create({
    version: 2, policy: 0x3_0000n, signatureAlgorithm: 1, reportedTcb: tcb, chipId: identity.chipId,
    measurement: Uint8Array.from({ length: 48 }, (_, i) => i), ...fields,
  })
  const signature = ecdsaSign(identity.vcek(tcb).privateKey, report.subarray(0, REPORT_SIGNED_BYTES))
  report.set(signature, AttestationReport.offset.signature)
  return {
    report, endorsement: identity.vcekCertificate(tcb), intermediate: identity.ask(), root: identity.ark(),
  }
}

const reason = (options: VerifyOptions): string => {
  const verdict = verifyReport(options)
  return verdict.ok ? 'accepted' : verdict.reason
}

describe('a machine’s chain', () => {
  it('is the same for the same seed, and another for another', () => {
    const again = createSevIdentity(Uint8Array.of(1), 'Milan')
    expect(toHex(again.ark())).toBe(toHex(milan.ark()))
    expect(toHex(again.vcekCertificate(1n))).toBe(toHex(milan.vcekCertificate(1n)))
    const other = createSevIdentity(Uint8Array.of(2), 'Milan')
    expect(toHex(other.chipId)).not.toBe(toHex(milan.chipId))
    expect(toHex(other.vcek(1n).publicKey)).not.toBe(toHex(milan.vcek(1n).publicKey))
    expect(toHex(milan.vcek(2n).publicKey)).not.toBe(toHex(milan.vcek(1n).publicKey))
  })
  it('is the same as ever, and whichever test of primes finds its keys', () => {
    const quick = createSevIdentity(Uint8Array.of(1), 'Milan', { isPrime: (candidate) => checkPrimeSync(candidate) })
    const prints = (who: SevIdentity): string[] => [who.ark(), who.ask(), who.vcekCertificate(1n)]
      .map((bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 16))
    expect(prints(milan)).toEqual(['f5af26ad252bfbbc', 'ee17bde8359efee9', 'd57949ae985fd9d5'])
    expect(prints(quick)).toEqual(prints(milan))
  })
  it('is signed by RSASSA-PSS as WebCrypto verifies it', async () => {
    const { subtle } = webcrypto
    for (const [bytes, by] of [[milan.ark(), milan.ark()], [milan.ask(), milan.ark()],
      [milan.vcekCertificate(5n), milan.ask()]]) {
      const { signed: body, signature } = parseCertificate(bytes)
      const { key } = parseCertificate(by)
      if (key === null || !('rsa' in key)) throw new Error('no RSA key')
      const base64url = (n: bigint): string => {
        const hex = n.toString(16)
        return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').toString('base64url')
      }
      const jwk = { kty: 'RSA', n: base64url(key.rsa.n), e: base64url(key.rsa.e) }
      const imported = await subtle.importKey('jwk', jwk, { name: 'RSA-PSS', hash: 'SHA-384' }, false, ['verify'])
      const ok = await subtle.verify({ name: 'RSA-PSS', saltLength: 48 }, imported,
        signature.slice(), body.slice())
      expect(ok).toBe(true)
    }
  })
  it('names product, TCB and chip in AMD’s extensions', () => {
    const { subject, issuer, extensions } = parseCertificate(turin.vcekCertificate(encodeTcb('Turin', turinParts)))
    expect([subject, issuer]).toEqual(['SEV-VCEK', 'SEV-Turin'])
    const hex = (id: string): string => toHex(extensions.get(id) ?? new Uint8Array())
    expect(hex(VcekOid.STRUCT_VERSION)).toBe('020101')
    expect(hex(VcekOid.PRODUCT_NAME)).toBe('1605547572696e')
    expect(hex(VcekOid.FMC_SPL)).toBe('020102')
    expect(hex(VcekOid.UCODE_SPL)).toBe('020200d5')
    expect(hex(VcekOid.HWID)).toBe(toHex(turin.chipId.subarray(0, 8)))
    expect(parseCertificate(milan.asvk()).subject).toBe('SEV-VLEK-Milan')
  })
  it('names the product without stepping in a VLEK (go-sev-guest kds.go, ParseProductName)', () => {
    const name = (bytes: Uint8Array): string =>
      toHex(parseCertificate(bytes).extensions.get(VcekOid.PRODUCT_NAME) ?? bytes)
    const ia5 = (text: string): string => toHex(Uint8Array.of(0x16, text.length, ...new TextEncoder().encode(text)))
    const tcb = encodeTcb('Milan', parts)
    expect(name(milan.vcekCertificate(tcb))).toBe(ia5('Milan-B0'))
    expect(name(milan.vlekCertificate(Uint8Array.of(9), tcb, 'a cloud'))).toBe(ia5('Milan'))
  })
  it('has authorities with the numbers and rights of AMD’s', () => {
    const shape = (bytes: Uint8Array): string[] => {
      const { serial, extensions } = parseCertificate(bytes)
      const [usage, constraints] = ['2.5.29.15', '2.5.29.19'].map((id) => toHex(extensions.get(id) ?? bytes))
      // AMD's count of unused bits is not the least that there can be, as DER wants it.
      return [serial.toString(16), usage.slice(-2), constraints]
    }
    // The root may sign revocation lists and any number of authorities.
    expect(shape(milan.ark())).toEqual(['10000', '06', '30030101ff'])
    expect(shape(milan.ask())).toEqual(['10001', '04', '30060101ff020100'])
    expect(shape(milan.asvk())).toEqual(['10101', '04', '30060101ff020100'])
    expect(shape(turin.ark())[0]).toBe('30000')
    for (const [file, who] of [['cert_chain_milan.pem', milan], ['cert_chain_turin.pem', turin]] as const) {
      const real = vector(file)
      if (real === null) continue
      expect(fromPem(new TextDecoder().decode(real)).map(shape)).toEqual([shape(who.ask()), shape(who.ark())])
    }
  })
  it('goes through PEM', () => {
    const [ask, ark] = fromPem(milan.chainPem())
    expect(toHex(ask)).toBe(toHex(milan.ask()))
    expect(toHex(ark)).toBe(toHex(milan.ark()))
    expect(fromPem(toPem(ask)).length).toBe(1)
    expect(fromPem('nothing')).toEqual([])
  })
})

describe('a report', () => {
  it.each([['Milan', milan], ['Turin', turin]] as const)('of %s is accepted given the root', (product, identity) => {
    const options = signed(identity)
    const verdict = verifyReport({ ...options, now: Date.UTC(2026, 0, 1) / 1000 })
    expect(verdict).toMatchObject({ ok: true, product, signer: 'VCEK' })
    expect(describeReport(parseReport(options.report), product)).toContain('microcode 213')
  })
  it('of a loaded key is accepted with the chain of that key', () => {
    const seed = Uint8Array.of(9)
    const tcb = encodeTcb('Milan', parts)
    const { report } = signed(milan, { keyInfo: ReportKeyInfo.pack({ signingKey: 1 }), chipId: new Uint8Array(64) })
    const signature = ecdsaSign(milan.vlek(seed, tcb).privateKey, report.subarray(0, REPORT_SIGNED_BYTES))
    report.set(signature, AttestationReport.offset.signature)
    const options = {
      report, endorsement: milan.vlekCertificate(seed, tcb, 'a cloud'), intermediate: milan.asvk(), root: milan.ark(),
    }
    expect(verifyReport(options)).toMatchObject({ ok: true, signer: 'VLEK' })
    expect(reason({ ...options, endorsement: milan.vcekCertificate(tcb), intermediate: milan.ask() }))
      .toMatch(/signed by the VLEK/)
  })
  it('is refused when any signed byte changes', () => {
    const options = signed(milan)
    fc.assert(fc.property(fc.integer({ min: 0, max: REPORT_SIGNED_BYTES - 1 }), fc.integer({ min: 1, max: 255 }),
      (at, flip) => {
        const report = options.report.slice()
        report[at] ^= flip
        expect(verifyReport({ ...options, report }).ok).toBe(false)
      }), { numRuns: 40 })
  })
  it('is refused with a reason', () => {
    const options = signed(milan)
    const other = createSevIdentity(Uint8Array.of(3), 'Milan')
    expect(reason({ ...options, root: other.ark() })).toBe("the signature of SEV-Milan is not ARK-Milan's")
    expect(reason({ ...options, intermediate: milan.ark() })).toMatch(/was issued by SEV-Milan, not by ARK-Milan/)
    expect(reason({ ...options, endorsement: milan.vcekCertificate(7n) })).toMatch(/bootLoader version/)
    expect(reason({ ...options, now: 0 })).toMatch(/SEV-VCEK is not valid at that time/)
    expect(reason({ ...options, endorsement: options.report })).toMatch(/endorsement certificate: its bytes/)
    expect(reason(signed(milan, { chipId: turin.chipId }))).toMatch(/chip id/)
    expect(reason(signed(milan, { keyInfo: ReportKeyInfo.pack({ signingKey: 7 }) }))).toBe('the report is not signed')
    expect(reason(signed(milan, { version: 3, cpuidFamily: 0x1a, cpuidModel: 2 }))).toMatch(/comes from Turin/)
    expect(reason(signed(milan, { chipId: new Uint8Array(64) }))).toBe('accepted')
    const bad = { ...options, report: options.report.slice() }
    bad.report[AttestationReport.offset.signature] ^= 1
    expect(reason(bad)).toBe("the report's signature is not the endorsement key's")
  })
  it('with fields that its version or its layout does not have is refused', () => {
    const refused = (fields: Partial<ReportFields>) => reason(signed(milan, fields))
    expect(refused({ version: 1 })).toMatch(/version 1/)
    expect(refused({ version: 6 })).toMatch(/version 6/)
    expect(refused({ policy: 0n })).toMatch(/policy bit 17/)
    expect(refused({ policy: 0x8000_0000_0003_0000n })).toMatch(/reserved bits of the policy/)
    expect(refused({ platformInfo: 0x40n })).toMatch(/PLATFORM_INFO/)
    expect(refused({ keyInfo: 0x20 })).toMatch(/KEY_INFO/)
    expect(refused({ keyInfo: 2 << 2 })).toMatch(/SIGNING_KEY 2/)
    expect(refused({ vmpl: 4 })).toMatch(/VMPL 4/)
    expect(refused({ reserved2: new Uint8Array(21).fill(1) })).toMatch(/reserved field/)
    expect(refused({ cpuidFamily: 0x19 })).toMatch(/processor model/)
    expect(refused({ version: 4, launchMitVector: 1n })).toMatch(/mitigation/)
    expect(refused({ version: 5, launchMitVector: 1n, cpuidFamily: 0x19, cpuidModel: 1 })).toBe('accepted')
    expect(refused({ signatureAlgorithm: 2 })).toMatch(/signature algorithm 2/)
    expect(() => parseReport(new Uint8Array(3))).toThrow(SevInputError)
  })
})

describe('certificates of any bytes', () => {
  it('are read or refused, never worse', () => {
    const certificate = milan.vcekCertificate(1n)
    const change = fc.tuple(fc.integer({ min: 0, max: certificate.length - 1 }), fc.integer({ min: 0, max: 255 }))
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
      const bytes = certificate.slice()
      for (const [at, value] of changes) bytes[at] = value
      try {
        parseCertificate(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(SevInputError)
      }
    }), { numRuns: 400 })
  })
})

describe('the firmware’s numbers', () => {
  it('are little-endian points that come back', () => {
    const { publicKey } = milan.vcek(1n)
    const encoded = encodeEcdsaKey(publicKey)
    expect(encoded.length).toBe(1028)
    expect(toHex(decodeEcdsaKey(encoded) ?? new Uint8Array())).toBe(toHex(publicKey))
    expect(decodeEcdsaKey(new Uint8Array(1028))).toBeNull()
    const message = Uint8Array.of(1, 2, 3)
    const signature = ecdsaSign(milan.vcek(1n).privateKey, message)
    expect(ecdsaVerify(publicKey, message, signature)).toBe(true)
    expect(ecdsaVerify(publicKey, Uint8Array.of(1, 2), signature)).toBe(false)
    expect(ecdsaVerify(publicKey, message, new Uint8Array(512).fill(255))).toBe(false)
  })
  it('of TCB versions compare part by part', () => {
    for (const product of ['Milan', 'Genoa', 'Turin'] as SevProduct[]) {
      const tcb = { ...parts, fmc: product === 'Turin' ? 3 : 0 }
      const value = encodeTcb(product, tcb)
      expect(decodeTcb(product, value)).toEqual(tcb)
      expect(tcbAtMost(product, value, value)).toBe(true)
      expect(tcbAtMost(product, encodeTcb(product, { ...tcb, tee: 2, snp: 0 }), value)).toBe(false)
      expect(tcbAtMost(product, 1n << 40n, value)).toBe(false)
    }
  })
})

const hexText = (bytes: Uint8Array | null): Uint8Array =>
  Uint8Array.from(Buffer.from(new TextDecoder().decode(bytes ?? new Uint8Array()).trim(), 'hex'))
const missing = vector('attestation_gosev.bin') === null

describe.skipIf(missing)('public vectors', () => {
  const file = (name: string): Uint8Array => vector(name) ?? new Uint8Array()
  const chain = (name: string): Uint8Array[] => fromPem(new TextDecoder().decode(file(name)))

  it('a report of a real Milan is accepted by its chain', () => {
    const [intermediate, root] = chain('cert_chain_milan.pem')
    const options = {
      report: file('attestation_gosev.bin').slice(0, AttestationReport.size), endorsement: file('vcek_gosev.der'),
      intermediate, root,
    }
    expect(verifyReport(options)).toMatchObject({ ok: true, product: 'Milan', signer: 'VCEK' })
    expect(reason({ ...options, endorsement: file('vcek_milan.der') })).not.toBe('accepted')
  })
  it('another one is accepted by the key of its own chip', () => {
    const [intermediate, root] = chain('cert_chain_milan.pem')
    const report = hexText(file('report_milan.hex'))
    const options = { report, endorsement: file('vcek_milan.der'), intermediate, root }
    expect(reason(options)).toBe('accepted')
  })
  it('certificates of a real Turin are read, and its chain holds', () => {
    const leaf = parseCertificate(file('vcek_turin.der'))
    expect([leaf.subject, leaf.issuer]).toEqual(['SEV-VCEK', 'SEV-Turin'])
    const [intermediate, root] = chain('cert_chain_turin.pem')
    const options = { ...signed(turin), endorsement: file('vcek_turin.der'), intermediate, root }
    // The chain is accepted; it is our report that is not that chip's.
    expect(reason(options)).toMatch(/TCB|chip id/)
  })
})
