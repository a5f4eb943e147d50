/** Pages between hypervisor, firmware and guests (AMD 56860 §8.20–8.25, §8.31). */
import {
  PspCommand, PspStatus, SnpAddress, SnpDebug, SnpGuestState, SnpPageAddress, SnpPageSetState, SnpPlatformState,
  SnpPolicy,
} from '@cofferdam/spec'
import { METADATA_TAG } from '../../rmp/entry.ts'
import type { RmpPageState } from '../../rmp/entry.ts'
import { LARGE_PAGES } from '../../rmp/table.ts'
import { PAGE, changePage, guestAt, pageAt, stateOf, writableStatus } from '../pages.ts'
import type { Firmware, PspHandler } from '../types.ts'
import { sizeFits } from './snp-guest.ts'
import { fixRanges, readRangeList } from './snp-init.ts'

const snp = [SnpPlatformState.INIT]

/** The page that an operand with a size in bit 0 names, or a status. */
function operand(firmware: Firmware, value: bigint): { page: number; pageSize: number } | number {
  const { pageSize, page } = SnpPageAddress.unpack(value)
  if ((value & ~SnpPageAddress.used) !== 0n) return PspStatus.INVALID_PARAM
  const number = pageAt(firmware, page << 12n, pageSize === 1n ? 0x20_0000n : 0x1000n)
  return number < 0 ? PspStatus.INVALID_ADDRESS : { page: number, pageSize: Number(pageSize) }
}

/** Whether a page holds the RMP itself. */
function holdsRmp({ rmp }: Firmware, page: number): boolean {
  const { geometry } = rmp
  if (geometry === null) return false
  const at = page * PAGE
  const inside = (start: number, bytes: number): boolean => at + PAGE > start && at < start + bytes
  return inside(geometry.base, 0x4000 + (geometry.segmented ? PAGE : 0)) ||
    geometry.segments.some(({ address, pages }) => inside(address, pages * 16))
}

/** States that SNP_PAGE_RECLAIM takes: the firmware lets go, and the page can be changed again. */
const RECLAIMABLE: readonly RmpPageState[] = ['firmware', 'metadata', 'pre-guest', 'pre-swap']

export const snpPageReclaim: PspHandler = {
  id: PspCommand.SNP_PAGE_RECLAIM, name: 'SNP_PAGE_RECLAIM', snp, bytes: SnpAddress.size,
  run(firmware, buffer) {
    const named = operand(firmware, SnpAddress.get(buffer, 'address'))
    if (typeof named === 'number') return named
    if (!RECLAIMABLE.includes(stateOf(firmware, named.page)) || holdsRmp(firmware, named.page)) {
      return PspStatus.INVALID_PAGE_STATE
    }
    if (!sizeFits(firmware.rmp.found.large, named.pageSize)) return PspStatus.INVALID_PAGE_SIZE
    changePage(firmware, named.page, { immutable: false })
    return PspStatus.SUCCESS
  },
}

export const snpPageUnsmash: PspHandler = {
  id: PspCommand.SNP_PAGE_UNSMASH, name: 'SNP_PAGE_UNSMASH', snp, bytes: SnpAddress.size,
  run(firmware, buffer) {
    const { rmp } = firmware
    const value = SnpAddress.get(buffer, 'address')
    if ((value & ~SnpPageAddress.used) !== 0n || (value & 1n) !== 0n) return PspStatus.INVALID_PARAM
    const first = pageAt(firmware, value, 0x20_0000n)
    if (first < 0) return PspStatus.INVALID_ADDRESS
    const entry = rmp.read(first)
    if (entry === null || entry.large) return PspStatus.INVALID_PAGE_SIZE
    // All 512 have to be one guest's, in order, in the same state, and out of the hypervisor's hands.
    if (stateOf(firmware, first) !== 'pre-guest' || entry.guestPage % LARGE_PAGES !== 0) {
      return PspStatus.INVALID_PAGE_STATE
    }
    for (let i = 1; i < LARGE_PAGES; i++) {
      const part = rmp.read(first + i)
      const same = part !== null && stateOf(firmware, first + i) === 'pre-guest' && part.asid === entry.asid &&
        part.guestPage === entry.guestPage + i && part.permissions === entry.permissions && !part.vmsa
      if (!same) return PspStatus.INVALID_PAGE_STATE
    }
    rmp.write(first, { ...entry, large: true })
    firmware.forget(first, LARGE_PAGES)
    return PspStatus.SUCCESS
  },
}

export const snpPageMdInit: PspHandler = {
  id: PspCommand.SNP_PAGE_MD_INIT, name: 'SNP_PAGE_MD_INIT', snp, bytes: SnpAddress.size,
  run(firmware, buffer) {
    const page = pageAt(firmware, SnpAddress.get(buffer, 'address'))
    if (page < 0) return PspStatus.INVALID_ADDRESS
    const entry = firmware.rmp.read(page)
    if (entry === null || stateOf(firmware, page) !== 'firmware') return PspStatus.INVALID_PAGE_STATE
    if (entry.large) return PspStatus.INVALID_PAGE_SIZE
    firmware.memory.fill(page * PAGE, PAGE, 0)
    firmware.rmp.write(page, { ...entry, guestPage: METADATA_TAG })
    firmware.forget(page, 1)
    return PspStatus.SUCCESS
  },
}

export const snpPageSetState: PspHandler = {
  id: PspCommand.SNP_PAGE_SET_STATE, name: 'SNP_PAGE_SET_STATE', snp, bytes: SnpPageSetState.size,
  run(firmware, buffer) {
    const { length, reserved, listPaddr } = SnpPageSetState.read(buffer)
    if (length !== SnpPageSetState.size) return PspStatus.INVALID_LENGTH
    if (reserved !== 0) return PspStatus.INVALID_PARAM
    const ranges = readRangeList(firmware, listPaddr)
    if (typeof ranges === 'number') return ranges
    fixRanges(firmware, ranges)
    return PspStatus.SUCCESS
  },
}

/**
 * Moving and swapping pages is not implemented by this firmware: a guest whose policy forbids it is told so, others
 * hear that it is unsupported. All three buffers begin with the guest's context.
 */
const swap = (name: 'SNP_PAGE_MOVE' | 'SNP_PAGE_SWAP_OUT' | 'SNP_PAGE_SWAP_IN'): PspHandler => ({
  id: PspCommand[name], name, snp, bytes: 8,
  run(firmware, buffer) {
    const guest = guestAt(firmware, buffer.getBigUint64(0, true))
    if (typeof guest === 'number') return guest
    const forbidden = SnpPolicy.get(guest.policy, 'PAGE_SWAP_DISABLE') === 1n
    return forbidden ? PspStatus.POLICY_FAILURE : PspStatus.UNSUPPORTED
  },
})

export const snpPageMove = swap('SNP_PAGE_MOVE')
export const snpPageSwapOut = swap('SNP_PAGE_SWAP_OUT')
export const snpPageSwapIn = swap('SNP_PAGE_SWAP_IN')

/** Copies a page between a guest whose policy allows debugging, and the hypervisor. */
const debug = (name: 'SNP_DBG_DECRYPT' | 'SNP_DBG_ENCRYPT', decrypt: boolean): PspHandler => ({
  id: PspCommand[name], name, snp, bytes: SnpDebug.size,
  run(firmware, buffer) {
    const { gctxPaddr, srcPaddr, dstPaddr } = SnpDebug.read(buffer)
    const guest = guestAt(firmware, gctxPaddr)
    if (typeof guest === 'number') return guest
    if (guest.state === SnpGuestState.INIT) return PspStatus.INVALID_GUEST_STATE
    if (SnpPolicy.get(guest.policy, 'DEBUG') === 0n) return PspStatus.POLICY_FAILURE
    if (guest.asid === 0) return PspStatus.INACTIVE
    const [inner, outer] = decrypt ? [srcPaddr, dstPaddr] : [dstPaddr, srcPaddr]
    const page = pageAt(firmware, inner)
    if (page < 0 || pageAt(firmware, outer) < 0) return PspStatus.INVALID_ADDRESS
    const entry = firmware.rmp.read(page)
    if (entry?.asid !== guest.asid) return PspStatus.INVALID_PAGE_OWNER
    const writable = decrypt ? writableStatus(firmware, outer, PAGE) : PspStatus.SUCCESS
    if (writable !== PspStatus.SUCCESS) return writable
    const bytes = new Uint8Array(PAGE)
    firmware.memory.read(Number(srcPaddr), bytes, decrypt ? guest.asid : 0)
    firmware.memory.write(Number(dstPaddr), bytes, decrypt ? 0 : guest.asid)
    return PspStatus.SUCCESS
  },
})

export const snpDbgDecrypt = debug('SNP_DBG_DECRYPT', true)
export const snpDbgEncrypt = debug('SNP_DBG_ENCRYPT', false)
