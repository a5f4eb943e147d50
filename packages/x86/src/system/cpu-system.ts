/** The part of a processor that is not in the WebAssembly memory: its model, its MSRs, its APIC. */
import type { Cpu } from '../cpu.ts'
import type { ApicPort } from './apic-port.ts'
import { CR4_BITS, EFER_BITS, XCR0_BITS } from './bits.ts'
import type { CpuidLeaf } from './cpuid/leaves.ts'
import { createCpuidLeaves } from './cpuid/leaves.ts'
import type { CpuModel } from './cpuid/model.ts'
import type { Topology } from './cpuid/topology.ts'
import type { Msr } from './msr/msr.ts'

/** What CR4, EFER and the extended states may hold, as the model's CPUID says; extensions may widen it. */
export interface LegalBits {
  cr4: number
  efer: number
  xcr0: number
  xss: number
  /** Width of physical addresses in bits. */
  physicalBits: number
  /** Bits of CR3 above that width that an extension gives a meaning (the C-bit). */
  cr3Key: bigint
}

/** Per-processor system state and configuration; `Cpu.system`. */
export interface CpuSystem {
  readonly model: CpuModel
  readonly topology: Topology
  /** Number of this processor, from 0. */
  readonly index: number
  readonly apic: ApicPort
  readonly legal: LegalBits
  /** CPUID by leaf. Extensions set or wrap entries. */
  readonly leaves: Map<number, CpuidLeaf>
  /** MSRs by index; may be shared between processors. */
  readonly msrs: ReadonlyMap<number, Msr>
  /** Values of the MSRs that only hold what was written, by index. Part of a snapshot. */
  readonly held: Map<number, bigint>
  /** NMIs are held off until the next IRET. */
  nmiBlocked: boolean
  /** Called when IRET lets NMIs in again; whoever holds one back offers it then. */
  nmiUnblocked: (() => void) | null
  /** Line that MONITOR armed, or −1. */
  monitorAddress: bigint
}

/** What `createCpuSystem` needs. */
export interface CpuSystemOptions {
  readonly model: CpuModel
  readonly topology: Topology
  readonly index: number
  readonly apic: ApicPort
  readonly msrs: ReadonlyMap<number, Msr>
}

/** Bits of CR4 by the CPUID feature that allows them (SDM vol. 3 §2.5). */
const CR4_BY_FEATURE: readonly (readonly [string, number])[] = [
  ['vme', CR4_BITS.VME | CR4_BITS.PVI], ['tsc', CR4_BITS.TSD], ['de', CR4_BITS.DE], ['pse', CR4_BITS.PSE],
  ['pae', CR4_BITS.PAE], ['mce', CR4_BITS.MCE], ['pge', CR4_BITS.PGE], ['fxsr', CR4_BITS.OSFXSR],
  ['sse', CR4_BITS.OSXMMEXCPT], ['umip', CR4_BITS.UMIP], ['la57', CR4_BITS.LA57], ['fsgsbase', CR4_BITS.FSGSBASE],
  ['pcid', CR4_BITS.PCIDE], ['xsave', CR4_BITS.OSXSAVE], ['smep', CR4_BITS.SMEP], ['smap', CR4_BITS.SMAP],
  ['pku', CR4_BITS.PKE],
]

const EFER_BY_FEATURE: readonly (readonly [string, number])[] = [
  ['syscall', EFER_BITS.SCE], ['lm', EFER_BITS.LME | EFER_BITS.LMA], ['nx', EFER_BITS.NXE],
  ['svm', EFER_BITS.SVME], ['autoibrs', EFER_BITS.AIBRSE],
]

const bitsOf = (model: CpuModel, table: readonly (readonly [string, number])[]): number =>
  table.reduce((all, [feature, bits]) => (model.features.has(feature) ? all | bits : all), 0)

/** Creates the system side of one processor. */
export function createCpuSystem(options: CpuSystemOptions): CpuSystem {
  const { model } = options
  const xsave = model.features.has('xsave')
  return {
    ...options,
    legal: {
      // PCE only lets RDPMC through; there are no counters, and Linux sets it regardless.
      cr4: bitsOf(model, CR4_BY_FEATURE) | CR4_BITS.PCE,
      efer: bitsOf(model, EFER_BY_FEATURE),
      xcr0: !xsave ? 0 : XCR0_BITS.X87 | XCR0_BITS.SSE |
        (model.features.has('avx') ? XCR0_BITS.AVX : 0) | (model.features.has('pku') ? XCR0_BITS.PKRU : 0),
      xss: 0,
      physicalBits: model.physicalBits,
      cr3Key: 0n,
    },
    leaves: createCpuidLeaves(model),
    held: new Map(),
    nmiBlocked: false,
    nmiUnblocked: null,
    monitorAddress: -1n,
  }
}

/** The system side of a processor. @throws Error when the engine was built without one. */
export function systemOf(cpu: Cpu): CpuSystem {
  if (cpu.system === undefined) throw new Error('this processor was created without a CpuSystem')
  return cpu.system
}
