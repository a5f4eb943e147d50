/** An SNP guest under the reference host, wired: AMD silicon, the host's program, the guest's own Q35, and turns. */
import { lowMemory, memoryCmos, pcMemoryMap } from '@cofferdam/boot'
import type { MemoryRegion } from '@cofferdam/boot'
import { createPlatform, createVirtualClock } from '@cofferdam/devices'
import type { Observation, Plain } from '@cofferdam/devices'
import { createGuestSymbols } from '@cofferdam/findings'
import { COSTS, createReferenceHost, createSnpGuest, guestModel } from '@cofferdam/host'
import type { SnpGuest } from '@cofferdam/host'
import { createIoBus } from '@cofferdam/memory'
import type { SevFact } from '@cofferdam/sev'
import { E820Type, LinuxUnacceptedMemory, SevFeatures } from '@cofferdam/spec'
import { configureModel, epycGenoa, routeMessage } from '@cofferdam/x86'
import type { AccessObserver, Svm } from '@cofferdam/x86'
import { createEmit, createRam, ramRanges, SMBIOS } from '../board.ts'
import type { Machine } from '../board.ts'
import { createCourse } from '../course.ts'
import { createDevices, diskSlots, isConsole, testDevices } from '../devices.ts'
import { createMachineConfig, placedAcpi } from '../firmware.ts'
import { MachineError } from '../options.ts'
import type { MachineOptions } from '../options.ts'
import { createProcessors, processorsOverhead } from '../processors.ts'
import type { Processors } from '../processors.ts'
import { createRandom } from '../random.ts'
import { createRunLoop } from '../run-loop.ts'
import type { Seat } from '../run-loop.ts'
import { misfit } from '../snapshot/shape.ts'
import { captureMachine } from '../snapshot/snapshot.ts'
import type { SnapshotData } from '../snapshot/snapshot.ts'
import { restoreState, StateMisfit } from '../snapshot/state.ts'
import type { MachineParts } from '../snapshot/state.ts'
import { collectStats } from '../stats.ts'
import { createSnpFindings } from './findings.ts'
import type { SnpFindings } from './findings.ts'
import { createGuestPlaces } from './guest-places.ts'
import { hostMemory } from './host-memory.ts'
import { hostileMoments } from './hostile.ts'
import { createLaunch, memoryBesideRam } from './image.ts'
import { handlerListener } from './handler-listener.ts'
import { createSnpSilicon } from './silicon.ts'
import { SNP_SHAPE } from './state.ts'
import type { SnpSystemState } from './state.ts'
import { createSvsmSeat, placeSvsm } from './svsm.ts'
import { createTimeAccount } from './time-account.ts'
import { watchUnacceptedTable } from './unaccepted-table.ts'

const MiB = 2 ** 20
const PAGE = 4096

/** Two who look at accesses. */
const joined = (one: AccessObserver | null, other: AccessObserver): AccessObserver => (one === null ? other : {
  sees: (page) => one.sees(page) || other.sees(page),
  accessed(address, length) { for (const observer of [one, other]) observer.accessed(address, length) },
})

/** RAM of a map as ranges of physical memory. */
const ramOf = (map: readonly MemoryRegion[]) => map.filter((r) => r.type === E820Type.RAM)
  .map(({ start, length }) => ({ start, length }))

/** @throws StateMisfit, MachineError for parts that each are right, and not together */
function checkTogether(
  { silicon, guest, svsm, moments }: SnpSystemState, options: MachineOptions & { readonly restore?: SnapshotData },
  svms: readonly Svm[],
): void {
  const need = (ok: boolean, path: string, expected: string): void => {
    if (!ok) throw new StateMisfit({ path, expected })
  }
  need(svms.every(({ resident }, i) => resident < 0 || resident === guest.vmcbs[i] * PAGE),
    'seats.processor.supervisor',
    "the guest's own VMCBs")
  need((svsm === null) === (options.svsm === undefined), 'snp.svsm', options.svsm === undefined ? 'none' : 'an SVSM')
  need((silicon.evictions === null) === !(options.errata?.includes('coherency') ?? false), 'snp.silicon.evictions',
    'those of the options')
  need((moments === null) === (options.hostile === undefined), 'snp.moments', 'those of the options')
  const features = options.sevFeatures
  if (features !== undefined && (features | SevFeatures.mask.SNPActive) !== guest.sevFeatures) {
    const hex = (bits: bigint): string => `0x${(bits & ~SevFeatures.mask.SNPActive).toString(16)}`
    throw new MachineError(
      options.restore?.name ?? 'snapshot', 'sevFeatures',
      `it has ${hex(guest.sevFeatures)}; asked for ${hex(features)}`,
    )
  }
}

/** An SNP machine; its snapshots are data. */
export type SnpMachine = Omit<Machine, 'snapshot'> & { snapshot(attachment: Plain): SnapshotData }

/** The state of a snapshot's system. @throws StateMisfit for one that is none of an SNP guest's */
function systemOf({ options, state }: SnapshotData): SnpSystemState {
  const found = misfit(state, { snp: SNP_SHAPE })
  if (found !== undefined || state.snp === null) throw new StateMisfit(found ?? { path: 'snp', expected: 'a record' })
  // One byte has the bits of eight units of memory, and a unit is a page or more.
  const most = LinuxUnacceptedMemory.size + options.memory / PAGE / 8
  if ((state.snp.unacceptedTable?.length ?? 0) > most) {
    throw new StateMisfit({
      path: 'snp.unacceptedTable.length', expected: "as many bits as the guest's memory has pages",
    })
  }
  return state.snp
}

/**
 * Creates the machine, boots the host and launches the guest; or goes on with those of a snapshot.
 * @throws MachineError, BootError, HostError; for a snapshot what `checked` knows of
 */
export function createSnpMachine(options: MachineOptions & { readonly restore?: SnapshotData }): SnpMachine {
  const { vcpus, seed, restore } = options
  const saved = restore && systemOf(restore)
  const hostBytes = hostMemory(options.memory)
  const map = pcMemoryMap(hostBytes)
  // What a guest has accepted and not written is noise, whatever the host wrote there: it sees that with its own key.
  const memory = createRam(hostBytes, processorsOverhead(vcpus), createRandom(seed, 'memory').next32() || 1)
  const { emit, hash } = createEmit(options)
  const course = createCourse({ loop: () => loop, emit, listeners: options })
  const { tell, end } = course
  const clock = createVirtualClock({ onEarlier: (time) => { loop.earlier(time) } })
  const seats: Seat[] = []
  const random = {
    turns: createRandom(seed, 'turns'), processors: createRandom(seed, 'processors'),
    hostile: createRandom(seed, 'hostile'),
  }
  const loop = createRunLoop({
    seats, clock, random32: random.turns.next32,
    between: () => {
      if (memory.crowded() && memory.pack()) for (const { processor } of processors.seats) processor.mmu.flush(true)
    },
    onIdle: emit === undefined ? undefined : (cpu, at, to) => {
      emit({ at, cpu, kind: 'idle', name: 'waits', duration: to - at })
    },
  })

  const account = createTimeAccount(vcpus, {
    retired: () => loop.retired(), now: () => loop.now(), wall: options.wallClock ?? (() => 0),
  })

  // Silicon. Its own interrupts have nobody to go to: the host is a program, and polls nothing.
  const model = configureModel(epycGenoa)
  const silicon = createSnpSilicon({
    memory, model, seed, isPrime: options.isPrime,
    processors: () => processors.seats.map(({ processor }) => processor),
    // No device reaches memory except through the host's own program.
    iommuReady: true,
    needsEviction: options.errata?.includes('coherency') === true,
    charge: (time) => { loop.charge(time) },
    onFact: (processor, fact) => { findings.fromSilicon(processor, fact) }, onAccept: () => { account.accepts() },
  })
  const guestPlaces = createGuestPlaces({
    memory, sevOf: silicon.sevOf, guest: () => guest, svms: () => svms, cBit: silicon.encryption.cBit,
  })
  // Apart from those of findings, which a snapshot counts: looking from outside leaves no trace.
  const symbols = createGuestSymbols({ ...(options.symbols && { file: options.symbols }) })
  const findings: SnpFindings = createSnpFindings({
    rmp: silicon.table, guest: () => guest, places: guestPlaces, now: () => loop.now(),
    ...(options.symbols && { symbols: options.symbols }),
    ...(options.onFinding && { onFinding: options.onFinding }),
    onEndless: (cpu, page, why) => { endGuest(`vCPU ${cpu}: the guest makes no progress: ${why}`, page) },
  })
  /** Ends the guest, for a reason that a page may have something to do with. */
  const endGuest = (why: string, page?: number): void => {
    const message = page === undefined ? why : `${why}; ${findings.describePage(page)}`
    end({ reason: 'shutdown', message, state: guest.vcpus.flatMap(({ index }) => guestPlaces.describe(index)) })
  }
  const moments = options.hostile === undefined ? undefined : hostileMoments(options.hostile)
  const processors: Processors = createProcessors({
    seats: [], memory, count: vcpus, engine: options.engine, model, extensions: silicon.extensions,
    holeStart: lowMemory(hostBytes),
    now: () => loop.now(), interrupted: () => loop.interrupted(), random64: random.processors.next64,
    picAcknowledge: () => -1, eoiBroadcast: () => undefined, onChange: () => undefined,
    listen: (processor) => {
      const handlers = handlerListener(processor, account)
      return {
        ...handlers,
        onException() {
          handlers.onException?.()
          findings.raised(processor())
        },
      }
    },
    emit: emit === undefined && moments === undefined ? undefined : (cpu, kind, name, data) => {
      emit?.({ at: loop.now(), cpu, kind, name, data })
      if (kind === 'exception') moments?.raised(name, data)
    },
  })
  const physical = processors.seats.map(({ processor }) => processor)
  if (restore !== undefined && saved !== undefined) {
    memory.restore(restore.image)
    silicon.restore(saved.silicon)
  }

  // The guest's platform. Its devices reach what the guest shares.
  const observation: Observation = {
    sync: () => { clock.advanceTo(loop.now()) },
    charge: (time) => { loop.charge(time) },
    onAccess: emit === undefined ? undefined : (name, write, offset, size, value) => {
      tell('device', name, { write, offset, size, value })
    },
  }
  const ports = createIoBus(0x1_0000)
  const mmio = createIoBus(2 ** 52)
  const dma = {
    read: (address: number, target: Uint8Array): boolean => guest.memory.read(address, target),
    write: (address: number, bytes: Uint8Array): boolean => guest.memory.write(address, bytes),
  }
  const devices = createDevices(options, dma, clock, (device, reason) => {
    tell('device', `${device} broken`, { reason })
  })
  // Drivers must not give the devices what they cannot reach: private memory (VIRTIO 1.2, section 6.1).
  const virtio = devices && { ...devices, accessPlatform: true }
  const apicIds = Array.from({ length: vcpus }, (_, index) => index)
  const guestRam = ramOf([
    { start: 0, length: 0xa_0000, type: E820Type.RAM },
    ...pcMemoryMap(options.memory).filter((r) => r.start >= MiB),
  ])
  const hasFirmware = options.firmware !== undefined
  const platform = createPlatform({
    ...observation, memory: { ports, mmio }, clock, cmos: memoryCmos(guestRam),
    testDevices: testDevices(options.devices),
    ...(hasFirmware && {
      // Nobody answers below 1 MiB, whatever the attribute map says: what firmware reads there is private memory.
      firmware: { onPam: () => undefined },
      fwCfg: (placed) => createMachineConfig(dma, observation, {
        ram: ramRanges(options.memory), vcpus, bootSlots: diskSlots(options.disks),
        smbios: { ...SMBIOS, memory: options.memory },
        kernel: options.kernel?.bytes, initrd: options.initrd?.bytes, cmdline: options.append,
        names: { kernel: options.kernel?.name, initrd: options.initrd?.name },
        acpi: () => placedAcpi({ apicIds }, ramRanges(options.memory), guestModel().physicalBits, placed()),
      }),
    }),
    deliver: (message) => routeMessage(guest.apics, message),
    picOutput: (level) => { guest.apics[0].setLint(0, level) },
    ...course.outputs,
    onSerial: (byte) => {
      course.outputs.onSerial(byte)
      moments?.see(byte)
    },
    virtio,
  })

  // The host's program, and its guest.
  const host = createReferenceHost({
    memory, map, processors: physical, rmp: silicon.rmp, psp: silicon.psp, maxSnpAsid: silicon.maxSnpAsid,
    writeBackCaches: silicon.writeBackCaches, certificates: silicon.certificates,
    charge: (time) => { loop.charge(time) }, restore: saved?.host,
  })
  const begin = () => {
    const image = createLaunch(options, guestRam, silicon.encryption.cBit)
    const ram = [...guestRam, ...memoryBesideRam(image, guestRam)]
    return {
      ...placeSvsm({ image, ram, svsm: options.svsm, apicIds, cBit: silicon.encryption.cBit }),
      unacceptedTable: image.unacceptedTable ?? null,
    }
  }
  const { unacceptedTable, ...start } = saved === undefined ? begin()
    : { restore: saved.guest, base: saved.svsm?.base ?? -1, unacceptedTable: saved.unacceptedTable }
  const svsm = start.base < 0 ? undefined : createSvsmSeat({
    base: start.base, vtpm: options.svsm?.vtpm, apicIds, silicon, charge: (time) => { loop.charge(time) },
    onFact: findings.fromSvsm,
  })
  const svms = physical.map((processor) => silicon.svmOf(processor.cpu))
  const guest: SnpGuest = createSnpGuest({
    host, memory, rmp: silicon.rmp, svms, ...start, svsm,
    holeStart: hasFirmware ? undefined : lowMemory(options.memory),
    encryption: silicon.encryption, sevFeatures: options.sevFeatures, ports, mmio,
    ...(moments !== undefined && { hostile: { plans: moments.plans, random32: random.hostile.next32 } }),
    now: () => loop.now(), charge: (time) => { loop.charge(time) },
    picAcknowledge: () => platform.pic.acknowledge(),
    eoiBroadcast: (vector) => { platform.ioapic.endOfInterrupt(vector) },
    onChange: (index) => { if (seats.length > index) loop.changed(seats[index]) },
    watch: account,
    onEnd: ({ why, page }) => { endGuest(why, page) },
    onFact: findings.fromHost,
    onExit: (cpu, name, malformed) => {
      findings.exited(cpu, name)
      emit?.({ at: loop.now(), cpu, kind: 'vmexit', name, ...(malformed !== undefined && { data: { malformed } }) })
    },
  })
  if (unacceptedTable !== null) {
    const tellFact = (fact: SevFact): void => { findings.fromSilicon(physical[loop.current()], fact) }
    const table = watchUnacceptedTable({ memory, guest, table: unacceptedTable, tell: tellFact })
    for (const { mmu } of physical) mmu.observer = joined(mmu.observer, table)
  }
  for (const vcpu of guest.vcpus) seats.push({ processor: vcpu, apic: vcpu.apic })

  const parts: MachineParts = { loop, clock, processors, random, hash, devices: platform.parts }
  const system = (): SnpSystemState => ({
    silicon: silicon.snapshot(), host: host.snapshot(), guest: guest.snapshot(),
    svsm: svsm === undefined ? null : { base: start.base, program: svsm.program.snapshot() },
    unacceptedTable, findings: findings.snapshotAll(), time: account.snapshot(), moments: moments?.snapshot() ?? null,
  })
  if (restore === undefined || saved === undefined) tell('machine', 'power-on')
  else {
    restoreState(restore.state, parts)
    if (saved.svsm !== null) svsm?.program.restore(saved.svsm.program)
    findings.restoreAll(saved.findings)
    account.restore(saved.time)
    if (saved.moments !== null) moments?.restore(saved.moments)
    checkTogether(saved, options, svms)
  }

  return {
    memory, processors,
    variables: () => undefined,
    run(request) {
      const result = course.run(
        request, () => course.ended() !== null, () => { processors.engine.jit?.flush() },
        () => guestPlaces.describe(loop.current()),
      )
      const cpu = course.ended() === null ? loop.watchHit() : -1
      const watch = cpu < 0 ? null : guest.vcpus[cpu].trapped
      return watch === null ? result : { reason: 'watch', cpu, watch }
    },
    serialInput: (bytes) => platform.serial.receive(bytes),
    consoleInput: (bytes) => virtio?.devices.find(isConsole)?.receive(bytes) ?? 0,
    stats: () => ({
      ...collectStats(memory, processors, loop),
      snp: {
        ...guest.stats(), measurement: silicon.measurement(guest.context), time: account.spent(),
        operations: silicon.operations(), costs: COSTS,
      },
      ...(moments !== undefined && { unvalidatedAccesses: moments.unvalidated() }),
      ...(svsm && { svsm: svsm.program.stats() }),
      ...(hash !== undefined && { traceHash: hash.digest() }),
    }),
    places: () => guestPlaces.list(symbols),
    findings,
    watch(watches) { for (const processor of physical) processor.watch(watches) },
    step(cpu) {
      if (course.ended() === null) course.step(() => { loop.step(cpu) }, () => guestPlaces.describe(cpu))
    },
    reside: (cpu) => guest.vcpus[cpu].reside(),
    snapshot(attachment) {
      if (course.ended() !== null) {
        throw new MachineError('machine', 'state', 'it has ended; expected one that can go on')
      }
      if (options.svsm?.vtpm !== undefined) {
        throw new MachineError(
          'svsm', 'vtpm', 'a TPM is a program outside of the machine, which no snapshot holds; leave the TPM out',
        )
      }
      return captureMachine(options, attachment, memory, parts, system())
    },
    describe: (cpu) => guestPlaces.describe(cpu),
  }
}
