import { SvsmCoreCall, SvsmResult, Vmsa } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { CALLING_AREA, FEATURES, KERNEL, list, nextOf, PAGE, RAM, SCRATCH, startedBox } from './fixture.ts'

const R = SvsmResult
const BASE = R.PROTOCOL_BASE
const C = SvsmCoreCall
/** Pages of RAM that nobody has validated. */
const FRESH = 0x200_0000
const entry = (address: number, bits: number): bigint => BigInt(address) | BigInt(bits)
const VALIDATE = 4
const LARGE = 1
const IGNORE_CF = 8

describe('a call', () => {
  it('takes SVSM_CALL_PENDING away and answers in RAX', () => {
    const box = startedBox()
    expect(box.call(0, C.QUERY_PROTOCOL, { rcx: 1n })).toMatchObject({ pending: 0, code: R.SUCCESS })
  })

  it.each([
    ['without SVSM_CALL_PENDING', { pending: 0 }],
    ['when the guest did not leave by VMGEXIT', { pending: 1, exit: 0x60 }],
  ])('is none %s', (_, from) => {
    const box = startedBox()
    const { code, pending } = box.call(0, C.REMAP_CA, { rcx: 0xdeadn }, from)
    expect(code).toBe(C.REMAP_CA)
    expect(pending).toBe(from.pending)
    expect(box.svsm.stats().requests).toEqual({})
  })

  it.each([
    ['a protocol that there is not', 9, 0, R.UNSUPPORTED_PROTOCOL], ['the APIC protocol', 3, 0, R.UNSUPPORTED_PROTOCOL],
    ['the vTPM protocol without a TPM', 2, 0, R.UNSUPPORTED_PROTOCOL],
    ['a call that there is not', 0, 8, R.UNSUPPORTED_CALL],
  ])('of %s is refused', (_, protocol, number, code) => {
    expect(startedBox().call(protocol, number).code).toBe(code)
  })

  it('is counted, with its result', () => {
    const box = startedBox()
    box.call(0, C.QUERY_PROTOCOL, { rcx: 1n })
    box.call(0, C.REMAP_CA, { rcx: 1n })
    expect(box.svsm.stats()).toEqual({
      requests: { 'core.query-protocol': 1, 'core.remap-ca': 1 }, refused: { 'core.remap-ca INVALID_PARAMETER': 1 },
    })
  })
})

describe('SVSM_CORE_REMAP_CA', () => {
  it('moves the calling area, and leaves the new one without a call', () => {
    const box = startedBox()
    box.at(SCRATCH).bytes.fill(0xff)
    expect(box.call(0, C.REMAP_CA, { rcx: BigInt(SCRATCH) })).toMatchObject({ code: R.SUCCESS, pending: 0 })
    expect([...box.at(SCRATCH).bytes.subarray(0, 9)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0xff])
    expect(box.call(0, C.QUERY_PROTOCOL, { rcx: 1n }, { callingArea: SCRATCH }))
      .toMatchObject({ code: R.SUCCESS, pending: 0 })
    expect(box.call(0, C.QUERY_PROTOCOL, { rcx: 1n })).toMatchObject({ code: C.QUERY_PROTOCOL, pending: 1 })
  })

  it.each([
    ['no page', 0x1008n, R.INVALID_PARAMETER], ['no memory', BigInt(RAM), R.INVALID_ADDRESS],
    ['beyond all addresses', 1n << 60n, R.INVALID_PARAMETER], ['not validated', BigInt(FRESH), R.INVALID_ADDRESS],
  ])('refuses an address that is %s', (_, rcx, code) => {
    expect(startedBox().call(0, C.REMAP_CA, { rcx }).code).toBe(code)
  })

  it('refuses the pages of the SVSM', () => {
    const box = startedBox()
    expect(box.call(0, C.REMAP_CA, { rcx: BigInt(box.base) }).code).toBe(R.INVALID_ADDRESS)
  })
})

describe('SVSM_CORE_PVALIDATE', () => {
  it('validates pages, clears them and lets the guest use them', () => {
    const box = startedBox()
    box.at(FRESH).bytes.fill(0x55)
    const rcx = list(box, [entry(FRESH, VALIDATE), entry(FRESH + PAGE, VALIDATE)])
    expect(box.call(0, C.PVALIDATE, { rcx })).toMatchObject({ code: R.SUCCESS, rcx })
    expect(box.at(FRESH)).toMatchObject({ validated: true, rights: [15, 0, 15, 0] })
    expect(box.at(FRESH).bytes.every((byte) => byte === 0)).toBe(true)
    expect(nextOf(box)).toBe(2)
  })

  it('takes the permissions away before it rescinds validation', () => {
    const box = startedBox()
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [entry(KERNEL, 0)]) }).code).toBe(R.SUCCESS)
    expect(box.at(KERNEL)).toMatchObject({ validated: false, rights: [15, 0, 0, 0] })
    expect(box.log).toEqual(['rmpadjust 1000000 vmpl 2 0', 'pvalidate 1000000 4K 0'])
  })

  it('does 2 MiB at once where the page is one', () => {
    const box = startedBox()
    box.at(FRESH).large = true
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [entry(FRESH, VALIDATE | LARGE)]) }).code).toBe(R.SUCCESS)
    expect(box.log).toEqual(['pvalidate 2000000 2M 1', 'rmpadjust 2000000 vmpl 2 15'])
    expect(box.at(FRESH + 511 * PAGE).rights[2]).toBe(15)
  })

  it('goes on where the index says, and stops at the first failure, which it then names', () => {
    const box = startedBox()
    const rcx = list(
      box, [0xff0n, entry(FRESH, VALIDATE), entry(RAM, VALIDATE), entry(FRESH + PAGE, VALIDATE)], { next: 1 },
    )
    expect(box.call(0, C.PVALIDATE, { rcx }).code).toBe(R.INVALID_ADDRESS)
    expect(nextOf(box)).toBe(2)
    expect(box.at(FRESH).validated).toBe(true)
    expect(box.at(FRESH + PAGE).validated).toBe(false)
  })

  it.each([
    ['2 MiB of a page that is smaller', entry(FRESH, VALIDATE | LARGE), BASE + 6],
    ['a page that is validated', entry(KERNEL, VALIDATE), BASE + 0x10],
    ['taking back what is not validated', entry(FRESH, 0), BASE + 0x10],
    ['a validated page with the carry flag ignored', entry(KERNEL, VALIDATE | IGNORE_CF), R.SUCCESS],
    ['a page size that there is not', entry(FRESH, VALIDATE | 2), R.INVALID_PARAMETER],
    ['2 MiB at an address that is no multiple', entry(FRESH + PAGE, VALIDATE | LARGE), R.INVALID_PARAMETER],
    ['2 MiB that reach beyond RAM', entry(RAM, VALIDATE | LARGE), R.INVALID_ADDRESS],
    ['an address far beyond', entry(2 ** 51, VALIDATE), R.INVALID_ADDRESS],
    ...Array.from({ length: 8 }, (_, i): [string, bigint, number] =>
      [`reserved bit ${4 + i}`, entry(FRESH, VALIDATE | 16 << i), R.INVALID_PARAMETER]),
  ])('answers to %s', (_, one, code) => {
    const box = startedBox()
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [one]) }).code).toBe(code)
    expect(nextOf(box)).toBe(code === R.SUCCESS ? 1 : 0)
  })

  it.each([
    ['without entries', {}, { entries: 0 }], ['with an index at the end', {}, { next: 1 }],
    ['with reserved bits', {}, { reserved: 1 }],
    ['longer than its page', {}, { entries: 512 }], ['that is not aligned', { off: 4n }, {}],
  ])('refuses a list %s', (_, { off = 0n }: { off?: bigint }, head) => {
    const box = startedBox()
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [entry(FRESH, VALIDATE)], head) + off }).code)
      .toBe(R.INVALID_PARAMETER)
    expect(box.at(FRESH).validated).toBe(false)
  })

  it("refuses the SVSM's own pages and VMSAs, whatever else the range holds", () => {
    const box = startedBox()
    const own = box.at(box.base)
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [entry(box.base, 0)]) }).code).toBe(R.INVALID_ADDRESS)
    expect(own.validated).toBe(true)
    createVmsa(box, FRESH + PAGE)
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [entry(FRESH, LARGE)]) }).code).toBe(R.INVALID_ADDRESS)
  })

  it('refuses calling areas, alone or in a larger page', () => {
    const box = startedBox()
    const pvalidate = (one: bigint): number =>
      box.call(0, C.PVALIDATE, { rcx: list(box, [one]) }).code
    expect(pvalidate(entry(CALLING_AREA, 0))).toBe(R.INVALID_ADDRESS)
    expect(pvalidate(entry(CALLING_AREA, LARGE | VALIDATE))).toBe(R.INVALID_ADDRESS)
    expect(box.log).toEqual([])
    // The page is as good as any other once the area has moved.
    box.own(FRESH)
    box.call(0, C.REMAP_CA, { rcx: BigInt(FRESH) })
    const rcx = list(box, [entry(CALLING_AREA, 0)])
    expect(box.call(0, C.PVALIDATE, { rcx }, { callingArea: FRESH }).code).toBe(R.SUCCESS)
  })

  it('is to be called again after much work, and then goes on', () => {
    const box = startedBox()
    const entries = Array.from({ length: 17 }, (_, i) => entry(0x120_0000 + i * 2 ** 21, VALIDATE | LARGE))
    for (const one of entries) box.at(Number(one & ~0xfffn)).large = true
    const rcx = list(box, entries)
    expect(box.call(0, C.PVALIDATE, { rcx }).code).toBe(R.INCOMPLETE)
    expect(nextOf(box)).toBe(16)
    expect(box.call(0, C.PVALIDATE, { rcx }).code).toBe(R.SUCCESS)
    expect(nextOf(box)).toBe(17)
  })
})

/** Makes a page of the guest's the VMSA of processor 1. */
function createVmsa(
  box: ReturnType<typeof startedBox>, address: number, change: Parameters<typeof Vmsa.create>[0] = {}, apicId = 1n,
) {
  box.own(address)
  box.own(SCRATCH)
  box.at(address).bytes.set(Vmsa.create({ vmpl: box.vmpl, efer: 0x1000n, sevFeatures: FEATURES, ...change }))
  return box.call(0, C.CREATE_VCPU, { rcx: BigInt(address), rdx: BigInt(SCRATCH), r8: apicId }).code
}

describe('SVSM_CORE_CREATE_VCPU', () => {
  it('makes a page a VMSA that the guest can read and not change', () => {
    const box = startedBox()
    expect(createVmsa(box, FRESH)).toBe(R.INVALID_ADDRESS)
    expect(createVmsa(box, FRESH + PAGE)).toBe(R.SUCCESS)
    expect(box.at(FRESH + PAGE)).toMatchObject({ vmsa: true, rights: [15, 0, 1, 0] })
  })

  it('serves the processor from then on, at its own calling area', () => {
    const box = startedBox()
    createVmsa(box, FRESH + PAGE)
    const from = { apicId: 1, vmsa: FRESH + PAGE, callingArea: SCRATCH }
    expect(box.call(0, C.QUERY_PROTOCOL, { rcx: 1n }, from))
      .toMatchObject({ code: R.SUCCESS, pending: 0, left: box.started })
  })

  it.each([
    ['another level', { vmpl: 1 }], ['the level of the SVSM', { vmpl: 0 }], ['EFER without SVME', { efer: 0n }],
    ['other features', { sevFeatures: 3n }],
  ])('refuses a VMSA with %s, and gives the page back', (_, change) => {
    const box = startedBox()
    expect(createVmsa(box, FRESH + PAGE, change)).toBe(R.INVALID_PARAMETER)
    expect(box.at(FRESH + PAGE)).toMatchObject({ vmsa: false, rights: [15, 0, 15, 0] })
  })

  it('refuses an APIC id that no processor has', () => {
    expect(createVmsa(startedBox(), FRESH + PAGE, {}, 7n)).toBe(R.INVALID_PARAMETER)
  })

  it('refuses pages that are in use as VMSA or calling area, and that are the same', () => {
    const box = startedBox()
    createVmsa(box, FRESH + PAGE)
    box.own(FRESH + 2 * PAGE, 2)
    const create = (rcx: number, rdx: number): number =>
      box.call(0, C.CREATE_VCPU, { rcx: BigInt(rcx), rdx: BigInt(rdx), r8: 1n }).code
    expect(create(FRESH + PAGE, FRESH + 2 * PAGE)).toBe(R.INVALID_ADDRESS)
    expect(create(CALLING_AREA, FRESH + 2 * PAGE)).toBe(R.INVALID_ADDRESS)
    expect(create(FRESH + 3 * PAGE, CALLING_AREA)).toBe(R.INVALID_ADDRESS)
    expect(create(FRESH + 3 * PAGE, FRESH + 3 * PAGE)).toBe(R.INVALID_ADDRESS)
    expect(create(box.base + 5 * PAGE, FRESH + 3 * PAGE)).toBe(R.INVALID_ADDRESS)
    expect(create(FRESH + 3 * PAGE + 8, FRESH + 2 * PAGE)).toBe(R.INVALID_ADDRESS)
  })
})

describe('a processor with an old and a new VMSA', () => {
  const OLD = { apicId: 1, vmsa: FRESH + PAGE, callingArea: SCRATCH }
  const NEW = { apicId: 1, vmsa: FRESH + 2 * PAGE, callingArea: FRESH + 3 * PAGE }
  const SPARE = FRESH + 4 * PAGE
  /** Processor 1 runs with the old one, and the new one waits for the host. */
  const hotplug = () => {
    const box = startedBox()
    createVmsa(box, OLD.vmsa)
    box.own(FRESH + 2 * PAGE, 3)
    box.at(NEW.vmsa).bytes.set(Vmsa.create({ vmpl: box.vmpl, efer: 0x1000n, sevFeatures: FEATURES }))
    const create = { rcx: BigInt(NEW.vmsa), rdx: BigInt(NEW.callingArea), r8: 1n }
    expect(box.call(0, C.CREATE_VCPU, create).code).toBe(R.SUCCESS)
    return box
  }
  const QUERY = { rcx: 1n }

  it('is answered at the one that called', () => {
    const box = hotplug()
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, OLD)).toMatchObject({ code: R.SUCCESS, pending: 0, left: box.started })
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, NEW)).toMatchObject({ code: R.SUCCESS, pending: 0 })
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, OLD)).toMatchObject({ code: R.SUCCESS, pending: 0 })
  })

  it('moves the calling area of the one that called', () => {
    const box = hotplug()
    expect(box.call(0, C.REMAP_CA, { rcx: BigInt(SPARE) }, OLD).code).toBe(R.SUCCESS)
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, { ...OLD, callingArea: SPARE }).code).toBe(R.SUCCESS)
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, NEW).code).toBe(R.SUCCESS)
  })

  it.each([['old', OLD, NEW], ['new', NEW, OLD]])('goes on with the other when the %s one goes', (_, gone, left) => {
    const box = hotplug()
    expect(box.call(0, C.DELETE_VCPU, { rcx: BigInt(gone.vmsa) }).code).toBe(R.SUCCESS)
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, left)).toMatchObject({ code: R.SUCCESS, left: box.started })
    expect(box.call(0, C.QUERY_PROTOCOL, QUERY, gone)).toMatchObject({ code: C.QUERY_PROTOCOL, pending: 1 })
  })
})

describe('SVSM_CORE_DELETE_VCPU', () => {
  it("makes the VMSA the guest's page again", () => {
    const box = startedBox()
    createVmsa(box, FRESH + PAGE)
    expect(box.call(0, C.DELETE_VCPU, { rcx: BigInt(FRESH + PAGE) }).code).toBe(R.SUCCESS)
    expect(box.at(FRESH + PAGE)).toMatchObject({ vmsa: false, rights: [15, 0, 15, 0] })
    expect(box.call(0, C.DELETE_VCPU, { rcx: BigInt(FRESH + PAGE) }).code).toBe(R.INVALID_PARAMETER)
    expect(box.svsm.run(box.processors[1])).toBe('halt')
  })

  it('says what RMPADJUST says of one that is in use', () => {
    const box = startedBox()
    createVmsa(box, FRESH + PAGE)
    box.at(FRESH + PAGE).inUse = true
    expect(box.call(0, C.DELETE_VCPU, { rcx: BigInt(FRESH + PAGE) }).code).toBe(BASE + 3)
  })

  it("keeps the page of the first processor's VMSA, which is the SVSM's", () => {
    const box = startedBox()
    const own = box.base + 3 * PAGE
    box.call(0, C.DELETE_VCPU, { rcx: BigInt(own) })
    expect(box.at(own)).toMatchObject({ vmsa: false, rights: [15, 0, 0, 0] })
  })
})

describe('SVSM_CORE_QUERY_PROTOCOL', () => {
  it.each([
    ['the core protocol, version 1', 1n, 1n | 1n << 32n], ['version 0 of it', 0n, 0n], ['version 2 of it', 2n, 0n],
    ['the APIC protocol', 3n << 32n | 1n, 0n], ['the vTPM protocol without a TPM', 2n << 32n | 1n, 0n],
    ['another', 99n << 32n | 1n, 0n],
  ])('answers for %s', (_, rcx, versions) => {
    expect(startedBox().call(0, C.QUERY_PROTOCOL, { rcx })).toMatchObject({ code: R.SUCCESS, rcx: versions })
  })
})

describe('SVSM_CORE_CONFIGURE_VTOM', () => {
  it('says that there is none when asked, and refuses to configure it', () => {
    const box = startedBox()
    expect(box.call(0, C.CONFIGURE_VTOM, { rcx: 1n })).toMatchObject({ code: R.SUCCESS, rcx: 0n })
    expect(box.call(0, C.CONFIGURE_VTOM, { rcx: 0x4000_0000n }).code).toBe(R.INVALID_REQUEST)
  })
})
