/** A processor at VMPL0 without silicon: pages with what the RMP says of them, and a host that answers. */
import {
  Ghcb, GhcbMsr, RmpAdjustAttributes, RmpStatus, SecretsPage, SvmExit, SvsmCallId, SvsmCallingArea, VmgExit, Vmsa,
} from '@cofferdam/spec'
import { createSvsm, svsmImage, type SvsmOptions, type SvsmProcessor } from '../src/index.ts'

export const PAGE = 4096
export const MiB = 2 ** 20
export const RAM = 64 * MiB
export const CALLING_AREA = 0x80_0000
export const SECRETS = 0x80_1000
export const CPUID = 0x80_2000
export const KERNEL = 0x100_0000
/** A page of RAM that the tests use for lists and messages. */
export const SCRATCH = 0x101_0000
export const FEATURES = 1n
const VC = 29
const SHARED = 2 ** 46

interface Page {
  readonly bytes: Uint8Array
  validated: boolean
  /** Permissions by VMPL. */
  readonly rights: number[]
  vmsa: boolean
  inUse: boolean
  large: boolean
  shared: boolean
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** Guest memory by page, and who may do what with it. */
function createPages() {
  const pages = new Map<number, Page>()
  const at = (address: number): Page => {
    const number = Math.floor(address / PAGE)
    let page = pages.get(number)
    if (page === undefined) {
      page = {
        bytes: new Uint8Array(PAGE), validated: false, rights: [15, 0, 0, 0], vmsa: false, inUse: false, large: false,
        shared: false,
      }
      pages.set(number, page)
    }
    return page
  }
  const copy = (address: number, bytes: Uint8Array, write: boolean): void => {
    for (let done = 0; done < bytes.length;) {
      const offset = (address + done) % PAGE
      const n = Math.min(bytes.length - done, PAGE - offset)
      const page = at(address + done).bytes
      if (write) page.set(bytes.subarray(done, done + n), offset)
      else bytes.set(page.subarray(offset, offset + n), done)
      done += n
    }
  }
  return { at, copy }
}

/** Everything around one SVSM. */
export function createBox(options: {
  vmpl?: number, processors?: number, features?: bigint, svsm?: Partial<SvsmOptions>,
} = {}) {
  const vmpl = options.vmpl ?? 2
  const apicIds = Array.from({ length: options.processors ?? 2 }, (_, i) => i)
  const { at, copy } = createPages()
  const startVmsa = Vmsa.create({ efer: 0x1500n, sevFeatures: options.features ?? FEATURES, rip: 0x1234n })
  const image = svsmImage({
    launch: [
      { name: 'kernel', start: KERNEL, length: 4 * PAGE, type: 'normal', bytes: Uint8Array.of(1, 2, 3) },
      { name: 'calling area', start: CALLING_AREA, length: PAGE, type: 'zero' },
      { name: 'secrets', start: SECRETS, length: PAGE, type: 'secrets' },
      { name: 'CPUID', start: CPUID, length: PAGE, type: 'cpuid' },
      { name: 'VMSA', start: 0xffff_ffff_f000, length: PAGE, type: 'vmsa', bytes: startVmsa },
      { name: 'VMSA 1', start: 0xffff_ffff_f000, length: PAGE, type: 'vmsa', bytes: startVmsa, vp: 1 },
    ],
    callingArea: CALLING_AREA, ram: [{ start: 0, length: RAM }], vmpl, apicIds, cBit: 51,
  })
  const key = (n: number): Uint8Array => new Uint8Array(32).fill(n + 1)
  for (const { start, length, type, bytes } of image.launch) {
    for (let address = start; address < start + length; address += PAGE) at(address).validated = true
    if (bytes !== undefined) copy(start, bytes, true)
    if (type === 'secrets') {
      const secrets = { version: 3, vmpck0: key(0), vmpck1: key(1), vmpck2: key(2), vmpck3: key(3) }
      copy(start, SecretsPage.create(secrets), true)
    }
    if (type === 'cpuid') copy(start, Uint8Array.of(7, 7, 7), true)
  }
  const svsm = createSvsm({ base: image.region.start, ...options.svsm })
  const log: string[] = []
  /** VMSAs that the host was told of. */
  /** EXITINFO1 and EXITINFO2 of the last request through a page. */
  const guestPages: number[] = []
  const announced: { apicId: number, vmpl: number, address: number, features: bigint }[] = []

  const usable = (address: number, length: number): boolean => {
    for (let page = Math.floor(address / PAGE) * PAGE; page < address + length; page += PAGE) {
      const { validated, shared, inUse } = at(page % SHARED)
      if (page >= SHARED ? !shared : !validated || shared || inUse) return false
    }
    return true
  }
  const access = (address: number, bytes: Uint8Array, write: boolean) => {
    if (!usable(address, bytes.length)) return { fault: VC }
    copy(address % SHARED, bytes, write)
    return true as const
  }
  const region = (address: number, large: boolean): Page[] =>
    Array.from({ length: large ? 512 : 1 }, (_, i) => at(address + i * PAGE))

  /** The host: what it answers through the MSR, and through a page. */
  const answer = (msr: bigint): bigint => {
    const info = Number(msr & 0xfffn)
    if (info === GhcbMsr.PSC_REQ) {
      Object.assign(at(Number(msr >> 12n & 0xff_ffff_ffffn) * PAGE), { shared: true })
      return BigInt(GhcbMsr.PSC_RESP)
    }
    if (info === GhcbMsr.REGISTER_GPA_REQ) {
      return msr - BigInt(GhcbMsr.REGISTER_GPA_REQ) + BigInt(GhcbMsr.REGISTER_GPA_RESP)
    }
    if (info !== 0) return 0n
    const page = viewOf(at(Number(msr)).bytes)
    if (Ghcb.get(page, 'swExitCode') === BigInt(VmgExit.AP_CREATION)) {
      const info1 = Ghcb.get(page, 'swExitInfo1')
      announced.push({
        apicId: Number(info1 >> 32n), vmpl: Number(info1 >> 16n & 15n), address: Number(Ghcb.get(page, 'swExitInfo2')),
        features: Ghcb.get(page, 'rax'),
      })
    }
    guestPages.splice(0, 2, Number(Ghcb.get(page, 'swExitInfo1')), Number(Ghcb.get(page, 'swExitInfo2')))
    Ghcb.write(page, { swExitInfo1: 0n, swExitInfo2: 0n })
    host.serve?.(page)
    return msr
  }
  const host: { serve?: (ghcb: DataView) => void, at: typeof at } = { at }

  const processor = (apicId: number): SvsmProcessor => {
    let msr = 0n
    return {
      apicId,
      load: (address, out) => access(address, out, false),
      store: (address, bytes) => access(address, bytes, true),
      exchange(address, value) {
        const before = new Uint8Array(1)
        const read = access(address, before, false)
        if (read !== true) return read
        access(address, Uint8Array.of(value), true)
        return before[0]
      },
      clear: (address) => access(address, new Uint8Array(PAGE), true),
      pvalidate(address, large, validate) {
        log.push(`pvalidate ${address.toString(16)} ${large ? '2M' : '4K'} ${validate ? 1 : 0}`)
        const pages = region(address, large)
        if (large && !pages[0].large) return { status: RmpStatus.FAIL_SIZEMISMATCH, unchanged: false }
        if (pages[0].validated === validate) return { status: 0, unchanged: true }
        for (const page of pages) page.validated = validate
        return { status: 0, unchanged: false }
      },
      rmpadjust(address, large, operand) {
        const { targetVmpl, permissions, vmsa } = RmpAdjustAttributes.unpack(operand)
        log.push(`rmpadjust ${address.toString(16)} vmpl ${targetVmpl} ${permissions}${vmsa === 1n ? ' vmsa' : ''}`)
        const pages = region(address, large)
        if (large && !pages[0].large) return RmpStatus.FAIL_SIZEMISMATCH
        if (!pages[0].validated) return { fault: VC }
        if (pages[0].inUse) return RmpStatus.FAIL_INUSE
        for (const page of pages) {
          page.rights[Number(targetVmpl)] = Number(permissions)
          page.vmsa = vmsa === 1n
        }
        return RmpStatus.SUCCESS
      },
      ghcbMsr: () => msr,
      vmgexit(value) {
        msr = answer(value)
        return msr
      },
    }
  }
  const processors = apicIds.map(processor)
  /** Makes pages the guest's own, as if they had been validated for it. */
  const own = (address: number, pages = 1): void => {
    for (let i = 0; i < pages; i++) {
      const page = at(address + i * PAGE)
      page.validated = true
      page.rights[vmpl] = 15
    }
  }
  own(SCRATCH)

  /** A call from a processor, at its VMSA and calling area. */
  const call = (
    protocol: number, number: number, registers: { rcx?: bigint, rdx?: bigint, r8?: bigint } = {},
    from: { apicId?: number, vmsa?: number, callingArea?: number, pending?: number, exit?: number } = {},
  ) => {
    const vmsa = at(from.vmsa ?? image.region.start + 3 * PAGE)
    const area = at(from.callingArea ?? CALLING_AREA)
    const view = viewOf(vmsa.bytes)
    Vmsa.write(view, {
      rax: SvsmCallId.pack({ protocol: BigInt(protocol), call: BigInt(number) }), rcx: 0n, rdx: 0n, r8: 0n,
      ...registers, guestExitCode: BigInt(from.exit ?? SvmExit.VMGEXIT), sevFeatures: FEATURES,
    })
    area.bytes[SvsmCallingArea.offset.callPending] = from.pending ?? 1
    const left = svsm.run(processors[from.apicId ?? 0])
    return {
      left, pending: area.bytes[SvsmCallingArea.offset.callPending], code: Number(Vmsa.get(view, 'rax')),
      rcx: Vmsa.get(view, 'rcx'), rdx: Vmsa.get(view, 'rdx'), r8: Vmsa.get(view, 'r8'),
    }
  }
  return { svsm, image, at, log, announced, guestPages, host, processors, own, call, vmpl, base: image.region.start }
}

/** A box whose SVSM has started. */
export function startedBox(options?: Parameters<typeof createBox>[0]) {
  const box = createBox(options)
  const left = box.svsm.run(box.processors[0])
  box.log.length = 0
  return { ...box, started: left }
}

/** Writes a list for PVALIDATE (or memory) at SCRATCH and answers its address. */
export function list(box: { at: (address: number) => { bytes: Uint8Array } }, entries: readonly bigint[], head: {
  entries?: number, next?: number, reserved?: number, at?: number,
} = {}): bigint {
  const address = head.at ?? SCRATCH
  const view = viewOf(box.at(address).bytes)
  const offset = address % PAGE
  view.setUint16(offset, head.entries ?? entries.length, true)
  view.setUint16(offset + 2, head.next ?? 0, true)
  view.setUint32(offset + 4, head.reserved ?? 0, true)
  entries.forEach((entry, i) => { view.setBigUint64(offset + 8 + 8 * i, entry, true) })
  return BigInt(address)
}

/** The list's index field. */
export const nextOf = (box: { at: (address: number) => { bytes: Uint8Array } }, address = SCRATCH): number =>
  viewOf(box.at(address).bytes).getUint16(address % PAGE + 2, true)
