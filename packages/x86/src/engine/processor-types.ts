/** What a processor is given and what it can be asked. */
import type { CpuHost } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import type { CpuSystem } from '../system/cpu-system.ts'
import type { HostWatch } from './breakpoints.ts'
import type { EngineCpu } from './cpu-services.ts'
import type { Engine } from './engine.ts'
import type { Mmu, TranslationFaults } from './mmu-types.ts'
import type { ProcessorSnapshot } from './processor-image.ts'
import type { Supervisor } from './supervisor.ts'

/** Which processor it is, on which engine. */
export interface ProcessorOptions {
  readonly engine: Engine
  readonly index: number
  readonly host: CpuHost
  readonly system: CpuSystem
  readonly physicalBits: number
  readonly faults?: TranslationFaults
  /** Takes the vector of a pending interrupt, −1 when it is gone. */
  readonly acknowledge: () => number
  /** An NMI, INIT or start-up request waits; called at instruction boundaries when `setAttention` said so. */
  readonly attend: (processor: Processor) => void
  /**
   * What `attend` would find: bits of APIC_EVENT, but no NMI while NMIs are blocked. A supervisor may want them
   * first.
   */
  readonly pendingEvents?: () => number
  /**
   * Asked after every thousand blocks that were decoded, which costs thousands of times what running them does: true
   * ends the slice as the end of its budget would. The host's clock may decide: what the guest sees does not depend on
   * it.
   */
  readonly interrupted?: () => boolean
  /** An instruction that no meaning exists for; it raises #UD. */
  readonly onUnknown?: (insn: Insn, rip: bigint) => void
  /** An exception is about to be delivered; `guestFault` holds it, RIP is the faulting instruction's. */
  readonly onException?: () => void
  /** An instruction is about to be carried out by its TypeScript meaning. */
  readonly onHost?: (insn: Insn, rip: bigint) => void
}

/** Counts of what made the interpreter come back, for statistics. */
export interface ProcessorCounts {
  host: number
  faults: number
  interrupts: number
  lookups: number
  links: number
  translated: number
  steps: number
  /** Slices given up by PAUSE. */
  pauses: number
}

/** One logical processor: runs instructions, takes interrupts, shows its state. */
export interface Processor {
  readonly index: number
  readonly cpu: EngineCpu
  readonly mmu: Mmu
  readonly counts: ProcessorCounts
  /** Waits for an interrupt (HLT, MWAIT), or for a start-up IPI. */
  halted: boolean
  /** Why it stopped for good, or ''. */
  stopped: string
  /**
   * Runs at most `instructions` (below 2^31), less what is charged meanwhile; answers how many it retired. With
   * `yields`, PAUSE ends the slice: another processor may have what this one waits for. A `part` of a slice may end
   * some instructions sooner, where that is cheap: up to 64, or none where fewer than 1024 are asked for.
   */
  run(instructions: number, yields?: boolean, part?: boolean): number
  /** Ends the present slice at the next instruction boundary. Idle outside of `run`. */
  stop(): void
  /**
   * Whether the last slice was ended by `stop`, HLT, PAUSE or a shutdown: another may follow its budget's end at
   * once.
   */
  wasStopped(): boolean
  /** Whether an interrupt could be taken, were IF set. */
  setInterrupt(pending: boolean): void
  /** Something besides interrupts wants `attend`. */
  setAttention(): void
  /** What a debugger outside of the guest watches; nothing at first. Where one is hit, the slice ends. */
  watch(watches: readonly HostWatch[]): void
  /** The watch that ended the last slice, or null. An instruction that is watched has not been executed yet. */
  readonly trapped: HostWatch | null
  /** Executes one instruction, whatever is pending or watches it; answers how many were retired (0 when halted). */
  stepOne(): number
  /** Whether IF lets interrupts in now. */
  interruptible(): boolean
  /** Instructions retired since power-on. */
  retired(): number
  /** Makes this processor's state the one at the fixed addresses. */
  activate(): void
  /** Sets RIP; the processor must be active. */
  setRip(rip: bigint): void
  /** Sets the time that the time-stamp counter shows from now on, before TSC_OFFSET. */
  setTime(time: number): void
  /**
   * The running instruction takes longer than others, by `time`: the time-stamp counter goes on, and the slice has so
   * much less room. Below 2^30; idle outside of `run`.
   */
  charge(time: number): void
  /** Instructions of the present slice so far. */
  progress(): number
  /** A halted processor that has something to wake up for. */
  wakes(): boolean
  /** Puts somebody above the code that runs here; once, before anything runs. */
  supervise(supervisor: Supervisor): void
  /** An interrupt is pending (`setInterrupt`), whatever stands in its way. */
  interruptPending(): boolean
  /** What waits besides interrupts: bits of APIC_EVENT. */
  pendingEvents(): number
  /** What the supervisor says of interrupts may have changed: asks it again. */
  reconsider(): void
  /** Width of the present code segment in bytes, and CPL. */
  width(): number
  privilege(): number
  /**
   * The processor as data, between two slices. Taking it changes nothing.
   * @throws StateError for what somebody who stands above the code (`supervise`) cannot keep
   */
  snapshot(): ProcessorSnapshot
  /**
   * Puts the processor into a state that one of the same model was in. Memory is there already, and so is `mmu.local`.
   * @throws StateError for what no such processor can be in
   */
  restore(saved: ProcessorSnapshot): void
}
