/**
 * The SVSM's own requests to the host: by the GHCB MSR, and by a GHCB page of each processor's that it shares when it
 * first needs it (56421 §2.3.1, §4.1). What the host answers is read once, and is not trusted to be more than an
 * answer.
 */
import {
  Ghcb, GHCB_USAGE_STANDARD, GhcbMsr, GhcbMsrGpa, GhcbMsrPscReq, GhcbMsrPscResp, PscOperation, RmpStatus,
} from '@cofferdam/spec'
import { SHARED, type SvsmPlaces } from './image.ts'
import { viewOf } from './memory.ts'
import { isFault, type SvsmProcessor } from './processor.ts'

/** A request through the page. */
export interface GhcbRequest {
  readonly code: number
  readonly info1: bigint
  readonly info2: bigint
  readonly rax?: bigint
  readonly rbx?: bigint
}

export interface GhcbAnswer {
  readonly info1: bigint
  readonly info2: bigint
  readonly rbx: bigint
}

export interface HostCalls {
  /** Makes one of the SVSM's pages shared, once; false when the host or the processor refuses. */
  share(processor: SvsmProcessor, address: number): boolean
  /** A request through the processor's page; null when it has none and gets none. */
  request(processor: SvsmProcessor, request: GhcbRequest): GhcbAnswer | null
  snapshot(): HostCallsState
  restore(saved: HostCallsState): void
}

/** Pages that are shared, and those of them that are registered as GHCBs: addresses. */
export interface HostCallsState {
  readonly shared: readonly number[]
  readonly registered: readonly number[]
}

const VERSION = 2
const info = (msr: bigint): number => Number(msr & 0xfffn)

/** The request as the bytes of a page: fields, their valid bits, version, usage. */
function encode({ code, info1, info2, rax, rbx }: GhcbRequest): Uint8Array {
  const page = new Uint8Array(Ghcb.size)
  const view = viewOf(page)
  const values = { swExitCode: BigInt(code), swExitInfo1: info1, swExitInfo2: info2, rax, rbx }
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue
    const field = name as keyof typeof values
    Ghcb.set(view, field, value)
    const bit = Ghcb.offset[field] / 8
    page[Ghcb.offset.validBitmap + (bit >> 3)] |= 1 << (bit & 7)
  }
  Ghcb.write(view, { protocolVersion: VERSION, usage: GHCB_USAGE_STANDARD })
  return page
}

/** @param indexOf a processor's place in the list of APIC ids */
export function createHostCalls(places: SvsmPlaces, indexOf: (apicId: number) => number): HostCalls {
  const shared = new Set<number>()
  const registered = new Set<number>()

  const share: HostCalls['share'] = (processor, address) => {
    if (shared.has(address)) return true
    const rescinded = processor.pvalidate(address, false, false)
    if (isFault(rescinded) || rescinded.status !== RmpStatus.SUCCESS || rescinded.unchanged) return false
    const answer = processor.vmgexit(GhcbMsrPscReq.pack({
      info: BigInt(GhcbMsr.PSC_REQ), gfn: BigInt(address / 4096), operation: BigInt(PscOperation.SHARED),
    }))
    if (info(answer) !== GhcbMsr.PSC_RESP || GhcbMsrPscResp.get(answer, 'errorCode') !== 0n) return false
    shared.add(address)
    return true
  }

  const register = (processor: SvsmProcessor, page: number): boolean => {
    if (registered.has(page)) return true
    if (!share(processor, page)) return false
    const gfn = BigInt(page / 4096)
    const answer = processor.vmgexit(GhcbMsrGpa.pack({ info: BigInt(GhcbMsr.REGISTER_GPA_REQ), gfn }))
    if (info(answer) !== GhcbMsr.REGISTER_GPA_RESP || GhcbMsrGpa.get(answer, 'gfn') !== gfn) return false
    registered.add(page)
    return true
  }

  return {
    share,
    snapshot: () => ({ shared: [...shared], registered: [...registered] }),
    restore(saved) {
      for (const page of saved.shared) shared.add(page)
      for (const page of saved.registered) registered.add(page)
    },
    request(processor, request) {
      const page = places.ghcb(indexOf(processor.apicId))
      if (!register(processor, page)) return null
      if (isFault(processor.store(page + SHARED, encode(request)))) return null
      processor.vmgexit(BigInt(page))
      const answer = new Uint8Array(Ghcb.size)
      if (isFault(processor.load(page + SHARED, answer))) return null
      const view = viewOf(answer)
      return {
        info1: Ghcb.get(view, 'swExitInfo1'), info2: Ghcb.get(view, 'swExitInfo2'), rbx: Ghcb.get(view, 'rbx'),
      }
    },
  }
}
