/**
 * Who stands above the code of a processor and may take it from there: SVM, for guests. The processor asks at the few
 * points where TypeScript runs anyway (meanings in TypeScript, faults, instruction boundaries with something to look
 * at), never in generated code; without a supervisor it asks nobody.
 */
import type { Insn } from '../insn.ts'
import type { EventSource } from '../system/event.ts'

/** Bits of what `Supervisor.holds` answers. */
export const HOLD = {
  /** INIT, start-up requests and NMIs wait. */
  ATTENTION: 1,
  /** Interrupts wait. */
  INTERRUPTS: 2,
} as const

/**
 * In `guestFault.vector`: no exception, but the end of what the processor runs; its supervisor knows why. The
 * instruction has no effect, as with a fault.
 */
export const LEAVE = 0x100

/** Who stands above the code of a processor and may take it from there: SVM, for guests. */
export interface Supervisor {
  /** `settle` has something to do at this instruction boundary, before anything else. */
  readonly pending: boolean
  /** Some instructions that generated code carries out must come by `before` (MODE_TRAPS). */
  readonly traps: boolean
  /** Leaves or enters what it stands above, and injects events. RIP is where execution goes on. */
  settle(): void
  /**
   * Before the meaning of an instruction in TypeScript, with RIP at the instruction. May raise; answers true when it
   * has carried the instruction out itself.
   */
  before(insn: Insn): boolean
  /** The exception (or LEAVE) in `guestFault` is about to be delivered: true when something else happens instead. */
  exception(): boolean
  /**
   * The exception (or LEAVE) in `guestFault` was raised by the delivery of another event, or is what two became
   * together: true when it takes the processor away.
   */
  nested(vector: number, errorCode: number, source: EventSource): boolean
  /** At an instruction boundary outside of interrupt shadows, when something wants a look: what must wait (HOLD). */
  holds(): number
  /** Whether an interrupt waits for nothing but IF, with an interrupt pending at the processor (`line`) or not. */
  wants(line: boolean): boolean
  /** Whether something pending (an interrupt, something for `attend`) ends HLT; `open` is IF. */
  wakes(line: boolean, attention: boolean, open: boolean): boolean
  /** The processor would shut down: true when something else happens instead. */
  shutdown(reason: string): boolean
  /** What it knows between two slices, as data. @throws StateError for what cannot be kept */
  snapshot(): SupervisorState
  /**
   * Takes that back. Registers, MSRs and memory are there already; what follows from them is worked out afterwards.
   * @throws StateError for what no supervisor of this processor can know
   */
  restore(saved: SupervisorState): void
}

/** Plain data, typed arrays and bigints. */
export type SupervisorState = Readonly<Record<string, unknown>>
