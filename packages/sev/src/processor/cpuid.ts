/** CPUID of an EPYC processor with SEV-SNP, as data (APM vol. 3, appendix E; PPR for family 19h model 11h). */
import { Cpuid8000001fEax, Cpuid8000001fEbx } from '@cofferdam/spec'
import type { CpuidLeaf, CpuModel } from '@cofferdam/x86'
import { createCpuidLeaves } from '@cofferdam/x86'
import type { SevShared } from './context.ts'

/** What is claimed in Fn8000_001F EAX: what this processor does. */
const ENCRYPTION = Cpuid8000001fEax.pack({
  SME: 1, SEV: 1, PAGE_FLUSH_MSR: 1, SEV_ES: 1, SEV_SNP: 1, VMPL: 1, RMPQUERY: 1, SECURE_TSC: 1, TSC_AUX_VIRT: 1,
  HW_ENFORCED_CACHE_COHERENCY: 1, HOST_64BIT_ONLY: 1, RESTRICTED_INJECTION: 1, ALTERNATE_INJECTION: 1, DEBUG_SWAP: 1,
  PREVENT_HOST_IBS: 1, VMGEXIT_PARAMETER: 1, VIRTUAL_TOM: 1, RMPREAD: 1, SEGMENTED_RMP: 1, VMSA_REG_PROT: 1,
  SMT_PROTECTION: 1, ALLOWED_SEV_FEATURES: 1,
})
/** Physical addresses are no narrower with encryption: the C-bit lies above them. */
const REDUCTION = 0
const VMPLS = 4
/** EBX: software need not evict what changes hands (Linux, X86_FEATURE_COHERENCY_SFW_NO). */
const COHERENCY_SFW_NO = 0x8000_0000
/** log2 of bytes of the smallest and the largest segment of the RMP, and how many segments are cached. */
const SEGMENTS = { min: 36, max: 43, cached: 64 } as const

const LAST_LEAF = 0x8000_0025

/** The leaves of SEV for a machine's processors. */
export function sevLeaves(
  shared: Pick<SevShared, 'cBit' | 'maxAsid' | 'minSevAsid' | 'evictions'>, model: CpuModel,
): readonly (readonly [number, CpuidLeaf])[] {
  const first = createCpuidLeaves(model).get(0x8000_0000)
  return [
    [0x8000_0000, (system, subleaf, out, cpu) => {
      first?.(system, subleaf, out, cpu)
      out[0] = Math.max(out[0], LAST_LEAF)
    }],
    [0x8000_001f, (_system, _subleaf, out) => {
      out[0] = ENCRYPTION
      out[1] = (Cpuid8000001fEbx.pack({ cBitPosition: shared.cBit, physicalAddressReduction: REDUCTION, vmpls: VMPLS })
        | (shared.evictions === null ? COHERENCY_SFW_NO : 0)) >>> 0
      out[2] = shared.maxAsid
      out[3] = shared.minSevAsid
    }],
    [LAST_LEAF, (_system, _subleaf, out) => {
      out[0] = SEGMENTS.min | (SEGMENTS.max << 6)
      out[1] = SEGMENTS.cached
    }],
  ]
}
