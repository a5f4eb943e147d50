import { p384 } from '@noble/curves/nist.js'
import {
  CpuidFunction, CpuidPageHeader, PspStatus, SecretsPage, SevFeatures, SnpActivate, SnpActivateEx, SnpAddress, SnpDebug,
  SnpGuestStatus, SnpGuestStatusResult, SnpIdAuth, SnpIdBlock, SnpLaunchFinishFlags, SnpLaunchStart, SnpPageSetState,
  SnpPageType, SnpRange, SnpRangeListHeader, Vmsa,
} from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  CPU_SIGNATURES, addStep, checkCpuidPage, createLaunchDigest, describeRmpEntry, ecdsaSign, encodeEcdsaKey, initialVmsa,
  launchSteps, launchVmsas, parseOvmf, snpLaunchDigest,
} from '../src/index.ts'
import { concat, isZero, toHex, viewOf } from '../src/bytes.ts'
import { CONTEXT, POLICY, RMP_BASE, finish, launchPage, pspFixture, runningGuest, startGuest } from './psp-fixture.ts'
import type { PspFixture } from './psp-fixture.ts'
import { syntheticOvmf } from './ovmf-fixture.ts'

const S = PspStatus
const T = SnpPageType
const at = (page: number): bigint => BigInt(page) << 12n
const gctxPaddr = at(CONTEXT)
const stateOf = (f: PspFixture, page: number): string => {
  const entry = f.rmp.read(page)
  return entry === null ? 'none' : describeRmpEntry(entry)
}
const guestOf = (f: PspFixture) => {
  const guest = f.psp.state.guests.get(CONTEXT)
  if (guest === undefined) throw new Error('no guest')
  return guest
}

describe('a guest context', () => {
  it('is made of a firmware page', () => {
    const f = pspFixture()
    const create = (page: number): number => f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: at(page) }))
    expect(create(CONTEXT)).toBe(S.INVALID_PAGE_STATE)
    expect(f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: 8n }))).toBe(S.INVALID_ADDRESS)
    f.assign(0x400, { immutable: 1, large: true })
    expect(create(0x400)).toBe(S.INVALID_PAGE_SIZE)
    f.firmwarePage(CONTEXT)
    expect(create(CONTEXT)).toBe(S.SUCCESS)
    expect(stateOf(f, CONTEXT)).toMatch(/^context/)
    expect(create(CONTEXT)).toBe(S.INVALID_PAGE_STATE)
    expect(f.run('SNP_PAGE_RECLAIM', SnpAddress.create({ address: at(CONTEXT) }))).toBe(S.INVALID_PAGE_STATE)
  })
  it('starts with a policy that this firmware can keep', () => {
    const start = (fields: Partial<Parameters<typeof SnpLaunchStart.create>[0]>, facts = {}): number => {
      const f = pspFixture({ facts })
      f.firmwarePage(CONTEXT)
      f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: gctxPaddr }))
      return f.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr, policy: POLICY, ...fields }))
    }
    expect(start({})).toBe(S.SUCCESS)
    expect(start({ policy: 0x1_0000n })).toBe(S.INVALID_PARAM)
    expect(start({ policy: POLICY | (1n << 63n) })).toBe(S.INVALID_PARAM)
    expect(start({ policy: POLICY | 0x0138n })).toBe(S.POLICY_FAILURE)
    expect(start({ policy: POLICY | 0x0137n })).toBe(S.SUCCESS)
    expect(start({ policy: 0x2_0000n })).toBe(S.POLICY_FAILURE)
    expect(start({ policy: 0x2_0000n }, { smt: false })).toBe(S.SUCCESS)
    expect(start({ policy: POLICY | (1n << 23n) })).toBe(S.POLICY_FAILURE)
    expect(start({ flags: 4 })).toBe(S.INVALID_PARAM)
    expect(start({ flags: 1 })).toBe(S.POLICY_FAILURE)
    expect(start({ flags: 1, policy: POLICY | (1n << 18n), maGctxPaddr: at(0x300) })).toBe(S.INVALID_GUEST)
    expect(start({ flags: 1, policy: POLICY | (1n << 18n), maGctxPaddr: gctxPaddr })).toBe(S.INVALID_GUEST_STATE)
    expect(start({ gctxPaddr: at(0x300) })).toBe(S.INVALID_GUEST)
    expect(start({ gctxPaddr: 1n })).toBe(S.INVALID_ADDRESS)
  })
  it('has an agent for migration, whose report id it names', () => {
    const f = runningGuest()
    f.firmwarePage(0x710)
    f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: at(0x710) }))
    const policy = POLICY | (1n << 18n)
    const start = SnpLaunchStart.create({ gctxPaddr: at(0x710), policy, flags: 1, maGctxPaddr: gctxPaddr })
    expect(f.run('SNP_LAUNCH_START', start)).toBe(S.SUCCESS)
    expect(f.run('SNP_LAUNCH_START', start)).toBe(S.INVALID_GUEST_STATE)
    expect(toHex(f.psp.state.guests.get(0x710)?.reportIdMa ?? new Uint8Array())).toBe(toHex(guestOf(f).reportId))
  })
  it('takes one ASID that is nobody else’s and clean', () => {
    const f = pspFixture()
    startGuest(f, 1)
    const activate = (asid: number, page = CONTEXT): number =>
      f.run('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr: at(page), asid }))
    expect(activate(2)).toBe(S.ACTIVE)
    expect(activate(0)).toBe(S.INVALID_ASID)
    expect(activate(100)).toBe(S.INVALID_ASID)
    f.firmwarePage(0x710)
    f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: at(0x710) }))
    expect(activate(2, 0x710)).toBe(S.INVALID_GUEST_STATE)
    f.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr: at(0x710), policy: POLICY }))
    expect(activate(1, 0x710)).toBe(S.ASID_OWNED)
    f.run('SNP_DECOMMISSION', SnpAddress.create({ address: gctxPaddr }))
    expect(activate(1, 0x710)).toBe(S.DFFLUSH_REQUIRED)
    f.psp.wbinvd(0)
    f.psp.wbinvd(1)
    expect(f.run('SNP_DF_FLUSH')).toBe(S.SUCCESS)
    const ex = { length: 32, gctxPaddr: at(0x710), asid: 1, numIds: 1, idPaddr: 0x9000n }
    expect(f.run('SNP_ACTIVATE_EX', SnpActivateEx.create({ ...ex, length: 16 }))).toBe(S.INVALID_LENGTH)
    expect(f.run('SNP_ACTIVATE_EX', SnpActivateEx.create({ ...ex, numIds: 0 }))).toBe(S.INVALID_PARAM)
    expect(f.run('SNP_ACTIVATE_EX', SnpActivateEx.create({ ...ex, idPaddr: 1n }))).toBe(S.INVALID_ADDRESS)
    expect(f.run('SNP_ACTIVATE_EX', SnpActivateEx.create(ex))).toBe(S.SUCCESS)
  })
  it('tells its status, and ends', () => {
    const f = runningGuest()
    const request = SnpGuestStatus.create({ gctxPaddr, statusPaddr: at(0x701) })
    expect(f.run('SNP_GUEST_STATUS', request)).toBe(S.SUCCESS)
    const status = SnpGuestStatusResult.read(viewOf(f.bytes(0x70_1000, 32)))
    expect(status).toMatchObject({ policy: POLICY, asid: 1, state: 2 })
    expect(f.run('SNP_DECOMMISSION', SnpAddress.create({ address: gctxPaddr }))).toBe(S.SUCCESS)
    expect(f.run('SNP_DECOMMISSION', SnpAddress.create({ address: gctxPaddr }))).toBe(S.INVALID_GUEST)
    expect(stateOf(f, CONTEXT)).toMatch(/^firmware/)
    expect(f.run('SNP_PAGE_RECLAIM', SnpAddress.create({ address: gctxPaddr }))).toBe(S.SUCCESS)
    expect(f.assign(CONTEXT, { assigned: 0 })).toBe(0)
  })
})

/** A launch with one page given to the guest at guest page 0x10. */
function launching(immutable = 1): PspFixture {
  const f = pspFixture()
  startGuest(f)
  f.memory.write(0x30_0000, new Uint8Array(4096).fill(0x5a))
  f.assign(0x300, { gpa: 0x10, asid: 1, immutable })
  return f
}

describe('SNP_LAUNCH_UPDATE', () => {
  it('encrypts, measures and validates a page', () => {
    const f = launching()
    expect(launchPage(f, 0x300, T.NORMAL, { permissions: 0x0501_0300 })).toBe(S.SUCCESS)
    expect(stateOf(f, 0x300)).toBe('guest-valid, 4K, asid 1, gpa 0x10000, VMPL0 read write userExecute '
      + 'supervisorExecute, VMPL1 read write, VMPL2 read, VMPL3 read userExecute')
    expect(f.bytes(0x30_0000, 4096, 1).every((b) => b === 0x5a)).toBe(true)
    // The host sees ciphertext.
    expect(f.bytes(0x30_0000, 4096).filter((b) => b === 0x5a).length).toBeLessThan(100)
    const expected = createLaunchDigest()
    expected.add({ type: T.NORMAL, gpa: 0x1_0000n, bytes: new Uint8Array(4096).fill(0x5a), vmpls: [3, 1, 5] })
    expect(toHex(guestOf(f).digest)).toBe(toHex(expected.value))
    expect(launchPage(f, 0x300, T.NORMAL)).toBe(S.INVALID_PAGE_STATE)
  })
  it('refuses what is malformed or not the guest’s', () => {
    const f = launching()
    expect(launchPage(f, 0x300, 0)).toBe(S.INVALID_PARAM)
    expect(launchPage(f, 0x300, 7)).toBe(S.INVALID_PARAM)
    expect(launchPage(f, 0x300, T.NORMAL, { imi: 1 })).toBe(S.INVALID_PARAM)
    expect(launchPage(f, 0x300, T.NORMAL, { permissions: 1 })).toBe(S.INVALID_PARAM)
    expect(launchPage(f, 0x300, T.NORMAL, { permissions: 0x1000 })).toBe(S.INVALID_PARAM)
    expect(launchPage(f, 0x4000, T.NORMAL)).toBe(S.INVALID_ADDRESS)
    expect(launchPage(f, 0x300, T.NORMAL, { pageSize: 1 })).toBe(S.INVALID_ADDRESS)
    expect(launchPage(f, 0x400, T.NORMAL)).toBe(S.INVALID_PAGE_STATE)
    expect(launchPage(f, 0x300, T.NORMAL, { context: 0x300 })).toBe(S.INVALID_GUEST)
    f.assign(0x301, { gpa: 0x11, asid: 2, immutable: 1 })
    expect(launchPage(f, 0x301, T.NORMAL)).toBe(S.INVALID_PAGE_OWNER)
    f.assign(0x302, { gpa: 0x12, asid: 1 })
    expect(launchPage(f, 0x302, T.NORMAL)).toBe(S.INVALID_PAGE_STATE)
    f.assign(0x400, { gpa: 0x200, asid: 1, immutable: 1, large: true })
    expect(launchPage(f, 0x400, T.NORMAL)).toBe(S.INVALID_PAGE_SIZE)
    expect(launchPage(f, 0x400, T.SECRETS, { pageSize: 1 })).toBe(S.INVALID_PAGE_SIZE)
    expect(isZero(guestOf(f).digest)).toBe(true)
  })
  it('wants a guest that is being launched, with an ASID', () => {
    const f = pspFixture()
    f.firmwarePage(CONTEXT)
    f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: gctxPaddr }))
    expect(launchPage(f, 0x300, T.NORMAL)).toBe(S.INVALID_GUEST_STATE)
    f.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr, policy: POLICY }))
    expect(launchPage(f, 0x300, T.NORMAL)).toBe(S.INACTIVE)
    finish(f)
    expect(launchPage(f, 0x300, T.NORMAL)).toBe(S.INVALID_GUEST_STATE)
  })
  it('measures 2 MiB as 512 pages', () => {
    const f = pspFixture()
    startGuest(f)
    const bytes = Uint8Array.from({ length: 2 ** 21 }, (_, i) => (i >> 12) & 0xff)
    f.memory.write(0x40_0000, bytes)
    f.assign(0x400, { gpa: 0x200, asid: 1, immutable: 1, large: true })
    expect(launchPage(f, 0x400, T.NORMAL, { pageSize: 1 })).toBe(S.SUCCESS)
    const expected = createLaunchDigest()
    expected.addNormal(0x20_0000n, bytes)
    expect(toHex(guestOf(f).digest)).toBe(toHex(expected.value))
    expect(stateOf(f, 0x5ff)).toContain('guest-valid, 2M, asid 1, gpa 0x3ff000')
  })
  it('fills secrets and zero pages, whatever was there', () => {
    const f = launching()
    f.assign(0x301, { gpa: 0x11, asid: 1, immutable: 1 })
    expect(launchPage(f, 0x300, T.SECRETS)).toBe(S.SUCCESS)
    expect(launchPage(f, 0x301, T.ZERO)).toBe(S.SUCCESS)
    const secrets = SecretsPage.read(viewOf(f.bytes(0x30_0000, 4096, 1)))
    expect(secrets.version).toBe(4)
    expect(secrets.fms).toBe(0x19_01_01)
    expect(toHex(secrets.vmpck2)).toBe(toHex(guestOf(f).vmpck[2]))
    expect(new Set(guestOf(f).vmpck.map(toHex)).size).toBe(4)
    expect(isZero(f.bytes(0x30_1000, 4096, 1))).toBe(true)
  })
  it('gives a VMSA with Secure TSC its scale, outside the measurement', () => {
    const digests = [0n, SevFeatures.mask.SecureTSC].map((feature) => {
      const f = pspFixture()
      startGuest(f)
      const vmsa = Vmsa.create({ sevFeatures: SevFeatures.mask.SNPActive | feature })
      f.memory.write(0x30_0000, vmsa)
      f.assign(0x300, { gpa: 0xf_ffff_ffff, asid: 1, immutable: 1 })
      expect(launchPage(f, 0x300, T.VMSA)).toBe(S.SUCCESS)
      const placed = Vmsa.read(viewOf(f.bytes(0x30_0000, 4096, 1)))
      expect(placed).toMatchObject({ guestTscScale: feature === 0n ? 0n : 1n << 32n, guestTscOffset: 0n })
      const expected = createLaunchDigest()
      expected.addVmsa(vmsa)
      expect(toHex(guestOf(f).digest)).toBe(toHex(expected.value))
      return toHex(guestOf(f).digest)
    })
    expect(digests[0]).not.toBe(digests[1])
  })
  it('marks VMSA pages, measured at the address of the RMP', () => {
    const f = pspFixture()
    startGuest(f)
    const vmsa = initialVmsa({ vmm: 'qemu', eip: 0xffff_fff0, features: 1n, signature: 0 })
    f.memory.write(0x30_0000, vmsa)
    f.assign(0x300, { gpa: 0xf_ffff_ffff, asid: 1, immutable: 1 })
    expect(launchPage(f, 0x300, T.VMSA)).toBe(S.SUCCESS)
    expect(stateOf(f, 0x300)).toContain('vmsa')
    const expected = createLaunchDigest()
    expected.addVmsa(vmsa)
    expect(toHex(guestOf(f).digest)).toBe(toHex(expected.value))
  })
  it('gives back a CPUID page that says too much, corrected', () => {
    const f = launching()
    const cpuid = (ebx: number, eaxIn = 7): Uint8Array => {
      const page = new Uint8Array(4096)
      page.set(CpuidPageHeader.create({ count: 1 }))
      page.set(CpuidFunction.create({ eaxIn, ebx }), CpuidPageHeader.size)
      return page
    }
    f.rmp.change(0x300, { immutable: true })
    f.memory.write(0x30_0000, cpuid(0x1_ffff))
    expect(launchPage(f, 0x300, T.CPUID)).toBe(S.INVALID_PARAM)
    expect(isZero(guestOf(f).digest)).toBe(true)
    expect(f.run('SNP_PAGE_RECLAIM', SnpAddress.create({ address: at(0x300) }))).toBe(S.SUCCESS)
    expect(toHex(f.bytes(0x30_0000, 4096))).toBe(toHex(cpuid(0xffff)))
    f.assign(0x300, { gpa: 0x10, asid: 1, immutable: 1 })
    expect(launchPage(f, 0x300, T.CPUID)).toBe(S.SUCCESS)
    const expected = createLaunchDigest()
    expected.add({ type: T.CPUID, gpa: 0x1_0000n })
    expect(toHex(guestOf(f).digest)).toBe(toHex(expected.value))
  })
  it('of a whole launch gives the digest that was computed beforehand', () => {
    const f = pspFixture()
    startGuest(f)
    const options = {
      ovmf: parseOvmf(syntheticOvmf()), vcpus: 2, signature: CPU_SIGNATURES['EPYC-Milan'], features: 1n,
      kernel: { kernel: Uint8Array.of(1), append: 'a' },
    }
    const { ovmf } = options
    const steps = [{ type: T.NORMAL as number, gpa: ovmf.gpa, size: ovmf.bytes.length, bytes: ovmf.bytes },
      ...launchSteps(options)]
    let page = 0x800
    const add = (type: number, gpa: number, bytes?: Uint8Array): void => {
      f.memory.write(page * 4096, bytes ?? new Uint8Array(4096))
      f.assign(page, { gpa: gpa / 4096, asid: 1, immutable: 1 })
      expect(launchPage(f, page++, type)).toBe(S.SUCCESS)
    }
    for (const { type, gpa, size, bytes } of steps) {
      for (let i = 0; i < size; i += 4096) add(type, gpa + i, bytes?.subarray(i, i + 4096))
    }
    for (const vmsa of launchVmsas(options)) add(T.VMSA, 0xffff_ffff_f000, vmsa)
    expect(toHex(guestOf(f).digest)).toBe(toHex(snpLaunchDigest(options)))
    const again = createLaunchDigest()
    for (const step of steps) addStep(again, step)
    expect(toHex(again.value)).not.toBe(toHex(guestOf(f).digest))
  })
})

describe('a CPUID page', () => {
  const platform = { cpuid: () => [0xff, 0xff, 0xff, 0xff] as const }
  const page = (count: number, ...functions: Parameters<typeof CpuidFunction.create>[0][]): Uint8Array => {
    const bytes = new Uint8Array(4096)
    bytes.set(concat(CpuidPageHeader.create({ count }), ...functions.map((f) => CpuidFunction.create(f))))
    return bytes
  }
  const first = (bytes: Uint8Array) => CpuidFunction.read(viewOf(bytes), CpuidPageHeader.size)
  it('may hide features but show none that are missing', () => {
    expect(checkCpuidPage(page(1, { eaxIn: 1, ecx: 0x0f, edx: 0x8f }), platform).ok).toBe(true)
    const wrong = checkCpuidPage(page(1, { eaxIn: 1, ecx: 0x100, edx: 0x8f }), platform)
    expect([wrong.ok, first(wrong.page).ecx]).toEqual([false, 0])
    expect(checkCpuidPage(page(1, { eaxIn: 1, ecx: 0x8000_0000 }), platform).ok).toBe(true)
    expect(checkCpuidPage(page(1, { eaxIn: 1, ebx: 0x1234_5678 }), platform).ok).toBe(true)
  })
  it('has to give sizes as they are', () => {
    const wrong = checkCpuidPage(page(1, { eaxIn: 0xd, ecxIn: 2, eax: 0xff, ebx: 5, ecx: 0xff }), platform)
    expect([wrong.ok, first(wrong.page).ebx]).toEqual([false, 0xff])
  })
  it('names functions of the architecture only, not too many, and nothing reserved', () => {
    expect(checkCpuidPage(page(1, { eaxIn: 0x4000_0000, eax: 1 }), platform).ok).toBe(false)
    expect(checkCpuidPage(page(65), platform).ok).toBe(false)
    expect(checkCpuidPage(page(1, { eaxIn: 0, reserved: 1n }), platform).ok).toBe(false)
    expect(checkCpuidPage(page(0), platform).ok).toBe(true)
  })
})

const idKey = p384.utils.randomSecretKey(new Uint8Array(72).fill(1))
const authorKey = p384.utils.randomSecretKey(new Uint8Array(72).fill(2))
const encoded = (secret: Uint8Array): Uint8Array => encodeEcdsaKey(p384.getPublicKey(secret, false))

describe('SNP_LAUNCH_FINISH', () => {
  const block = (f: PspFixture, fields: Parameters<typeof SnpIdBlock.create>[0] = {}): Uint8Array => SnpIdBlock.create({
    launchDigest: guestOf(f).digest, version: 1, guestSvn: 3, policy: POLICY, familyId: new Uint8Array(16).fill(6),
    ...fields,
  })
  const auth = (bytes: Uint8Array, fields: Parameters<typeof SnpIdAuth.create>[0] = {}) => SnpIdAuth.create({
    idKeyAlgorithm: 1, authorKeyAlgorithm: 1, idBlockSignature: ecdsaSign(idKey, bytes), idKey: encoded(idKey),
    idKeySignature: ecdsaSign(authorKey, encoded(idKey)), authorKey: encoded(authorKey), ...fields,
  })
  type Make = (f: PspFixture) => { block: Uint8Array; auth: Uint8Array }
  const run = (make: Make, flags = { ID_BLOCK_EN: 1, AUTH_KEY_EN: 1 }): [number, PspFixture] => {
    const f = launching()
    launchPage(f, 0x300, T.NORMAL)
    const made = make(f)
    f.memory.write(0x9000, made.block)
    f.memory.write(0xa000, made.auth)
    return [finish(f, { idBlockPaddr: 0x9000n, idAuthPaddr: 0xa000n, flags: SnpLaunchFinishFlags.pack(flags) }), f]
  }
  const signed = (fields = {}, authFields = {}) => (f: PspFixture) => {
    const bytes = block(f, fields)
    return { block: bytes, auth: auth(bytes, authFields) }
  }
  it('accepts what the owner signed for this launch', () => {
    const [status, f] = run(signed())
    expect(status).toBe(S.SUCCESS)
    expect(guestOf(f)).toMatchObject({ state: 2, guestSvn: 3, authorKeyEn: true })
    expect(isZero(guestOf(f).idKeyDigest)).toBe(false)
    expect(finish(f)).toBe(S.INVALID_GUEST_STATE)
  })
  it('refuses another launch, policy, signature, key or version', () => {
    expect(run(signed({ launchDigest: new Uint8Array(48) }))[0]).toBe(S.BAD_MEASUREMENT)
    expect(run(signed({ policy: POLICY | (1n << 19n) }))[0]).toBe(S.POLICY_FAILURE)
    expect(run(signed({ version: 2 }))[0]).toBe(S.INVALID_PARAM)
    expect(run(signed({}, { idKeyAlgorithm: 2 }))[0]).toBe(S.INVALID_PARAM)
    expect(run(signed({}, { authorKeyAlgorithm: 2 }))[0]).toBe(S.INVALID_PARAM)
    expect(run(signed({}, { idKey: new Uint8Array(1028) }))[0]).toBe(S.INVALID_PARAM)
    expect(run(signed({}, { idBlockSignature: new Uint8Array(512) }))[0]).toBe(S.BAD_SIGNATURE)
    expect(run(signed({}, { idKeySignature: new Uint8Array(512) }))[0]).toBe(S.BAD_SIGNATURE)
    const unsigned = signed({}, { idKeySignature: new Uint8Array(512) })
    expect(run(unsigned, { ID_BLOCK_EN: 1, AUTH_KEY_EN: 0 })[0]).toBe(S.SUCCESS)
    expect(run(signed(), { ID_BLOCK_EN: 0, AUTH_KEY_EN: 1 })[0]).toBe(S.INVALID_PARAM)
  })
  it('keeps what the host says of the guest', () => {
    const f = launching()
    expect(finish(f, { flags: 8 })).toBe(S.INVALID_PARAM)
    expect(finish(f, { reserved: new Uint8Array(7).fill(1) })).toBe(S.INVALID_PARAM)
    expect(finish(f, { flags: 1, idBlockPaddr: 1n })).toBe(S.INVALID_ADDRESS)
    expect(finish(f, { hostData: new Uint8Array(32).fill(9), flags: 4 })).toBe(S.SUCCESS)
    expect(guestOf(f)).toMatchObject({ vcekDisabled: true, hostData: new Uint8Array(32).fill(9) })
  })
})

describe('pages', () => {
  const reclaim = (f: PspFixture, address: bigint): number => f.run('SNP_PAGE_RECLAIM', SnpAddress.create({ address }))
  it('come back from the firmware, in the size that they have', () => {
    const f = launching()
    expect(reclaim(f, at(0x301))).toBe(S.INVALID_PAGE_STATE)
    expect(reclaim(f, at(0x300) | 2n)).toBe(S.INVALID_PARAM)
    expect(reclaim(f, at(0x300) | 1n)).toBe(S.INVALID_ADDRESS)
    expect(reclaim(f, at(0x300))).toBe(S.SUCCESS)
    expect(stateOf(f, 0x300)).toMatch(/^guest-invalid/)
    expect(f.assign(0x300, { assigned: 0 })).toBe(0)
    f.assign(0x400, { large: true, immutable: 1 })
    expect(reclaim(f, at(0x400))).toBe(S.INVALID_PAGE_SIZE)
    expect(reclaim(f, at(0x400) | 1n)).toBe(S.SUCCESS)
    expect(reclaim(f, BigInt(RMP_BASE))).toBe(S.INVALID_PAGE_STATE)
  })
  it('of one guest in a row become one of 2 MiB', () => {
    const f = pspFixture()
    startGuest(f)
    const unsmash = (): number => f.run('SNP_PAGE_UNSMASH', SnpAddress.create({ address: at(0x400) }))
    for (let i = 0; i < 512; i++) f.assign(0x400 + i, { gpa: 0x200 + i, asid: 1, immutable: i === 7 ? 0 : 1 })
    expect(unsmash()).toBe(S.INVALID_PAGE_STATE)
    f.assign(0x407, { gpa: 0x207, asid: 1, immutable: 1 })
    expect(unsmash()).toBe(S.SUCCESS)
    expect(stateOf(f, 0x400)).toContain('pre-guest, 2M')
    expect(unsmash()).toBe(S.INVALID_PAGE_SIZE)
  })
  it('become metadata, or the hypervisor’s for good', () => {
    const f = pspFixture()
    const init = (page: number): number => f.run('SNP_PAGE_MD_INIT', SnpAddress.create({ address: at(page) }))
    expect(init(0x300)).toBe(S.INVALID_PAGE_STATE)
    f.firmwarePage(0x300)
    expect(init(0x300)).toBe(S.SUCCESS)
    expect(stateOf(f, 0x300)).toMatch(/^metadata/)
    expect(reclaim(f, at(0x300))).toBe(S.SUCCESS)
    const range = SnpRange.create({ base: at(0x310), pageCount: 1 })
    f.memory.write(0x9000, concat(SnpRangeListHeader.create({ count: 1 }), range))
    const set = (length: number): number =>
      f.run('SNP_PAGE_SET_STATE', SnpPageSetState.create({ length, listPaddr: 0x9000n }))
    expect(set(16)).toBe(S.SUCCESS)
    expect(stateOf(f, 0x310)).toMatch(/^hv-fixed/)
    expect(set(8)).toBe(S.INVALID_LENGTH)
  })
  it('are neither moved nor swapped', () => {
    const f = runningGuest()
    const run = () => (['SNP_PAGE_MOVE', 'SNP_PAGE_SWAP_OUT', 'SNP_PAGE_SWAP_IN'] as const)
      .map((name) => f.run(name, SnpAddress.create({ address: gctxPaddr })))
    expect(run()).toEqual([S.UNSUPPORTED, S.UNSUPPORTED, S.UNSUPPORTED])
    guestOf(f).policy |= 1n << 25n
    expect(run()).toEqual([S.POLICY_FAILURE, S.POLICY_FAILURE, S.POLICY_FAILURE])
  })
  it('are decrypted for the host only when the policy allows debugging', () => {
    const f = launching()
    launchPage(f, 0x300, T.NORMAL)
    f.firmwarePage(0x320)
    const decrypt = (): number =>
      f.run('SNP_DBG_DECRYPT', SnpDebug.create({ gctxPaddr, srcPaddr: at(0x300), dstPaddr: at(0x320) }))
    expect(decrypt()).toBe(S.POLICY_FAILURE)
    guestOf(f).policy |= 1n << 19n
    expect(decrypt()).toBe(S.SUCCESS)
    expect(f.bytes(0x32_0000, 4096).every((b) => b === 0x5a)).toBe(true)
    f.memory.write(0x9000, new Uint8Array(4096).fill(1))
    const encrypt = SnpDebug.create({ gctxPaddr, srcPaddr: 0x9000n, dstPaddr: at(0x300) })
    expect(f.run('SNP_DBG_ENCRYPT', encrypt)).toBe(S.SUCCESS)
    expect(f.bytes(0x30_0000, 4096, 1).every((b) => b === 1)).toBe(true)
    expect(f.run('SNP_DBG_DECRYPT', SnpDebug.create({ gctxPaddr, srcPaddr: at(0x301), dstPaddr: at(0x320) })))
      .toBe(S.INVALID_PAGE_OWNER)
  })
})
