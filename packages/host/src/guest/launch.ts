/** The launch of an SNP guest (56860 §8.11–8.19): context, ASID, pages and VMSAs in their order, end. */
import type { SnpLaunch, SnpLaunchPages } from '@cofferdam/boot'
import {
  PspStatus, RmpStatus, SnpActivate, SnpAddress, SnpLaunchFinish, SnpLaunchFinishFlags, SnpLaunchStart, SnpLaunchUpdate,
  SnpLaunchUpdatePage, SnpPageType, SnpPolicy,
} from '@cofferdam/spec'
import { HostError, hex } from '../errors.ts'
import type { GuestMemory, RmpInstructions } from '../memory/guest-memory.ts'
import type { HostMemory } from '../memory/words.ts'
import { statusName, type Firmware } from '../snp/firmware.ts'

export interface LaunchOptions {
  readonly firmware: Firmware
  readonly memory: HostMemory
  readonly guest: GuestMemory
  readonly rmp: Pick<RmpInstructions, 'rmpupdate'>
  /** A page of the host's: VMSAs are in its memory until they become the guest's. */
  readonly allocatePage: () => number
  readonly asid: number
  readonly image: SnpLaunch
  /** The CPUID page that the firmware is to check. */
  readonly cpuidPage: Uint8Array
  readonly hostData?: Uint8Array
}

/** A guest that was launched. */
export interface Launched {
  /** System page of the guest context. */
  readonly context: number
  /** System pages of the VMSAs, by processor. */
  readonly vmsas: ReadonlyMap<number, number>
  /** Pages of the host's that hold what the guest's owner signed. */
  readonly hostPages: readonly number[]
}

const PAGE = 4096
/** ABI 0.0 or later, SMT allowed. */
const DEFAULT_POLICY = SnpPolicy.pack({ SMT: 1n, RESERVED_ONE: 1n })
const TYPES = {
  normal: SnpPageType.NORMAL, zero: SnpPageType.ZERO, unmeasured: SnpPageType.UNMEASURED, secrets: SnpPageType.SECRETS,
  cpuid: SnpPageType.CPUID,
} as const

/** Launches a guest. @throws HostError when the firmware refuses a command or the host has no memory */
export function launch(options: LaunchOptions): Launched {
  const { firmware, image } = options
  const context = firmware.firmwarePage()
  const gctxPaddr = BigInt(context) * 4096n
  firmware.run('SNP_GCTX_CREATE', SnpAddress.create({ address: gctxPaddr }))
  firmware.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr, policy: image.policy ?? DEFAULT_POLICY }))
  firmware.run('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr, asid: options.asid }))

  const update: Update = (systemPage, pageType) => firmware.tryCommand('SNP_LAUNCH_UPDATE', SnpLaunchUpdate.create({
    gctxPaddr, page: SnpLaunchUpdatePage.pack({ pageType }), pagePaddr: BigInt(systemPage) * 4096n,
  })).status

  const addPage = createAdder(options, update)
  const vmsas = new Map<number, number>()
  for (const pages of image.launch) {
    const { name, start, length, type, bytes, vp = 0 } = pages
    if (type === 'vmsa') {
      vmsas.set(vp, addVmsa(options, pages, update))
      continue
    }
    if (type === 'shared') {
      share(options.guest, pages)
      continue
    }
    const contents = type === 'cpuid' ? options.cpuidPage : bytes
    for (let at = 0; at < length; at += PAGE) {
      addPage(name, (start + at) / PAGE, type, contents?.subarray(at, at + PAGE))
    }
  }
  return { context, vmsas, hostPages: finish(options, gctxPaddr) }
}

/** SNP_LAUNCH_FINISH, with what the guest's owner signed in pages of the host's; answers them. */
function finish(
  { firmware, memory, allocatePage, image: { identity }, hostData }: LaunchOptions, gctxPaddr: bigint,
): number[] {
  const pages: number[] = []
  const place = (bytes: Uint8Array): bigint => {
    const page = allocatePage()
    pages.push(page)
    memory.write(page * PAGE, bytes)
    return BigInt(page) * 4096n
  }
  firmware.run('SNP_LAUNCH_FINISH', SnpLaunchFinish.create({
    gctxPaddr, hostData: hostData ?? new Uint8Array(32),
    ...(identity !== undefined && {
      idBlockPaddr: place(identity.block), idAuthPaddr: place(identity.auth),
      flags: SnpLaunchFinishFlags.pack({ ID_BLOCK_EN: 1, AUTH_KEY_EN: identity.authorKey ? 1 : 0 }),
    }),
  }))
  return pages
}

/** Puts pages into memory that guest and host share. */
function share(guest: GuestMemory, { name, start, length, bytes }: SnpLaunchPages): void {
  for (let at = 0; at < length; at += PAGE) {
    const done = guest.makeShared((start + at) / PAGE)
    if (done !== 'done') throw new HostError('launch', name, `${hex(start + at)} cannot be shared: ${done}`)
  }
  if (bytes !== undefined) guest.write(start, bytes)
}

/** Adds a VMSA, in a page of its own that is no memory of the guest's; answers the system page. */
function addVmsa(options: LaunchOptions, { name, start, bytes }: SnpLaunchPages, update: Update): number {
  const { memory, rmp, asid } = options
  const page = options.allocatePage()
  memory.fill(page * PAGE, PAGE, 0)
  if (bytes !== undefined) memory.write(page * PAGE, bytes)
  const status = rmp.rmpupdate(page, { assigned: true, guestPage: start / PAGE, large: false, asid, immutable: true })
  if (status !== RmpStatus.SUCCESS) throw new HostError('launch', name, `RMPUPDATE failed with ${status}`)
  succeed(name, update(page, SnpPageType.VMSA))
  return page
}

/** SNP_LAUNCH_UPDATE of a page; its status. */
type Update = (systemPage: number, pageType: number) => number

function succeed(what: string, status: number): void {
  if (status === PspStatus.SUCCESS) return
  throw new HostError('SEV firmware', `SNP_LAUNCH_UPDATE of ${what}`, `failed with ${statusName(status)}`)
}

/** Adds pages of the guest, one by one. */
function createAdder({ firmware, memory, guest }: LaunchOptions, update: Update) {
  const zeroes = new Uint8Array(PAGE)
  const assign = (guestPage: number): void => {
    if (guest.assignImmutable(guestPage) === 'done') return
    throw new HostError('launch', hex(guestPage * PAGE), 'RMPUPDATE failed')
  }

  return (name: string, guestPage: number, type: keyof typeof TYPES, bytes: Uint8Array | undefined): void => {
    const systemPage = guest.prepare(guestPage)
    if (systemPage < 0) throw new HostError('launch', name, `there is no memory for ${hex(guestPage * PAGE)}`)
    if (type !== 'zero' && type !== 'secrets') {
      memory.write(systemPage * PAGE, zeroes)
      if (bytes !== undefined) memory.write(systemPage * PAGE, bytes)
    }
    assign(guestPage)
    let status = update(systemPage, TYPES[type])
    if (type === 'cpuid' && status === PspStatus.INVALID_PARAM) {
      // The firmware has put what it would have taken into the page: that is what the guest gets (56860 §8.18.2.6).
      firmware.takeBack(systemPage)
      assign(guestPage)
      status = update(systemPage, TYPES[type])
    }
    succeed(`${name} at ${hex(guestPage * PAGE)}`, status)
    guest.launched(guestPage)
  }
}
