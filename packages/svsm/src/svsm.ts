/** The SVSM: starts on the first processor, then serves whichever processor calls. */
import { createTally } from '@cofferdam/findings'
import {
  GhcbMsr, GhcbMsrRunVmplReq, GhcbMsrRunVmplResp, GhcbMsrTermination, SvsmResult, TerminationSet,
} from '@cofferdam/spec'
import type { SvsmState } from './call.ts'
import { SvsmError } from './error.ts'
import { createDeposits } from './deposits.ts'
import type { SvsmFact } from './findings.ts'
import { createHostCalls, type HostCalls } from './ghcb.ts'
import { readConfiguration, svsmPlaces, type SvsmConfiguration } from './image.ts'
import { isFault, type Svsm, type SvsmLeave, type SvsmProcessor } from './processor.ts'
import { PROTOCOLS } from './protocols/index.ts'
import { createFirmwareChannel, type FirmwareChannel } from './psp/channel.ts'
import { createReports } from './psp/reports.ts'
import { resultName, serveCall } from './requests.ts'
import { startSvsm } from './start.ts'
import { createGuestVcpus } from './vcpus.ts'
import type { VtpmBackend } from './vtpm/backend.ts'
import { createVtpm } from './vtpm/vtpm.ts'

/** Where the SVSM lies in its guest, and what it is built with. */
export interface SvsmOptions {
  /** Where it lies: `SvsmImage.region.start`. */
  readonly base: number
  /** The TPM behind the vTPM protocol; without one the protocol is not offered. */
  readonly vtpm?: VtpmBackend
  /**
   * Takes facts about guests' calls, for `judgeSvsm`: who called, and the guest physical address of the VMSA that
   * holds the caller's registers.
   */
  readonly onFact?: (apicId: number, vmsa: number, fact: SvsmFact) => void
}

/** What the calls share, and the ways to host and firmware. */
interface Started extends SvsmState {
  readonly host: HostCalls
  readonly channel: FirmwareChannel
}

const VMPCK_BYTES = 32

/** A general termination request (56421 §2.3.1). */
const GIVE_UP = GhcbMsrTermination.pack({
  info: BigInt(GhcbMsr.TERMINATION_REQ), reasonSet: BigInt(TerminationSet.GENERAL),
})

/** Whether the host refused to run the guest the last time. */
const wasRefused = (msr: bigint): boolean =>
  Number(msr & 0xfffn) === GhcbMsr.RUN_VMPL_RESP && GhcbMsrRunVmplResp.get(msr, 'errorCode') !== 0n

/** Creates the program. */
export function createSvsm({ base, vtpm, onFact }: SvsmOptions): Svsm {
  const places = svsmPlaces(base)
  const requests = createTally()
  const refused = createTally()
  let svsm: Started | null = null

  const readOwn = (processor: SvsmProcessor): SvsmConfiguration | null => {
    const page = new Uint8Array(4096)
    return isFault(processor.load(places.base, page)) ? null : readConfiguration(page)
  }

  const hostCalls = ({ apicIds }: SvsmConfiguration): HostCalls =>
    createHostCalls(places, (apicId) => apicIds.indexOf(apicId))

  /** What the calls share. */
  const assemble = (configuration: SvsmConfiguration, host: HostCalls, channel: FirmwareChannel): Started => {
    const { apicIds, ram, launch } = configuration
    const deposits = createDeposits()
    const vcpus = createGuestVcpus({ apicIds, ranges: [...ram, ...launch], isDeposited: deposits.overlaps })
    return {
      host, channel, configuration, places, vcpus, deposits, protocols: PROTOCOLS,
      reports: createReports(channel, places), vtpm: vtpm && createVtpm(vtpm),
      fact({ apicId, vmsa }, fact) { onFact?.(apicId, vmsa, fact) },
    }
  }

  /** The first run: null when the SVSM cannot do its work. */
  const start = (processor: SvsmProcessor): Started | null => {
    const configuration = readOwn(processor)
    if (configuration === null) return null
    const host = hostCalls(configuration)
    const channel = startSvsm(processor, host, configuration, places)
    if (channel === null) return null
    const started = assemble(configuration, host, channel)
    const { apicId } = processor
    started.vcpus.add({ apicId, vmsa: places.guestVmsa, callingArea: configuration.callingArea })
    return started
  }

  const runGuest = ({ configuration, vcpus }: SvsmState, { apicId }: SvsmProcessor): SvsmLeave => {
    if (vcpus.of(apicId).length === 0) return 'halt'
    return GhcbMsrRunVmplReq.pack({ info: BigInt(GhcbMsr.RUN_VMPL_REQ), vmpl: BigInt(configuration.vmpl) })
  }

  return {
    run(processor) {
      if (wasRefused(processor.ghcbMsr())) return GIVE_UP
      if (svsm === null) {
        svsm = start(processor)
        return svsm === null ? GIVE_UP : runGuest(svsm, processor)
      }
      const served = serveCall(svsm, processor)
      if (served !== null) {
        requests.add(served.name)
        if (served.code !== SvsmResult.SUCCESS) refused.add(`${served.name} ${resultName(served.code)}`)
      }
      return runGuest(svsm, processor)
    },
    snapshot: () => ({
      requests: requests.snapshot(), refused: refused.snapshot(),
      started: svsm === null ? null : {
        configuration: svsm.configuration, vcpus: svsm.vcpus.snapshot(), deposits: svsm.deposits.snapshot(),
        host: svsm.host.snapshot(), channel: svsm.channel.snapshot(),
      },
    }),
    restore(saved) {
      requests.restore(saved.requests)
      refused.restore(saved.refused)
      if (saved.started === null) return
      const { configuration, channel } = saved.started
      if (channel.key.length !== VMPCK_BYTES) throw new SvsmError('channel.key', `expected ${VMPCK_BYTES} bytes`)
      const host = hostCalls(configuration)
      svsm = assemble(configuration, host, createFirmwareChannel(host, places, channel.key))
      svsm.vcpus.restore(saved.started.vcpus)
      svsm.deposits.restore(saved.started.deposits)
      svsm.host.restore(saved.started.host)
      svsm.channel.restore(channel)
    },
    stats: () => ({ requests: requests.counts(), refused: refused.counts() }),
  }
}
