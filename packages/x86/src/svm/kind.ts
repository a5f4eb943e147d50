/** How an extension makes guests that are not plain ones (SEV-ES, SEV-SNP): what it is asked, and when. */
import type { KeyField, WalkResult } from '@cofferdam/paging'
import type { GuardRequest } from '@cofferdam/memory'
import type { Exit, GuestControl } from './control.ts'
import type { StatePage } from './vmcb.ts'

/** What the processor is to do about an access that was refused or did not translate. */
export type AccessOutcome =
  /** The guest leaves. */
  | { readonly leave: Exit }
  /** An exception: the guest's own, or the host's. `address` goes to CR2. */
  | { readonly vector: number; readonly errorCode: number; readonly address: bigint }

/** One guest, from VMRUN to #VMEXIT. */
export interface GuestKind {
  /** The control area with what always applies to such a guest put in. */
  readonly control: GuestControl
  /** All ports are intercepted. */
  readonly everyPort: boolean
  /** SEV-ES: write traps and VMGEXIT exist. */
  readonly encryptedState: boolean
  /** The guest's time-stamp counter when it is not the host's plus an offset: from the host's. */
  readonly tsc: ((host: bigint) => bigint) | null
  /** Translations made for a guest with the same ASID and another tag are not good for this one. */
  readonly tag: string
  /** The event to inject, where it is not EVENTINJ that says so. */
  readonly eventInj: bigint
  /** Loads all state; answers RIP. What VMRUN checks of loaded state is checked afterwards. */
  load(): bigint
  /** Saves all state; RIP is where the guest goes on. Called before the VMCB is written. */
  save(exit: Exit, rip: bigint): void
  /** After the VMCB was written and plain state was put back. */
  left(): void
  /** What becomes of an intercept: an exit (the same, or another), or null: #VC with its code. */
  intercepted(exit: Exit): Exit | null
  /** Whether an access to an MSR is intercepted, when the permission map has had its say. */
  interceptsMsr(index: number, write: boolean, marked: boolean): boolean
}

/** An extension's part in SVM. */
export interface SvmHooks {
  /**
   * VMRUN has read the control area: the kind of guest, null for a plain one, or the EXITCODE that VMRUN fails with.
   */
  guest(vmcb: StatePage, control: GuestControl): GuestKind | number | null
  /** The key field of the host's tables, nested ones included; undefined while nothing is encrypted. */
  hostKeyField(): KeyField | undefined
  /** Whether a page may hold a VMCB (VMRUN, VMLOAD, VMSAVE) or host state; #GP(0) if not. */
  acceptsPage(address: number): boolean
  /** An access did not translate and it is no plain page fault; null: as SVM does without extension. */
  walk(result: WalkResult, low: number, high: number, access: number): AccessOutcome | null
  /** A guard refused an access. */
  guard(verdict: number, request: Readonly<GuardRequest>, result: WalkResult, low: number, high: number): AccessOutcome
  /** The guest takes the exception in `guestFault`, which is not intercepted; RIP is the instruction's. */
  raised?(): void
  /** What the extension knows of a processor and of its resident guest (null for none), as data for a snapshot. */
  save(guest: GuestKind | null): unknown
  /**
   * Takes that back, as the guest's that is resident on the processor with this VMCB and control area; null: there is
   * none, or it is a plain one.
   * @throws StateError for what does not fit
   */
  restore(saved: unknown, vmcb: StatePage | null, control: GuestControl | null): GuestKind | null
}
