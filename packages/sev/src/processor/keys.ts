/**
 * Which key an access uses (APM vol. 2, §15.34.5, §15.34.8, tables 15-30 and 15-31), and the RMP's checks of page
 * walks (§15.36.10).
 */
import { ACCESS_FETCH, FORMAT_PAE } from '@cofferdam/paging'
import type { WalkResult } from '@cofferdam/paging'
import type { GuardRequest } from '@cofferdam/memory'
import type { AccessPolicy } from '@cofferdam/x86'
import { createRmpGuard } from '../rmp/check.ts'
import { HOST_KEY } from './context.ts'
import type { SevGuest, SevProcessor } from './context.ts'

/** Marks a number for `tableKey` as a guest's ASID: the others are key bits of entries. */
const GUEST_TABLE = 0x10_0000

/** Keys and checks of one processor's accesses. */
export interface SevPolicy extends AccessPolicy {
  /** Whether an access of the guest that runs is private, by what its walk found. */
  isPrivate(guest: SevGuest, result: WalkResult, access: number): boolean
}

export function createSevPolicy(sev: SevProcessor): SevPolicy {
  const { rmp } = sev.shared
  const { mmu } = sev.processor
  const guard = createRmpGuard(rmp)
  const request: GuardRequest = {
    page: 0, key: 0, access: 0, shift: 12, guestPage: -1, nestedShift: 0, context: 0, user: false, walk: true,
  }
  let guardKey = 0
  let refused = 0

  const isPrivate = (guest: SevGuest, result: WalkResult, access: number): boolean => {
    if (!guest.sev) return false
    if ((access & ACCESS_FETCH) !== 0) return true
    if (guest.vtomPage >= 0) return Math.floor(result.gpa / 4096) < guest.vtomPage
    // Guests that are not in long mode or PAE paging have no C-bit: all is private.
    return mmu.context.format < FORMAT_PAE || result.key !== 0
  }

  /** A table of the host's, or of a guest that is not SNP-active, must be the hypervisor's, as for a write. */
  const checkHostTable = (page: number): number => {
    request.page = page
    request.key = 0
    request.access = 3
    request.shift = 12
    request.nestedShift = 12
    request.guestPage = -1
    request.context = mmu.guardContext
    return guard.check(request)
  }

  return {
    isPrivate,
    get guardKey() { return guardKey },
    get refused() { return refused },
    pageKey(result, access) {
      const { guest } = sev
      guardKey = 0
      if (guest === null) return result.key !== 0 ? HOST_KEY : 0
      if (isPrivate(guest, result, access)) {
        guardKey = guest.asid
        return guest.asid
      }
      return result.nestedKey !== 0 ? HOST_KEY : 0
    },
    tableKey: (key) => (key >= GUEST_TABLE ? key - GUEST_TABLE : key !== 0 ? HOST_KEY : 0),
    table: (page) => (rmp.enabled && mmu.context.nested === null ? checkHostTable(page) : 0),
    guestTable(address, gpa, shift, _key, nestedKey) {
      const page = address / 4096
      const { guest } = sev
      refused = 0
      if (rmp.enabled && guest?.snp === true) {
        request.page = page
        request.key = guest.asid
        request.access = 1
        request.shift = shift
        request.nestedShift = shift
        request.guestPage = Math.floor(gpa / 4096)
        request.context = mmu.guardContext
        refused = guard.check(request)
      } else if (rmp.enabled) {
        refused = checkHostTable(page)
      }
      if (refused !== 0) return -1
      return guest?.sev === true ? GUEST_TABLE + guest.asid : nestedKey
    },
    setsFlag(key) {
      if (key < GUEST_TABLE || !rmp.enabled || sev.guest?.snp !== true) return 0
      // Accessed and dirty flags are writes, for which the VMPL needs the permission (§15.36.7).
      request.access = 3
      return guard.check(request)
    },
  }
}
