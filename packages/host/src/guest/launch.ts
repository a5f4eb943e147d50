/** The launch of an SNP guest (56860 §8.11–8.19): context, ASID, pages in their order, VMSA, end. */
import type { SnpLaunchPages } from '@cofferdam/boot'
import {
  PspStatus, SnpActivate, SnpAddress, SnpLaunchFinish, SnpLaunchStart, SnpLaunchUpdate, SnpLaunchUpdatePage, SnpPageType,
  SnpPolicy,
} from '@cofferdam/spec'
import { HostError, hex } from '../errors.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HostMemory } from '../memory/words.ts'
import { statusName, type Firmware } from '../snp/firmware.ts'

export interface LaunchOptions {
  readonly firmware: Firmware
  readonly memory: HostMemory
  readonly guest: GuestMemory
  readonly asid: number
  /** A system page for the VMSA, the guest's from the launch on; and how it becomes so. */
  readonly vmsaPage: number
  readonly assignVmsa: (page: number) => void
  readonly pages: readonly SnpLaunchPages[]
  readonly vmsa: Uint8Array
  /** The CPUID page that the firmware is to check. */
  readonly cpuidPage: Uint8Array
  readonly policy?: bigint
  readonly hostData?: Uint8Array
}

/** A guest that was launched. */
export interface Launched {
  /** System page of the guest context. */
  readonly context: number
}

const PAGE = 4096
/** ABI 0.0 or later, SMT allowed. */
const DEFAULT_POLICY = SnpPolicy.pack({ SMT: 1n, RESERVED_ONE: 1n })
const TYPES = {
  normal: SnpPageType.NORMAL, zero: SnpPageType.ZERO, secrets: SnpPageType.SECRETS, cpuid: SnpPageType.CPUID,
} as const

/** Launches a guest. @throws HostError when the firmware refuses a command or the host has no memory */
export function launch(options: LaunchOptions): Launched {
  const { firmware, memory } = options
  const context = firmware.firmwarePage()
  const gctxPaddr = BigInt(context) * 4096n
  firmware.run('SNP_GCTX_CREATE', SnpAddress.create({ address: gctxPaddr }))
  firmware.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr, policy: options.policy ?? DEFAULT_POLICY }))
  firmware.run('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr, asid: options.asid }))

  const update: Update = (systemPage, pageType) => firmware.tryCommand('SNP_LAUNCH_UPDATE', SnpLaunchUpdate.create({
    gctxPaddr, page: SnpLaunchUpdatePage.pack({ pageType }), pagePaddr: BigInt(systemPage) * 4096n,
  })).status

  const addPage = createAdder(options, update)
  for (const { name, start, length, type, bytes } of options.pages) {
    const contents = type === 'cpuid' ? options.cpuidPage : bytes
    for (let at = 0; at < length; at += PAGE) addPage(name, (start + at) / PAGE, type, contents?.subarray(at, at + PAGE))
  }
  memory.write(options.vmsaPage * PAGE, options.vmsa)
  options.assignVmsa(options.vmsaPage)
  succeed('the VMSA', update(options.vmsaPage, SnpPageType.VMSA))
  firmware.run('SNP_LAUNCH_FINISH', SnpLaunchFinish.create({ gctxPaddr, hostData: options.hostData ?? new Uint8Array(32) }))
  return { context }
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
