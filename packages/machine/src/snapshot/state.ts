/** A machine between two instructions: every part of it that decides what it does next, apart from its memory. */
import type { Plain, SnapshotPart, VirtualClock } from '@cofferdam/devices'
import type { LocalApic, ProcessorSnapshot } from '@cofferdam/x86'
import type { TraceHash } from '../events.ts'
import type { Processors } from '../processors.ts'
import type { Random } from '../random.ts'
import type { RunLoop, RunLoopSnapshot } from '../run-loop.ts'
import type { SnpSystemState } from '../snp/state.ts'
import { misfit } from './shape.ts'
import type { Misfit, Shape } from './shape.ts'

/** The parts of a machine that have state. */
export interface MachineParts {
  readonly loop: RunLoop
  readonly clock: VirtualClock
  readonly processors: Processors
  /** Streams of random numbers by name. */
  readonly random: Readonly<Record<string, Random>>
  readonly hash: TraceHash | undefined
  /** Devices, in the order in which they are restored. */
  readonly devices: readonly SnapshotPart[]
}

/** State of a machine. What it holds is checked where it is restored. */
export interface MachineState {
  readonly clock: { readonly now: number }
  readonly devices: Readonly<Record<string, Plain>>
  readonly seats: readonly {
    readonly apic: ReturnType<LocalApic['snapshot']>
    readonly waiting: boolean
    readonly processor: ProcessorSnapshot
  }[]
  readonly loop: RunLoopSnapshot
  readonly random: Readonly<Record<string, readonly [number, number]>>
  /** The hash over all events so far, 16 hexadecimal digits; null where none was kept. */
  readonly traceHash: string | null
  /** The system around a confidential guest; null of a plain machine. */
  readonly snp: SnpSystemState | null
}

const SHAPE: Shape = {
  clock: { now: 'count' },
  devices: {},
  seats: {
    list: {
      apic: {},
      waiting: 'boolean',
      processor: {
        registers: Uint8Array, halted: 'boolean', stopped: 'string', line: 'boolean', attention: 'boolean',
        stackShadow: 'boolean',
        traps: 'count', nmiBlocked: 'boolean', monitor: { orNull: { list: 'count' } }, msrs: Uint32Array, counts: {},
        translations: {
          entries: Uint32Array, log: Uint16Array, made: 'count', large: Float64Array, pdptes: Int32Array,
          zeros: Uint16Array, fetches: Float64Array, misses: 'count',
        },
        supervisor: { orNull: {} },
      },
    },
  },
  loop: {
    time: 'count', alone: 'boolean', last: 'integer', retired: 'count', pauses: 'count',
    slice: { orNull: { index: 'count', end: 'count', yields: 'boolean', pauses: 'count' } },
    idleSince: { list: 'count' },
  },
  random: {},
  traceHash: { orNull: 'string' },
  snp: { orNull: {} },
}

/** A part of a state that this machine can't be in. */
export class StateMisfit extends Error {
  readonly field: string
  readonly expected: string

  constructor({ path, expected }: Misfit) {
    super(`${path}: expected ${expected}`)
    this.name = 'StateMisfit'
    this.field = path
    this.expected = expected
  }
}

const need = (ok: boolean, path: string, expected: string): void => {
  if (!ok) throw new StateMisfit({ path, expected })
}

/** The state of the machine's parts. */
export function captureState(
  { loop, clock, processors, random, hash, devices }: MachineParts, snp: SnpSystemState | null,
): MachineState {
  return {
    snp,
    clock: clock.snapshot(),
    devices: Object.fromEntries(devices.map((part) => [part.name, part.snapshot()])),
    seats: processors.seats.map(({ apic, waiting, processor }) => ({
      apic: apic.snapshot(), waiting, processor: processor.snapshot(),
    })),
    loop: loop.snapshot(),
    random: Object.fromEntries(Object.entries(random).map(([name, stream]) => [name, stream.snapshot()])),
    traceHash: hash?.digest() ?? null,
  }
}

/** @throws StateMisfit for a state that is none of a machine with these parts */
function checkState(state: MachineState, { processors, random, hash, devices }: MachineParts): void {
  const found = misfit(state, SHAPE)
  if (found !== undefined) throw new StateMisfit(found)
  const count = processors.seats.length
  const { loop, clock, seats, traceHash } = state
  const names = Object.keys(state.devices).sort().join(', ')
  const own = devices.map(({ name }) => name).sort().join(', ')
  need(names === own, 'devices', `those of this machine, ${own}; got ${names}`)
  need(seats.length === count, 'seats', `${count} processors`)
  need(seats.every(({ processor: { monitor } }) => monitor === null || (monitor.length === 2 && monitor.every(isWord))),
    'seats.processor.monitor', 'two halves of 32 bits')
  need(loop.last >= -1 && loop.last < count, 'loop.last', `a processor below ${count}`)
  need(loop.idleSince.length === count, 'loop.idleSince', `${count} times`)
  need(loop.slice === null || (loop.slice.index < count && loop.slice.end > loop.time), 'loop.slice',
    `a slice of a processor below ${count} that has not ended`)
  need(clock.now === loop.time, 'clock.now', 'the time of the loop')
  for (const name of Object.keys(random)) {
    const halves = state.random[name] as unknown
    need(
      Array.isArray(halves) && halves.length === 2 && halves.every(isWord), `random.${name}`, 'two halves of 32 bits',
    )
  }
  need(traceHash === null || /^[0-9a-f]{16}$/.test(traceHash), 'traceHash', '16 hexadecimal digits')
  need(hash === undefined || traceHash !== null, 'traceHash', 'a hash: it was not kept from power-on')
}

const isWord = (value: unknown): boolean => Number.isInteger(value) && (value as number) >>> 0 === value

/**
 * Puts a fresh machine, whose memory is filled already, into a state.
 * @throws StateMisfit, SnapshotError of a device, ApicSnapshotError or StateError of a processor for what does not fit
 */
export function restoreState(state: MachineState, parts: MachineParts): void {
  checkState(state, parts)
  const { loop, clock, processors, random, hash, devices } = parts
  // Time first, since devices arm their timers; then who raises interrupts, then who takes them.
  clock.restore(state.clock)
  for (const part of devices) part.restore(state.devices[part.name])
  processors.seats.forEach((seat, index) => {
    const { apic, waiting, processor } = state.seats[index]
    seat.apic.restore(apic)
    seat.waiting = waiting
    processors.mapApic(index)
    seat.processor.restore(processor)
  })
  loop.restore(state.loop)
  for (const [name, stream] of Object.entries(random)) stream.restore(state.random[name])
  if (hash !== undefined && state.traceHash !== null) hash.resume(state.traceHash)
}
