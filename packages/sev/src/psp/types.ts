/** What the firmware in the PSP keeps, uses and is told. */
import type { SevIdentity } from '../identity/machine.ts'
import type { TcbParts } from '../identity/tcb.ts'
import type { RmpMsrs } from '../rmp/geometry.ts'
import type { RmpTable } from '../rmp/table.ts'
import type { PspMemory } from './memory.ts'

/** The rest of the machine, as the firmware sees it. Processors are numbered from 0. */
export interface PspPlatform {
  readonly processors: number
  /** SYSCFG, VM_HSAVE_PA and the MSRs of the RMP. */
  syscfg(processor: number): bigint
  hsavePa(processor: number): bigint
  rmpMsrs(processor: number): RmpMsrs
  /** Every IOMMU is on, with SNP support, and passes nothing through unchecked. */
  iommuReady(): boolean
  /** EAX, EBX, ECX, EDX that a guest may be shown at most, for the size leaf with XCR0 and XSS. */
  cpuid(leaf: number, subleaf: number, xcr0: bigint, xss: bigint): readonly [number, number, number, number]
  /** Turns SNP off on all processors and IOMMUs (SNP_SHUTDOWN_EX); left out where the machine cannot. */
  disableSnp?(): void
}

/** What this firmware is. */
export interface PspFacts {
  /** Highest ASID of guests with SEV, and lowest of those without encrypted state. SNP guests lie below the latter. */
  readonly maxAsid: number
  readonly minSevAsid: number
  /** Version of the ABI, and build. */
  readonly major: number
  readonly minor: number
  readonly build: number
  /** CPUID leaf 1 EAX of the processors. */
  readonly signature: number
  readonly tcb: TcbParts
  readonly smt: boolean
  /** Nominal frequency of the TSC in kHz, and by how many hundred-thousandths the real one is lower. */
  readonly tscKhz: number
  readonly tscFactor: number
  /** Version of reports, 2 to 5. */
  readonly reportVersion: number
  /** Mitigations that were verified, a vector that reports of version 5 show. */
  readonly mitigations: bigint
}

/** A guest, from SNP_GCTX_CREATE to SNP_DECOMMISSION. */
export interface GuestContext {
  /** System page of its context. */
  readonly page: number
  /** `SnpGuestState`. */
  state: number
  /** 0 while not active. */
  asid: number
  policy: bigint
  /** Memory encryption key. */
  vek: Uint8Array
  digest: Uint8Array
  imi: boolean
  vmpck: Uint8Array[]
  /** Messages seen under each VMPCK. */
  messages: bigint[]
  reportId: Uint8Array
  reportIdMa: Uint8Array
  familyId: Uint8Array
  imageId: Uint8Array
  guestSvn: number
  idKeyDigest: Uint8Array
  authorKeyDigest: Uint8Array
  authorKeyEn: boolean
  hostData: Uint8Array
  vcekDisabled: boolean
  gosvw: Uint8Array
  /** Guest TSC = host TSC × scale / 2^32 + offset. */
  tscScale: bigint
  launchTcb: bigint
  launchMitigations: bigint
}

/** A loaded VLEK. */
export interface LoadedVlek {
  readonly seed: Uint8Array
  readonly tcb: bigint
}

/** Everything that lasts between commands. */
export interface PspState {
  sev: number
  sevEs: boolean
  snp: number
  rmpInitialised: boolean
  /** Highest ASID of SNP guests; 0 for no limit below the facts'. */
  maxSnpAsid: number
  currentTcb: bigint
  committedTcb: bigint
  reportedTcb: bigint
  maskChipId: boolean
  maskChipKey: boolean
  vlek: LoadedVlek | null
  /** By page of the context. */
  readonly guests: Map<number, GuestContext>
  /** ASIDs that need a DF_FLUSH before they are used, or all. */
  allAsidsDirty: boolean
  readonly dirtyAsids: Set<number>
  /** Processors that have to execute WBINVD before a DF_FLUSH. */
  readonly unflushed: Set<number>
  /** How much was drawn from the random number generator. */
  draws: number
}

/** What commands work on. */
export interface Firmware {
  readonly memory: PspMemory
  readonly rmp: RmpTable
  readonly platform: PspPlatform
  readonly facts: PspFacts
  readonly identity: SevIdentity
  readonly state: PspState
  /** Random bytes, the same in every run of the same machine. */
  random(length: number): Uint8Array
  /** Translations to system pages have to be forgotten, because their RMP entries changed. */
  forget(page: number, pages: number): void
}

/** One command: its number is in `PspCommand`. */
export interface PspHandler {
  readonly id: number
  /** As the ABI names it. */
  readonly name: string
  /** States of the SNP firmware in which it is taken; every one when left out. */
  readonly snp?: readonly number[]
  /** The same of SEV. */
  readonly sev?: readonly number[]
  /** Bytes of the buffer; 0 for none. */
  readonly bytes: number
  /** Carries it out; `buffer` is a copy, `address` where it came from. Answers a code of `PspStatus`. */
  run(firmware: Firmware, buffer: DataView, address: number): number
}
