import { SvsmMemoryEntry, SvsmMemoryHeader } from '@cofferdam/spec'
import { refuse, success, type SvsmServer } from '../../call.ts'
import { copyOut, viewOf } from '../../memory.ts'
import { isFault } from '../../processor.ts'
import { tellAvailable } from './deposit-mem.ts'
import { readPageList } from './page-list.ts'
import { Access, adjust, attributes } from './permissions.ts'

const PAGE = 4096
/** Pages of 4 KiB that one call clears; the guest asks again while there is more. */
const PAGES_PER_CALL = 8192

/**
 * SVSM_CORE_WITHDRAW_MEM (58019 §7.1, call 5): the list at RCX has room for so many entries; those that come back are
 * cleared and the guest's again, and the header says how many there are.
 */
export const withdrawMem: SvsmServer = ({ rcx, vcpu }, svsm, processor) => {
  const { deposits, configuration: { vmpl } } = svsm
  const list = readPageList(rcx, vcpu, svsm, processor)
  if ('code' in list) return list
  const bytes = new Uint8Array(SvsmMemoryHeader.size + 8 * list.entries)
  const view = viewOf(bytes)
  let count = 0
  let left = PAGES_PER_CALL
  for (let page = deposits.last(); page !== undefined && count < list.entries && left > 0; page = deposits.last()) {
    const pages = page.large ? 512 : 1
    const end = page.address + pages * PAGE
    left -= pages
    for (let at = page.address; at < end; at += PAGE) if (isFault(processor.clear(at))) return refuse('INVALID_ADDRESS')
    const refused = adjust(processor, page, attributes(vmpl, Access.ALL))
    if (refused !== null) return refused
    deposits.remove(page)
    const entry = SvsmMemoryEntry.pack({ pageSize: page.large ? 1n : 0n, pfn: BigInt(page.address / PAGE) })
    view.setBigUint64(SvsmMemoryHeader.size + 8 * count, entry, true)
    count++
  }
  SvsmMemoryHeader.write(view, { entries: count })
  tellAvailable(vcpu, svsm, processor)
  const used = bytes.subarray(0, SvsmMemoryHeader.size + 8 * count)
  return copyOut(svsm, processor, rcx, used) ? success() : refuse('INVALID_ADDRESS')
}
