import { ghcbPage } from '@cofferdam/sev'
import { Ghcb, GhcbError, PscEntry, SvmExit, VmgExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createVmgexitServer, type GuestServices, type VcpuServices } from '../src/index.ts'
import { guestMemory, guestServices } from './guest.ts'

const GHCB = 0x5000

const serveVmgexit = (value: bigint, services: GuestServices, vcpu: VcpuServices) =>
  createVmgexitServer(services).serve(value, vcpu)

/** A guest whose GHCB page is shared and registered, and what it can do with it. */
function guestWithGhcb() {
  const backing = guestMemory()
  const { services, vcpu, seen } = guestServices(backing.guest)
  backing.guest.makeShared(GHCB / 4096)
  vcpu.ghcb = GHCB
  const page = new Uint8Array(4096)
  const view = new DataView(page.buffer)
  view.setUint16(Ghcb.offset.protocolVersion, 2, true)
  const mark = (offset: number): void => { page[Ghcb.offset.validBitmap + (offset >> 6)] |= 1 << (offset >> 3 & 7) }
  type Field = 'rax' | 'rbx' | 'rcx' | 'rdx' | 'xcr0' | 'swScratch' | 'swExitCode' | 'swExitInfo1' | 'swExitInfo2'
  const set = (field: Field, value: bigint): void => {
    view.setBigUint64(Ghcb.offset[field], value, true)
    mark(Ghcb.offset[field])
  }
  return {
    ...backing, services, vcpu, seen, page, view, set,
    /** Makes an exit; answers what the page says afterwards. */
    exit(code: number, info1 = 0n, info2 = 0n, fields: Partial<Record<Field, bigint>> = {}) {
      set('swExitCode', BigInt(code))
      set('swExitInfo1', info1)
      set('swExitInfo2', info2)
      for (const [field, value] of Object.entries(fields)) set(field as Field, value)
      backing.guest.write(GHCB, page)
      const served = serveVmgexit(BigInt(GHCB), services, vcpu)
      const after = new Uint8Array(4096)
      backing.guest.read(GHCB, after)
      const { rax, rbx, rcx, rdx, swExitInfo1, swExitInfo2 } = Ghcb.read(new DataView(after.buffer))
      return { served, rax, rbx, rcx, rdx, info1: swExitInfo1, info2: swExitInfo2, after }
    },
  }
}

const malformed = (error: number) => ({ info1: 2n, info2: BigInt(error) })

describe('the GHCB page', () => {
  it('must be registered', () => {
    const guest = guestWithGhcb()
    guest.vcpu.ghcb = 0x9000
    expect(guest.exit(SvmExit.RDTSC)).toMatchObject(malformed(GhcbError.NOT_REGISTERED))
  })

  it('must be shared: nothing is read from or written to a private page', () => {
    const guest = guestWithGhcb()
    guest.guest.makePrivate(GHCB / 4096)
    const before = guest.memory.bytes.slice()
    expect(serveVmgexit(BigInt(GHCB), guest.services, guest.vcpu).malformed).toContain('is not shared memory')
    expect(before.findIndex((byte, at) => byte !== guest.memory.bytes[at])).toBe(-1)
  })

  it('must have the standard usage', () => {
    const guest = guestWithGhcb()
    guest.view.setUint32(Ghcb.offset.usage, 1, true)
    expect(guest.exit(SvmExit.RDTSC)).toMatchObject(malformed(GhcbError.INVALID_USAGE))
  })

  it('counts only fields that its bitmap marks', () => {
    const guest = guestWithGhcb()
    guest.view.setBigUint64(Ghcb.offset.rcx, 0x10n, true)
    expect(guest.exit(SvmExit.MSR)).toMatchObject(malformed(GhcbError.MISSING_INPUT))
    expect(guest.exit(SvmExit.MSR, 0n, 0n, { rcx: 0x10n })).toMatchObject({ info1: 0n, rax: 1000n })
  })

  it('answers codes that nobody serves, AP jump tables among them, with INVALID_EVENT', () => {
    for (const code of [SvmExit.VMRUN, VmgExit.AP_JUMP_TABLE, VmgExit.HV_DOORBELL]) {
      expect(guestWithGhcb().exit(code)).toMatchObject(malformed(GhcbError.INVALID_EVENT))
    }
  })
})

describe('an answer', () => {
  const FIELDS = ['rax', 'rbx', 'rcx', 'rdx', 'xcr0', 'swScratch', 'swExitCode', 'swExitInfo1', 'swExitInfo2'] as const
  const valid = (after: Uint8Array): string[] => {
    const page = ghcbPage(after)
    return FIELDS.filter(page.has)
  }
  it('has what it brings in its bitmap, and nothing of the request', () => {
    const guest = guestWithGhcb()
    const answers = [
      guest.exit(SvmExit.MSR, 0n, 0n, { rcx: 0x10n, rbx: 5n, xcr0: 7n, swScratch: 9n }),
      guest.exit(SvmExit.MSR, 1n, 0n, { rcx: 0xfen, rax: 0n, rdx: 0n }),
      guest.exit(SvmExit.CPUID, 0n, 0n, { rax: 0n, rcx: 0n }),
      guest.exit(SvmExit.VMRUN),
    ]
    const info = ['swExitInfo1', 'swExitInfo2']
    expect(answers.map(({ after }) => valid(after)))
      .toEqual([['rax', 'rdx', ...info], info, ['rax', 'rbx', 'rcx', 'rdx', ...info], info])
  })
})

describe('exits', () => {
  it('CPUID answers the guest\'s model, and wants XCR0 for leaf 0Dh', () => {
    const guest = guestWithGhcb()
    expect(guest.exit(SvmExit.CPUID, 0n, 0n, { rax: 0x8000_001fn, rcx: 0n }))
      .toMatchObject({ rax: 0x1an, rbx: 0x8000_01b3n })
    expect(guest.exit(SvmExit.CPUID, 0n, 0n, { rax: 0xdn })).toMatchObject(malformed(GhcbError.MISSING_INPUT))
    expect(guest.exit(SvmExit.CPUID, 0n, 0n, { rax: 0xdn, xcr0: 7n })).toMatchObject({ rbx: 0x340n })
  })

  it('MSR raises #GP in the guest for registers that there are not', () => {
    const guest = guestWithGhcb()
    expect(guest.exit(SvmExit.MSR, 0n, 0n, { rcx: 0x1234n })).toMatchObject({ info1: 1n, info2: 0x8000_0b0dn })
    expect(guest.exit(SvmExit.MSR, 1n, 0n, { rcx: 0xfen, rax: 0n, rdx: 0n }).info1).toBe(1n)
  })

  it('IOIO reads and writes ports at their size', () => {
    const guest = guestWithGhcb()
    const written: number[][] = []
    guest.services.ports.attach({
      name: 'x', start: 0x3f8, length: 8,
      handlers: { read: (offset, size) => offset * 16 + size, write: (...access) => { written.push(access) } },
    })
    expect(guest.exit(SvmExit.IOIO, 0x3fd_0011n).rax).toBe(0x51n)
    guest.exit(SvmExit.IOIO, 0x3f8_0020n, 0n, { rax: 0xffff_1234n })
    expect(written).toEqual([[0, 2, 0x1234]])
    expect(guest.exit(SvmExit.IOIO, 0x3f8_0001n)).toMatchObject(malformed(GhcbError.INVALID_INPUT))
  })

  it('IOIO moves strings through the shared buffer, and through nothing else', () => {
    const guest = guestWithGhcb()
    const written: number[] = []
    guest.services.ports.attach({
      name: 'x', start: 0x3f8, length: 8,
      handlers: { read: () => 0xab, write: (_o, _s, value) => { written.push(value) } },
    })
    guest.page.set([1, 2, 3], Ghcb.offset.sharedBuffer)
    const scratch = BigInt(GHCB + Ghcb.offset.sharedBuffer)
    expect(guest.exit(SvmExit.IOIO, 0x3f8_001cn, 3n, { swScratch: scratch }).info1).toBe(0n)
    expect(written).toEqual([1, 2, 3])
    const { after } = guest.exit(SvmExit.IOIO, 0x3f8_001dn, 2n, { swScratch: scratch })
    expect([...after.subarray(Ghcb.offset.sharedBuffer, Ghcb.offset.sharedBuffer + 3)]).toEqual([0xab, 0xab, 3])
    for (const wrong of [0x6000n, BigInt(GHCB), scratch + 0x7ef_0n]) {
      expect(guest.exit(SvmExit.IOIO, 0x3f8_001cn, 3n, { swScratch: wrong }))
        .toMatchObject(malformed(GhcbError.INVALID_SCRATCH_AREA))
    }
  })

  it('MMIO reaches registers and the processor\'s own APIC, never RAM', () => {
    const guest = guestWithGhcb()
    const scratch = BigInt(GHCB + Ghcb.offset.sharedBuffer)
    const version = guest.exit(VmgExit.MMIO_READ, 0xfee0_0030n, 4n, { swScratch: scratch }).after
    expect(version[Ghcb.offset.sharedBuffer] & 0xf0).toBe(0x10)
    // Behind the APIC's page nothing is: an access that runs over its end does not begin there again.
    const over = guest.exit(VmgExit.MMIO_READ, 0xfee0_0ffcn, 8n, { swScratch: scratch }).after
    expect([...over.subarray(Ghcb.offset.sharedBuffer + 4, Ghcb.offset.sharedBuffer + 8)]).toEqual([255, 255, 255, 255])
    expect(guest.exit(VmgExit.MMIO_READ, 0x3000n, 4n)).toMatchObject(malformed(GhcbError.INVALID_INPUT))
    expect(guest.exit(VmgExit.MMIO_WRITE, 0xfee0_0030n, 9n)).toMatchObject(malformed(GhcbError.INVALID_INPUT))
  })

  it('HV_FEATURES says what the host can do', () => {
    expect(guestWithGhcb().exit(VmgExit.HV_FEATURES).info2).toBe(3n)
  })

  it('AP_CREATION hands on a request, and refuses VMSAs at multiples of 2 MiB', () => {
    const guest = guestWithGhcb()
    const info1 = 1n << 32n | 1n
    expect(guest.exit(VmgExit.AP_CREATION, info1, 0x20_0000n, { rax: 1n }))
      .toMatchObject(malformed(GhcbError.INVALID_INPUT))
    guest.exit(VmgExit.AP_CREATION, info1, 0x20_1000n)
    expect(guest.seen.aps).toEqual([{ apicId: 1, vmpl: 0, vmsa: 0x20_1000, onInit: false, features: 1n }])
  })

  it('APIC_ID_LIST says how many pages it takes, and lists the processors', () => {
    const guest = guestWithGhcb()
    expect(guest.exit(VmgExit.APIC_ID_LIST, 0n, 0n, { rax: 0n })).toMatchObject({ info1: 0n, rax: 1n })
    expect(guest.exit(VmgExit.APIC_ID_LIST, 0x1_0000n, 0n, { rax: 1n }))
      .toMatchObject(malformed(GhcbError.INVALID_INPUT))
    guest.guest.makeShared(0x10)
    expect(guest.exit(VmgExit.APIC_ID_LIST, 0x1_0000n, 0n, { rax: 1n })).toMatchObject({ info1: 0n, rax: 1n })
    const list = new Uint8Array(16)
    guest.guest.read(0x1_0000, list)
    expect([...new Uint32Array(list.buffer)]).toEqual([3, 0, 1, 5])
    expect(guest.exit(VmgExit.APIC_ID_LIST, 0x1_0008n, 0n, { rax: 1n }))
      .toMatchObject(malformed(GhcbError.INVALID_INPUT))
  })

  it('AP_RESET_HOLD lets the processor wait, and says that a start-up IPI ended it', () => {
    const guest = guestWithGhcb()
    expect(guest.exit(VmgExit.AP_RESET_HOLD).info2).toBe(1n)
    expect(guest.seen.pauses).toEqual(['reset-hold'])
  })

  it('GUEST_REQUEST brings a copy of the request to the firmware and its answer back', () => {
    const guest = guestWithGhcb()
    guest.guest.makeShared(0x10)
    guest.guest.makeShared(0x11)
    guest.guest.write(0x1_0000, new Uint8Array(4096).fill(0x0f))
    expect(guest.exit(VmgExit.GUEST_REQUEST, 0x1_0000n, 0x1_1000n)).toMatchObject({ info1: 0n, info2: 0n })
    const answer = new Uint8Array(4)
    guest.guest.read(0x1_1000, answer)
    expect([...answer]).toEqual([0xf0, 0xf0, 0xf0, 0xf0])
    for (const [request, response] of [[0x1_0000n, 0x1_0000n], [0x1_0008n, 0x1_1000n], [0x1_0000n, 0x1_2000n]]) {
      expect(guest.exit(VmgExit.GUEST_REQUEST, request, response)).toMatchObject(malformed(GhcbError.INVALID_INPUT))
    }
    expect(guest.seen.requests).toBe(1)
  })

  it('EXT_GUEST_REQUEST says how many pages certificates take, and asks nobody then', () => {
    const guest = guestWithGhcb()
    for (const page of [0x10, 0x11, 0x12, 0x13]) guest.guest.makeShared(page)
    guest.guest.write(0x1_0034, Uint8Array.of(5))
    const few = guest.exit(VmgExit.EXT_GUEST_REQUEST, 0x1_0000n, 0x1_1000n, { rax: 0x1_2000n, rbx: 1n })
    expect(few).toMatchObject({ rbx: 2n, info2: 1n << 32n })
    expect(guest.seen.requests).toBe(0)
    expect(guest.exit(VmgExit.EXT_GUEST_REQUEST, 0x1_0000n, 0x1_1000n, { rbx: 2n }))
      .toMatchObject({ info1: 0n, info2: 0n })
    const certificate = new Uint8Array(1)
    guest.guest.read(0x1_2000 + 4999, certificate)
    expect(certificate[0]).toBe(7)
  })

  it('TERMINATION ends the guest with its reason in words', () => {
    const guest = guestWithGhcb()
    guest.exit(VmgExit.TERMINATION, 0x021n)
    expect(guest.seen.ends[0]).toContain('PVALIDATE failed')
  })

  it('UNSUPPORTED_EVENT ends it too', () => {
    const guest = guestWithGhcb()
    guest.exit(VmgExit.UNSUPPORTED_EVENT, 0x8dn)
    expect(guest.seen.ends[0]).toContain('#VC event 0x8d')
  })
})

describe('PAGE_STATE_CHANGE', () => {
  const scratch = BigInt(GHCB + Ghcb.offset.sharedBuffer)
  const at = Ghcb.offset.sharedBuffer
  /** A list of entries; answers the exit and the header's current entry. */
  function change(entries: readonly bigint[], current = 0, end = entries.length - 1, reserved = 0) {
    const guest = guestWithGhcb()
    guest.view.setUint16(at, current, true)
    guest.view.setUint16(at + 2, end, true)
    guest.view.setUint32(at + 4, reserved, true)
    entries.forEach((entry, i) => { guest.view.setBigUint64(at + 8 + 8 * i, entry, true) })
    const result = guest.exit(VmgExit.PAGE_STATE_CHANGE, 0n, 0n, { swScratch: scratch })
    const after = new DataView(result.after.buffer)
    return {
      ...guest, ...result, current: after.getUint16(at, true),
      entry: (i: number) => after.getBigUint64(at + 8 + 8 * i, true),
    }
  }
  const entry = (gfn: number, operation: number, pageSize = 0, currentPage = 0): bigint => PscEntry.pack({
    gfn: BigInt(gfn), operation: BigInt(operation), pageSize: BigInt(pageSize), currentPage: BigInt(currentPage),
  })

  it('changes each entry, and says in the list how far it came', () => {
    const { guest, current, info2, entry: after } = change([entry(0x10, 2), entry(0x200, 1, 1), entry(0x11, 1)])
    expect([current, info2]).toEqual([3, 0n])
    expect([guest.isShared(0x10), guest.counts.assigned2M, guest.isShared(0x11)]).toEqual([true, 1, false])
    expect(PscEntry.get(after(1), 'currentPage')).toBe(512n)
  })

  it('stops after 64 entries and goes on when asked again', () => {
    const guest = change(Array.from({ length: 100 }, (_, i) => entry(0x20 + i, 2)))
    expect([guest.current, guest.info2]).toEqual([64, 0n])
    guest.page.set(guest.after)
    const again = guest.exit(VmgExit.PAGE_STATE_CHANGE, 0n, 0n, { swScratch: scratch })
    expect(new DataView(again.after.buffer).getUint16(at, true)).toBe(100)
    expect(guest.guest.isShared(0x20 + 99)).toBe(true)
  })

  it('goes on inside 2 MiB where it was left', () => {
    const { guest } = change([entry(0x200, 2, 1, 510)])
    expect([509, 510, 511].map((i) => guest.isShared(0x200 + i))).toEqual([false, true, true])
  })

  it.each<[string, bigint[], number, bigint]>([
    ['a place that is no multiple of 2 MiB', [entry(0x201, 1, 1)], 0, 1n << 32n | 2n],
    ['reserved bits', [entry(0x10, 2) | 1n << 60n], 0, 1n << 32n | 2n],
    ['an unknown operation', [entry(0x10, 2), entry(0x11, 7)], 1, 1n << 32n | 2n],
    ['memory that is not there', [entry(0x10_0000, 1)], 0, 0x100n << 32n],
  ])('refuses %s and names the entry', (_, entries, current, info2) => {
    expect(change(entries)).toMatchObject({ current, info2 })
  })

  it('refuses headers whose end lies outside the buffer', () => {
    expect(change([entry(0x10, 2)], 0, 253).info2).toBe(1n << 32n | 1n)
    expect(change([entry(0x10, 2)], 5, 0)).toMatchObject({ info2: 0n, current: 5 })
  })

  it('takes no notice of what OVMF leaves in the header (tianocore/edk2, SnpPageStateChangeInternal.c)', () => {
    expect(change([entry(0x10, 2)], 0, 0, 0x6330_6940)).toMatchObject({ info2: 0n, current: 1 })
  })

  it('refuses a scratch area outside of the GHCB', () => {
    const guest = guestWithGhcb()
    expect(guest.exit(VmgExit.PAGE_STATE_CHANGE, 0n, 0n, { swScratch: 0x6000n }))
      .toMatchObject(malformed(GhcbError.INVALID_SCRATCH_AREA))
  })
})

describe('the MSR protocol', () => {
  function msr(value: bigint) {
    const { guest } = guestMemory()
    const { services, vcpu, seen } = guestServices(guest)
    return { ...serveVmgexit(value, services, vcpu), vcpu, seen, guest }
  }

  it.each<[string, bigint, bigint]>([
    ['SEV_INFO: versions 1 to 2, C-bit 51', 0x002n, 0x0002_0001_3300_0001n],
    ['CPUID: the vendor in EBX', 0x0000_0000_4000_0004n, 0x6874_7541_4000_0005n],
    ['preferred GPA: none', 0x010n, 0xffff_ffff_ffff_f011n],
    ['registration of RAM', 0x5012n, 0x5013n],
    ['registration of what is no RAM', 0xfee0_0012n, 0xffff_ffff_ffff_f013n],
    ['page state change', 0x0020_0000_0000_5014n, 0x015n],
    ['page state change to a state that there is not', 0x0030_0000_0000_5014n, 0x8000_0000_0000_0015n],
    ['hypervisor features', 0x080n, 0x3081n],
    ['AP reset hold', 0x006n, 0x1007n],
    ['run VMPL0', 0x016n, 0x017n],
    ['run VMPL3, which nobody is at', 0x0000_0003_0000_0016n, 0x1_0000_0017n],
  ])('answers %s', (_, request, answer) => {
    expect(msr(request).msr).toBe(answer)
  })

  it('registers the page for the processor that asks', () => {
    expect(msr(0x5012n).vcpu.ghcb).toBe(0x5000)
    expect(msr(0xfee0_0012n).vcpu.ghcb).toBe(-1)
  })

  it('notes bits that a request does not define', () => {
    expect(msr(0x0002_0000_0000_0016n).malformed).toContain('undefined bits 0x2000000000000')
    expect(msr(0x1_0002n)).toMatchObject({ malformed: 'MSR protocol request with undefined bits 0x10000' })
  })

  it('leaves the MSR alone for requests that it does not know', () => {
    const { msr: answer, name } = msr(0xabcn)
    expect([answer, name]).toEqual([undefined, 'msr:unknown'])
  })

  it('ends the guest with the reason in words', () => {
    expect(msr(0x0003_1100n).seen.ends[0]).toContain('does not run at VMPL0 (Linux reason 0x3)')
    expect(msr(0x0005_c100n).seen.ends[0]).toContain('validated before')
  })
})
