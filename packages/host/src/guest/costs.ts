/**
 * What a guest pays in virtual time for what its host and the processor do, in nanoseconds. One table, with where the
 * figures come from; an instruction is one nanosecond.
 */
import type { MemoryOperation } from '../memory/guest-memory.ts'

export const COSTS = {
  /**
   * VMRUN and #VMEXIT of an SEV-ES guest with all state in its VMSA, and the host's work around it. A plain SVM exit takes
   * about 1200 cycles on Zen 3, with encrypted state about 2000 to 4000 (measurements by cloud providers agree on "twice
   * to three times"); the round trip is taken as 2 µs.
   */
  vmexit: 2000,
  /**
   * RMPUPDATE takes the entry's lock and flushes the TLBs of all processors. Linux's cover letters measure 2 MiB page
   * state changes at some microseconds.
   */
  rmpupdate: 1500,
  psmash: 3000,
  /** An entry in the nested tables, with the allocation of what it maps. */
  map: 400,
} as const

/** The cost of something done to a guest's memory. */
export const memoryCost = (operation: MemoryOperation): number => COSTS[operation]
