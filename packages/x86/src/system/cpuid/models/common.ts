/** What every model of ours claims: the features that the processor implements. */

/** Feature names shared by all models. MONITOR, LA57 and the hypervisor bit are options. */
export const COMMON_FEATURES: readonly string[] = [
  // Base
  'fpu', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'sep', 'mtrr', 'pge', 'mca', 'cmov', 'pat', 'pse36',
  'clflush', 'mmx', 'fxsr', 'sse', 'sse2', 'sse3', 'ssse3', 'sse4_1', 'sse4_2', 'pclmulqdq', 'fma', 'cx16', 'pcid',
  'x2apic', 'movbe', 'popcnt', 'tsc_deadline', 'aes', 'xsave', 'avx', 'f16c', 'rdrand',
  // The APIC timer never stops: without ARAT kernels fall back to a broadcast timer.
  'arat',
  'fsgsbase', 'tsc_adjust', 'bmi1', 'avx2', 'smep', 'bmi2', 'erms', 'invpcid', 'rdseed', 'adx', 'smap', 'clflushopt',
  'clwb', 'sha', 'umip', 'pku', 'rdpid', 'movdiri', 'movdir64b',
  // A repeated string instruction is one bulk operation here, however short: the fast-string promises hold.
  'fsrm',
  // Kernels that have SERIALIZE do not return to themselves through IRET after every text patch (150,000 per boot).
  'serialize',
  'xsaveopt', 'xsavec', 'xgetbv1', 'xsaves',
  'lahf_lm', 'lzcnt', 'prefetchw', 'syscall', 'nx', 'pdpe1gb', 'rdtscp', 'lm', 'invariant_tsc', 'wbnoinvd',
]

/** One retired instruction is one tick of the time-stamp counter and one virtual nanosecond. */
export const TSC_HZ = 1_000_000_000
