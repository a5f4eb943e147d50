/** Finding memory that a guest uses, without seeing anything of the guest: by its nested page faults. */
import { NestedFaultInfo, SvmExit } from '@cofferdam/spec'
import { remembered } from './types.ts'
import type { AttackServices, AttackState, EntryVcpu } from './types.ts'

/** Faults that pass first, and how many may pass more. */
const FIRST = 6
const CHOICE = 16
const PAGE = 4096n

const { ENC, I, final } = NestedFaultInfo.mask

/** Looks for a page in use. */
export interface PageInUse {
  /** Before each entry: the guest physical address of the fault that was chosen, −1 before. */
  entry(vcpu: EntryVcpu): number
  snapshot(): AttackState
  /** @throws SnapshotError */
  restore(saved: AttackState): void
}

/**
 * A "controlled channel": takes all mappings away, once, and waits for what the guest touches then. Of its private data
 * (no code, no page tables) the seed chooses one fault.
 */
export function createPageInUse({ npt, memory, flush, below }: AttackServices): PageInUse {
  let left = -1
  let found = -1
  const entry = ({ vmcb }: EntryVcpu): number => {
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
  return {
    entry,
    snapshot: () => ({ left, found }),
    restore(saved) {
      left = remembered(saved, 'left', left)
      found = remembered(saved, 'found', found)
    },
  }
}
