import { NestedFaultInfo } from '@cofferdam/spec'
import { hex } from '../errors.ts'
import type { MemoryOutcome } from '../memory/guest-memory.ts'
import type { Vmexit, VmexitHandler } from './types.ts'

const PAGE = 4096
const { P, W, I, RMP, ENC, SIZEM, VMPL, final } = NestedFaultInfo.mask

/** What the host could do about a fault, for a person. */
const HELP: Readonly<Record<MemoryOutcome, string>> = {
  done: 'and nothing that the host may change of the entry helps',
  refused: 'and the entry is not the host\'s to change',
  'not-ram': 'and no RAM is there', 'no-memory': 'and the host has no memory left',
}

/** A fault in words: `a write to private memory at 0x2000018 (P W U RMP final ENC)`. */
const describe = ({ info1, info2 }: Vmexit): string => {
  const kind = (info1 & ENC) !== 0n ? 'private' : 'shared'
  const what = (info1 & final) === 0n ? `a walk of page tables in ${kind} memory`
    : (info1 & I) !== 0n ? `an instruction fetch from ${kind} memory`
      : (info1 & W) !== 0n ? `a write to ${kind} memory` : `a read of ${kind} memory`
  return `${what} at ${hex(info2)} (${NestedFaultInfo.describe(info1)})`
}

/** An RMP check failed: the entry's size, its owner, or what a VMPL may do. */
function rmpViolation(exit: Vmexit, page: number, isPrivate: boolean): void {
  const { info1, guest: { memory }, vcpu, note } = exit
  if ((info1 & VMPL) !== 0n) {
    note('npf:vmpl')
    vcpu.stuck(`${describe(exit)}: the RMP does not let its VMPL do that, and no host can change it`)
    return
  }
  note((info1 & SIZEM) === 0n ? 'npf:rmp' : 'npf:size')
  // A page that is private is what the guest takes it for: then it is the size that differs. Others change hands.
  const outcome = isPrivate && !memory.isShared(page) && memory.systemPage(page) >= 0
    ? memory.smash(page) : memory.resolve(page, isPrivate)
  vcpu.stuck(`${describe(exit)}: the RMP refuses it, ${HELP[outcome]}`)
}

/**
 * VMEXIT_NPF (400h): EXITINFO1 is the error code, EXITINFO2 the guest physical address (APM vol. 2, §15.25.6 and
 * §15.36.10). RAM is given or changed, other addresses become emulated: their accesses are #VC in the guest from then
 * on.
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
    vcpu.stuck(`${describe(exit)}: a device's address, whose accesses should be #VC in the guest`)
    return
  }
  note((info1 & P) === 0n ? 'npf:memory' : 'npf:protection')
  const outcome = memory.resolve(page, isPrivate)
  if (outcome === 'no-memory') exit.guest.end({ why: `the host has no memory left for ${describe(exit)}` })
  vcpu.stuck(`${describe(exit)}: the nested tables do not allow it, ${HELP[outcome]}`)
}
