/** A machine with a PSP, and what a host does to use it: buffers, pages for the firmware, launches. */
import { createPhysicalMemory } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import {
  PspCommand, RmpState, SnpActivate, SnpAddress, SnpInitEx, SnpInitExFlags, SnpLaunchFinish, SnpLaunchStart,
  SnpLaunchUpdate, SnpLaunchUpdatePage, SysCfg,
} from '@cofferdam/spec'
import { createPsp, createRmpTable, createSevIdentity, rmpupdate } from '../src/index.ts'
import type { Psp, PspFacts, PspPlatform, RmpTable, SevIdentity } from '../src/index.ts'

export const RMP_BASE = 0x10_0000
export const RMP_BYTES = 0x10_0000
export const POLICY = 0x3_0000n
const ON = SysCfg.mask.MtrrFixDramModEn | SysCfg.mask.SecureNestedPagingEn | SysCfg.mask.VMPLEn

export const identity = createSevIdentity(Uint8Array.of(42), 'Milan')

/** What tests change of the machine. */
export interface Machine {
  syscfg: bigint[]
  hsave: bigint[]
  rmpBase: bigint
  rmpEnd: bigint
  secondEnd: bigint | null
  iommu: boolean
  off: number
  /** Features of CPUID leaf 7 EBX; other leaves say their number in all registers. */
  features: number
}

export interface PspFixture {
  readonly memory: PhysicalMemory
  readonly rmp: RmpTable
  readonly psp: Psp
  readonly machine: Machine
  readonly forgotten: [number, number][]
  /** Gives a command with a buffer at 0x8000; its status. */
  run(name: keyof typeof PspCommand, buffer?: Uint8Array): number
  /** The buffer after the command. */
  after(bytes: number): Uint8Array
  bytes(address: number, length: number, key?: number): Uint8Array
  /** Gives pages to the firmware. */
  firmwarePage(page: number): void
  /** RMPUPDATE. */
  assign(page: number, to: {
    gpa?: number; asid?: number; immutable?: number; assigned?: number; large?: boolean
  }): number
}

export interface FixtureOptions {
  readonly facts?: Partial<PspFacts>
  readonly who?: SevIdentity
  /** Position of the C-bit. */
  readonly cBit?: number
  /** Leaves SNP off. */
  readonly raw?: boolean
}

export function pspFixture({ facts, who = identity, raw = false, cBit }: FixtureOptions = {}): PspFixture {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: 32 * 2 ** 20 }], overhead: 2 ** 17, fill: 5 })
  const rmp = createRmpTable(memory)
  const machine: Machine = {
    syscfg: [ON, ON], hsave: [0n, 0n], rmpBase: BigInt(RMP_BASE), rmpEnd: BigInt(RMP_BASE + RMP_BYTES - 1),
    secondEnd: null, iommu: true, off: 0, features: 0xffff,
  }
  const platform: PspPlatform = {
    processors: 2, syscfg: (p) => machine.syscfg[p], hsavePa: (p) => machine.hsave[p],
    rmpMsrs: (p) => ({
      base: machine.rmpBase, end: p === 1 ? machine.secondEnd ?? machine.rmpEnd : machine.rmpEnd, cfg: 0n,
    }),
    iommuReady: () => machine.iommu,
    cpuid: (leaf) => (leaf === 7 ? [0, machine.features, 0, 0] : [leaf, leaf, leaf, leaf]),
    disableSnp() { machine.off += 1 },
  }
  const forgotten: [number, number][] = []
  const psp = createPsp({
    memory, rmp, platform, identity: who, facts, cBit, forget: (page, pages) => { forgotten.push([page, pages]) },
  })
  const fixture: PspFixture = {
    memory, rmp, psp, machine, forgotten,
    run(name, buffer = new Uint8Array(8)) {
      memory.write(0x8000, buffer)
      return psp.command(PspCommand[name], 0x8000)
    },
    after: (bytes) => fixture.bytes(0x8000, bytes),
    bytes(address, length, key = 0) {
      const out = new Uint8Array(length)
      memory.read(address, out, key)
      return out
    },
    firmwarePage(page) { fixture.assign(page, { immutable: 1 }) },
    assign(page, { gpa = 0, asid = 0, immutable = 0, assigned = 1, large = false }) {
      const state = RmpState.create({
        gpa: BigInt(gpa) << 12n, assigned, pageSize: large ? 1 : 0, immutable, asid,
      })
      const agent = { asid: 0, vmpl: 0, cpl: 0, snp: false }
      const outcome = rmpupdate(rmp, { agent, address: BigInt(page) << 12n, state, maxAsid: 509 })
      return outcome.kind === 'done' ? outcome.status : -1
    },
  }
  if (!raw) initialise(fixture)
  return fixture
}

/** SNP_INIT_EX with a fresh RMP, and the flush that comes before the first ASID. */
export function initialise(f: PspFixture): void {
  const status = f.run('SNP_INIT_EX', SnpInitEx.create({ flags: SnpInitExFlags.mask.INIT_RMP }))
  if (status !== 0) throw new Error(`SNP_INIT_EX: ${status}`)
  f.run('SNP_DF_FLUSH')
}

/** Page of the guest context, of the response to requests, and of the request. */
export const CONTEXT = 0x700
export const RESPONSE = 0x701
export const REQUEST = 0x702

const address = (page: number): bigint => BigInt(page) << 12n

/** A guest with a context and a policy, active under an ASID. */
export function startGuest(f: PspFixture, asid = 1, page = CONTEXT, policy = POLICY): void {
  f.firmwarePage(page)
  const all = [
    f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: address(page) })),
    f.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr: address(page), policy })),
    f.run('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr: address(page), asid })),
  ]
  if (all.some((status) => status !== 0)) throw new Error(`launch: ${all.join(' ')}`)
}

/** SNP_LAUNCH_UPDATE of a page that RMPUPDATE has given to the guest. */
export const launchPage = (f: PspFixture, page: number, pageType: number, more: {
  context?: number; pageSize?: number; permissions?: number; imi?: number
} = {}): number => f.run('SNP_LAUNCH_UPDATE', SnpLaunchUpdate.create({
  gctxPaddr: address(more.context ?? CONTEXT), pagePaddr: address(page),
  page: SnpLaunchUpdatePage.pack({ pageType, pageSize: more.pageSize ?? 0, IMI_PAGE: more.imi ?? 0 }),
  permissions: more.permissions ?? 0,
}))

export const finish = (f: PspFixture, fields: Partial<Parameters<typeof SnpLaunchFinish.create>[0]> = {}): number =>
  f.run('SNP_LAUNCH_FINISH', SnpLaunchFinish.create({ gctxPaddr: address(CONTEXT), ...fields }))

/** A guest that runs, without any page; its response page is the firmware's. */
export function runningGuest(options: FixtureOptions = {}): PspFixture {
  const f = pspFixture(options)
  startGuest(f)
  finish(f)
  f.firmwarePage(RESPONSE)
  return f
}
