/** Processors and their local APICs: creation, start-up IPIs, interrupt requests. */
import type { PhysicalMemory } from '@cofferdam/memory'
import {
  APIC_EVENT, apicIdOf, attachExtensions, createCpuSystem, createEngine, createLocalApic, createProcessor,
  deliverInterrupt, engineOverhead, extendedMeanings, extendedMsrs, extendSystem, flatTopology, guestFault, hotForms,
  OPS,
  resetCpu, routeMessage, setFirmwareMtrrs, startAt, VECTOR,
} from '@cofferdam/x86'
import type { CpuModel, Engine, Extension, Insn, Ipi, LocalApic, Processor, ProcessorOptions } from '@cofferdam/x86'
import { exceptionName } from './events.ts'
import type { EventKind } from './events.ts'

export interface ProcessorsOptions {
  /** Is filled with the processors, for those who hold the list already. */
  readonly seats: Seat[]
  readonly memory: PhysicalMemory
  readonly count: number
  readonly model: CpuModel
  /** What packages above add to the processors. */
  readonly extensions?: readonly Extension[]
  readonly engine: 'interp' | 'jit' | 'auto'
  /** Virtual time in nanoseconds, exact inside a slice. */
  readonly now: () => number
  readonly random64: () => bigint
  /** Whether a slice that takes long shall end here, to be gone on with. */
  readonly interrupted: () => boolean
  readonly picAcknowledge: () => number
  readonly eoiBroadcast: (vector: number) => void
  /** A processor's timer or pending events changed. */
  readonly onChange: (index: number) => void
  /** Where the PCI hole begins, for the MTRRs as firmware leaves them; undefined: processors are as after reset. */
  readonly holeStart: number | undefined
  /** Hears of exceptions and of instructions in TypeScript on a processor, before they happen. */
  readonly listen?: (processor: () => Processor) => Listeners
  /** Takes what happens on the processors, when somebody listens. */
  readonly emit?: (cpu: number, kind: EventKind, name: string, data?: EventData) => void
}

/** What a processor tells before it happens. */
export type Listeners = Pick<ProcessorOptions, 'onException' | 'onHost'>

type EventData = Readonly<Record<string, number | string | boolean>>

export interface Seat {
  readonly processor: Processor
  readonly apic: LocalApic
  /** Waits for a start-up IPI. */
  waiting: boolean
}

export interface Processors {
  readonly engine: Engine
  readonly seats: readonly Seat[]
  readonly apics: readonly LocalApic[]
  /** Puts a local APIC's page where its registers say; for whoever restored them. */
  mapApic(index: number): void
}

export const processorsOverhead = (count: number): number => engineOverhead(count)

const hex = (value: bigint): string => `0x${value.toString(16)}`

/** Tells of exceptions and of instructions that leave generated code. */
const emitters = (cpu: number, emit: NonNullable<ProcessorsOptions['emit']>): Listeners => ({
  onException: () => {
    const { vector, errorCode, address } = guestFault
    emit(cpu, 'exception', exceptionName(vector), {
      ...(errorCode >= 0 && { errorCode }), ...(vector === VECTOR.PF && { address: hex(BigInt.asUintN(64, address)) }),
    })
  },
  onHost: (insn: Insn, rip: bigint) => { emit(cpu, 'exit', OPS[insn.op], { rip: hex(BigInt.asUintN(64, rip)) }) },
})

/** Tells each of `all`. */
const everyone = (all: readonly Listeners[]): Listeners => {
  if (all.length < 2) return all[0] ?? {}
  return {
    onException() { for (const one of all) one.onException?.() },
    onHost(insn, rip) { for (const one of all) one.onHost?.(insn, rip) },
  }
}

export function createProcessors(options: ProcessorsOptions): Processors {
  const { memory, count, model, now, emit, extensions = [] } = options
  const engine = createEngine({
    memory, processors: count, meanings: extendedMeanings(extensions), hotForms, engine: options.engine,
  })
  const topology = flatTopology(count)
  const msrs = extendedMsrs(model, extensions)
  const { seats } = options
  const apics: LocalApic[] = []
  const send = (from: number) => (ipi: Ipi): void => { routeMessage(apics, ipi, from) }

  for (let index = 0; index < count; index++) {
    const apic = createLocalApic({
      id: apicIdOf(topology, index), bootstrap: index === 0, now, physicalAddressBits: model.physicalBits,
      send: send(index), eoiBroadcast: options.eoiBroadcast,
      onChange: () => { refresh(index) },
      onBaseChange: () => { mapApic(index) },
    })
    apics.push(apic)
    const processor = createProcessor({
      engine, index, physicalBits: model.physicalBits,
      system: extendSystem(createCpuSystem({ model, topology, index, apic, msrs }), extensions),
      host: {
        portRead: (port, size) => memory.ports.read(port, size),
        portWrite: (port, size, value) => { memory.ports.write(port, size, value) },
        random64: options.random64,
        externalVector: options.picAcknowledge,
      },
      acknowledge: () => acknowledge(index),
      attend: () => { attend(index) },
      interrupted: options.interrupted,
      ...everyone([
        ...(options.listen === undefined ? [] : [options.listen(() => seats[index].processor)]),
        ...(emit === undefined ? [] : [emitters(index, emit)]),
      ]),
    })
    seats.push({ processor, apic, waiting: index !== 0 })
    attachExtensions(processor, memory, extensions)
    processor.activate()
    const { cpu } = processor
    resetCpu(cpu)
    if (cpu.system !== undefined) {
      if (options.holeStart !== undefined) setFirmwareMtrrs(cpu.system, options.holeStart)
      cpu.system.nmiUnblocked = () => { refresh(index) }
    }
    mapApic(index)
    if (index !== 0) processor.halted = true
    else if (options.holeStart !== undefined) apic.enterVirtualWire()
    processor.setRip(cpu.nextRip())
  }

  /** The xAPIC page is this processor's own; in x2APIC mode or disabled there is none. */
  function mapApic(index: number): void {
    const seat = seats[index] as Seat | undefined
    if (seat === undefined) return
    const { mmu } = seat.processor
    const { apic } = seat
    mmu.local = apic.mode() === 'xapic' ? { page: apic.baseAddress() / 4096, handlers: apic.mmio } : null
    mmu.flush(true)
  }

  function refresh(index: number): void {
    const seat = seats[index] as Seat | undefined
    if (seat === undefined) return
    const { apic, processor } = seat
    const events = apic.pendingEvents()
    processor.setInterrupt((events & (APIC_EVENT.FIXED | APIC_EVENT.EXTINT)) !== 0)
    if ((events & (APIC_EVENT.INIT | APIC_EVENT.STARTUP | APIC_EVENT.NMI)) !== 0) processor.setAttention()
    options.onChange(index)
  }

  function acknowledge(index: number): number {
    const { apic } = seats[index]
    const events = apic.pendingEvents()
    if ((events & APIC_EVENT.EXTINT) !== 0) {
      apic.takeExtInt()
      const vector = options.picAcknowledge()
      emit?.(index, 'interrupt', `vector ${vector}`, { vector, from: 'PIC' })
      refresh(index)
      return vector
    }
    if ((events & APIC_EVENT.FIXED) === 0) return -1
    const vector = apic.acknowledge()
    emit?.(index, 'interrupt', `vector ${vector}`, { vector, from: 'APIC' })
    refresh(index)
    return vector
  }

  /** INIT, start-up IPIs and NMIs, in that order. Runs with the processor's state resident. */
  function attend(index: number): void {
    const seat = seats[index]
    const { apic, processor } = seat
    const { cpu } = processor
    if (apic.takeInit()) {
      emit?.(index, 'interrupt', 'INIT')
      resetCpu(cpu, true)
      processor.setRip(cpu.nextRip())
      mapApic(index)
      seat.waiting = index !== 0
      processor.halted = seat.waiting
    }
    const vector = apic.takeStartup()
    if (vector >= 0 && seat.waiting) {
      emit?.(index, 'interrupt', 'start-up', { vector })
      startAt(cpu, vector)
      processor.setRip(cpu.nextRip())
      seat.waiting = false
      processor.halted = false
    }
    if (!seat.waiting && cpu.system?.nmiBlocked !== true && apic.takeNmi()) {
      emit?.(index, 'interrupt', 'NMI')
      processor.halted = false
      cpu.setNextRip(cpu.rip())
      deliverInterrupt(cpu, 2)
      processor.setRip(cpu.nextRip())
    }
  }
  return { engine, seats, apics, mapApic }
}
