import { RmpPageSize, RmpStatus, SvsmPvalidateEntry } from '@cofferdam/spec'
import { protocolError, refuse, success, type SvsmAnswer, type SvsmServer, type SvsmState } from '../../call.ts'
import { isFault, type SvsmProcessor } from '../../processor.ts'
import type { GuestVcpu } from '../../vcpus.ts'
import { eachEntry, readPageList } from './page-list.ts'
import { Access, adjust, attributes } from './permissions.ts'

const PAGE = 4096
const LARGE = 512 * PAGE
/** #VC: what RMPADJUST of a page raises that is not validated. */
const VC = 29
/** Code of the protocol for a page that was in that state already (edk2, Svsm.h: SVSM_ERR_PVALIDATE_FAIL_NO_CHANGE). */
export const FAIL_NO_CHANGE = 0x10
/** Pages that one call validates, so that a guest's processor is not away for long. */
const PAGES_PER_CALL = 8192

/** An entry taken apart; or what is wrong with it. */
function parse(entry: bigint, caller: GuestVcpu, svsm: SvsmState) {
  const { pageSize, validate, ignoreCf, pfn } = SvsmPvalidateEntry.unpack(entry)
  const bits = entry & ~SvsmPvalidateEntry.used
  if (bits !== 0n) {
    svsm.fact(caller, { kind: 'svsm-reserved', call: 'SVSM_CORE_PVALIDATE', field: 'an entry', value: entry, bits })
  }
  if (bits !== 0n || pageSize > 1n) return refuse('INVALID_PARAMETER')
  const large = Number(pageSize) === RmpPageSize.SIZE_2M
  if (large && pfn % 512n !== 0n) return refuse('INVALID_PARAMETER')
  const address = Number(pfn) * PAGE
  if (!svsm.vcpus.isFree(address, large ? LARGE : PAGE)) return refuse('INVALID_ADDRESS')
  return { page: { address, large }, validate: validate === 1n, ignoreCf: ignoreCf === 1n }
}

/** Takes the guest's permissions away before the page stops being validated. */
function revoke(processor: SvsmProcessor, page: { address: number, large: boolean }, vmpl: number): SvsmAnswer | null {
  const status = processor.rmpadjust(page.address, page.large, attributes(vmpl, Access.NONE))
  // Nobody has permissions on a page that is not validated; PVALIDATE says that nothing changes.
  if (isFault(status)) return status.fault === VC ? null : refuse('INVALID_ADDRESS')
  return status === RmpStatus.SUCCESS ? null : protocolError(status)
}

/**
 * Clears a page that was just validated: a host could have moved a page of the SVSM's there, whose contents are none of
 * the guest's business. Then the guest may use it.
 */
function grant(processor: SvsmProcessor, page: { address: number, large: boolean }, vmpl: number): SvsmAnswer | null {
  const end = page.address + (page.large ? LARGE : PAGE)
  for (let at = page.address; at < end; at += PAGE) if (isFault(processor.clear(at))) return refuse('INVALID_ADDRESS')
  return adjust(processor, page, attributes(vmpl, Access.ALL))
}

function pvalidateOne(
  entry: bigint, caller: GuestVcpu, svsm: SvsmState, processor: SvsmProcessor,
): SvsmAnswer | null {
  const parsed = parse(entry, caller, svsm)
  if ('code' in parsed) return parsed
  const { page, validate, ignoreCf } = parsed
  const { vmpl } = svsm.configuration
  const revoked = validate ? null : revoke(processor, page, vmpl)
  if (revoked !== null) return revoked
  const outcome = processor.pvalidate(page.address, page.large, validate)
  if (isFault(outcome)) return refuse('INVALID_ADDRESS')
  if (outcome.status !== RmpStatus.SUCCESS) return protocolError(outcome.status)
  if (outcome.unchanged && !ignoreCf) return protocolError(FAIL_NO_CHANGE)
  return validate ? grant(processor, page, vmpl) : null
}

/** SVSM_CORE_PVALIDATE (58019 §7.1.2, call 1): stops at the first failure; the index field names it. */
export const pvalidate: SvsmServer = ({ rcx, vcpu }, svsm, processor) => {
  const list = readPageList(rcx, vcpu, svsm, processor)
  if ('code' in list) return list
  return eachEntry(list, processor, PAGES_PER_CALL, (entry) => pvalidateOne(entry, vcpu, svsm, processor)) ?? success()
}
