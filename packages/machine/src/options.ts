/** What a machine is made from, what it answers, and the errors about options that make no machine. */
import { isIgvm } from '@cofferdam/boot'
import type { HostileMode, SnpGuestStats } from '@cofferdam/host'
import type { Finding, SymbolTable } from '@cofferdam/findings'
import type { KernelFiles, PrimalityTest } from '@cofferdam/sev'
import { SevFeatures } from '@cofferdam/spec'
import type { SvsmStats, VtpmBackend } from '@cofferdam/svsm'
import type { HostWatch } from '@cofferdam/x86'
import type { DeviceOption, DiskOption } from './devices.ts'
import type { MachineEvent } from './events.ts'
import type { TimeSpent, TimeUse } from './snp/time-account.ts'

/** A file by name and content. */
export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

/** Who hears of what a machine does. */
export interface MachineListeners {
  /** What the guest sends on its first serial port; the bytes are valid during the call only. */
  readonly onSerial?: (bytes: Uint8Array) => void
  /** Takes everything that happens. Without it (and without `traceHash`) nothing is recorded, at no cost. */
  readonly onEvent?: (event: MachineEvent) => void
  /** Keep a hash over all events; `stats().traceHash` shows it. */
  readonly traceHash?: boolean
  /** Bytes that software sends to the debug consoles at ports E9h and 402h. */
  readonly onDebugConsole?: (byte: number) => void
  /** Hears of each new finding at once; `Machine.findings` has them all. */
  readonly onFinding?: (finding: Finding) => void
  /** Wall time in milliseconds, for statistics alone: nothing in the machine depends on it. */
  readonly wallClock?: () => number
}

/** One attack of a host on its guest. */
export interface HostileOption {
  readonly mode: HostileMode
  /** Instructions of the guest, or a text on its first serial port. Without it the seed decides. */
  readonly at?: number | string
}

/** An SVSM at VMPL0, and the guest's level under it. */
export interface SvsmOptions {
  readonly vmpl: number
  /** The TPM behind its vTPM protocol, which is not offered without one. */
  readonly vtpm?: VtpmBackend
}

/** What a machine is made from. Two machines of the same options do the same, to the last instruction. */
export interface MachineOptions extends MachineListeners {
  /** Bytes of RAM, a multiple of 4096; only what the guest writes costs memory here. */
  readonly memory: number
  /** Processors, 1 to {@link MAX_VCPUS}. */
  readonly vcpus: number
  /** Decides what the architecture leaves open: whose turn it is for how long, and random numbers. A safe integer. */
  readonly seed: number
  /** `interp` never compiles, `jit` compiles eagerly, `auto` compiles what is hot. What the guest sees is the same. */
  readonly engine: 'interp' | 'jit' | 'auto'
  readonly cpu: 'intel' | 'amd'
  /** `snp`: an SEV-SNP guest under the reference host, on AMD silicon whatever `cpu` says. */
  readonly cc?: 'none' | 'snp'
  /** Of SNP guests: Vmsa.sevFeatures of all processors beside SNPActive, from {@link SERVED_SEV_FEATURES}. */
  readonly sevFeatures?: bigint
  /**
   * Of SNP guests: a quick test of primes of 1024 bits, such as OpenSSL's, with which the chip's keys are found sooner
   * when a guest first asks for certificates. They are the same without it.
   */
  readonly isPrime?: PrimalityTest | undefined
  /** Of SNP guests: what is wrong with the processors, so that software has to do more: see {@link Erratum}. */
  readonly errata?: readonly Erratum[]
  /** Of confidential guests: all memory is accepted before the kernel, or what the kernel leaves to firmware. */
  readonly accept?: 'lazy' | 'eager'
  /** Of SNP guests: an SVSM at VMPL0, and the guest at this level. */
  readonly svsm?: SvsmOptions
  /** Of confidential guests: what their host does against the rules. */
  readonly hostile?: readonly HostileOption[]
  /** What to boot; only with firmware, and for a machine that goes on from a snapshot, may there be none. */
  readonly kernel?: NamedBytes
  /**
   * Firmware that starts at its reset vector and boots the kernel; without it the kernel is entered directly. For an
   * SNP guest an IGVM file, too, which may need no kernel.
   */
  readonly firmware?: NamedBytes
  /** The firmware's variable store, in place of the one in its image. Firmware of an SNP guest has none. */
  readonly vars?: NamedBytes
  /**
   * What the hashes are made of that an SNP guest's firmware verifies its kernel by, in place of what it is handed: a
   * host that lies. They are part of the measurement.
   */
  readonly hashed?: KernelFiles
  readonly initrd?: NamedBytes
  /** Disks on PCI, in slots from 00:01.0 on. */
  readonly disks?: readonly DiskOption[]
  /**
   * More devices, in the slots after the disks; at most 48 with them. Test devices come last; the debug exit is at port
   * F4h unless it is here.
   */
  readonly devices?: readonly DeviceOption[]
  /** Symbols of the guest's kernel, for findings; what the kernel carries itself is found in its memory. */
  readonly symbols?: SymbolTable
  /** The kernel's command line. */
  readonly append: string
}

/**
 * Errata of processors with SEV-SNP. `coherency`: lines of a page stay in the caches when it changes hands, until
 * software has touched the first and the last line of each page that it validates (CPUID Fn8000_001F EBX bit 31,
 * COHERENCY_SFW_NO, is clear then).
 */
export const ERRATA = ['coherency'] as const
export type Erratum = (typeof ERRATA)[number]

/** Why `run` came back. */
export type RunResult =
  /** The instructions asked for are done. */
  | { readonly reason: 'budget' }
  /** `interrupted` said so; `left` of the instructions asked for were not run. */
  | { readonly reason: 'interrupted', readonly left: number }
  /** Every processor waits; `idleUntil` is the next timer in virtual nanoseconds, absent when no timer runs. */
  | { readonly reason: 'idle', readonly idleUntil?: number }
  | { readonly reason: 'poweroff' }
  /** The guest reset the machine, `by` CF9h, port 92h or the keyboard controller's pulse. A reboot is a new machine. */
  | { readonly reason: 'reset', readonly by: string }
  /** isa-debug-exit: `code` is what the guest wrote (bits 6:0), `status` what QEMU would exit with. */
  | { readonly reason: 'debug-exit', readonly code: number, readonly status: number }
  /** A debugger's watch was hit; an instruction that is watched has not been executed yet. */
  | { readonly reason: 'watch', readonly cpu: number, readonly watch: HostWatch }
  /** A processor shut down (a triple fault), or the guest needs more than there is. `state` are lines for a person. */
  | { readonly reason: 'shutdown', readonly message: string, readonly state: readonly string[] }

/** What a machine is asked to run. */
export interface RunRequest {
  /** Of all processors together, about. */
  readonly instructions: number
  /**
   * Asked every few hundred thousand instructions whether to come back early: the host's clock may say so, because what
   * the guest sees does not depend on it. A run of what was `left` goes on as if nothing had been.
   */
  readonly interrupted?: () => boolean
}

/** Counters of a machine. */
export interface MachineStats {
  /** Retired by all processors together. */
  readonly instructions: number
  /** Nanoseconds since power-on. */
  readonly virtualTime: number
  /** Bytes of RAM that the guest has touched. */
  readonly memoryBacked: number
  /** Hash of all events so far, 16 hexadecimal digits, where `traceHash` asked for it. */
  readonly traceHash?: string
  /** Of SNP guests: exits by reason, what was wrong with some, and the memory that the host gave. */
  readonly snp?: SnpGuestStats & {
    /** The launch digest as the PSP has it, 96 hexadecimal digits; reports show it as MEASUREMENT. */
    readonly measurement: string
    /** Where the guest's time went; `rest` is what a boot without SNP takes, too. */
    readonly time: Readonly<Record<TimeUse, Readonly<TimeSpent>>>
    /** How often each instruction on the RMP, and WBINVD, was executed. */
    readonly operations: Readonly<Record<string, number>>
    /** The cost table: virtual nanoseconds of what takes longer than an instruction (`COSTS` of `@cofferdam/host`). */
    readonly costs: Readonly<Record<string, number>>
  }
  /** Of SVSMs: requests by name, and results other than success. */
  readonly svsm?: SvsmStats
  /** With a hostile host: accesses to pages that the guest had not validated, or has no longer, each a #VC. */
  readonly unvalidatedAccesses?: number
  readonly [counter: string]: unknown
}

/** Where a processor is. */
export interface ProcessorPlace {
  readonly cpu: number
  readonly rip: bigint
  /** For a person: `64-bit, CPL 0, halted`. */
  readonly mode: string
  /** In a confidential guest's kernel, where its symbols are found: `name+0x12/0x40`. */
  readonly symbol?: string
  /** Symbols of what could be return addresses on the stack, from its top. */
  readonly stack?: readonly string[]
}

/** An option that makes no machine. The message is `FILE: FIELD: what is wrong`. */
export class MachineError extends Error {
  /** The option. */
  readonly file: string
  readonly field: string

  constructor(file: string, field: string, problem: string) {
    super(`${file}: ${field}: ${problem}`)
    this.name = 'MachineError'
    this.file = file
    this.field = field
  }
}

/** APIC ids, ACPI tables and scheduling are made for so many. */
export const MAX_VCPUS = 64

/**
 * What the reference host runs guests with. Injecting through #HV or #VC is not among it: it delivers interrupts
 * itself.
 */
export const SERVED_SEV_FEATURES = SevFeatures.pack({
  DebugSwap: 1n, PreventHostIBS: 1n, BTBIsolation: 1n, SecureTSC: 1n, VmsaRegProt: 1n,
})

const oneOf = (option: string, value: string, choices: readonly string[]): void => {
  if (!choices.includes(value)) throw new MachineError(option, 'value', `${value}; expected ${choices.join(', ')}`)
}

/** Whether a machine is to have a PSP. */
export const hasPsp = ({ devices = [] }: Pick<MachineOptions, 'devices'>): boolean =>
  devices.some(({ kind }) => kind === 'psp')

/** @throws MachineError for a machine that has no PSP of its own */
function checkPsp({ cpu, cc, devices = [], restore }: MachineOptions & { readonly restore?: unknown }): void {
  const refuse = (problem: string): never => { throw new MachineError('devices', 'psp', problem) }
  if (devices.filter(({ kind }) => kind === 'psp').length > 1) refuse('two; expected one')
  if (cc === 'snp') refuse('an SNP guest has none: its host\'s takes its messages; expected cc none')
  if (cpu !== 'amd') refuse(`a machine with ${cpu} processors; expected amd`)
  if (restore !== undefined) refuse('a machine with SEV has no snapshot yet')
}

/**
 * Refuses what makes no machine; images, memory size and command line are checked where they are loaded.
 * @throws MachineError
 */
export function checkOptions(options: MachineOptions & { readonly restore?: unknown }): void {
  const { vcpus, seed, engine, cpu } = options
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw new MachineError('vcpus', 'count', `${vcpus}; expected 1 to ${MAX_VCPUS}`)
  }
  if (!Number.isSafeInteger(seed)) {
    throw new MachineError('seed', 'value', `${seed}; expected a whole number below 2^53`)
  }
  if (options.kernel === undefined && options.firmware === undefined && options.restore === undefined) {
    throw new MachineError('kernel', 'file', 'none; expected a kernel, or firmware that finds one')
  }
  if (options.vars !== undefined && options.firmware === undefined) {
    throw new MachineError('vars', 'file', 'a variable store without firmware')
  }
  const { sevFeatures = 0n } = options
  if ((sevFeatures & ~SERVED_SEV_FEATURES) !== 0n) {
    const hex = (bits: bigint): string => `0x${bits.toString(16)}`
    throw new MachineError('sevFeatures', 'value', `${hex(sevFeatures)}; expected bits of ${hex(SERVED_SEV_FEATURES)}`)
  }
  for (const erratum of options.errata ?? []) oneOf('errata', erratum, ERRATA)
  if (options.errata !== undefined && options.cc !== 'snp') {
    throw new MachineError('errata', 'names', 'they are those of processors with SEV-SNP; expected an SNP guest')
  }
  if (options.cc !== 'snp' && options.firmware !== undefined && isIgvm(options.firmware.bytes)) {
    throw new MachineError(
      options.firmware.name, 'format', 'an IGVM file, which starts confidential guests only (cc snp)',
    )
  }
  oneOf('engine', engine, ['interp', 'jit', 'auto'])
  oneOf('cpu', cpu, ['intel', 'amd'])
  if (hasPsp(options)) checkPsp(options)
  if (options.hostile !== undefined && options.cc !== 'snp') {
    throw new MachineError('hostile', 'mode', 'a machine without a host; expected an SNP guest')
  }
}
