/**
 * What a host sees of SVM: how a guest is entered, and how it comes back (APM vol. 2, chapter 15). Everything that a
 * host tells a guest and learns from it is in the VMCB (`VmcbControl`, `VmcbSave` of the spec package), at the same
 * offsets and with the same meaning whether the host is machine code that executes VMRUN or a program in TypeScript.
 */
import type { Processor } from '../engine/processor-types.ts'

/** The guest left: an intercept, a nested page fault, VMGEXIT, or a VMRUN that failed. */
export interface SvmVmexit {
  readonly exit: 'vmexit'
  /** EXITCODE (`SvmExit`); failures are negative: −1 VMEXIT_INVALID, −2 VMEXIT_BUSY. */
  readonly code: number
  /** EXITINFO1 and EXITINFO2, unsigned. */
  readonly info1: bigint
  readonly info2: bigint
  /** Instructions that the guest retired in this call; the one that left counts as one. */
  readonly retired: number
}

/** The instructions were used up, or the guest waits in a HLT that is not intercepted. The guest stays resident. */
export interface SvmBudget {
  readonly exit: 'budget'
  readonly retired: number
  /** The guest waits for an interrupt (`processor.halted`). */
  readonly halted: boolean
}

/** How a run of a guest ended. */
export type SvmRun = SvmVmexit | SvmBudget

/** What became of something that a resident guest was to do. */
export type SvmPerformed<T> =
  | { readonly kind: 'done', readonly value: T }
  /** The guest has left instead; nothing of it was done, unless it was to leave. */
  | { readonly kind: 'exit', readonly exit: SvmVmexit }
  /** The guest would take this exception. */
  | { readonly kind: 'fault', readonly vector: number, readonly errorCode: number }

/** SVM of one processor. */
export interface Svm {
  readonly processor: Processor
  /** A guest's state is the processor's: between VMRUN and #VMEXIT. */
  readonly inGuest: boolean
  /** The VMCB of the guest that is resident, a system physical address; −1 without one. */
  readonly resident: number
  /** Global interrupt flag. While it is clear, interrupts, NMIs and INIT wait. */
  readonly gif: boolean
  /**
   * VMRUN for a host in TypeScript: loads the guest from the VMCB at the system physical address `vmcb` (4 KiB
   * aligned), injects what EVENTINJ asks for, and runs at most `instructions` (below 2^31).
   *
   * After a #VMEXIT the guest's state is in the VMCB as the manual has it (SEV-ES: in the VMSA). What VMRUN does not
   * swap (general registers but RAX and RSP, FS, GS, TR, LDTR, system-call MSRs, vector registers, DR0–DR3) stays in
   * the processor, where it is as it was at the next call; a host that runs several guests on one processor moves it
   * with `vmsave`, `vmload` and `registers`.
   *
   * After `budget` the guest stays resident: calling again with the same VMCB goes on, without looking at the VMCB; a
   * host that wants to change it first calls `kick`. A pending physical interrupt (`processor.setInterrupt`) is
   * VMEXIT_INTR if the VMCB intercepts INTR.
   *
   * Whoever keeps time sets it (`processor.setTime`) before each call. A `part` of a slice may end sooner, as in
   * `Processor.run`.
   *
   * @throws Error when another VMCB's guest is resident, or `vmcb` names no RAM: bugs of the host
   */
  vmrun(vmcb: number, instructions: number, part?: boolean): SvmRun
  /**
   * VMRUN of a guest in which a program in TypeScript sits where machine code would run: enters it unless it is
   * resident, and has it do what one instruction does (`act`: an access, a change of the RMP, VMGEXIT). Either all of
   * it is done or nothing. An exception is not delivered: the program has no handlers but its own.
   * @throws Error when another VMCB's guest is resident, or `vmcb` names no RAM: bugs of the host
   */
  perform<T>(vmcb: number, act: () => T): SvmPerformed<T>
  /**
   * Takes a resident guest out, between two calls of `vmrun`: VMEXIT_INTR, whatever is intercepted, with the state in
   * the VMCB. Nothing happens when no guest is resident.
   */
  kick(): void
  /** VMLOAD: FS, GS, TR, LDTR, KernelGsBase, STAR, LSTAR, CSTAR, SFMASK, SYSENTER_* from the VMCB. */
  vmload(vmcb: number): void
  /** VMSAVE: the same to the VMCB. */
  vmsave(vmcb: number): void
  /** Forgets cached translations of guests: NPT entries were taken away or changed by the host. Call it on every
   * processor that may have run the guest, or set TLB_CONTROL in its VMCB. */
  flushGuests(): void
}
