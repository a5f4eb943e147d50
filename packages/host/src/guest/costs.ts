/**
 * What a guest pays in virtual time for what its host and the processor do, in nanoseconds; an instruction is one
 * nanosecond. One table, of estimates: of the right order, so that the shape of a boot is right, and no measurement.
 */
import type { MemoryOperation } from '../memory/guest-memory.ts'

/** What work of the host's costs, in nanoseconds of virtual time. */
export const COSTS = {
  /**
   * VMRUN and #VMEXIT of an SEV-ES guest with all state in its VMSA, and the host's work around it. A plain SVM guest
   * was measured with 1360 cycles around VMRUN and 2530 for all of KVM_RUN
   * (lkml.iu.edu/hypermail/linux/kernel/2012.2/00527.html); with encrypted state to save and restore, taken as 2 µs.
   */
  vmexit: 2000,
  /**
   * RMPUPDATE and PSMASH take the entry's lock and have the TLBs of all processors flushed. Once for 2 MiB here; hosts
   * that back guests by 4 KiB pages, as KVM's guest_memfd does today, pay exit, allocation and entry for each: 1024
   * exits for 4 MiB (QEMU, "i386/kvm: Prefault memory on page state change").
   */
  rmpupdate: 1500,
  psmash: 3000,
  /**
   * A guest's instructions on the reverse map: a walk of its own and of the nested tables, an entry read, and written
   * back under a lock. Taken as a few cache misses; there are no published figures.
   */
  pvalidate: 1000,
  rmpadjust: 1000,
  rmpquery: 300,
  /** Reads one entry. */
  rmpread: 300,
  /** WBINVD: a last-level cache of 32 MiB, all dirty, at what two memory channels take. */
  wbinvd: 1_000_000,
  /** An entry in the nested tables, with the allocation of what it maps. */
  map: 400,
  /** A command of a TPM in software: a millisecond, whatever it is; keys take longer. */
  vtpm: 1_000_000,
  /** Clearing 2 MiB that the guest gets, as hosts do with what they take from their allocator: 8 bytes a nanosecond. */
  clear: 262_144,
} as const

/** The cost of something done to a guest's memory. */
export const memoryCost = (operation: MemoryOperation): number => COSTS[operation]
