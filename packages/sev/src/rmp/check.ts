/**
 * The RMP's checks on memory accesses, as a guard (APM vol. 2, §15.36.10 "RMP and VMPL Access Checks"). A check that
 * fails is a value; `rmpFault` says what the processor makes of it.
 */
import type { Guard, GuardRequest } from '@cofferdam/memory'
import { NestedFaultInfo, PageFaultError, VC_PAGE_NOT_VALIDATED, VmplPermission } from '@cofferdam/spec'
import { permissionsOf } from './entry.ts'
import { LARGE_PAGES } from './table.ts'
import type { RmpTable } from './table.ts'

/** Which check failed; 0 for none. */
export const RmpCheck = {
  PASSED: 0,
  /** A write by the host, or through a shared mapping, to an assigned page. */
  HYPERVISOR_OWNED: 1,
  /** The same through a mapping of 2 MiB or more that holds an assigned page somewhere else. */
  OVERLAP: 2,
  /** A private access to a page that the RMP does not cover. */
  NOT_COVERED: 3,
  /** A private access to a page that is not assigned to this guest. */
  REVERSE_MAP: 4,
  /** A private access through another guest physical address than the one assigned. */
  GUEST_ADDRESS: 5,
  IMMUTABLE: 6,
  /** The nested mapping's size is not the entry's. */
  PAGE_SIZE: 7,
  /** A processor runs from the page. */
  IN_USE: 8,
  NOT_VALIDATED: 9,
  VMPL: 10,
  /** PVALIDATE or RMPADJUST of a 4 KiB page inside a 2 MiB entry. */
  SIZE_MISMATCH: 11,
} as const

/** One of the numbers in `RmpCheck`. */
export type RmpVerdict = (typeof RmpCheck)[keyof typeof RmpCheck]

/** Names for findings and logs. */
export const RMP_CHECK_NAMES: readonly string[] = [
  'passed', 'the page is not owned by the hypervisor', 'the mapping overlaps an assigned page',
  'the RMP does not cover it', 'the page is not assigned to this guest',
  'the page is assigned at another guest address', 'the page is immutable',
  "the nested page's size is not the RMP entry's", 'a processor runs from the page', 'the page is not validated',
  'the VMPL has no permission', 'the RMP entry is larger than the page named',
]

/** Who accesses memory, packed into `GuardRequest.context`; 0 is the host. */
export interface RmpAgent {
  /** 0 for the host. */
  readonly asid: number
  readonly vmpl: number
  /** An SNP-active guest; other guests have no private pages. */
  readonly snp: boolean
}

/** `GuardRequest.context` bit of accesses that no RMP check applies to: the PSP's, and SMM's. */
export const RMP_EXEMPT = 1 << 16
const SNP_ACTIVE = 1 << 15

/** Packs an agent: ASID in bits 9:0, VMPL in 13:12, SNP in 15. */
export const rmpContext = ({ asid, vmpl, snp }: RmpAgent): number => asid | (vmpl << 12) | (snp ? SNP_ACTIVE : 0)

/** The permission that an access needs. */
function permissionNeeded(access: number, user: boolean): number {
  if ((access & 4) !== 0) return user ? VmplPermission.mask.userExecute : VmplPermission.mask.supervisorExecute
  return (access & 2) !== 0 ? VmplPermission.mask.write | VmplPermission.mask.read : VmplPermission.mask.read
}

/** Checks that every access of a guest to a private page has to pass, up to permissions. */
export function checkPrivate(
  rmp: RmpTable, page: number, asid: number, guestPage: number, nestedShift: number,
): RmpVerdict {
  const { found } = rmp
  if (!rmp.find(page)) return RmpCheck.NOT_COVERED
  if (!found.assigned || found.asid !== asid) return RmpCheck.REVERSE_MAP
  if (found.guestPage !== guestPage) return RmpCheck.GUEST_ADDRESS
  if (found.immutable) return RmpCheck.IMMUTABLE
  if (found.large !== nestedShift >= 21) return RmpCheck.PAGE_SIZE
  return RmpCheck.PASSED
}

/** Checks a write by somebody for whom the page must be the hypervisor's. */
function checkShared(rmp: RmpTable, page: number, shift: number): RmpVerdict {
  const { found } = rmp
  // Mappings of 1 GiB are checked as if they were 2 MiB (Linux arch/x86/virt/svm/sev.c, adjust_direct_map).
  if (shift >= 21) {
    if (!rmp.findOwn(page - (page % LARGE_PAGES))) return RmpCheck.PASSED
    if (!found.assigned && found.subpages === 0) return RmpCheck.PASSED
    return rmp.find(page) && found.assigned ? RmpCheck.HYPERVISOR_OWNED : RmpCheck.OVERLAP
  }
  if (!rmp.find(page) || !found.assigned) return RmpCheck.PASSED
  return RmpCheck.HYPERVISOR_OWNED
}

/** The guard. `key` is other than 0 when an access has the C-bit; nested accesses name the nested page's size. */
export function createRmpGuard(rmp: RmpTable): Guard & { check(request: Readonly<GuardRequest>): RmpVerdict } {
  const { found } = rmp
  return {
    name: 'rmp',
    check(request) {
      if (!rmp.enabled || (request.context & RMP_EXEMPT) !== 0) return RmpCheck.PASSED
      const { context, page } = request
      if ((context & SNP_ACTIVE) === 0 || request.key === 0) {
        // Reads need no check: what they see of private pages is ciphertext.
        if ((request.access & 2) === 0) return RmpCheck.PASSED
        return checkShared(rmp, page, request.guestPage < 0 ? request.shift : request.nestedShift)
      }
      const failed = checkPrivate(rmp, page, context & 0x3ff, request.guestPage, request.nestedShift)
      if (failed !== RmpCheck.PASSED) return failed
      if (found.inUse) return RmpCheck.IN_USE
      if (!found.validated) return RmpCheck.NOT_VALIDATED
      const need = permissionNeeded(request.access, request.user)
      const has = permissionsOf(found.permissions, (context >>> 12) & 3)
      return (has & need) === need ? RmpCheck.PASSED : RmpCheck.VMPL
    },
  }
}

/** What the processor raises after a failed check. */
export type RmpFault =
  /** #PF in the host: bits to add to the error code, which also has P = 1. */
  | { readonly kind: 'PF'; readonly errorCode: number }
  /** #VMEXIT(NPF): bits to add to EXITINFO1, which also has P = 1. */
  | { readonly kind: 'NPF'; readonly info: bigint }
  /** #VC in the guest. */
  | { readonly kind: 'VC'; readonly errorCode: number }

/** Turns a failed check into a fault. `guest`: the access came from a guest; `encrypted`: it had the C-bit. */
export function rmpFault(verdict: RmpVerdict, guest: boolean, encrypted: boolean): RmpFault {
  if (verdict === RmpCheck.NOT_VALIDATED) return { kind: 'VC', errorCode: VC_PAGE_NOT_VALIDATED }
  if (!guest) return { kind: 'PF', errorCode: PageFaultError.mask.RMP }
  return {
    kind: 'NPF',
    info: NestedFaultInfo.pack({
      RMP: 1n, ENC: encrypted ? 1n : 0n, SIZEM: verdict === RmpCheck.SIZE_MISMATCH ? 1n : 0n,
      VMPL: verdict === RmpCheck.VMPL ? 1n : 0n,
    }),
  }
}
