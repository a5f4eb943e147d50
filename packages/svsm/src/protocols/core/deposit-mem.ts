import { SvsmCallingArea, SvsmMemoryEntry } from '@cofferdam/spec'
import { refuse, success, type SvsmAnswer, type SvsmServer, type SvsmState } from '../../call.ts'
import { MAX_DEPOSITS } from '../../deposits.ts'
import type { SvsmProcessor } from '../../processor.ts'
import type { GuestVcpu } from '../../vcpus.ts'
import { eachEntry, readPageList } from './page-list.ts'
import { Access, adjust, attributes } from './permissions.ts'

const PAGE = 4096
/** Pages that one call takes. */
const PAGES_PER_CALL = 65_536

/** Tells the caller whether there is memory that it can withdraw (58019 §5, SVSM_MEM_AVAILABLE). */
export function tellAvailable(vcpu: GuestVcpu, { deposits }: SvsmState, processor: SvsmProcessor): void {
  processor.store(vcpu.callingArea + SvsmCallingArea.offset.memAvailable, Uint8Array.of(deposits.size() > 0 ? 1 : 0))
}

function depositOne(
  entry: bigint, caller: GuestVcpu, svsm: SvsmState, processor: SvsmProcessor,
): SvsmAnswer | null {
  const { pageSize, pfn } = SvsmMemoryEntry.unpack(entry)
  const bits = entry & ~SvsmMemoryEntry.used
  if (bits !== 0n) {
    svsm.fact(caller, { kind: 'svsm-reserved', call: 'SVSM_CORE_DEPOSIT_MEM', field: 'an entry', value: entry, bits })
  }
  if (bits !== 0n || pageSize > 1n) return refuse('INVALID_PARAMETER')
  const large = pageSize === 1n
  if (large && pfn % 512n !== 0n) return refuse('INVALID_PARAMETER')
  const page = { address: Number(pfn) * PAGE, large }
  if (!svsm.vcpus.isFree(page.address, large ? 512 * PAGE : PAGE)) return refuse('INVALID_ADDRESS')
  if (svsm.deposits.size() >= MAX_DEPOSITS) return refuse('INVALID_REQUEST')
  const refused = adjust(processor, page, attributes(svsm.configuration.vmpl, Access.NONE))
  if (refused === null) svsm.deposits.add(page)
  return refused
}

/**
 * SVSM_CORE_DEPOSIT_MEM (58019 §7.1, call 4): pages of the list at RCX become the SVSM's; the guest loses its access.
 */
export const depositMem: SvsmServer = ({ rcx, vcpu }, svsm, processor) => {
  const list = readPageList(rcx, vcpu, svsm, processor)
  if ('code' in list) return list
  const failed = eachEntry(list, processor, PAGES_PER_CALL, (entry) => depositOne(entry, vcpu, svsm, processor))
  tellAvailable(vcpu, svsm, processor)
  return failed ?? success()
}
