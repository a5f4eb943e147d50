/** An SNP guest under the reference host: its memory, its processors, its launch, and what its exits ask for. */
import type { SnpLaunch } from '@cofferdam/boot'
import { SnapshotError } from '@cofferdam/devices'
import { createTally } from '@cofferdam/findings'
import { FRAME_NONE } from '@cofferdam/memory'
import type { IoBus, PhysicalMemory } from '@cofferdam/memory'
import type { GuestProgram, SevFact } from '@cofferdam/sev'
import { HvFeatures, SevFeatures, SnpGuestRequest } from '@cofferdam/spec'
import type { Svsm } from '@cofferdam/svsm'
import { APIC_EVENT, createLocalApic, routeMessage, type LocalApic, type Svm } from '@cofferdam/x86'
import { cpuidLeaves, cpuidPage } from '../cpu/cpuid-page.ts'
import { createGuestCpu } from '../cpu/guest-cpu.ts'
import { encryptionLeaf, ENCRYPTION_LEAF, guestModel, type EncryptionFacts } from '../cpu/model.ts'
import { HostError } from '../errors.ts'
import type { ApRequest, GuestEnd, GuestRequestResult, GuestServices, VcpuServices } from '../ghcb/types.ts'
import type { ReferenceHost } from '../host.ts'
import { createHostile, type HostileDeed, type HostileOptions } from '../hostile/index.ts'
import { createGuestMemory, type GuestMemory, type RmpInstructions } from '../memory/guest-memory.ts'
import { createNpt, type Npt } from '../memory/npt.ts'
import { memoryCost } from './costs.ts'
import { launch, type Launched } from './launch.ts'
import { checkGuestState, type SnpGuestState } from './state.ts'
import { tearDown } from './teardown.ts'
import { createVcpu, type GuestWatch, type Vcpu } from './vcpu.ts'
import { VMPLS } from './vmpls.ts'
import { createVmcb, IOPM_BYTES, MSRPM_BYTES, msrPermissionMap, setUpVmcb } from './vmcb.ts'

/** What a guest is made of, whether it begins or goes on. */
interface GuestSetup {
  readonly host: ReferenceHost
  readonly memory: PhysicalMemory
  readonly rmp: RmpInstructions
  /** The physical processors that run the guest's, one each. */
  readonly svms: readonly Svm[]
  /** Where the guest's PCI hole begins, for the MTRRs as firmware leaves them; undefined: as they are after reset. */
  readonly holeStart: number | undefined
  readonly encryption: EncryptionFacts
  /**
   * Vmsa.sevFeatures of all processors, as the image's VMSA has them; SNPActive is one in any case. A snapshot has its
   * own.
   */
  readonly sevFeatures?: bigint
  /** The guest's ports and registers: what its devices claimed. */
  readonly ports: IoBus
  readonly mmio: IoBus
  /** Virtual time in nanoseconds. */
  readonly now: () => number
  readonly charge: (nanoseconds: number) => void
  readonly picAcknowledge: () => number
  readonly eoiBroadcast: (vector: number) => void
  /** What runs at VMPL0 in place of machine code, and how it does on a processor. */
  readonly svsm?: { readonly program: Svsm, readonly instructions: (svm: Svm) => GuestProgram }
  /** A processor's timer or pending events changed. */
  readonly onChange: (index: number) => void
  readonly onEnd: (end: GuestEnd) => void
  /** An exit was served; `malformed` says what was wrong with it. */
  readonly onExit?: (index: number, name: string, malformed: string | undefined) => void
  /** Facts about what the guest asked for, for findings. Its state is in the VMSA. */
  readonly onFact?: (index: number, fact: SevFact) => void
  readonly watch?: GuestWatch
  /** The host attacks its guest. */
  readonly hostile?: Pick<HostileOptions, 'plans' | 'random32'>
}

/** A guest that begins. */
interface GuestStart extends GuestSetup {
  /** What the guest starts from. Processors without a VMSA wait for the guest to create them one. */
  readonly image: SnpLaunch
  /** RAM by guest physical address. */
  readonly ram: SnpGuestState['ram']
}

/**
 * A guest that begins; or one that goes on from a snapshot, whose memory is there already, and whose host goes on from
 * the same.
 */
export type SnpGuestOptions = GuestStart | (GuestSetup & { readonly restore: SnpGuestState })

/** Counters of a guest. */
export interface SnpGuestStats {
  /** Exits by name; names that a guest makes up count as `others` once there are many. */
  readonly exits: Readonly<Record<string, number>>
  /** Requests that made no sense, by what was wrong with them. */
  readonly malformed: Readonly<Record<string, number>>
  /** What the host gave to the guest: bytes, RMP entries by size, pages made shared. */
  readonly memory: Readonly<GuestMemory['counts']>
  /** What a hostile host did; only there when it was to do something. */
  readonly hostile?: readonly HostileDeed[]
}

/** A guest that was launched: its processors, its memory, and what it has asked for so far. */
export interface SnpGuest {
  readonly vcpus: readonly Vcpu[]
  readonly apics: readonly LocalApic[]
  readonly memory: GuestMemory
  readonly services: GuestServices & { readonly npt: Npt }
  /** System page of the guest's context, which the PSP keeps. */
  readonly context: number
  /** Its address space identifier, which is also the slot of its key. */
  readonly asid: number
  stats(): SnpGuestStats
  /** Ends the guest for good: all that it had is the host's again, its ASID another guest's. @throws HostError */
  destroy(): void
  /** Between two turns of its processors. */
  snapshot(): SnpGuestState
}

const PAGE = 4096
/** 512 pages in a row. */
const REGION_ORDER = 9

/** Whether the image has a VMSA for each processor. */
const areLaunched = ({ launch: pages }: SnpLaunch, count: number): boolean =>
  Array.from({ length: count }, (_, vp) => vp).every((vp) =>
    pages.some((page) => page.type === 'vmsa' && page.vp === vp))

/** A permission map in host memory: its first page, and how many there are as a power of two. */
function placeMap(host: ReferenceHost, memory: PhysicalMemory, bytes: Uint8Array): [page: number, order: number] {
  const order = Math.ceil(Math.log2(bytes.length / PAGE))
  const page = host.allocateRun(order)
  if (page < 0) throw new HostError('memory', 'permission maps', 'the host has no pages for them')
  memory.write(page * PAGE, bytes)
  return [page, order]
}

/**
 * Creates, launches and starts a guest, or goes on with one.
 * @throws HostError, BootError
 * @throws SnapshotError, ApicSnapshotError for a snapshot that is none of such a guest
 */
export function createSnpGuest(options: SnpGuestOptions): SnpGuest {
  const { host, memory, rmp, svms, charge } = options
  const isHostRam = (page: number): boolean => memory.frameWord(page) !== FRAME_NONE
  const saved = 'restore' in options ? checkGuestState(options.restore, svms.length, isHostRam) : undefined
  const { ram } = 'restore' in options ? options.restore : options
  const sevFeatures = saved?.sevFeatures ?? ((options.sevFeatures ?? 0n) | SevFeatures.mask.SNPActive)
  const asid = saved?.asid ?? host.takeAsid()
  const { physicalBits } = guestModel()
  const npt = createNpt({
    memory, allocatePage: host.allocatePage, freePage: host.freePage, isRam: isHostRam, physicalBits,
    ...(saved && { from: saved.npt }),
  })
  const flush = (): void => { for (const svm of svms) svm.flushGuests() }
  const guestMemory = createGuestMemory({
    memory, rmp, npt, asid, ram, isHostRam,
    allocateRegion: () => host.allocateRun(REGION_ORDER),
    freeRegion: (page) => { host.freeRun(page, REGION_ORDER) },
    flush,
    charge: (operation) => { charge(memoryCost(operation)) },
  })
  const hostile = options.hostile === undefined ? undefined
    : createHostile({ ...options.hostile, memory: guestMemory, physical: memory, npt, flush })
  const exits = createTally()
  const malformed = createTally()
  const apics: LocalApic[] = []
  const vcpus: Vcpu[] = []
  /** VMSAs that wait for a processor's INIT, as guest pages. */
  const onInit = new Map<number, { readonly vmpl: number, readonly page: number }>()

  const takeInit = (index: number): void => {
    const vcpu = vcpus[index] as Vcpu | undefined
    if (vcpu === undefined || (apics[index].pendingEvents() & (APIC_EVENT.INIT | APIC_EVENT.STARTUP)) === 0) return
    vcpu.takeStartup()
    const waits = onInit.get(index)
    onInit.delete(index)
    if (waits !== undefined) vcpu.setVmsa(waits.vmpl, guestMemory.systemPage(waits.page))
  }

  const createAp = ({ apicId, vmpl, vmsa, onInit: later, features }: ApRequest, caller: VcpuServices): boolean => {
    const index = apics.findIndex((apic) => apic.id === apicId)
    if (index < 0 || vmpl >= VMPLS) return false
    if (vmsa === undefined) {
      onInit.delete(index)
      vcpus[index].setVmsa(vmpl, undefined)
      return true
    }
    const page = vmsa / PAGE
    if (features !== sevFeatures || !guestMemory.isRam(page) || guestMemory.isShared(page)) return false
    const systemPage = guestMemory.systemPage(page)
    if (systemPage < 0) return false
    if (later) onInit.set(index, { vmpl, page })
    // Who prepares another level of its own processor goes on, until it asks for that level to run.
    else if (index === caller.index && vmpl !== caller.vmpl) vcpus[index].addVmsa(vmpl, systemPage)
    else vcpus[index].setVmsa(vmpl, systemPage)
    options.onChange(index)
    return true
  }

  const requestPage = saved?.requestPage ?? host.allocatePage()
  const responsePage = saved?.responsePage ?? host.firmware.firmwarePage()
  let context = saved?.context ?? -1

  const forward = (page: Uint8Array): GuestRequestResult => {
    memory.write(requestPage * PAGE, page)
    const { status } = host.firmware.tryCommand('SNP_GUEST_REQUEST', SnpGuestRequest.create({
      gctxPaddr: BigInt(context) * 4096n, requestPaddr: BigInt(requestPage) * 4096n,
      responsePaddr: BigInt(responsePage) * 4096n,
    }))
    const response = new Uint8Array(PAGE)
    memory.read(responsePage * PAGE, response)
    return { firmware: status, response }
  }

  // Firmware that cannot find its processors by start-up IPIs, for they have no VMSA yet, creates them by this list.
  const tellsApicIds = saved?.tellsApicIds ?? !('image' in options && areLaunched(options.image, svms.length))
  const services: GuestServices & { readonly npt: Npt } = {
    memory: hostile?.memory ?? guestMemory, npt, ports: options.ports, mmio: options.mmio,
    cBit: options.encryption.cBit, createAp,
    features: HvFeatures.mask.SNP | HvFeatures.mask.AP_CREATION | HvFeatures.mask.MULTI_VMPL
      | (tellsApicIds ? HvFeatures.mask.APIC_ID_LIST : 0n),
    apicIds: svms.map((_, index) => index),
    guestRequest: (page) => hostile?.guestRequest(page, forward) ?? forward(page),
    certificates: host.certificates,
    runVmpl: ({ index }, vmpl) => vcpus[index].runVmpl(vmpl),
    end: options.onEnd,
    charge,
    inCpuidPage: (leaf) => tableLeaves.has(leaf),
    fact: (index, fact) => { options.onFact?.(index, fact) },
  }

  const iopm = saved?.iopm ?? placeMap(host, memory, new Uint8Array(IOPM_BYTES).fill(0xff))
  const msrpm = saved?.msrpm ?? placeMap(host, memory, msrPermissionMap().subarray(0, MSRPM_BYTES))
  svms.forEach((svm, index) => {
    const apic = createLocalApic({
      id: index, bootstrap: index === 0, now: options.now, physicalAddressBits: physicalBits,
      send: (ipi) => { routeMessage(apics, ipi, index) },
      eoiBroadcast: options.eoiBroadcast,
      onChange: () => {
        takeInit(index)
        options.onChange(index)
      },
    })
    if (index === 0 && options.holeStart !== undefined) apic.enterVirtualWire()
    apics.push(apic)
    const cpu = createGuestCpu({
      model: guestModel(), index, count: svms.length, apic, now: options.now, holeStart: options.holeStart,
    })
    cpu.system.leaves.set(ENCRYPTION_LEAF, encryptionLeaf(options.encryption))
    const vmcb = createVmcb(memory, saved?.vmcbs[index] ?? host.allocatePage())
    if (saved === undefined) {
      memory.fill(vmcb.address, PAGE, 0)
      setUpVmcb(vmcb, {
        asid, nestedCr3: npt.root, msrpm: msrpm[0] * PAGE, iopm: iopm[0] * PAGE, sevFeatures,
        hasOthers: svms.length > 1,
      })
    }
    vcpus.push(createVcpu({
      index, isRam: isHostRam, svm, vmcb, apic, cpu: hostile?.cpu(cpu) ?? cpu, guest: services, hostile,
      picAcknowledge: options.picAcknowledge, watch: options.watch,
      ...(options.svsm && {
        svsm: { program: options.svsm.program, instructions: options.svsm.instructions(svm) },
      }),
      onExit(name, problem) {
        exits.add(name)
        options.watch?.exitIs(name)
        if (problem !== undefined) malformed.add(problem)
        options.onExit?.(index, name, problem)
      },
    }))
  })

  const first = createGuestCpu({
    model: guestModel(), index: 0, count: svms.length, apic: apics[0], now: options.now, holeStart: options.holeStart,
  })
  first.system.leaves.set(ENCRYPTION_LEAF, encryptionLeaf(options.encryption))
  const table = cpuidPage(first)
  const tableLeaves = cpuidLeaves(table)
  const begin = (image: SnpLaunch): Launched => {
    const launched = launch({
      firmware: host.firmware, memory, rmp, guest: guestMemory, asid, image, allocatePage: host.allocatePage,
      cpuidPage: hostile?.cpuidPage(table) ?? table,
    })
    ;({ context } = launched)
    for (const [vp, page] of launched.vmsas) vcpus.at(vp)?.setVmsa(0, page, vp !== 0)
    return launched
  }
  const goOn = (state: SnpGuestState): Launched => {
    guestMemory.restore(state.memory)
    for (const [index, vcpu] of vcpus.entries()) {
      apics[index].restore(state.apics[index])
      vcpu.restore(state.vcpus[index])
    }
    for (const [index, vmpl, page] of state.onInit) onInit.set(index, { vmpl, page })
    exits.restore(state.exits)
    malformed.restore(state.malformed)
    if (hostile !== undefined) hostile.restore(state.hostile)
    else if (state.hostile !== null) throw new SnapshotError('guest', 'hostile', 'an honest host')
    return { context, vmsas: new Map(state.vmsas), hostPages: state.hostPages }
  }
  const launched = 'restore' in options ? goOn(options.restore) : begin(options.image)
  return {
    vcpus, apics, memory: guestMemory, services, context, asid,
    destroy() {
      tearDown({
        host, rmp, vcpus, memory: guestMemory, npt, asid, context, flush, runs: [iopm, msrpm],
        pages: [requestPage, ...launched.hostPages, ...vcpus.map(({ vmcb }) => vmcb.address / PAGE)],
        guestPages: [...launched.vmsas.values()], firmwarePages: [responsePage],
      })
    },
    snapshot: () => ({
      ram, sevFeatures, tellsApicIds, asid, npt: { root: npt.root, tables: npt.tables() },
      memory: guestMemory.snapshot(),
      requestPage, responsePage, context, iopm, msrpm, vmcbs: vcpus.map(({ vmcb }) => vmcb.address / PAGE),
      vmsas: [...launched.vmsas], hostPages: launched.hostPages,
      apics: apics.map((apic) => apic.snapshot()), vcpus: vcpus.map((vcpu) => vcpu.snapshot()),
      onInit: [...onInit].map(([index, { vmpl, page }]) => [index, vmpl, page]),
      exits: exits.snapshot(), malformed: malformed.snapshot(), hostile: hostile?.snapshot() ?? null,
    }),
    stats: () => ({
      exits: exits.counts(), malformed: malformed.counts(), memory: { ...guestMemory.counts },
      ...(hostile !== undefined && { hostile: hostile.deeds() }),
    }),
  }
}
