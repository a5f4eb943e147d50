import { NestedFaultInfo } from '@cofferdam/spec'
import { hex } from '../errors.ts'
import type { Vmexit, VmexitHandler } from './types.ts'

const PAGE = 4096
const { P, RMP, ENC, SIZEM, VMPL } = NestedFaultInfo.mask

/** What a refused access wanted, for a person. */
const describe = ({ info1, info2 }: Vmexit): string => `guest physical address ${hex(info2)} (${NestedFaultInfo.describe(info1)})`

/** An RMP check failed: the entry's size, its owner, or what a VMPL may do. */
function rmpViolation(exit: Vmexit, page: number, isPrivate: boolean): void {
  const { info1, guest: { memory }, vcpu, note } = exit
  if ((info1 & VMPL) !== 0n) {
    note('npf:vmpl')
    vcpu.stuck(`an access that its VMPL may not make, ${describe(exit)}`)
    return
  }
  note((info1 & SIZEM) === 0n ? 'npf:rmp' : 'npf:size')
  // A page that is private is what the guest takes it for: then it is the size that differs. Others change hands.
  const outcome = isPrivate && !memory.isShared(page) && memory.systemPage(page) >= 0
    ? memory.smash(page) : memory.resolve(page, isPrivate)
  vcpu.stuck(`an access that the RMP refuses, ${describe(exit)}: ${outcome}`)
}

/**
 * VMEXIT_NPF (400h): EXITINFO1 is the error code, EXITINFO2 the guest physical address (APM vol. 2, §15.25.6 and
 * §15.36.10).
 * RAM is given or changed, other addresses become emulated: their accesses are #VC in the guest from then on.
 */
export const nestedPageFault: VmexitHandler = (exit) => {
  const { info1, info2, guest: { memory, npt }, vcpu, note } = exit
  const page = Number(info2 / BigInt(PAGE))
  const isPrivate = (info1 & ENC) !== 0n
  if ((info1 & RMP) !== 0n) {
    rmpViolation(exit, page, isPrivate)
    return
  }
  if (!memory.isRam(page)) {
    note('npf:mmio')
    npt.mapMmio(page)
    vcpu.stuck(`an access to ${describe(exit)}`)
    return
  }
  note((info1 & P) === 0n ? 'npf:memory' : 'npf:protection')
  const outcome = memory.resolve(page, isPrivate)
  if (outcome === 'no-memory') exit.guest.end({ why: `the host has no memory left for ${describe(exit)}` })
  vcpu.stuck(`an access to ${describe(exit)}: ${outcome}`)
}
