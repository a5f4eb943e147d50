/**
 * What the command line needs of a machine. The package `@cofferdam/machine` fits this; tests bring a machine of their
 * own that follows a script.
 */

import type { Plain } from '@cofferdam/devices'
import type {
  DeviceOption, DiskOption, Erratum, HostileDeed, HostileOption, RunResult as PackageResult, SnapshotData,
} from '@cofferdam/machine'
import type { Findings, SymbolTable } from '@cofferdam/findings'
import type { Gateway } from '@cofferdam/usernet'

/** What a debugger watches. */
type HostWatch = Extract<PackageResult, { reason: 'watch' }>['watch']

export type { DeviceOption, DiskOption, Gateway, Erratum, HostileDeed, HostileOption }

/** A file that a machine gets, with the name to use in messages. */
export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

export type Engine = 'interp' | 'jit' | 'auto'
export type CpuVendor = 'intel' | 'amd'

/** One thing that happened in the machine; the order and every field depend on the inputs and the seed alone. */
export interface MachineEvent {
  /** Virtual time, nanoseconds. */
  readonly at: number
  readonly cpu: number
  /** `exit`, `interrupt`, `exception`, `device`, …: the trace's category. */
  readonly kind: string
  readonly name: string
  /** Virtual nanoseconds, for what takes time. */
  readonly duration?: number
  readonly data?: Readonly<Record<string, number | string | boolean>>
}

export interface MachineOptions {
  /** Bytes of RAM, a multiple of 4096. */
  readonly memory: number
  readonly vcpus: number
  readonly seed: number
  readonly engine: Engine
  readonly cpu: CpuVendor
  /** `snp`: an SEV-SNP guest under a host. */
  readonly cc?: 'none' | 'snp'
  /** Of SNP guests: Vmsa.sevFeatures beside SNPActive. */
  readonly sevFeatures?: bigint
  /** Of SNP guests: what is wrong with the processors. */
  readonly errata?: readonly Erratum[]
  /** Of confidential guests: everything is accepted before the kernel (`eager`), or what it leaves to firmware. */
  readonly accept?: 'lazy' | 'eager'
  /** Of SNP guests: an SVSM at VMPL0, and the guest at this level. */
  readonly svsm?: { readonly vmpl: number, readonly vtpm?: { command(command: Uint8Array): Uint8Array | null } }
  /** Of confidential guests: what their host does against the rules. */
  readonly hostile?: readonly HostileOption[]
  /** Goes on from there: `memory`, `vcpus`, `cpu` and `seed` must be the snapshot's. */
  readonly restore?: SnapshotData
  /** What to boot; only with firmware, or when a machine goes on from a snapshot, may there be none. */
  readonly kernel?: NamedBytes
  /** Firmware that starts at its reset vector and boots the kernel. */
  readonly firmware?: NamedBytes
  /** Its variable store, in place of the one in its image. */
  readonly vars?: NamedBytes
  readonly initrd?: NamedBytes
  /** Symbols of the guest's kernel, for findings. */
  readonly symbols?: SymbolTable
  readonly append: string
  readonly disks?: readonly DiskOption[]
  readonly devices?: readonly DeviceOption[]
  /** What the guest sends on its first serial port. The bytes are only valid during the call. */
  readonly onSerial: (bytes: Uint8Array) => void
  readonly onEvent?: (event: MachineEvent) => void
  /** Bytes that the guest sends to ports E9h and 402h. */
  readonly onDebugConsole?: (byte: number) => void
  /** Wall time in milliseconds, for statistics alone. */
  readonly wallClock?: () => number
}

/** Why `run` came back. */
export type RunResult =
  /** The instructions asked for are done. */
  | { readonly reason: 'budget' }
  /** `interrupted` said so; `left` of the instructions asked for were not run. */
  | { readonly reason: 'interrupted'; readonly left: number }
  /** Every processor waits; `idleUntil` is the next timer in virtual nanoseconds, absent when no timer runs. */
  | { readonly reason: 'idle'; readonly idleUntil?: number }
  | { readonly reason: 'poweroff' }
  | { readonly reason: 'reset' }
  /** isa-debug-exit: what the guest wrote, and what QEMU would exit with. */
  | { readonly reason: 'debug-exit'; readonly code: number; readonly status: number }
  /** A debugger's watch was hit. */
  | { readonly reason: 'watch'; readonly cpu: number; readonly watch: HostWatch }
  /** A processor shut down (a triple fault), or the guest needs what there is not; `state`: its registers, in lines. */
  | { readonly reason: 'shutdown'; readonly message: string; readonly state?: readonly string[] }

/** Where a processor is. */
export interface ProcessorPlace {
  readonly cpu: number
  readonly rip: bigint
  /** For a person: `64-bit kernel`, `halted`, … */
  readonly mode: string
  /** `name+0x12/0x40`, where symbols are found. */
  readonly symbol?: string
  /** Symbols of what could be return addresses on the stack. */
  readonly stack?: readonly string[]
}

/** Counters of a machine; the machine may add its own. */
export interface MachineStats {
  readonly instructions: number
  /** Virtual nanoseconds. */
  readonly virtualTime: number
  /** Of an SNP guest. */
  readonly snp?: { readonly hostile?: readonly HostileDeed[] }
  /** With a hostile host: accesses to pages that were not validated, each a #VC. */
  readonly unvalidatedAccesses?: number
  readonly [counter: string]: unknown
}

export interface Machine {
  /**
   * Runs at most that many instructions, about; after `idle`, skips virtual time to the next timer or input first.
   * `interrupted` is asked now and then whether to come back early: a run of what was left goes on as if it had not.
   */
  run(options: { readonly instructions: number; readonly interrupted?: () => boolean }): RunResult
  /** Offers bytes to the serial port and returns how many it took. */
  serialInput(bytes: Uint8Array): number
  stats(): MachineStats
  places(): readonly ProcessorPlace[]
  /** A copy of the firmware's variable store; undefined when there is none. */
  variables(): Uint8Array | undefined
  /** Rules of the architecture that the guest has broken. */
  readonly findings?: Findings
  /**
   * The machine as it is now, with something of the caller's own.
   * @throws as `CreateMachine` when it can't be in a snapshot
   */
  snapshot(attachment?: Plain): SnapshotData
}

/**
 * Makes a machine, loaded and ready to run.
 * @throws an `Error` with the fields `file` and `field` and the message `FILE: FIELD: …` when a file or an option can't
 * be used
 */
export type CreateMachine = (options: MachineOptions) => Machine
