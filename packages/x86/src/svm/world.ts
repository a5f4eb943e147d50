/** What intercepts see of the guest that runs. */
import type { GuestControl } from './control.ts'

export interface GuestWorld {
  readonly control: GuestControl
  /** SEV-ES: write traps and VMGEXIT exist. */
  readonly encryptedState: boolean
  /** All ports count as marked in the I/O permission map. */
  readonly everyPort: boolean
  /** The guest leaves at the present instruction, which has no effect. */
  leave(code: number, info1?: bigint, info2?: bigint): never
  /** The guest leaves when the present instruction is done; EXITINFO1 is then what `read` says. SEV-ES guests only. */
  trapAfter(code: number, read: () => bigint): void
  setTpr(tpr: number): void
  /** The time-stamp counter when the engine's own reading would not do, else null. */
  scaledTsc(): bigint | null
  /** The present instruction enters a handler: if it leaves meanwhile, EXITINTINFO says so. */
  entersHandler(vector: number, software: boolean): void
  /** Counts a PAUSE; whether the filter is through with it. */
  pauseCountedOut(): boolean
  /** A byte of a permission map. */
  byteAt(address: number): number
  /** Whether an access to an MSR leaves; `marked` is what the permission map says. */
  interceptsMsr(index: number, write: boolean, marked: boolean): boolean
}
