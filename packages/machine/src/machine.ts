/** One machine: memory, processors, devices, the loop that runs them, and a kernel that is loaded and ready to go. */
import { layOutFirmware, loadKernel, lowMemory, memoryCmos, pcMemoryMap } from '@cofferdam/boot'
import type { AcpiPlatform, SmbiosInfo } from '@cofferdam/boot'
import { createPlatform, createVirtualClock } from '@cofferdam/devices'
import type { Observation } from '@cofferdam/devices'
import { createFindings } from '@cofferdam/findings'
import {
  apicIdOf, configureModel, epycGenoa, flatTopology, loadState, routeMessage, sapphireRapids,
} from '@cofferdam/x86'
import { createEmit, createRam, SMBIOS } from './board.ts'
import type { ForkOptions, Machine, RestoreOptions, Snapshot } from './board.ts'
import { createCourse } from './course.ts'
import { createDevices, createDma, diskSlots, isConsole, testDevices } from './devices.ts'
import { attachFirmware, createMachineConfig, firmwareOverhead, placedAcpi } from './firmware.ts'
import { checkOptions, hasPsp, MachineError } from './options.ts'
import type { MachineOptions } from './options.ts'
import { createProcessors, processorsOverhead } from './processors.ts'
import type { Processors, Seat } from './processors.ts'
import { createRandom } from './random.ts'
import { placeOf, shutdownMessage, stateLines } from './report.ts'
import { createRunLoop } from './run-loop.ts'
import { createHostSilicon } from './snp/host-silicon.ts'
import { createSnpMachine } from './snp/machine.ts'
import { captureMachine, checked, optionsOf, restoreInto } from './snapshot/snapshot.ts'
import type { SnapshotData } from './snapshot/snapshot.ts'
import type { MachineParts } from './snapshot/state.ts'
import { collectStats } from './stats.ts'

/** What a snapshot's data becomes: one that machines can go on from, with these options unless others are given. */
export function asSnapshot(data: SnapshotData, usual: ForkOptions = {}): Snapshot {
  return { ...data, fork: (options = {}) => createMachine({ ...usual, ...options, restore: data }) }
}

/** What a fork has from the machine itself. A disk is no machine's but one: forks need their own. */
const usualOptions = ({ kernel, firmware, vars, initrd, devices, append, isPrime }: MachineOptions): ForkOptions =>
  ({ kernel, firmware, vars, initrd, devices, append, isPrime })

/** The options of any machine: those that a snapshot names come from it. */
const settled = (options: MachineOptions | RestoreOptions): MachineOptions & { readonly restore?: SnapshotData } =>
  'restore' in options ? { append: '', engine: 'auto', ...options, ...optionsOf(options.restore, options) } : options

/**
 * Creates a machine: one that loads a kernel, or one that goes on from a snapshot.
 * @throws MachineError for options that make no machine, and for a snapshot that is none of this machine
 * @throws BootError for images, command lines and memory sizes that cannot be booted; both have `file` and `field`
 */
export function createMachine(given: MachineOptions | RestoreOptions): Machine {
  const options = settled(given)
  checkOptions(options)
  if (options.cc === 'snp') {
    const { restore } = options
    const machine = restore === undefined
      ? createSnpMachine(options)
      : checked(restore.name, () => createSnpMachine(options))
    return {
      ...machine,
      snapshot: (attachment = null) => asSnapshot(machine.snapshot(attachment), usualOptions(options)),
    }
  }
  const { vcpus, seed } = options
  const plainMap = pcMemoryMap(options.memory)
  const layout = options.firmware && layOutFirmware(options.firmware, options.vars)
  const overhead = processorsOverhead(vcpus) + (layout === undefined ? 0 : firmwareOverhead(layout))
  const memory = createRam(options.memory, overhead)
  const { emit, hash } = createEmit(options)
  const course = createCourse({ loop: () => loop, emit, listeners: options })
  const { tell, end } = course

  const clock = createVirtualClock({ onEarlier: (time) => { loop.earlier(time) } })
  const sync = (): void => { clock.advanceTo(loop.now()) }

  const seats: Seat[] = []
  const model = configureModel(options.cpu === 'amd' ? epycGenoa : sapphireRapids)
  const sev = hasPsp(options) ? createHostSilicon({
    memory, model, seed, map: plainMap, reserve: layout === undefined,
    processors: () => seats.map(({ processor }) => processor), charge: (time) => { loop.charge(time) },
  }) : undefined
  const map = sev?.map ?? plainMap
  const names = { kernel: options.kernel?.name, initrd: options.initrd?.name }
  const guest = { kernel: options.kernel?.bytes, initrd: options.initrd?.bytes, cmdline: options.append, names }
  const smbios: SmbiosInfo = { ...SMBIOS, memory: options.memory }
  const topology = flatTopology(vcpus)
  const apicIds = Array.from({ length: vcpus }, (_, index) => apicIdOf(topology, index))
  const acpi: AcpiPlatform = { apicIds, nodes: [{ ranges: memory.ram, apicIds }] }
  const observation: Observation = {
    sync,
    charge: (time) => { loop.charge(time) },
    onAccess: emit === undefined ? undefined : (name, write, offset, size, value) => {
      tell('device', name, { write, offset, size, value })
    },
  }
  const forget = (): void => { for (const { processor } of seats) processor.mmu.flush(true) }
  const firmware = layout && attachFirmware({ memory, layout, observation, onRemap: forget })

  const dma = createDma(memory, sev?.dma)
  const virtioDevices = createDevices(options, dma, clock, (device, reason) => {
    tell('device', `${device} broken`, { reason })
  })
  // A host may encrypt its memory then, and drivers have to say so in the addresses that they give.
  const virtio = virtioDevices && { ...virtioDevices, accessPlatform: sev !== undefined }
  const platform = createPlatform({
    ...observation, memory, clock, firmware, cmos: memoryCmos(memory.ram), testDevices: testDevices(options.devices),
    fwCfg: (placed) => createMachineConfig(dma, observation, {
      ram: memory.ram, vcpus,
      ...(layout !== undefined && {
        ...guest, smbios, bootSlots: diskSlots(options.disks),
        acpi: () => placedAcpi(acpi, memory.ram, model.physicalBits, placed()),
      }),
    }),
    deliver: (message) => routeMessage(processors.apics, message),
    picOutput: (level) => { processors.apics[0].setLint(0, level) },
    ...course.outputs,
    virtio, psp: sev?.psp,
  })

  const random = { turns: createRandom(seed, 'turns'), processors: createRandom(seed, 'processors') }
  const loop = createRunLoop({
    seats, clock, random32: random.turns.next32,
    between: () => {
      // Frames of RAM may move here only, since translations lead to them.
      if (memory.crowded() && memory.pack()) forget()
    },
    onIdle: emit === undefined ? undefined : (cpu, at, to) => {
      emit({ at, cpu, kind: 'idle', name: 'waits', duration: to - at })
    },
  })
  const processors: Processors = createProcessors({
    seats, memory, count: vcpus, engine: options.engine, model, extensions: sev?.extensions,
    holeStart: layout === undefined ? lowMemory(options.memory) : undefined,
    now: () => loop.now(), interrupted: () => loop.interrupted(),
    random64: random.processors.next64,
    picAcknowledge: () => platform.pic.acknowledge(),
    eoiBroadcast: (vector) => { platform.ioapic.endOfInterrupt(vector) },
    onChange: (index) => { loop.changed(seats[index]) },
    emit: emit === undefined
      ? undefined
      : (cpu, kind, name, data) => { emit({ at: loop.now(), cpu, kind, name, data }) },
  })

  sev?.start()

  const parts: MachineParts = {
    loop, clock, processors, random, hash, devices: [...firmware?.parts ?? [], ...platform.parts],
  }
  if (options.restore !== undefined) {
    restoreInto(options.restore, memory, parts)
  } else {
    if (layout === undefined && guest.kernel !== undefined) {
      const boot = loadKernel({
        ...guest, kernel: guest.kernel, memory: options.memory, map, acpi, smbios,
        write: (address, bytes) => { memory.write(address, bytes) },
      })
      loadState(seats[0].processor, boot.state)
    }
    tell('machine', 'power-on')
  }

  /** Whether the machine has ended; a processor that shut down ends it. */
  const isDone = (): boolean => {
    const down = course.ended() === null ? seats.find(({ processor }) => processor.stopped !== '') : undefined
    if (down !== undefined) {
      end({ reason: 'shutdown', message: shutdownMessage(down.processor), state: stateLines(down.processor) })
    }
    return course.ended() !== null
  }
  const flush = (): void => { processors.engine.jit?.flush() }

  return {
    memory, processors,
    variables: () => firmware?.variables(),
    run(request) {
      const result = course.run(request, isDone, flush, () => stateLines(seats[loop.current()].processor))
      const cpu = course.ended() === null ? loop.watchHit() : -1
      const watch = cpu < 0 ? null : seats[cpu].processor.trapped
      return watch === null ? result : { reason: 'watch', cpu, watch }
    },
    serialInput: (bytes) => platform.serial.receive(bytes),
    consoleInput: (bytes) => virtio?.devices.find(isConsole)?.receive(bytes) ?? 0,
    stats: () => ({
      ...collectStats(memory, processors, loop), ...(hash !== undefined && { traceHash: hash.digest() }),
    }),
    watch(watches) {
      for (const { processor } of seats) processor.watch(watches)
    },
    step(cpu) {
      if (!isDone()) course.step(() => { loop.step(cpu) }, () => stateLines(seats[cpu].processor))
    },
    places: () => seats.map(placeOf),
    findings: createFindings(),
    describe: (cpu) => stateLines(seats[cpu].processor),
    snapshot(attachment = null) {
      if (sev !== undefined) throw new MachineError('devices', 'psp', 'a machine with SEV has no snapshot yet')
      if (isDone()) throw new MachineError('machine', 'state', 'it has ended; expected one that can go on')
      return asSnapshot(captureMachine(options, attachment, memory, parts), usualOptions(options))
    },
  }
}
