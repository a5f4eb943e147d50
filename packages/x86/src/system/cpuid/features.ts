/** Where each CPUID feature bit lives: leaf, subleaf, register, bit (SDM vol. 2 CPUID; APM vol. 3 appendix E). */

/** Registers of a CPUID answer, by position. */
export const EAX = 0
export const EBX = 1
export const ECX = 2
export const EDX = 3

/** [leaf, subleaf, register, bit]. */
export type FeatureBit = readonly [number, number, number, number]

const group = (leaf: number, subleaf: number, register: number, bits: Record<string, number>): [string, FeatureBit][] =>
  Object.entries(bits).map(([name, bit]) => [name, [leaf, subleaf, register, bit]])

/** Feature bits by name. Bits that depend on the processor's state (OSXSAVE, OSPKE, APIC) are not here. */
export const FEATURES: ReadonlyMap<string, FeatureBit> = new Map([
  ...group(1, 0, ECX, {
    sse3: 0, pclmulqdq: 1, monitor: 3, ssse3: 9, fma: 12, cx16: 13, pcid: 17, sse4_1: 19, sse4_2: 20, x2apic: 21,
    movbe: 22, popcnt: 23, tsc_deadline: 24, aes: 25, xsave: 26, avx: 28, f16c: 29, rdrand: 30, hypervisor: 31,
  }),
  ...group(1, 0, EDX, {
    fpu: 0, vme: 1, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, mce: 7, cx8: 8, sep: 11, mtrr: 12, pge: 13, mca: 14,
    cmov: 15, pat: 16, pse36: 17, clflush: 19, mmx: 23, fxsr: 24, sse: 25, sse2: 26, ss: 27,
  }),
  ...group(6, 0, EAX, { arat: 2 }),
  ...group(7, 0, EBX, {
    fsgsbase: 0, tsc_adjust: 1, bmi1: 3, avx2: 5, fdp_excptn_only: 6, smep: 7, bmi2: 8, erms: 9, invpcid: 10,
    zero_fcs_fds: 13, rdseed: 18, adx: 19, smap: 20, clflushopt: 23, clwb: 24, sha: 29,
  }),
  ...group(7, 0, ECX, { umip: 2, pku: 3, vaes: 9, vpclmulqdq: 10, la57: 16, rdpid: 22, movdiri: 27, movdir64b: 28 }),
  ...group(7, 0, EDX, {
    fsrm: 4, md_clear: 10, serialize: 14, spec_ctrl: 26, intel_stibp: 27, flush_l1d: 28, arch_capabilities: 29,
    intel_ssbd: 31,
  }),
  ...group(7, 1, EAX, { fzrm: 10, fsrs: 11, fsrc: 12 }),
  ...group(7, 2, EDX, { bhi_ctrl: 4, mcdt_no: 5 }),
  ...group(0xd, 1, EAX, { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3 }),
  ...group(0x8000_0001, 0, ECX, {
    lahf_lm: 0, cmp_legacy: 1, svm: 2, cr8_legacy: 4, lzcnt: 5, prefetchw: 8, topoext: 22,
  }),
  ...group(0x8000_0001, 0, EDX, { syscall: 11, nx: 20, mmxext: 22, pdpe1gb: 26, rdtscp: 27, lm: 29 }),
  ...group(0x8000_0007, 0, EDX, { invariant_tsc: 8 }),
  ...group(0x8000_0008, 0, EBX, {
    xsaveerptr: 2, wbnoinvd: 9, amd_ibpb: 12, amd_ibrs: 14, amd_stibp: 15, ibrs_always_on: 16, stibp_always_on: 17,
    ibrs_preferred: 18, ibrs_same_mode: 19, amd_ssbd: 24, ssb_no: 26, btc_no: 29, ibpb_ret: 30,
  }),
  ...group(0x8000_0021, 0, EAX, {
    no_nested_data_bp: 0, lfence_serializing: 2, null_clears_base: 6, autoibrs: 8, no_smm_ctl_msr: 9, sbpb: 27,
    ibpb_brtype: 28, srso_no: 29, srso_user_kernel_no: 30,
  }),
  ...group(0x8000_0021, 0, ECX, { tsa_sq_no: 1, tsa_l1_no: 2 }),
])

/** Bits of Fn8000_0001_EDX that repeat Fn0000_0001_EDX on AMD processors (APM vol. 3 appendix E.4.2). */
export const AMD_REPEATED_EDX = 0x0183_f3ff
