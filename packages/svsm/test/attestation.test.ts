import { sha512 } from '@noble/hashes/sha2.js'
import {
  guidBytes, SevFeatures, SvsmAttestCall, SvsmAttestRequest, SvsmLocation, SvsmResult, SvsmServiceGuid,
} from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import type { SvsmFact } from '../src/index.ts'
import { serveReports, type FirmwareOptions } from './firmware.ts'
import { createBox, FEATURES, PAGE, SCRATCH, startedBox } from './fixture.ts'

const R = SvsmResult
const { SERVICES, SINGLE_SERVICE } = SvsmAttestCall
const PROTOCOL = 1
const REPORT = 0x200_0000
const MANIFEST = REPORT + PAGE
const CERTIFICATES = MANIFEST + PAGE
const NONCE = CERTIFICATES + PAGE

interface Location {
  readonly gpa?: number
  readonly bytes?: number
  readonly reserved?: number
}
interface Request {
  readonly report?: Location
  readonly nonce?: Location
  readonly manifest?: Location
  readonly certificates?: Location
  readonly guid?: string
  readonly manifestVersion?: number
  readonly reserved?: number
}

/** A TPM that makes the endorsement key 1, 2, 3. */
const vtpm = {
  command: (command: Uint8Array): Uint8Array => (command[9] === 0x31
    ? Uint8Array.of(0x80, 2, 0, 0, 0, 23, 0, 0, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 5, 0, 3, 1, 2, 3)
    : Uint8Array.of(0x80, 1)),
}

/** A box with buffers, and its firmware. */
function attestBox(
  firmware?: FirmwareOptions, tpm: { command(command: Uint8Array): Uint8Array | null } | undefined = vtpm,
) {
  const facts: SvsmFact[] = []
  const box = startedBox({ svsm: { vtpm: tpm, onFact: (_apicId, _vmsa, fact) => { facts.push(fact) } } })
  box.own(REPORT, 4)
  box.at(NONCE).bytes.fill(0x42)
  const asked = serveReports(box, firmware)
  const call = (request: Request = {}, number: number = SERVICES) => {
    const location = ({ gpa = 0, bytes = PAGE, reserved = 0 }: Location = {}): Uint8Array =>
      SvsmLocation.create({ gpa: BigInt(gpa), bytes, reserved })
    box.at(SCRATCH).bytes.set(SvsmAttestRequest.create({
      report: location({ gpa: REPORT, ...request.report }),
      nonce: location({ gpa: NONCE, bytes: 64, ...request.nonce }),
      manifest: location({ gpa: MANIFEST, ...request.manifest }),
      certificates: location({ gpa: CERTIFICATES, ...request.certificates }),
      serviceGuid: guidBytes(request.guid ?? SvsmServiceGuid.VTPM), manifestVersion: request.manifestVersion ?? 0,
      reserved: request.reserved ?? 0,
    }))
    return box.call(PROTOCOL, number, { rcx: BigInt(SCRATCH), rdx: 77n, r8: 78n })
  }
  return { ...box, asked, facts, attest: call }
}

const nonce = new Uint8Array(64).fill(0x42)
const reportOver = (manifest: Uint8Array): Uint8Array => sha512.create().update(nonce).update(manifest).digest()

describe('SVSM_ATTEST_SERVICES', () => {
  it('hands out the manifests of all services, and a report at VMPL0 over the nonce and them', () => {
    const box = attestBox()
    const result = box.attest()
    expect(result).toMatchObject({ code: R.SUCCESS, rcx: 51n, rdx: 53n, r8: 128n })
    const manifest = box.at(MANIFEST).bytes.slice(0, 51)
    const view = new DataView(manifest.buffer)
    expect([...manifest.subarray(0, 16)]).toEqual([...guidBytes(SvsmServiceGuid.MANIFEST)])
    expect([16, 20, 40, 44].map((at) => view.getUint32(at, true))).toEqual([51, 1, 48, 3])
    expect([...manifest.subarray(24, 40)]).toEqual([...guidBytes(SvsmServiceGuid.VTPM)])
    expect([...manifest.subarray(48)]).toEqual([1, 2, 3])
    expect(box.asked).toEqual([{ data: reportOver(manifest), vmpl: 0, sequence: 1n }])
    expect(box.at(REPORT).bytes.slice(64, 128)).toEqual(reportOver(manifest))
    expect([...box.at(CERTIFICATES).bytes.subarray(48, 53)]).toEqual([9, 8, 7, 6, 5])
  })

  it('has an empty manifest without services', () => {
    const box = startedBox()
    box.own(REPORT, 4)
    box.at(NONCE).bytes.fill(0x42)
    serveReports(box)
    const at = (gpa: number, bytes = PAGE): Uint8Array => SvsmLocation.create({ gpa: BigInt(gpa), bytes })
    box.at(SCRATCH).bytes.set(SvsmAttestRequest.create({
      report: at(REPORT), nonce: at(NONCE, 64), manifest: at(MANIFEST), certificates: at(0, 0),
    }))
    expect(box.call(PROTOCOL, SERVICES, { rcx: BigInt(SCRATCH) })).toMatchObject({ code: R.SUCCESS, rcx: 24n, rdx: 0n })
  })

  it('asks the firmware with a new number each time', () => {
    const box = attestBox()
    box.attest()
    box.attest()
    expect(box.asked.map(({ sequence }) => sequence)).toEqual([1n, 3n])
  })

  it('leaves certificates out where nobody asks, and where the host has none', () => {
    expect(attestBox().attest({ certificates: { bytes: 0 } })).toMatchObject({ code: R.SUCCESS, rdx: 0n })
    // A buffer of no bytes has no address (coconut-svsm/svsm protocols/attest.rs, get_certificate_region).
    expect(attestBox().attest({ certificates: { gpa: 8, bytes: 0 } }).code).toBe(R.SUCCESS)
    expect(attestBox({ certificatePages: 0 }).attest()).toMatchObject({ code: R.SUCCESS, rdx: 0n })
  })

  it.each([
    ['report', { report: { bytes: 127 } }], ['manifest', { manifest: { bytes: 50 } }],
    ['certificates', { certificates: { bytes: 52 } }],
  ])('tells the sizes when the room for the %s is too small, and writes nothing', (_, request) => {
    const box = attestBox()
    expect(box.attest(request)).toMatchObject({ code: R.INVALID_PARAMETER, rcx: 51n, rdx: 53n, r8: 128n })
    for (const page of [REPORT, MANIFEST, CERTIFICATES]) {
      expect(box.at(page).bytes.every((byte) => byte === 0)).toBe(true)
    }
  })

  it('tells how much room the certificates need that the host has, and uses no number twice', () => {
    const box = attestBox({ certificatePages: 9 })
    expect(box.attest()).toMatchObject({ code: R.INVALID_PARAMETER, rdx: BigInt(9 * PAGE) })
    expect(box.attest({ certificates: { bytes: 0 } }).code).toBe(R.SUCCESS)
    expect(box.asked.map(({ sequence }) => sequence)).toEqual([1n, 3n])
  })

  it.each([
    ['reserved bits of the report', { report: { reserved: 1 } }], ['of the nonce', { nonce: { reserved: 1 } }],
    ['of the manifest', { manifest: { reserved: 1 } }], ['of the certificates', { certificates: { reserved: 1 } }],
    ['a nonce of another size', { nonce: { bytes: 63 } }], ['a nonce across pages', { nonce: { gpa: NONCE - 32 } }],
    ['a report that is not aligned', { report: { gpa: REPORT + 8 } }],
    ['a manifest', { manifest: { gpa: MANIFEST + 8 } }], ['certificates', { certificates: { gpa: CERTIFICATES + 8 } }],
    ['a nonce outside of memory', { nonce: { gpa: 2 ** 40 } }],
  ])('refuses %s', (_, request) => {
    const box = attestBox()
    expect(box.attest(request).code).toBe(R.INVALID_PARAMETER)
    expect(box.asked).toEqual([])
  })

  it('notes reserved bits as a mistake of the guest', () => {
    const box = attestBox()
    box.attest({ nonce: { reserved: 0x10 } })
    box.attest({ reserved: 2 }, SINGLE_SERVICE)
    expect(box.facts.map(({ field, bits }) => [field, bits])).toEqual([
      ['the word behind the size of its nonce', 0x10n], ['the word behind the manifest version', 2n],
    ])
  })

  it('refuses to write to its own pages', () => {
    const box = attestBox()
    expect(box.attest({ report: { gpa: box.base } }).code).toBe(R.INVALID_ADDRESS)
    expect(box.at(box.base).bytes.slice(0, 64)).not.toEqual(new Uint8Array(64))
  })

  it('believes no answer that was changed on its way, and does not use the key any more', () => {
    let bit = 0
    const box = attestBox({ tamper: (page) => { page[0x70] ^= bit } })
    expect(box.attest().code).toBe(R.SUCCESS)
    bit = 1
    expect(box.attest().code).toBe(R.INVALID_REQUEST)
    bit = 0
    expect(box.attest().code).toBe(R.INVALID_REQUEST)
    expect(box.asked).toHaveLength(2)
  })
})

describe('after a secure TSC was asked for', () => {
  it('reports go on with the numbers of messages', () => {
    const box = createBox({ features: FEATURES | SevFeatures.mask.SecureTSC, svsm: { vtpm } })
    const asked = serveReports(box)
    box.svsm.run(box.processors[0])
    box.own(REPORT, 4)
    const at = (gpa: number, bytes = PAGE): Uint8Array => SvsmLocation.create({ gpa: BigInt(gpa), bytes })
    box.at(SCRATCH).bytes.set(SvsmAttestRequest.create({
      report: at(REPORT), nonce: at(NONCE, 64), manifest: at(MANIFEST), certificates: at(0, 0),
    }))
    expect(box.call(PROTOCOL, SERVICES, { rcx: BigInt(SCRATCH) }).code).toBe(R.SUCCESS)
    expect(asked.map(({ sequence }) => sequence)).toEqual([3n])
  })
})

describe('SVSM_ATTEST_SINGLE_SERVICE', () => {
  it("hands out the vTPM's endorsement key", () => {
    const box = attestBox()
    expect(box.attest({}, SINGLE_SERVICE)).toMatchObject({ code: R.SUCCESS, rcx: 3n })
    expect([...box.at(MANIFEST).bytes.subarray(0, 4)]).toEqual([1, 2, 3, 0])
    expect(box.asked[0].data).toEqual(reportOver(Uint8Array.of(1, 2, 3)))
  })

  it.each([
    ['a service that there is not', { guid: SvsmServiceGuid.MANIFEST }, R.UNSUPPORTED_PROTOCOL],
    ['a version of the manifest', { manifestVersion: 1 }, R.INVALID_PARAMETER],
    ['reserved bits', { reserved: 1 }, R.INVALID_PARAMETER],
  ])('refuses %s', (_, request, code) => {
    expect(attestBox().attest(request, SINGLE_SERVICE).code).toBe(code)
  })

  it('fails when the TPM makes no key', () => {
    expect(attestBox({}, { command: () => null }).attest({}, SINGLE_SERVICE).code).toBe(R.INVALID_REQUEST)
  })
})
