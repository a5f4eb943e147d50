/** Pages that commands name: addresses checked, states in the RMP checked and changed. */
import { FRAME_NONE } from '@cofferdam/memory'
import { PspStatus, SnpPlatformState } from '@cofferdam/spec'
import type { RmpFields, RmpPageState } from '../rmp/entry.ts'
import { hypervisorEntry, rmpPageState } from '../rmp/entry.ts'
import type { Firmware, GuestContext } from './types.ts'

export const PAGE = 4096

/** The page of an address that has to be aligned and in RAM, or −1. */
export function pageAt(firmware: Firmware, address: bigint, alignment = BigInt(PAGE)): number {
  if (address % alignment !== 0n || address >= 2n ** 52n) return -1
  const page = firmware.memory.pageOf(address)
  return firmware.memory.frameWord(page) === FRAME_NONE ? -1 : page
}

/** First and last page of a range, which has one at least. */
function pagesOf({ memory }: Firmware, address: bigint, bytes: number): { first: number, last: number } {
  const first = memory.pageOf(address)
  return { first, last: first + Math.floor((Number(address & 0xfffn) + Math.max(bytes, 1) - 1) / PAGE) }
}

/** Whether `bytes` at an address lie in RAM. */
export function isRam(firmware: Firmware, address: bigint, bytes: number): boolean {
  if (address + BigInt(bytes) > 2n ** 52n) return false
  const { first, last } = pagesOf(firmware, address, bytes)
  for (let page = first; page <= last; page++) {
    if (firmware.memory.frameWord(page) === FRAME_NONE) return false
  }
  return true
}

/** State of a page; pages that the RMP does not cover are the hypervisor's. */
export const stateOf = (firmware: Firmware, page: number): RmpPageState =>
  rmpPageState(firmware.rmp.read(page) ?? hypervisorEntry())

/**
 * Status of a range that the firmware is to write: while SNP is on, the hypervisor has to have given it the pages, or
 * somebody else could have.
 */
export function writableStatus(firmware: Firmware, address: bigint, bytes: number): number {
  if (!isRam(firmware, address, bytes)) return PspStatus.INVALID_ADDRESS
  if (firmware.state.snp !== SnpPlatformState.INIT) return PspStatus.SUCCESS
  const { first, last } = pagesOf(firmware, address, bytes)
  for (let page = first; page <= last; page++) {
    if (stateOf(firmware, page) !== 'firmware') return PspStatus.INVALID_PAGE_STATE
  }
  return PspStatus.SUCCESS
}

/** Changes fields of a page's entry, as the firmware may; a 2 MiB page's as a whole. */
export function changePage(firmware: Firmware, page: number, fields: Partial<RmpFields>): void {
  const { rmp } = firmware
  rmp.change(page, fields)
  firmware.forget(page, rmp.found.large ? 512 : 1)
}

/** The guest of a context page, or the status that says what is wrong with the address. */
export function guestAt(firmware: Firmware, address: bigint): GuestContext | number {
  const page = pageAt(firmware, address)
  if (page < 0) return PspStatus.INVALID_ADDRESS
  return firmware.state.guests.get(page) ?? PspStatus.INVALID_GUEST
}
