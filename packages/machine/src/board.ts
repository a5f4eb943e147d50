/** What all kinds of machines have: what they answer, their memory, and who hears of what happens in them. */
import { lowMemory } from '@cofferdam/boot'
import type { Plain } from '@cofferdam/devices'
import type { Findings } from '@cofferdam/findings'
import { createPhysicalMemory } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import type { HostWatch } from '@cofferdam/x86'
import { createTraceHash } from './events.ts'
import type { Emit, TraceHash } from './events.ts'
import { MachineError } from './options.ts'
import type {
  MachineListeners, MachineOptions, MachineStats, ProcessorPlace, RunRequest, RunResult,
} from './options.ts'
import type { Processors } from './processors.ts'
import type { SnapshotData } from './snapshot/snapshot.ts'

/** A wired machine: run it, talk to it, look at it. All it does follows from its options and what it is given. */
export interface Machine {
  readonly memory: PhysicalMemory
  readonly processors: Processors
  /** A copy of the firmware's variable store as it is now; undefined when there is none. */
  variables(): Uint8Array | undefined
  /**
   * Runs about that many instructions (of all processors together). After `idle`, goes on at the next timer. A machine
   * that has ended answers the same again.
   */
  run(request: RunRequest): RunResult
  /** Offers bytes to the serial port; answers how many it took. */
  serialInput(bytes: Uint8Array): number
  /** Offers bytes to the first virtio console; answers how many it took, 0 without one. */
  consoleInput(bytes: Uint8Array): number
  stats(): MachineStats
  places(): readonly ProcessorPlace[]
  /** Which rules of the architecture the guest has broken, and where. Rules are about confidential guests. */
  readonly findings: Findings
  /** What a debugger watches on all processors, from now on; the guest sees nothing of it. */
  watch(watches: readonly HostWatch[]): void
  /**
   * Executes one instruction of a processor, while interrupts wait. Does nothing when it waits or the machine ended.
   */
  step(cpu: number): void
  /**
   * Of confidential guests: puts the guest's state into a processor's registers for a debugger, and answers whether
   * there is any. The emulator is no host: what it shows is not what the host could see.
   */
  reside?(cpu: number): boolean
  /** The registers of a processor in lines for a person. */
  describe(cpu: number): readonly string[]
  /**
   * The machine as it is now: one that goes on from it does the same as this one, to the last byte. Taking it changes
   * nothing here, and costs a copy of the memory in use.
   * @param attachment - something of the caller's own to keep with it
   * @throws MachineError for a machine that has ended, and for one with a TPM (`svsm.vtpm`), which lies outside of it
   */
  snapshot(attachment?: Plain): Snapshot
}

/** A machine at one moment. It never changes: any number of machines may go on from it, side by side. */
export interface Snapshot extends SnapshotData {
  /**
   * A machine that goes on from here; the same as `createMachine({ ...options, restore: this })`.
   * @throws MachineError
   */
  fork(options?: ForkOptions): Machine
}

/**
 * What a machine is made from that goes on from a snapshot. What decides the guest's view comes from the snapshot, and
 * must be the same where it is given. Firmware, with the kernel that it is to load, disks and devices must be those
 * that the machine had.
 */
export interface RestoreOptions extends Partial<MachineOptions> {
  readonly restore: SnapshotData
}

/** What the machine that goes on from a snapshot does not have from it. */
export type ForkOptions = Omit<RestoreOptions, 'restore'>

/** What the SMBIOS tables say. */
export const SMBIOS = { manufacturer: 'Cofferdam', product: 'Q35', version: '1', date: '01/01/2024' }

/** RAM of a PC as the memory map has it: below the PCI hole and from 4 GiB on. */
export function ramRanges(bytes: number): { readonly start: number, readonly length: number }[] {
  const low = lowMemory(bytes)
  return [{ start: 0, length: low }, ...(bytes > low ? [{ start: 0x1_0000_0000, length: bytes - low }] : [])]
}

/**
 * The RAM of a PC.
 * @param overhead bytes for processors and firmware
 * @param fill seed of the noise that memory holds at first; 0 for zeros
 * @throws MachineError when this process cannot have as much
 */
export function createRam(bytes: number, overhead: number, fill = 0): PhysicalMemory {
  try {
    return createPhysicalMemory({ ram: ramRanges(bytes), overhead, fill })
  } catch (error) {
    // What V8 says when the process may not have that much address space.
    if (!(error instanceof RangeError)) throw error
    throw new MachineError('memory', 'size', `this process cannot have the memory that backs it (${error.message})`)
  }
}

/** Hears of everything, or is undefined when nobody listens. */
export function createEmit({ onEvent, traceHash }: MachineListeners): { emit?: Emit, hash?: TraceHash } {
  if (traceHash !== true) return { emit: onEvent }
  const hash = createTraceHash()
  return {
    emit(event) {
      hash.add(event)
      onEvent?.(event)
    },
    hash,
  }
}
