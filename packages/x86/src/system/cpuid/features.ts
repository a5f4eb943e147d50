/**
 * Where each CPUID feature bit lives: leaf, subleaf and register; the bits are facts of `spec` (SDM vol. 2 CPUID; APM
 * vol. 3 appendix E).
 */
import {
  Cpuid1Ecx, Cpuid1Edx, Cpuid6Eax, Cpuid71Eax, Cpuid72Edx, Cpuid7Ebx, Cpuid7Ecx, Cpuid7Edx, Cpuid80000001Ecx,
  Cpuid80000001Edx, Cpuid80000007Edx, Cpuid80000008Ebx, Cpuid80000021Eax, Cpuid80000021Ecx, CpuidDEax,
  type BitFields, type Bits,
} from '@cofferdam/spec'

/** Registers of a CPUID answer, by position. */
export const EAX = 0
export const EBX = 1
export const ECX = 2
export const EDX = 3

/** [leaf, subleaf, register, bit]. */
export type FeatureBit = readonly [number, number, number, number]

/** Names of a register's bits, with what the manuals call them. */
function group<F extends BitFields>(
  leaf: number, subleaf: number, register: number, { shift }: Bits<F, number>, names: Readonly<Record<string, keyof F>>,
): [string, FeatureBit][] {
  return Object.entries(names).map(([name, bit]) => [name, [leaf, subleaf, register, shift[bit]]])
}

/** Feature bits by name. Bits that depend on the processor's state (OSXSAVE, OSPKE, APIC) are not here. */
export const FEATURES: ReadonlyMap<string, FeatureBit> = new Map([
  ...group(1, 0, ECX, Cpuid1Ecx, {
    sse3: 'SSE3', pclmulqdq: 'PCLMULQDQ', monitor: 'MONITOR', ssse3: 'SSSE3', fma: 'FMA', cx16: 'CMPXCHG16B',
    pcid: 'PCID', sse4_1: 'SSE4_1', sse4_2: 'SSE4_2', x2apic: 'X2APIC', movbe: 'MOVBE', popcnt: 'POPCNT',
    tsc_deadline: 'TSC_DEADLINE', aes: 'AES', xsave: 'XSAVE', avx: 'AVX', f16c: 'F16C', rdrand: 'RDRAND',
    hypervisor: 'HYPERVISOR',
  }),
  ...group(1, 0, EDX, Cpuid1Edx, {
    fpu: 'FPU', vme: 'VME', de: 'DE', pse: 'PSE', tsc: 'TSC', msr: 'MSR', pae: 'PAE', mce: 'MCE', cx8: 'CX8',
    sep: 'SEP', mtrr: 'MTRR', pge: 'PGE', mca: 'MCA', cmov: 'CMOV', pat: 'PAT', pse36: 'PSE36', clflush: 'CLFSH',
    mmx: 'MMX', fxsr: 'FXSR', sse: 'SSE', sse2: 'SSE2', ss: 'SS',
  }),
  ...group(6, 0, EAX, Cpuid6Eax, { arat: 'ARAT' }),
  ...group(7, 0, EBX, Cpuid7Ebx, {
    fsgsbase: 'FSGSBASE', tsc_adjust: 'TSC_ADJUST', bmi1: 'BMI1', avx2: 'AVX2', fdp_excptn_only: 'FDP_EXCPTN_ONLY',
    smep: 'SMEP', bmi2: 'BMI2', erms: 'ERMS', invpcid: 'INVPCID', zero_fcs_fds: 'ZERO_FCS_FDS', rdseed: 'RDSEED',
    adx: 'ADX', smap: 'SMAP', clflushopt: 'CLFLUSHOPT', clwb: 'CLWB', sha: 'SHA',
  }),
  ...group(7, 0, ECX, Cpuid7Ecx, {
    umip: 'UMIP', pku: 'PKU', vaes: 'VAES', vpclmulqdq: 'VPCLMULQDQ', la57: 'LA57', rdpid: 'RDPID', movdiri: 'MOVDIRI',
    movdir64b: 'MOVDIR64B',
  }),
  ...group(7, 0, EDX, Cpuid7Edx, {
    fsrm: 'FSRM', md_clear: 'MD_CLEAR', serialize: 'SERIALIZE', spec_ctrl: 'IBRS_IBPB', intel_stibp: 'STIBP',
    flush_l1d: 'L1D_FLUSH', arch_capabilities: 'ARCH_CAPABILITIES', intel_ssbd: 'SSBD',
  }),
  ...group(7, 1, EAX, Cpuid71Eax, { fzrm: 'FZRM', fsrs: 'FSRS', fsrc: 'FSRC' }),
  ...group(7, 2, EDX, Cpuid72Edx, { bhi_ctrl: 'BHI_CTRL', mcdt_no: 'MCDT_NO' }),
  ...group(0xd, 1, EAX, CpuidDEax, {
    xsaveopt: 'XSAVEOPT', xsavec: 'XSAVEC', xgetbv1: 'XGETBV_ECX1', xsaves: 'XSAVES',
  }),
  ...group(0x8000_0001, 0, ECX, Cpuid80000001Ecx, {
    lahf_lm: 'LAHF_SAHF', cmp_legacy: 'CMP_LEGACY', svm: 'SVM', cr8_legacy: 'ALT_MOV_CR8', lzcnt: 'ABM',
    prefetchw: 'PREFETCHW', topoext: 'TOPOLOGY_EXTENSIONS',
  }),
  ...group(0x8000_0001, 0, EDX, Cpuid80000001Edx, {
    syscall: 'SYSCALL', nx: 'NX', mmxext: 'MMX_EXT', pdpe1gb: 'PAGE_1GB', rdtscp: 'RDTSCP', lm: 'LM',
  }),
  ...group(0x8000_0007, 0, EDX, Cpuid80000007Edx, { invariant_tsc: 'TSC_INVARIANT' }),
  ...group(0x8000_0008, 0, EBX, Cpuid80000008Ebx, {
    xsaveerptr: 'RSTR_FP_ERR_PTRS', wbnoinvd: 'WBNOINVD', amd_ibpb: 'IBPB', amd_ibrs: 'IBRS', amd_stibp: 'STIBP',
    ibrs_always_on: 'IBRS_ALWAYS_ON', stibp_always_on: 'STIBP_ALWAYS_ON', ibrs_preferred: 'IBRS_PREFERRED',
    ibrs_same_mode: 'IBRS_SAME_MODE', amd_ssbd: 'SSBD', ssb_no: 'SSB_NO', btc_no: 'BTC_NO', ibpb_ret: 'IBPB_RET',
  }),
  ...group(0x8000_0021, 0, EAX, Cpuid80000021Eax, {
    no_nested_data_bp: 'NO_NESTED_DATA_BP', lfence_serializing: 'LFENCE_ALWAYS_SERIALIZING',
    null_clears_base: 'NULL_SELECT_CLEARS_BASE', autoibrs: 'AUTOMATIC_IBRS', no_smm_ctl_msr: 'NO_SMM_CTL_MSR',
    sbpb: 'SBPB', ibpb_brtype: 'IBPB_BRTYPE', srso_no: 'SRSO_NO', srso_user_kernel_no: 'SRSO_USER_KERNEL_NO',
  }),
  ...group(0x8000_0021, 0, ECX, Cpuid80000021Ecx, { tsa_sq_no: 'TSA_SQ_NO', tsa_l1_no: 'TSA_L1_NO' }),
])

/** Bits of Fn8000_0001_EDX that repeat Fn0000_0001_EDX on AMD processors (APM vol. 3 appendix E.4.2). */
export const AMD_REPEATED_EDX = 0x0183_f3ff
