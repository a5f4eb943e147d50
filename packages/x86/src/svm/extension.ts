/** SVM as an extension of a processor: instructions, MSRs, CPUID leaf 8000_000A. */
import { Cpuid8000000aEdx, VmCr } from '@cofferdam/spec'
import type { Cpu } from '../cpu.ts'
import type { Extension } from '../engine/extension.ts'
import { EFER_BITS } from '../system/bits.ts'
import { systemOf } from '../system/cpu-system.ts'
import { EAX, EBX, EDX } from '../system/cpuid/features.ts'
import type { CpuidLeaf } from '../system/cpuid/leaves.ts'
import type { Msr } from '../system/msr/msr.ts'
import { gp, held } from '../system/msr/msr.ts'
import { efer } from '../system/msr/system-calls.ts'
import { pageAddress, svmMeanings } from './instructions.ts'
import type { SvmHooks } from './kind.ts'
import { createSvm, SVM_MSR, TSC_RATIO_ONE } from './svm.ts'
import type { SvmCore } from './svm.ts'
import type { Processor } from '../engine/processor-types.ts'
import type { PhysicalMemory } from '@cofferdam/memory'

/** What is claimed: nothing of AVIC, VGIF, VNMI, GMET, and no caching by VMCB clean bits, which are ignored. */
const FEATURES = ([
  'NP', 'LbrVirt', 'NRIPS', 'TscRateMsr', 'FlushByAsid', 'DecodeAssists', 'PauseFilter', 'PauseFilterThreshold',
] as const).reduce((all, name) => all | Cpuid8000000aEdx.mask[name], 0)

/** What of SVM varies between processors. */
export interface SvmExtensionOptions {
  /** ASIDs, the host's 0 included. Default 32768, as EPYC processors have. */
  readonly asids?: number
  /** Another extension's part (SEV-ES, SEV-SNP), made for each processor. */
  readonly hooks?: (processor: Processor, memory: PhysicalMemory) => SvmHooks
}

/** SVM, and where to find it by processor. */
export interface SvmExtension extends Extension {
  /** @throws Error when the processor has no SVM */
  readonly svmOf: (cpu: Cpu) => SvmCore
}

/** VM_CR: with LOCK set, LOCK and SVMDIS stay (APM vol. 2, §15.30.1). */
const vmCr: Msr = {
  ...held(SVM_MSR.VM_CR, 'VM_CR'),
  write(cpu, value) {
    const { held: values } = systemOf(cpu)
    const old = values.get(SVM_MSR.VM_CR) ?? 0n
    const fixed = (old & BigInt(VmCr.mask.LOCK)) !== 0n ? BigInt(VmCr.mask.LOCK | VmCr.mask.SVMDIS) : 0n
    if ((value & ~BigInt(VmCr.used)) !== 0n) gp()
    values.set(SVM_MSR.VM_CR, (value & ~fixed) | (old & fixed))
  },
}

/** EFER.SVME can't be set while VM_CR.SVMDIS is (§15.30.1), and SEV-ES guests leave it as it is (§15.35.10). */
const eferWithSvm = (svmOf: (cpu: Cpu) => SvmCore): Msr => ({
  ...efer,
  write(cpu, value) {
    const svme = BigInt(EFER_BITS.SVME)
    if (svmOf(cpu).encryptedGuest) {
      efer.write(cpu, value | svme)
      return
    }
    const disabled = ((systemOf(cpu).held.get(SVM_MSR.VM_CR) ?? 0n) & BigInt(VmCr.mask.SVMDIS)) !== 0n
    if (disabled && (value & svme) !== 0n) gp()
    efer.write(cpu, value)
  },
})

const MSRS: readonly Msr[] = [
  vmCr,
  held(SVM_MSR.VM_HSAVE_PA, 'VM_HSAVE_PA', {
    check: (value, cpu) => { if (pageAddress(cpu, value) < 0) gp() },
  }),
  held(SVM_MSR.TSC_RATIO, 'TSC_RATIO', { initial: TSC_RATIO_ONE, legal: 0xff_ffff_ffffn }),
]

const svmLeaf = (asids: number): CpuidLeaf => (_system, _subleaf, out) => {
  out[EAX] = 1
  out[EBX] = asids
  out[EDX] = FEATURES
}

/** Fn8000_0001 with the SVM bit. */
const withSvmBit = (before: CpuidLeaf | undefined): CpuidLeaf => (system, subleaf, out, cpu) => {
  before?.(system, subleaf, out, cpu)
  out[2] |= 4
}

/** SVM for AMD models. */
export function createSvmExtension(options: SvmExtensionOptions = {}): SvmExtension {
  const all = new WeakMap<Cpu, SvmCore>()
  const asids = options.asids ?? 32768
  const svmOf = (cpu: Cpu): SvmCore => {
    const svm = all.get(cpu)
    if (svm === undefined) throw new Error('this processor was created without SVM')
    return svm
  }
  return {
    name: 'SVM', svmOf, meanings: svmMeanings(svmOf), msrs: () => [...MSRS, eferWithSvm(svmOf)],
    leaves: () => [[0x8000_000a, svmLeaf(asids)]],
    configure(system) {
      system.legal.efer |= EFER_BITS.SVME
      system.leaves.set(0x8000_0001, withSvmBit(system.leaves.get(0x8000_0001)))
    },
    attach(processor, memory) {
      const hooks = options.hooks?.(processor, memory) ?? null
      all.set(processor.cpu, createSvm({ processor, memory, asids, hooks }))
    },
  }
}

