/** Pages that a processor runs from: what VMRUN checks before it uses them, and the lock it holds meanwhile. */
import type { RmpTable } from './table.ts'

/** Why VMRUN does not load a VMSA: the exit is VMEXIT_INVALID, or VMEXIT_BUSY for `in use`. */
export type VmsaProblem =
  | 'not covered' | 'not assigned' | 'not a VMSA' | 'not validated' | 'larger than 4 KiB' | 'in use'

/** Checks a VMSA page of a guest (APM vol. 2, §15.36.8). */
export function vmsaProblem(rmp: RmpTable, page: number, asid: number): VmsaProblem | null {
  const { found } = rmp
  if (!rmp.find(page)) return 'not covered'
  if (!found.assigned || found.asid !== asid || found.immutable) return 'not assigned'
  if (found.large) return 'larger than 4 KiB'
  if (!found.vmsa) return 'not a VMSA'
  if (!found.validated) return 'not validated'
  return found.inUse ? 'in use' : null
}

/** Locks a VMSA for the time that a processor runs from it. */
export function enterVmsa(rmp: RmpTable, page: number): void {
  rmp.setInUse(page, true)
}

/** Releases it. */
export function leaveVmsa(rmp: RmpTable, page: number): void {
  rmp.setInUse(page, false)
}
