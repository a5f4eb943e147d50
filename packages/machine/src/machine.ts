/**
 * One machine: memory, processors, devices and the loop that runs them. Virtual time is retired instructions, one
 * nanosecond each; processors take turns in slices, and a device event is served exactly when it is due.
 */
import { loadKernel, lowMemory, pcMemoryMap } from '@cofferdam/boot'
import type { StartState } from '@cofferdam/boot'
import { createVirtualClock } from '@cofferdam/devices'
import { createPhysicalMemory } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import { configureModel, epycGenoa, loadState, routeMessage, sapphireRapids } from '@cofferdam/x86'
import { createPlatform } from './platform.ts'
import { createProcessors, processorsOverhead } from './processors.ts'
import type { Processors, Seat } from './processors.ts'
import { createRandom } from './random.ts'

/** A file by name and content. */
export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

export interface MachineOptions {
  /** Bytes of RAM, a multiple of 4096. */
  readonly memory: number
  readonly vcpus: number
  readonly seed: number
  readonly engine: 'interp' | 'jit' | 'auto'
  readonly cpu: 'intel' | 'amd'
  readonly kernel: NamedBytes
  readonly initrd?: NamedBytes
  readonly append: string
  /** What the guest sends on its first serial port; the bytes are valid during the call only. */
  readonly onSerial: (bytes: Uint8Array) => void
}

/** Why `run` came back. */
export type RunResult =
  | { readonly reason: 'budget' }
  | { readonly reason: 'idle'; readonly idleUntil?: number }
  | { readonly reason: 'poweroff' }
  | { readonly reason: 'reset' }
  | { readonly reason: 'debug-exit'; readonly code: number }
  | { readonly reason: 'shutdown'; readonly message: string }

export interface MachineStats {
  readonly instructions: number
  readonly virtualTime: number
  readonly [counter: string]: unknown
}

export interface ProcessorPlace {
  readonly cpu: number
  readonly rip: bigint
  readonly mode: string
}

export interface Machine {
  readonly memory: PhysicalMemory
  readonly processors: Processors
  /** Runs about that many instructions (of all processors together). After `idle`, goes on at the next timer. */
  run(options: { readonly instructions: number }): RunResult
  /** Offers bytes to the serial port; answers how many it took. */
  serialInput(bytes: Uint8Array): number
  stats(): MachineStats
  places(): readonly ProcessorPlace[]
}

/** Longest slice: alone, and when others wait for their turn. */
const LONG_SLICE = 4_000_000
const SHARED_SLICE = 20_000

export function createMachine(options: MachineOptions): Machine {
  const map = pcMemoryMap(options.memory)
  const low = lowMemory(options.memory)
  const ram = [{ start: 0, length: low }]
  if (options.memory > low) ram.push({ start: 0x1_0000_0000, length: options.memory - low })
  const memory = createPhysicalMemory({ ram, overhead: processorsOverhead(options.vcpus) })
  const model = configureModel(options.cpu === 'amd' ? epycGenoa : sapphireRapids)
  const random = createRandom(options.seed)

  /** Virtual time at the start of the slice, and who runs it. */
  let sliceStart = 0
  let running: Seat | null = null
  let sliceLength = 0
  let ended: RunResult | null = null
  let retired = 0
  const now = (): number => sliceStart + (running === null ? 0 : running.processor.progress())
  const end = (result: RunResult): void => {
    ended ??= result
    running?.processor.stop()
  }

  const clock = createVirtualClock({
    onEarlier: (time) => { if (time < sliceStart + sliceLength) running?.processor.stop() },
  })
  const sync = (): void => { clock.advanceTo(now()) }
  const serialOut = new Uint8Array(1)

  const platform = createPlatform({
    memory, clock, sync,
    deliver: (message) => routeMessage(processors.apics, message),
    picOutput: (level) => { processors.apics[0].setLint(0, level) },
    onSerial: (byte) => {
      serialOut[0] = byte
      options.onSerial(serialOut)
    },
    onPowerOff: () => { end({ reason: 'poweroff' }) },
    onReset: () => { end({ reason: 'reset' }) },
    onDebugExit: (code) => { end({ reason: 'debug-exit', code }) },
  })

  const processors: Processors = createProcessors({
    memory, model, engine: options.engine, count: options.vcpus, now, sync, holeStart: low,
    random64: random,
    picAcknowledge: () => platform.pic.acknowledge(),
    eoiBroadcast: (vector) => { platform.ioapic.endOfInterrupt(vector) },
    onChange: (index) => {
      if (running === null) return
      const seat = processors.seats[index]
      if (seat === running) {
        if (seat.apic.nextDeadline() < sliceStart + sliceLength) seat.processor.stop()
      }
    },
  })
  const { seats } = processors

  const boot = loadKernel({
    kernel: options.kernel.bytes, initrd: options.initrd?.bytes, cmdline: options.append, memory: options.memory, map,
    write: (address, bytes) => { memory.write(address, bytes) },
    acpi: { apicIds: processors.apics.map((apic) => apic.id) },
    names: { kernel: options.kernel.name, initrd: options.initrd?.name },
  })
  start(seats[0], boot.state)

  const canRun = ({ processor }: Seat): boolean =>
    processor.stopped === '' && (!processor.halted || processor.wakes())

  const nextEvent = (): number => Math.min(clock.next(), ...processors.apics.map((apic) => apic.nextDeadline()))

  const advance = (to: number): void => {
    sliceStart = Math.max(sliceStart, to)
    clock.advanceTo(sliceStart)
    for (const apic of processors.apics) apic.advance(sliceStart)
  }

  const runSlice = (seat: Seat, length: number): number => {
    running = seat
    const { processor } = seat
    processor.setTime(sliceStart)
    const done = processor.run(length)
    running = null
    retired += done
    if (processor.stopped !== '') end({ reason: 'shutdown', message: `vCPU ${seat.processor.index}: ${processor.stopped}` })
    return done
  }

  return {
    memory, processors,
    run({ instructions }) {
      let left = instructions
      let idle = seats.every((seat) => !canRun(seat))
      if (idle) {
        const next = nextEvent()
        if (next !== Infinity) advance(next)
      }
      while (left > 0) {
        if (ended !== null) return take()
        const ready = seats.filter(canRun)
        idle = ready.length === 0
        const next = nextEvent()
        if (idle) return next === Infinity ? { reason: 'idle' } : { reason: 'idle', idleUntil: next }
        sliceLength = Math.max(1, Math.min(left, ready.length > 1 ? SHARED_SLICE : LONG_SLICE, next - sliceStart))
        let longest = 0
        for (const seat of ready) longest = Math.max(longest, runSlice(seat, sliceLength))
        left -= longest * ready.length
        advance(sliceStart + longest)
      }
      return ended === null ? { reason: 'budget' } : take()
    },
    serialInput: (bytes) => platform.serial.receive(bytes),
    stats: () => ({
      instructions: retired, virtualTime: sliceStart, memoryBacked: memory.backedBytes(), jit: processors.engine.jit?.counts,
      processors: seats.map((seat) => ({ ...seat.processor.counts })),
    }),
    places: () => seats.map(({ processor, waiting }) => {
      processor.activate()
      const width = processor.width() * 8
      const mode = waiting ? 'waits for a start-up IPI' : `${width}-bit, CPL ${processor.privilege()}${processor.halted ? ', halted' : ''}`
      return { cpu: processor.index, rip: processor.cpu.rip(), mode }
    }),
  }

  function take(): RunResult {
    const result = ended ?? { reason: 'budget' as const }
    ended = null
    return result
  }

  function start(seat: Seat, state: StartState): void {
    seat.processor.activate()
    loadState(seat.processor, state)
  }
}
