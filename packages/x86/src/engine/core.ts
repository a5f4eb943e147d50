/**
 * What the parts of one processor share: fetching, exits, single steps, events and the run loop each own functions,
 * and this is the state that more than one of them changes. All else is at the fixed addresses of `state.ts`.
 */
import type { Breakpoints, HostWatch } from './breakpoints.ts'
import type { EngineCpu } from './cpu-services.ts'
import type { Engine } from './engine.ts'
import type { Mmu } from './mmu-types.ts'
import type { ProcessorCounts, ProcessorOptions } from './processor-types.ts'
import type { Supervisor } from './supervisor.ts'

/** Bits of SYSFLAGS that decide how the next instruction runs. */
export const IF = 0x200
export const TF = 0x100
export const RF = 0x1_0000
export const PAGE = 4096

/** A processor's state outside of the WebAssembly memory, and who serves it. */
export interface Core {
  readonly options: ProcessorOptions
  readonly engine: Engine
  readonly mmu: Mmu
  readonly cpu: EngineCpu
  readonly breakpoints: Breakpoints
  readonly counts: ProcessorCounts
  /** Offset of this processor's validity words. */
  readonly slot: number
  /** Where this processor's state is kept while another one runs. */
  readonly area: number
  supervisor: Supervisor | null
  halted: boolean
  /** Why it stopped for good, or ''. */
  stopped: string
  /** Where execution goes on behind what is carried out in TypeScript. */
  nextRip: bigint
  /** Charged but not yet executed instructions of the block that is running: what BUDGET must be raised by. */
  uncharged: number
  /** Generated code runs; an exception's delivery may reach devices too, and nothing is uncharged then. */
  generated: boolean
  /** All time that was ever charged. */
  taken: number
  /** A single step is under way. */
  stepping: boolean
  /** SHADOW before the step. */
  stepShadow: number
  /** Whether SHADOW is MOV SS's or POP SS's. */
  stackShadow: boolean
  /** Whether a fault was delivered since the step began. */
  delivered: boolean
  /** An interrupt is pending. */
  line: boolean
  /** Something besides interrupts waits. */
  attention: boolean
  /** `stop` was called: EVENT_STOP alone only asks for a look at what waits, as when code was written to. */
  ending: boolean
  /** A debugger steps: what is pending waits. */
  withheld: boolean
  /** The debugger's watch that ended the slice. */
  trapped: HostWatch | null
  /** The next instruction is executed though it is watched: that has been told. */
  passing: boolean
  /** Asks for a look at what waits at the next instruction boundary. */
  look(): void
  /** Ends the present slice at the next instruction boundary. */
  stop(): void
  /** Where a word of this processor's state is now. */
  at(address: number): number
}
