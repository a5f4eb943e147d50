/** Whether a guest's processor gets past its nested page faults: a fault that nothing helps comes back for ever. */

/** Nested page faults at one address, with nothing done in between, until a guest counts as stuck. */
export const STUCK = 1000

/** Addresses that are told apart; handlers of interrupts can have faults of their own in between. */
const PLACES = 16

export interface Progress {
  /** A nested page fault at a guest physical address; true when it has been one too many. */
  fault(address: bigint): boolean
  /** The guest ran up to an exit; the instruction that left counts as one. */
  ran(instructions: number): void
  /** An event is injected: what the guest runs next is its handler, and no way past a fault. */
  injected(): void
  snapshot(): ProgressState
  restore(saved: ProgressState): void
}

/** What a snapshot keeps: faults by guest physical address. */
export interface ProgressState {
  readonly faults: readonly (readonly [address: bigint, count: number])[]
  readonly inHandler: boolean
}

export function createProgress(): Progress {
  const faults = new Map<bigint, number>()
  let inHandler = false
  return {
    fault(address) {
      const before = faults.get(address)
      // Back at the same place: the handler is over, and has not helped.
      if (before !== undefined) inHandler = false
      else if (faults.size >= PLACES) faults.clear()
      const count = (before ?? 0) + 1
      faults.set(address, count)
      return count === STUCK
    },
    ran(instructions) { if (instructions > 1 && !inHandler) faults.clear() },
    injected() { inHandler = faults.size > 0 },
    snapshot: () => ({ faults: [...faults], inHandler }),
    restore(saved) {
      faults.clear()
      for (const [address, count] of saved.faults) faults.set(address, count)
      ;({ inHandler } = saved)
    },
  }
}
