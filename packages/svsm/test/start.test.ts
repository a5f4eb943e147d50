import { GhcbMsr, GhcbMsrRunVmplReq, SecretsPage, SevFeatures, Vmsa } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { svsmImage } from '../src/index.ts'
import { serveReports, TSC, type FirmwareOptions } from './firmware.ts'
import { CALLING_AREA, CPUID, createBox, FEATURES, KERNEL, PAGE, SECRETS, startedBox } from './fixture.ts'

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
const RUN_VMPL = (vmpl: number): bigint =>
  GhcbMsrRunVmplReq.pack({ info: BigInt(GhcbMsr.RUN_VMPL_REQ), vmpl: BigInt(vmpl) })

describe('the start of an SVSM', () => {
  it('gives the guest what it was launched with, and nothing of its own', () => {
    const box = startedBox({ vmpl: 2 })
    for (const address of [KERNEL, KERNEL + 3 * PAGE, CALLING_AREA, SECRETS, CPUID]) {
      expect(box.at(address).rights).toEqual([15, 0, 15, 0])
    }
    for (let at = box.base; at < box.base + box.image.region.length; at += PAGE) {
      expect(box.at(at).rights.slice(1)).toEqual([0, 0, 0])
    }
  })

  it.each([1, 2, 3])('gives a guest at VMPL%i its secrets without the keys of the levels above', (vmpl) => {
    const box = startedBox({ vmpl })
    const page = SecretsPage.read(viewOf(box.at(SECRETS).bytes))
    const keys = [page.vmpck0, page.vmpck1, page.vmpck2, page.vmpck3].map(([first]) => first)
    expect(keys).toEqual([1, 2, 3, 4].map((key, i) => (i < vmpl ? 0 : key)))
    expect(page).toMatchObject({
      svsmBase: BigInt(box.base), svsmSize: BigInt(box.image.region.length), svsmCaa: BigInt(CALLING_AREA),
      svsmMaxVersion: 1, svsmGuestVmpl: vmpl,
    })
    expect([...box.at(CPUID).bytes.subarray(0, 3)]).toEqual([7, 7, 7])
  })

  it("starts itself on the other processors, tells the host of the guest's VMSA, and runs the guest", () => {
    const box = startedBox({ processors: 3, vmpl: 1 })
    expect(box.announced.map(({ apicId, vmpl }) => [apicId, vmpl])).toEqual([[1, 0], [2, 0], [0, 1]])
    for (const { address, vmpl, features } of box.announced) {
      expect(features).toBe(FEATURES)
      expect(box.at(address).vmsa).toBe(true)
      expect(Vmsa.get(viewOf(box.at(address).bytes), 'vmpl')).toBe(vmpl)
      expect(address % 2 ** 21).not.toBe(0)
    }
    expect(box.started).toBe(RUN_VMPL(1))
  })

  it('halts on processors that have no guest yet', () => {
    const box = startedBox()
    expect(box.svsm.run(box.processors[1])).toBe('halt')
  })

  it('ends the guest when a page is not as it was launched', () => {
    const box = createBox()
    box.at(KERNEL).validated = false
    expect(Number((box.svsm.run(box.processors[0]) as bigint) & 0xfffn)).toBe(GhcbMsr.TERMINATION_REQ)
  })

  it('ends the guest when the host does not run it', () => {
    const box = startedBox()
    const refused = { ...box.processors[0], ghcbMsr: () => BigInt(GhcbMsr.RUN_VMPL_RESP) | 1n << 32n }
    expect(Number((box.svsm.run(refused) as bigint) & 0xfffn)).toBe(GhcbMsr.TERMINATION_REQ)
  })
})

describe('an SVSM with Secure TSC', () => {
  const features = FEATURES | SevFeatures.mask.SecureTSC
  const timeOf = (box: ReturnType<typeof createBox>, address: number) => {
    const view = viewOf(box.at(address).bytes)
    return { tscScale: Vmsa.get(view, 'guestTscScale'), tscOffset: Vmsa.get(view, 'guestTscOffset') }
  }

  it("asks the firmware for the time stamp's scale, and gives it to all VMSAs that it makes", () => {
    const box = createBox({ features, processors: 3 })
    serveReports(box)
    expect(box.svsm.run(box.processors[0])).toBe(RUN_VMPL(2))
    expect(box.announced.map(({ address }) => timeOf(box, address))).toEqual([TSC, TSC, TSC])
  })

  it('measures no scale, which differs from machine to machine', () => {
    const box = createBox({ features })
    const vmsas = box.image.launch.filter(({ bytes, length }) => bytes?.length === PAGE && length === PAGE)
      .filter(({ name }) => name.includes('VMSA'))
    expect(vmsas).toHaveLength(2)
    for (const { bytes = new Uint8Array(0) } of vmsas) expect(Vmsa.get(viewOf(bytes), 'guestTscScale')).toBe(0n)
  })

  it.each<[string, FirmwareOptions]>([
    ['does not tell', { tscStatus: 0x16 }], ['is not the one that answers', { tamper: (page) => { page[0x70] ^= 1 } }],
  ])('ends the guest when the firmware %s', (_, firmware) => {
    const box = createBox({ features })
    serveReports(box, firmware)
    expect(Number((box.svsm.run(box.processors[0]) as bigint) & 0xfffn)).toBe(GhcbMsr.TERMINATION_REQ)
  })

  it('asks for nothing without it', () => {
    const box = createBox()
    serveReports(box, { tscStatus: 0x16 })
    expect(box.svsm.run(box.processors[0])).toBe(RUN_VMPL(2))
    expect(timeOf(box, box.announced[0].address)).toEqual({ tscScale: 0n, tscOffset: 0n })
  })
})

describe('a launch with an SVSM', () => {
  const options = {
    launch: [
      { name: 'secrets', start: SECRETS, length: PAGE, type: 'secrets' },
      { name: 'CPUID', start: CPUID, length: PAGE, type: 'cpuid' },
      { name: 'calling area', start: CALLING_AREA, length: PAGE, type: 'zero' },
      { name: 'VMSA', start: 0xffff_ffff_f000, length: PAGE, type: 'vmsa', bytes: new Uint8Array(PAGE) },
    ],
    callingArea: CALLING_AREA, ram: [{ start: 0, length: 2 ** 30 }], vmpl: 2, apicIds: [0], cBit: 51,
  } as const

  it('measures what the SVSM goes by, and has the secrets in its own page only', () => {
    const { launch, region } = svsmImage(options)
    const secrets = launch.filter(({ type }) => type === 'secrets')
    expect(secrets).toHaveLength(1)
    expect(secrets[0].start).toBeGreaterThan(region.start)
    expect(launch.find(({ start }) => start === SECRETS)?.type).toBe('zero')
    const own = launch.filter(({ start, type }) => start >= region.start && type !== 'vmsa')
    expect(own.reduce((sum, { length }) => sum + length, 0)).toBe(region.length)
  })

  it.each([
    [{ vmpl: 0 }, /level/], [{ vmpl: 4 }, /level/], [{ callingArea: 0x5000 }, /calling area/],
    [{ launch: options.launch.slice(1) }, /secrets/], [{ launch: options.launch.slice(0, 3) }, /VMSA/],
    [{ apicIds: Array.from({ length: 65 }, (_, i) => i) }, /processors/],
  ] as const)('is refused with %o', (change, message) => {
    expect(() => svsmImage({ ...options, ...change })).toThrow(message)
  })
})
