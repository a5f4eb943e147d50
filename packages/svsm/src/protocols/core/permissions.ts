/** What the guest's level may do with a page, as RMPADJUST sets it. */
import { RmpAdjustAttributes, RmpStatus, VMPL_ALL, VmplPermission } from '@cofferdam/spec'
import { protocolError, refuse, type SvsmAnswer } from '../../call.ts'
import { isFault, type SvsmProcessor } from '../../processor.ts'

export const Access = { NONE: 0, READ: VmplPermission.mask.read, ALL: VMPL_ALL } as const

/** Operand of RMPADJUST for the guest's level. */
export const attributes = (vmpl: number, permissions: number, vmsa = false): bigint =>
  RmpAdjustAttributes.pack({ targetVmpl: BigInt(vmpl), permissions: BigInt(permissions), vmsa: vmsa ? 1n : 0n })

/** RMPADJUST; null when it succeeded, else the answer to the guest. */
export function adjust(
  processor: SvsmProcessor, page: { readonly address: number, readonly large: boolean }, operand: bigint,
): SvsmAnswer | null {
  const status = processor.rmpadjust(page.address, page.large, operand)
  if (isFault(status)) return refuse('INVALID_ADDRESS')
  return status === RmpStatus.SUCCESS ? null : protocolError(status)
}
