/**
 * The end of a guest: its processors stop, its pages become the host's again, the firmware forgets it, and its ASID is
 * clean for the next one (56860 §8.16; Linux, sev_vm_destroy). What its pages held stays ciphertext under a key that
 * nobody has any more.
 */
import { RmpStatus, SnpAddress } from '@cofferdam/spec'
import { HostError, hex } from '../errors.ts'
import type { ReferenceHost } from '../host.ts'
import type { GuestMemory, RmpInstructions } from '../memory/guest-memory.ts'
import type { Npt } from '../memory/npt.ts'
import type { Vcpu } from './vcpu.ts'
import { VMPLS } from './vmpls.ts'

export interface TeardownOptions {
  readonly host: ReferenceHost
  readonly rmp: RmpInstructions
  readonly vcpus: readonly Vcpu[]
  readonly memory: GuestMemory
  readonly npt: Npt
  readonly asid: number
  /** System page of the guest context. */
  readonly context: number
  /** Pages of the host's that it kept for the guest, and runs of them. */
  readonly pages: readonly number[]
  readonly runs: readonly (readonly [page: number, order: number])[]
  /** Pages that are the guest's and not its memory: VMSAs of the launch. */
  readonly guestPages: readonly number[]
  /** Pages that the firmware has for the guest's messages. */
  readonly firmwarePages: readonly number[]
  /** Processors forget the guest's translations. */
  readonly flush: () => void
}

/** Takes everything back. @throws HostError when the processor or the firmware refuses something */
export function tearDown(options: TeardownOptions): void {
  const { host, rmp, memory, npt } = options
  for (const vcpu of options.vcpus) {
    for (let vmpl = 0; vmpl < VMPLS; vmpl++) vcpu.setVmsa(vmpl, undefined)
  }
  memory.destroy()
  for (const page of options.guestPages) {
    const status = rmp.rmpupdate(page, { assigned: false, guestPage: 0, large: false, asid: 0, immutable: false })
    if (status !== RmpStatus.SUCCESS) {
      throw new HostError('teardown', `page ${hex(page)}`, `RMPUPDATE failed with ${status}`)
    }
    host.freePage(page)
  }
  options.flush()
  host.firmware.run('SNP_DECOMMISSION', SnpAddress.create({ address: BigInt(options.context) * 4096n }))
  for (const page of [options.context, ...options.firmwarePages]) host.firmware.reclaim(page)
  npt.destroy()
  for (const page of options.pages) host.freePage(page)
  for (const [page, order] of options.runs) host.freeRun(page, order)
  host.releaseAsid(options.asid)
}
