/** What the SVSM does once, on the first processor, before the guest runs (58019 §4). */
import {
  ApCreationInfo, ApCreationRequest, RmpStatus, SecretsPage, SevFeatures, VmgExit, Vmsa,
} from '@cofferdam/spec'
import type { HostCalls } from './ghcb.ts'
import { ownVmsa, type SvsmConfiguration, type SvsmPlaces } from './image.ts'
import { viewOf } from './memory.ts'
import { isFault, type SvsmProcessor } from './processor.ts'
import { createFirmwareChannel, type FirmwareChannel } from './psp/channel.ts'
import { askForTsc } from './psp/tsc.ts'
import { Access, attributes } from './protocols/core/permissions.ts'

const PAGE = 4096
const VMPCK = ['vmpck0', 'vmpck1', 'vmpck2', 'vmpck3'] as const
/** Version of the core protocol, for the secrets page. */
const MAX_VERSION = 1

/** The guest's own copy of the secrets: no keys of levels above its own, and where the SVSM is. */
export function guestSecrets(own: Uint8Array, configuration: SvsmConfiguration, base: number): Uint8Array {
  const page = own.slice()
  const view = viewOf(page)
  for (const name of VMPCK.slice(0, configuration.vmpl)) SecretsPage.set(view, name, new Uint8Array(32))
  SecretsPage.write(view, {
    svsmBase: BigInt(base), svsmSize: BigInt(configuration.size), svsmCaa: BigInt(configuration.callingArea),
    svsmMaxVersion: MAX_VERSION, svsmGuestVmpl: configuration.vmpl,
  })
  return page
}

/** Lets the guest's level use what it was launched with. False when a page is not what it should be. */
function grantLaunch(processor: SvsmProcessor, { launch, vmpl }: SvsmConfiguration): boolean {
  const all = attributes(vmpl, Access.ALL)
  for (const { start, length } of launch) {
    for (let at = start; at < start + length; at += PAGE) {
      if (processor.rmpadjust(at, false, all) !== RmpStatus.SUCCESS) return false
    }
  }
  return true
}

/** Makes a page of the SVSM's a VMSA. RMPADJUST names a level below VMPL0's, which gets no permissions by it. */
const makeVmsa = (processor: SvsmProcessor, address: number, level: number): boolean =>
  processor.rmpadjust(address, false, attributes(level, Access.NONE, true)) === RmpStatus.SUCCESS

/** Has the host know a VMSA by AP_CREATION (56421 §4.1.9). */
function announce(
  processor: SvsmProcessor, host: HostCalls,
  vmsa: { apicId: number, vmpl: number, address: number, features: bigint },
): boolean {
  const answer = host.request(processor, {
    code: VmgExit.AP_CREATION, info2: BigInt(vmsa.address), rax: vmsa.features,
    info1: ApCreationInfo.pack({
      request: BigInt(ApCreationRequest.CREATE), vmpl: BigInt(vmsa.vmpl), apicId: BigInt(vmsa.apicId),
    }),
  })
  return answer !== null && (answer.info1 & 0xffff_ffffn) === 0n
}

/**
 * The guest's first VMSA with its time stamp's scale and offset, which the firmware puts only into VMSAs that it
 * launches: this one was launched as data. The guest asks for itself before it creates its other processors (Linux,
 * snp_secure_tsc_prepare). False when the firmware does not say.
 */
function setTime(processor: SvsmProcessor, channel: FirmwareChannel, vmsa: Uint8Array, address: number): boolean {
  const view = viewOf(vmsa)
  if ((Vmsa.get(view, 'sevFeatures') & SevFeatures.mask.SecureTSC) === 0n) return true
  const tsc = askForTsc(processor, channel)
  if (tsc === null) return false
  Vmsa.write(view, tsc)
  return !isFault(processor.store(address, vmsa))
}

/**
 * Hands the guest its pages, starts the SVSM on the other processors and tells the host of the guest's first VMSA.
 * Answers the SVSM's channel to the firmware; null when anything was not as it has to be.
 */
export function startSvsm(
  processor: SvsmProcessor, host: HostCalls, configuration: SvsmConfiguration, places: SvsmPlaces,
): FirmwareChannel | null {
  const { vmpl, apicIds } = configuration
  const secrets = new Uint8Array(PAGE)
  const cpuid = new Uint8Array(PAGE)
  const vmsa = new Uint8Array(Vmsa.size)
  if (isFault(processor.load(places.secrets, secrets)) || isFault(processor.load(places.cpuid, cpuid))) return null
  const channel = createFirmwareChannel(host, places, SecretsPage.get(viewOf(secrets), 'vmpck0'))
  const given = guestSecrets(secrets, configuration, places.base)
  if (isFault(processor.store(configuration.guestSecrets, given))) return null
  if (isFault(processor.store(configuration.guestCpuid, cpuid))) return null
  if (!grantLaunch(processor, configuration)) return null
  if (isFault(processor.load(places.guestVmsa, vmsa))) return null
  if (!setTime(processor, channel, vmsa, places.guestVmsa)) return null
  if (!makeVmsa(processor, places.guestVmsa, vmpl)) return null
  const features = Vmsa.get(viewOf(vmsa), 'sevFeatures')
  // The other processors start as this one did, from pages that are the SVSM's.
  for (const [index, apicId] of apicIds.entries()) {
    if (apicId === processor.apicId) continue
    const address = places.vmsa(index)
    const own = ownVmsa(vmsa, configuration.cr3, places.idle)
    if (isFault(processor.store(address, own)) || !makeVmsa(processor, address, 1)) return null
    if (!announce(processor, host, { apicId, vmpl: 0, address, features })) return null
  }
  const first = { apicId: processor.apicId, vmpl, address: places.guestVmsa, features }
  return announce(processor, host, first) ? channel : null
}
