/** One page's entry, taken apart. */
import { RmpEntryHigh, RmpEntryLow, VMPL_ALL, VmplPermission } from '@cofferdam/spec'

/** Fields of an RMP entry (APM vol. 2, table 15-38). */
export interface RmpFields {
  assigned: boolean
  /** A 2 MiB page; only in the entry of its first 4 KiB. */
  large: boolean
  immutable: boolean
  /** Guest page number (address / 4096); of the page asked for, also inside a 2 MiB page. */
  guestPage: number
  asid: number
  vmsa: boolean
  validated: boolean
  /** Permissions by VMPL, bits as in `VmplPermission`: VMPL0 in bits 7:0, VMPL3 in 31:24. */
  permissions: number
  /** A processor runs from this page (a VMSA) and keeps it locked. */
  inUse: boolean
}

/** A page of the hypervisor's. */
export function hypervisorEntry(): RmpFields {
  return {
    assigned: false, large: false, immutable: false, guestPage: 0, asid: 0, vmsa: false, validated: false,
    permissions: 0, inUse: false,
  }
}

/** Permissions after an assignment: everything for VMPL0, nothing for the others. */
export const INITIAL_PERMISSIONS = VMPL_ALL

/** Permissions of one VMPL. */
export const permissionsOf = (permissions: number, vmpl: number): number => (permissions >>> (8 * vmpl)) & 0xff

/** `permissions` with one VMPL's replaced. */
export const withPermissions = (permissions: number, vmpl: number, to: number): number =>
  ((permissions & ~(0xff << (8 * vmpl))) | (to << (8 * vmpl))) >>> 0

/** The states that the firmware tells apart (AMD 56860 §5.3, table 11). */
export type RmpPageState =
  | 'hypervisor' | 'hv-fixed' | 'reclaim' | 'firmware' | 'context' | 'metadata' | 'pre-guest' | 'pre-swap'
  | 'guest-invalid' | 'guest-valid'

/** Guest page number that the firmware writes into metadata pages, which tells them from firmware pages. */
export const METADATA_TAG = 1

/** The state of a page by its entry. */
export function rmpPageState(e: Readonly<RmpFields>): RmpPageState {
  if (!e.assigned) return e.immutable ? 'hv-fixed' : 'hypervisor'
  if (e.asid !== 0) {
    if (e.immutable) return e.validated ? 'pre-swap' : 'pre-guest'
    return e.validated ? 'guest-valid' : 'guest-invalid'
  }
  if (!e.immutable) return 'reclaim'
  if (e.vmsa) return 'context'
  return e.guestPage === METADATA_TAG ? 'metadata' : 'firmware'
}

/** The two qwords of an entry in memory. */
export function encodeRmpEntry(e: Readonly<RmpFields>, subpages = 0): { low: bigint; high: bigint } {
  const bit = (on: boolean): bigint => (on ? 1n : 0n)
  return {
    low: RmpEntryLow.pack({
      assigned: bit(e.assigned), pageSize: bit(e.large), immutable: bit(e.immutable), gpa: BigInt(e.guestPage),
      asid: BigInt(e.asid), vmsa: bit(e.vmsa), validated: bit(e.validated),
    }),
    high: BigInt(e.permissions) | RmpEntryHigh.pack({ subpages: BigInt(subpages), inUse: bit(e.inUse) }),
  }
}

/** Takes the two qwords of an entry apart. */
export function decodeRmpEntry(low: bigint, high: bigint): RmpFields {
  const flag = (field: 'assigned' | 'pageSize' | 'immutable' | 'vmsa' | 'validated'): boolean =>
    RmpEntryLow.get(low, field) !== 0n
  return {
    assigned: flag('assigned'), large: flag('pageSize'), immutable: flag('immutable'),
    guestPage: Number(RmpEntryLow.get(low, 'gpa')), asid: Number(RmpEntryLow.get(low, 'asid')), vmsa: flag('vmsa'),
    validated: flag('validated'), permissions: Number(high & 0xffff_ffffn),
    inUse: RmpEntryHigh.get(high, 'inUse') !== 0n,
  }
}

/** An entry in words, for logs and findings. */
export function describeRmpEntry(e: Readonly<RmpFields>): string {
  const parts: string[] = [rmpPageState(e), e.large ? '2M' : '4K']
  if (e.assigned) parts.push(`asid ${e.asid}`, `gpa 0x${(e.guestPage * 4096).toString(16)}`)
  if (e.vmsa) parts.push('vmsa')
  if (e.inUse) parts.push('in use')
  if (e.asid !== 0) {
    for (let vmpl = 0; vmpl < 4; vmpl++) {
      const set = permissionsOf(e.permissions, vmpl)
      if (set !== 0) parts.push(`VMPL${vmpl} ${VmplPermission.describe(set)}`)
    }
  }
  return parts.join(', ')
}
