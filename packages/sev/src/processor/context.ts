/** What the parts of SEV share of one processor: who runs on it, and what that means for keys and the RMP. */
import type { PhysicalMemory } from '@cofferdam/memory'
import { setKeyField } from '@cofferdam/paging'
import { Msr, SevFeatures, SysCfg } from '@cofferdam/spec'
import type { Cpu, CpuSystem, Processor, SvmCore } from '@cofferdam/x86'
import { rmpContext } from '../rmp/check.ts'
import type { DeniedFact, SevFact } from '../findings/facts.ts'
import type { RmpTable } from '../rmp/table.ts'
import type { KnownGuest } from './encrypted.ts'
import type { Evictions } from './evictions.ts'

/** Slot of `memory.keys` for the host's own key (SME); guests have the slots of their ASIDs. */
export const HOST_KEY = 0x1_0000

/** What SEV costs in virtual time, for whoever keeps it. */
export type SevOperation = 'pvalidate' | 'rmpadjust' | 'rmpquery' | 'rmpupdate' | 'psmash' | 'rmpread' | 'wbinvd'

/** Settings that all processors of a machine share. */
export interface SevShared {
  readonly memory: PhysicalMemory
  readonly rmp: RmpTable
  /** Position of the C-bit in page-table entries and CR3. */
  readonly cBit: number
  /** Highest ASID of a guest with SEV. */
  readonly maxAsid: number
  /** Lowest ASID of a guest with SEV and without SEV-ES. */
  readonly minSevAsid: number
  /** All processors, as they come to be. */
  readonly processors: SevProcessor[]
  readonly charge: (processor: Processor, operation: SevOperation) => void
  /** A processor has executed WBINVD, which the PSP sees. */
  readonly wroteBack: (processor: Processor) => void
  /** Where software has to evict what it has validated from the caches; null on processors that need it not. */
  readonly evictions: Evictions | null
  /** Takes facts about SNP guests; the processor is the one that the guest runs on, null where the host acts. */
  readonly fact: ((processor: Processor | null, fact: SevFact) => void) | null
}

/** The guest that is resident on a processor. */
export interface SevGuest {
  readonly asid: number
  readonly sev: boolean
  readonly es: boolean
  /** SNP-active. */
  readonly snp: boolean
  readonly vmpl: number
  /** SEV_FEATURES of the VMSA; 0 without SEV-ES. */
  readonly features: bigint
  /** First guest page above virtual top-of-memory, or −1 without vTOM. */
  vtomPage: number
  /** The GHCB MSR. */
  ghcb: bigint
  /** GUEST_TSC_SCALE with Secure TSC, else 0. */
  readonly tscScale: bigint
}

/** What SEV knows of one processor, and of the guest that it runs. */
export interface SevProcessor {
  readonly shared: SevShared
  readonly processor: Processor
  readonly system: CpuSystem
  readonly svm: () => SvmCore
  /** Null while the host runs. */
  guest: SevGuest | null
  /** The last guest with encrypted state. */
  known: KnownGuest | null
  /** The last access of an SNP guest that the RMP refused, until the guest has taken what follows. */
  denied: DeniedFact | null
}

export const hasFeature = (guest: SevGuest, name: keyof typeof SevFeatures.mask): boolean =>
  (guest.features & SevFeatures.mask[name]) !== 0n

/** Whether a bit of SYSCFG is set on this processor. */
export const sysCfgHas = (system: CpuSystem, name: keyof typeof SysCfg.mask): boolean =>
  ((system.held.get(Msr.AMD_SYSCFG) ?? 0n) & SysCfg.mask[name]) !== 0n

/**
 * Makes page tables, CR3 and guards those of who runs now: a guest, or the host (null). Entries have a C-bit in guests
 * with SEV (but for those with virtual top-of-memory, where it is reserved), and in the host with memory encryption.
 */
export function runAs(sev: SevProcessor, guest: SevGuest | null): void {
  const { shared, processor: { mmu }, system } = sev
  sev.guest = guest
  const encrypts = guest === null ? sysCfgHas(system, 'MemEncryptionModeEn') : guest.sev
  const keyed = encrypts && (guest === null || guest.vtomPage < 0)
  setKeyField(mmu.context, keyed ? { position: shared.cBit, width: 1 } : undefined)
  system.legal.cr3Key = keyed ? 1n << BigInt(shared.cBit) : 0n
  mmu.guardContext = guest === null ? 0 : rmpContext({ asid: guest.asid, vmpl: guest.vmpl, snp: guest.snp })
}

/** The state of SEV on the processor that executes an instruction. */
export type SevOf = (cpu: Cpu) => SevProcessor

