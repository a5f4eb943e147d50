import { SnapshotError } from '@cofferdam/devices'
import type { Plain } from '@cofferdam/devices'
import fc from 'fast-check'
import {
  CertGuid, GuestMessageHeader, GuestMessageStatus, GuestMessageType, KeyFieldSelect, KeyRequest, KeyResponse,
  PspCommand, PspStatus, ReportRequest, ReportResponseHeader, SnpConfig, SnpGuestRequest, SnpVlekLoad, TscInfoResponse,
} from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  createSevIdentity, encodeTcb, machineCertificates, openMessage, parseCertificateTable, parseReport, sealMessage,
  verifyReport, wrapVlek,
} from '../src/index.ts'
import type { GuestMessage } from '../src/index.ts'
import { toHex, viewOf } from '../src/bytes.ts'
import {
  CONTEXT, REQUEST, RESPONSE, finish, identity, launchPage, pspFixture, runningGuest, startGuest,
} from './psp-fixture.ts'
import type { FixtureOptions, PspFixture } from './psp-fixture.ts'

const S = PspStatus
const at = (page: number): bigint => BigInt(page) << 12n
const guestOf = (f: PspFixture) => {
  const guest = f.psp.state.guests.get(CONTEXT)
  if (guest === undefined) throw new Error('no guest')
  return guest
}

/** Puts a page with a request into memory and has the firmware answer it. */
function sendPage(f: PspFixture, page: Uint8Array): number {
  f.memory.write(REQUEST * 4096, page)
  return f.run('SNP_GUEST_REQUEST', SnpGuestRequest.create({
    gctxPaddr: at(CONTEXT), requestPaddr: at(REQUEST), responsePaddr: at(RESPONSE),
  }))
}

/** Sends a message as the guest's driver does; the payload of the answer. */
function ask(f: PspFixture, message: Partial<GuestMessage> & { payload: Uint8Array }) {
  const guest = guestOf(f)
  const vmpck = message.vmpck ?? 0
  const full = {
    type: GuestMessageType.REPORT_REQ, version: 1, sequence: guest.messages[vmpck] + 1n, vmpck, ...message,
  }
  const key = guest.vmpck[vmpck]
  const status = sendPage(f, sealMessage(key, full))
  const page = f.bytes(RESPONSE * 4096, 4096)
  return { status, answer: status === S.SUCCESS ? openMessage(key, page) ?? new Uint8Array() : new Uint8Array() }
}

const reportRequest = (fields: Parameters<typeof ReportRequest.create>[0] = {}) => ReportRequest.create(fields)

/** A report, and what its header said. */
function report(f: PspFixture, fields: Parameters<typeof ReportRequest.create>[0] = {}, vmpck = 0) {
  const { answer } = ask(f, { payload: reportRequest(fields), vmpck })
  const header = ReportResponseHeader.read(viewOf(answer))
  const start = ReportResponseHeader.size
  return { status: header.status, bytes: answer.slice(start, start + header.reportSize) }
}

describe('an attestation report', () => {
  it.each([2, 3, 4, 5])('of version %i is accepted by an independent verifier given the root', (reportVersion) => {
    const f = runningGuest({ facts: { reportVersion, mitigations: 3n } })
    const reportData = new Uint8Array(64).fill(0xab)
    const { status, bytes } = report(f, { reportData, vmpl: 1 })
    expect(status).toBe(GuestMessageStatus.SUCCESS)
    const verdict = verifyReport({
      report: bytes, endorsement: identity.vcekCertificate(f.psp.state.reportedTcb), intermediate: identity.ask(),
      root: identity.ark(),
    })
    expect(verdict).toMatchObject({ ok: true, product: 'Milan', signer: 'VCEK' })
    expect(parseReport(bytes)).toMatchObject({
      version: reportVersion, vmpl: 1, reportData, measurement: guestOf(f).digest, reportId: guestOf(f).reportId,
      chipId: identity.chipId, cpuidFamily: reportVersion >= 3 ? 0x19 : 0,
      launchMitVector: reportVersion >= 5 ? 3n : 0n,
    })
  })
  it('speaks for no VMPL above that of the key', () => {
    const f = runningGuest()
    expect(report(f, { vmpl: 1 }, 2).status).toBe(GuestMessageStatus.INVALID_PARAM)
    expect(report(f, { vmpl: 2 }, 2).status).toBe(GuestMessageStatus.SUCCESS)
    expect(report(f, { vmpl: 4 }).status).toBe(GuestMessageStatus.INVALID_PARAM)
    expect(report(f, { flags: 4 }).status).toBe(GuestMessageStatus.INVALID_PARAM)
    expect(report(f, { reserved: new Uint8Array(24).fill(1) }).status).toBe(GuestMessageStatus.INVALID_PARAM)
  })
  it('is signed by the loaded key when there is one, and by no key that was ruled out', () => {
    const f = runningGuest()
    expect(report(f, { flags: 2 }).status).toBe(GuestMessageStatus.INVALID_KEY_SELECTION)
    const tcb = f.psp.state.committedTcb
    const seed = new Uint8Array(384).fill(3)
    f.memory.write(0x9000, wrapVlek(identity, seed, tcb))
    f.run('SNP_VLEK_LOAD', SnpVlekLoad.create({ length: 16, wrappedPaddr: 0x9000n }))
    const { bytes } = report(f)
    expect(verifyReport({
      report: bytes, endorsement: identity.vlekCertificate(seed, tcb, 'a cloud'), intermediate: identity.asvk(),
      root: identity.ark(),
    })).toMatchObject({ ok: true, signer: 'VLEK' })
    guestOf(f).vcekDisabled = true
    expect(report(f, { flags: 1 }).status).toBe(GuestMessageStatus.INVALID_KEY_SELECTION)
  })
  it('finds a reserved KEY_SEL wrong in itself, and no key missing', () => {
    expect(report(runningGuest(), { flags: 3 }).status).toBe(GuestMessageStatus.INVALID_PARAM)
  })
  it('names the chip whichever key signs, unless MASK_CHIP_ID is set', () => {
    const f = runningGuest()
    f.memory.write(0x9000, wrapVlek(identity, new Uint8Array(384).fill(3), f.psp.state.committedTcb))
    f.run('SNP_VLEK_LOAD', SnpVlekLoad.create({ length: 16, wrappedPaddr: 0x9000n }))
    const chip = (): string => toHex(parseReport(report(f).bytes).chipId)
    expect(chip()).toBe(toHex(identity.chipId))
    f.run('SNP_CONFIG', SnpConfig.create({ flags: 1 }))
    expect(chip()).toBe('00'.repeat(64))
  })
  it('hides chip and signature when the platform says so', () => {
    const f = runningGuest()
    f.run('SNP_CONFIG', SnpConfig.create({ flags: 3 }))
    const fields = parseReport(report(f).bytes)
    expect([toHex(fields.chipId), toHex(fields.signature)].map((hex) => /^0*$/.test(hex))).toEqual([true, true])
  })
})

describe('the channel', () => {
  it('takes each sequence number once and in order, under each key apart', () => {
    const f = runningGuest()
    const key = guestOf(f).vmpck[0]
    const message = { type: GuestMessageType.REPORT_REQ, version: 1, vmpck: 0, payload: reportRequest() }
    const first = sealMessage(key, { ...message, sequence: 1n })
    expect(sendPage(f, sealMessage(key, { ...message, sequence: 3n }))).toBe(S.INVALID_PARAM)
    expect(sendPage(f, first)).toBe(S.SUCCESS)
    const answer = f.bytes(RESPONSE * 4096, 4096)
    const header = GuestMessageHeader.read(viewOf(answer))
    expect(header).toMatchObject({ sequence: 2n, messageType: GuestMessageType.REPORT_RSP })
    // The same message again, and one that comes too late.
    expect(sendPage(f, first)).toBe(S.INVALID_PARAM)
    expect(sendPage(f, sealMessage(key, { ...message, sequence: 2n }))).toBe(S.INVALID_PARAM)
    expect(toHex(f.bytes(RESPONSE * 4096, 4096))).toBe(toHex(answer))
    expect(sendPage(f, sealMessage(key, { ...message, sequence: 3n }))).toBe(S.SUCCESS)
    expect(guestOf(f).messages).toEqual([4n, 0n, 0n, 0n])
    guestOf(f).messages[0] = 0xffff_ffff_ffff_fffen
    expect(ask(f, { payload: reportRequest() }).status).toBe(S.AEAD_OFLOW)
  })
  it('notices every changed byte', () => {
    const f = runningGuest()
    const sealed = sealMessage(guestOf(f).vmpck[0], {
      type: GuestMessageType.REPORT_REQ, version: 1, sequence: 1n, vmpck: 0, payload: reportRequest(),
    })
    const covered = [...Array(16).keys(), ...Array.from({ length: 0x40 + 96 }, (_, i) => 0x20 + i)]
      .filter((i) => i < 0x28 || i >= 0x30)
    fc.assert(fc.property(fc.constantFrom(...covered), fc.integer({ min: 1, max: 255 }), (i, flip) => {
      const page = sealed.slice()
      page[i] ^= flip
      expect(sendPage(f, page)).not.toBe(S.SUCCESS)
    }), { numRuns: 150 })
    expect(sendPage(f, sealed)).toBe(S.SUCCESS)
  })
  it('refuses malformed headers and unknown messages', () => {
    const f = runningGuest()
    const key = guestOf(f).vmpck[0]
    const bad = (fields: Parameters<typeof GuestMessageHeader.create>[0]): number => {
      const page = sealMessage(key, { type: 5, version: 1, sequence: 1n, vmpck: 0, payload: reportRequest() })
      GuestMessageHeader.write(viewOf(page), fields ?? {})
      return sendPage(f, page)
    }
    expect(bad({ algorithm: 2 })).toBe(S.INVALID_PARAM)
    expect(bad({ headerVersion: 2 })).toBe(S.INVALID_PARAM)
    expect(bad({ headerSize: 0x40 })).toBe(S.INVALID_PARAM)
    expect(bad({ messageSize: 0xfff })).toBe(S.INVALID_PARAM)
    expect(bad({ vmpck: 4 })).toBe(S.INVALID_PARAM)
    expect(bad({ messageType: 17 })).toBe(S.BAD_MEASUREMENT)
    for (const type of [0, 1, 7, 9, 99]) {
      expect(ask(f, { type, payload: new Uint8Array(128) }).status).toBe(S.INVALID_PARAM)
    }
    expect(ask(f, { version: 2, payload: reportRequest() }).status).toBe(S.INVALID_PARAM)
    expect(ask(f, { payload: new Uint8Array(8) }).status).toBe(S.INVALID_PARAM)
    // A refused message does not use up its number.
    expect(ask(f, { payload: reportRequest() }).status).toBe(S.SUCCESS)
  })
  it('works on pages that are there and the firmware’s, for guests that run', () => {
    const f = runningGuest()
    const request = (fields: Parameters<typeof SnpGuestRequest.create>[0]): number =>
      f.run('SNP_GUEST_REQUEST', SnpGuestRequest.create({
        gctxPaddr: at(CONTEXT), requestPaddr: at(REQUEST), responsePaddr: at(RESPONSE), ...fields,
      }))
    expect(request({ responsePaddr: at(0x300) })).toBe(S.INVALID_PAGE_STATE)
    expect(request({ requestPaddr: 8n })).toBe(S.INVALID_ADDRESS)
    expect(request({ gctxPaddr: at(0x300) })).toBe(S.INVALID_GUEST)
    const early = pspFixture()
    startGuest(early)
    expect(early.psp.command(PspCommand.SNP_GUEST_REQUEST, 0x8000)).not.toBe(S.SUCCESS)
    expect(ask(early, { payload: reportRequest() }).status).toBe(S.INVALID_GUEST_STATE)
  })
})

/** A guest with one measured page, on a machine. */
function measured(byte: number, options: FixtureOptions = {}): PspFixture {
  const f = pspFixture(options)
  startGuest(f)
  f.memory.write(0x30_0000, new Uint8Array(4096).fill(byte))
  f.assign(0x300, { gpa: 1, asid: 1, immutable: 1 })
  launchPage(f, 0x300, 1)
  finish(f)
  f.firmwarePage(RESPONSE)
  return f
}

describe('a derived key', () => {
  const select = KeyFieldSelect.pack({ MEASUREMENT: 1n })
  const key = (f: PspFixture, fields: Parameters<typeof KeyRequest.create>[0] = {}, version = 1) => {
    const payload = KeyRequest.create(fields).slice(0, version === 1 ? 0x20 : 0x28)
    const { status, answer } = ask(f, { type: GuestMessageType.KEY_REQ, version, payload })
    expect(status).toBe(S.SUCCESS)
    const { status: inner, derivedKey } = KeyResponse.read(viewOf(answer))
    return inner === 0 ? toHex(derivedKey) : inner
  }
  it('is the same at every boot of the same guest on the same machine', () => {
    const first = key(measured(1), { guestFieldSelect: select })
    const later = measured(1)
    report(later)
    expect(key(later, { guestFieldSelect: select })).toBe(first)
    expect(first).toMatch(/^[0-9a-f]{64}$/)
  })
  it('differs with measurement, machine, VMPL and what is mixed in', () => {
    const other = createSevIdentity(Uint8Array.of(7))
    const keys = [
      key(measured(1), { guestFieldSelect: select }), key(measured(2), { guestFieldSelect: select }),
      key(measured(1, { who: other }), { guestFieldSelect: select }),
      key(measured(1), { guestFieldSelect: select, vmpl: 1 }),
      key(measured(1)), key(measured(1), { guestFieldSelect: KeyFieldSelect.pack({ GUEST_POLICY: 1n }) }),
    ]
    expect(new Set(keys).size).toBe(keys.length)
    expect(key(measured(2))).toBe(key(measured(1)))
  })
  it('is refused beyond what the guest is', () => {
    const f = measured(1)
    const tcb = encodeTcb('Milan', { fmc: 0, bootLoader: 5, tee: 0, snp: 24, microcode: 219 })
    for (const fields of [{ vmpl: 4 }, { guestSvn: 1 }, { tcbVersion: tcb }, { keySelect: 8 }, { reserved: 1 },
      { guestFieldSelect: 1n << 7n }, { guestFieldSelect: 1n << 6n }]) {
      expect([fields, key(f, fields)]).toEqual([fields, GuestMessageStatus.INVALID_PARAM])
    }
    // There is no VMRK without a migration agent, no VLEK loaded, and no fourth key.
    for (const keySelect of [1, 4, 6]) expect(key(f, { keySelect })).toBe(GuestMessageStatus.INVALID_KEY_SELECTION)
    expect(key(f, { guestFieldSelect: 1n << 6n }, 2)).toMatch(/^[0-9a-f]{64}$/)
  })
  it('does not come from a chip whose key is masked (virtee/sev, MASK_CHIP_KEY: nor guest key derivation)', () => {
    const f = measured(1)
    f.run('SNP_CONFIG', SnpConfig.create({ flags: 2 }))
    expect(key(f)).toBe(GuestMessageStatus.INVALID_KEY_SELECTION)
    f.run('SNP_CONFIG', SnpConfig.create({ flags: 1 }))
    expect(key(f)).toMatch(/^[0-9a-f]{64}$/)
  })
})

describe('TSC information', () => {
  it('scales the TSC to the frequency that was asked for', () => {
    const f = runningGuest({ facts: { tscFactor: 200 } })
    const { answer } = ask(f, { type: GuestMessageType.TSC_INFO_REQ, payload: new Uint8Array(128) })
    expect(TscInfoResponse.read(viewOf(answer)))
      .toMatchObject({ status: 0, tscScale: 1n << 32n, tscOffset: 0n, tscFactor: 200 })
    const bad = ask(f, { type: GuestMessageType.TSC_INFO_REQ, payload: new Uint8Array(128).fill(1) })
    expect(TscInfoResponse.read(viewOf(bad.answer)).status).toBe(GuestMessageStatus.INVALID_PARAM)
  })
})

describe('a snapshot', () => {
  it('carries the firmware on where it was', () => {
    const f = measured(1)
    f.memory.write(0x9000, wrapVlek(identity, new Uint8Array(384).fill(3), f.psp.state.committedTcb))
    f.run('SNP_VLEK_LOAD', SnpVlekLoad.create({ length: 16, wrappedPaddr: 0x9000n }))
    report(f)
    const saved: unknown = JSON.parse(JSON.stringify(f.psp.snapshot()))
    const next = report(f)
    f.psp.restore(saved as Plain)
    expect(guestOf(f).messages[0]).toBe(2n)
    expect(toHex(report(f).bytes)).toBe(toHex(next.bytes))
    expect(JSON.stringify(f.psp.snapshot())).not.toBe(JSON.stringify(saved))
  })
  it('that does not fit changes nothing', () => {
    const f = measured(1)
    const before = JSON.stringify(f.psp.snapshot())
    const saved = JSON.parse(before) as Record<string, Plain>
    for (const bad of [null, {}, { ...saved, scalars: null }, { ...saved, guests: [{}] },
      { ...saved, dirtyAsids: ['x'] },
      { ...saved, scalars: { ...saved.scalars as object, currentTcb: 'x' } }] as Plain[]) {
      expect(() => { f.psp.restore(bad) }).toThrow(SnapshotError)
    }
    expect(JSON.stringify(f.psp.snapshot())).toBe(before)
  })
})

describe('the certificate table', () => {
  it('hands out the chain that verifies the machine’s reports', () => {
    const f = runningGuest()
    const table = machineCertificates(identity, f.psp.state.reportedTcb)
    const found = parseCertificateTable(table)
    expect(found.map(({ guid }) => guid)).toEqual([CertGuid.VCEK, CertGuid.ASK, CertGuid.ARK])
    const [endorsement, intermediate, root] = found.map(({ bytes }) => bytes)
    expect(verifyReport({ report: report(f).bytes, endorsement, intermediate, root })).toMatchObject({ ok: true })
  })
  it('is refused when it does not end or points outside', () => {
    const table = machineCertificates(identity, 0n)
    expect(() => parseCertificateTable(table.subarray(0, 100))).toThrow(/entry 0/)
    expect(() => parseCertificateTable(new Uint8Array(0))).toThrow(/its end/)
    expect(parseCertificateTable(new Uint8Array(24))).toEqual([])
    const odd = table.slice()
    odd[0] ^= 0xff
    expect(parseCertificateTable(odd)[0].guid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-/)
  })
})
