/** What the functions that serve #VMEXITs get. */
import type { VmgexitServer } from '../ghcb/server.ts'
import type { GuestServices, VcpuServices } from '../ghcb/types.ts'
import type { Vmcb } from '../guest/vmcb.ts'
import type { Npt } from '../memory/npt.ts'

/** A guest's processor as its own exits see it. */
export interface VmexitVcpu extends VcpuServices {
  readonly vmcb: Vmcb
  /** The interrupt window is open: what was asked for by V_IRQ need not be asked for any more. */
  closeWindow(): void
  /** A fault at one place that nothing helps: ends the guest when it has happened too often in a row. */
  stuck(what: string): void
}

export interface Vmexit {
  readonly info1: bigint
  readonly info2: bigint
  readonly guest: GuestServices & { readonly npt: Npt }
  readonly vcpu: VmexitVcpu
  readonly server: VmgexitServer
  /** Notes what was served, for statistics and traces. */
  note(name: string, malformed?: string): void
}

/** Serves one kind of #VMEXIT. */
export type VmexitHandler = (exit: Vmexit) => void
