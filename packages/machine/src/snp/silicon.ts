/**
 * AMD silicon with SEV-SNP: what it adds to processors and memory, the chip's identity, and the firmware of its PSP.
 */
import type { Plain } from '@cofferdam/devices'
import { COSTS } from '@cofferdam/host'
import type { EncryptionFacts, Psp, RmpInstructions } from '@cofferdam/host'
import type { PhysicalMemory } from '@cofferdam/memory'
import { createPsp, createRmpTable, createSevSilicon, guestProgram, machineCertificates } from '@cofferdam/sev'
import type {
  GuestProgram, PrimalityTest, PspFacts, PspPlatform, RmpTable, RmpTableState, SevFact, SevProcessor, WaitingPage,
} from '@cofferdam/sev'
import { Msr, SysCfg } from '@cofferdam/spec'
import { answerCpuid, cpuidSignature, state, systemOf } from '@cofferdam/x86'
import type { Cpu, CpuModel, Extension, Processor, Svm } from '@cofferdam/x86'
import { StateMisfit } from '../snapshot/state.ts'
import { snpIdentity } from './identity.ts'

export interface SnpSiliconOptions {
  readonly memory: PhysicalMemory
  readonly model: CpuModel
  readonly seed: number
  /** The processors, once they are there. */
  readonly processors: () => readonly Processor[]
  /** Finds the chip's keys sooner. */
  readonly isPrime?: PrimalityTest | undefined
  /** The running processor's instruction takes so many nanoseconds longer. */
  readonly charge: (nanoseconds: number) => void
  /** Every IOMMU is on, with SNP support; asked when the firmware is to initialise SNP. */
  readonly iommuReady: boolean
  /** Takes facts about guests, for findings. */
  readonly onFact?: (processor: Processor | null, fact: SevFact) => void
  /** Guests have to evict what they validate from the caches: see `MachineOptions.errata`. Default: no. */
  readonly needsEviction?: boolean
  /** It has changed the state of memory by PVALIDATE. */
  readonly onAccept?: () => void
}

export interface SnpSilicon {
  readonly extensions: readonly Extension[]
  svmOf(cpu: Cpu): Svm
  /** The instructions of a processor's guest, for a program in TypeScript in place of machine code. */
  guestProgram(processor: Processor): GuestProgram
  readonly rmp: RmpInstructions
  /** The RMP itself, and what SEV keeps of a processor; for findings. */
  readonly table: RmpTable
  sevOf(processor: Processor): SevProcessor
  readonly psp: Psp
  /** What guests are told about encryption. */
  readonly encryption: EncryptionFacts
  /** Highest ASID that an SNP guest may have. */
  readonly maxSnpAsid: number
  /** A guest's launch digest as the PSP has it, in hexadecimal; of nobody, nothing. */
  measurement(context: number): string
  /** How often each instruction on the RMP, and WBINVD, was executed. */
  operations(): Readonly<Record<string, number>>
  /** WBINVD on a processor. */
  writeBackCaches(processor: number): void
  /** The chain of certificates that vouches for the chip's reports, as hosts hand it to guests. */
  certificates(): Uint8Array
  snapshot(): SiliconState
  /** Takes that back; memory is there. @throws SnapshotError */
  restore(saved: SiliconState): void
}

/** What a snapshot keeps of the silicon beside memory, its keys and the processors. */
export interface SiliconState {
  readonly psp: Plain
  readonly rmp: RmpTableState
  readonly operations: readonly (readonly [name: string, count: number])[]
  /** What was validated and waits to be evicted from the caches; null where software need not do that. */
  readonly evictions: readonly WaitingPage[] | null
}

/** Position of the C-bit, and the ASIDs: SNP guests have those below `MIN_SEV_ASID` (as the silicon's CPUID says). */
const C_BIT = 51
const MAX_ASID = 1006
const MIN_SEV_ASID = 512

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

const word = (cpu: Cpu, index: number): bigint => systemOf(cpu).held.get(index) ?? 0n

/**
 * CPUID of a processor with an XCR0 and XSS of the caller's choice: sizes in leaf 0Dh depend on them. They are those of
 * whichever processor is resident, and stay what they were.
 */
function cpuidWith(cpu: Cpu, [leaf, subleaf]: readonly [number, number], xcr0: bigint, xss: bigint) {
  const { views } = cpu
  const out = new Uint32Array(4)
  const kept = [views.u32[state.XCR0 >>> 2], views.u64[state.XSS >>> 3]] as const
  views.u32[state.XCR0 >>> 2] = Number(xcr0 & 0xffff_ffffn)
  views.u64[state.XSS >>> 3] = xss
  answerCpuid(cpu, systemOf(cpu), leaf, subleaf, out)
  views.u32[state.XCR0 >>> 2] = kept[0]
  views.u64[state.XSS >>> 3] = kept[1]
  return [out[0], out[1], out[2], out[3]] as const
}

/** The rest of the machine, as the PSP sees it. */
const platformOf = (processors: () => readonly Processor[], iommuReady: boolean, turnOff: () => void): PspPlatform => {
  // The PSP looks on while a processor executes: it must not make another one the resident one.
  const cpu = (index: number): Cpu => processors()[index].cpu
  return {
    get processors() { return processors().length },
    syscfg: (p) => word(cpu(p), Msr.AMD_SYSCFG),
    hsavePa: (p) => word(cpu(p), Msr.AMD_VM_HSAVE_PA),
    rmpMsrs: (p) => ({
      base: word(cpu(p), Msr.AMD_RMP_BASE), end: word(cpu(p), Msr.AMD_RMP_END), cfg: word(cpu(p), Msr.AMD_RMP_CFG),
    }),
    iommuReady: () => iommuReady,
    cpuid: (leaf, subleaf, xcr0, xss) => cpuidWith(cpu(0), [leaf, subleaf], xcr0, xss),
    disableSnp() {
      for (let p = 0; p < processors().length; p++) {
        const { held } = systemOf(cpu(p))
        held.set(Msr.AMD_SYSCFG, (held.get(Msr.AMD_SYSCFG) ?? 0n) & ~SysCfg.mask.SecureNestedPagingEn)
      }
      turnOff()
    },
  }
}

/** What the chip's firmware is told of its processors. */
export const chipFacts = (model: CpuModel): Partial<PspFacts> => ({
  maxAsid: MAX_ASID, minSevAsid: MIN_SEV_ASID, signature: cpuidSignature(model), tscKhz: model.tscHz / 1000,
  // Cores have one thread (`flatTopology`): reports say so, and policies that forbid SMT are kept.
  smt: false,
})

export function createSnpSilicon(options: SnpSiliconOptions): SnpSilicon {
  const { memory, model, seed, processors, charge, onAccept, onFact, needsEviction = false } = options
  const table = createRmpTable(memory)
  const operations = new Map<string, number>()
  const sev = createSevSilicon({
    memory, rmp: table, cBit: C_BIT, maxAsid: MAX_ASID, minSevAsid: MIN_SEV_ASID, needsEviction,
    charge: (_processor, operation) => {
      operations.set(operation, (operations.get(operation) ?? 0) + 1)
      charge(COSTS[operation])
      if (operation === 'pvalidate') onAccept?.()
    },
    onWriteBack: ({ index }) => { psp.wbinvd(index) },
    onFact,
  })
  const identity = snpIdentity(seed, options.isPrime)
  const psp = createPsp({
    memory, rmp: table, identity, cBit: C_BIT,
    platform: platformOf(processors, options.iommuReady, () => { table.enabled = false }),
    facts: chipFacts(model),
    forget: (page, pages) => { sev.flush([{ page, pages }]) },
  })
  return {
    extensions: sev.extensions, svmOf: sev.svmOf, rmp: sev, table, sevOf: ({ cpu }) => sev.sevOf(cpu), psp,
    guestProgram: (processor) => guestProgram(sev.sevOf, processor), maxSnpAsid: MIN_SEV_ASID - 1,
    encryption: { cBit: C_BIT, addressReduction: 0, coherencyNeedsNothing: !needsEviction },
    measurement: (context) => toHex(psp.state.guests.get(context)?.digest ?? new Uint8Array(0)),
    operations: () => Object.fromEntries([...operations].sort(([a], [b]) => (a < b ? -1 : 1))),
    writeBackCaches: (index) => { sev.wbinvd(processors()[index]) },
    certificates: () => machineCertificates(identity, psp.state.reportedTcb),
    snapshot: () => ({
      psp: psp.snapshot(), rmp: table.snapshot(), operations: [...operations],
      evictions: sev.evictions?.snapshot() ?? null,
    }),
    restore(saved) {
      psp.restore(saved.psp)
      table.restore(saved.rmp)
      if (!table.enabled || table.geometry === null) {
        throw new StateMisfit({ path: 'snp.silicon.rmp', expected: 'a reverse map, turned on' })
      }
      for (const [name, count] of saved.operations) operations.set(name, count)
      if (saved.evictions !== null) sev.evictions?.restore(saved.evictions)
    },
  }
}
