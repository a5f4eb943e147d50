import type { CpuModel } from '../model.ts'
import { COMMON_FEATURES, TSC_HZ } from './common.ts'

/** IA32_ARCH_CAPABILITIES by bit number (SDM vol. 4 table 2-2, MSR 10AH). */
const ARCH_CAPABILITIES = {
  RDCL_NO: 0, IBRS_ALL: 1, SKIP_L1DFL_VMENTRY: 3, SSB_NO: 4, MDS_NO: 5, IF_PSCHANGE_MC_NO: 6, TAA_NO: 8,
  SBDR_SSDP_NO: 13, FBSDP_NO: 14, PSDP_NO: 15, BHI_NO: 20, PBRSB_NO: 24, GDS_NO: 26, RFDS_NO: 27, ITS_NO: 62,
} as const

/**
 * Intel Xeon of the 4th generation ("Sapphire Rapids", 06_8FH stepping 8) without AVX-512, AMX, TSX and CET. Values
 * from SDM vol. 2 (CPUID) and vol. 4 (MSRs of 06_8FH).
 *
 * The processor runs one instruction after the other and speculates on nothing, so every "NO" bit of
 * IA32_ARCH_CAPABILITIES is true, and IBRS_ALL lets kernels set IBRS once and build no retpolines. Leaf 0x15 gives
 * the frequency of the time-stamp counter, so nothing needs to be calibrated. BHI_CTRL is there because kernels that do
 * not trust BHI_NO otherwise clear the branch history in software at every system call.
 */
export const sapphireRapids: CpuModel = {
  name: 'sapphire-rapids',
  vendor: 'GenuineIntel',
  brand: 'Intel Xeon Sapphire Rapids (Cofferdam)',
  family: 6,
  model: 0x8f,
  stepping: 8,
  // Newer than any that Linux lists as outdated.
  microcode: 0x2b00_0700,
  maxBasicLeaf: 0x1f,
  maxExtendedLeaf: 0x8000_0008,
  physicalBits: 46,
  features: new Set([
    ...COMMON_FEATURES,
    'ss', 'zero_fcs_fds', 'fzrm', 'fsrs', 'fsrc', 'md_clear',
    'spec_ctrl', 'intel_stibp', 'flush_l1d', 'arch_capabilities', 'intel_ssbd', 'bhi_ctrl', 'mcdt_no',
  ]),
  archCapabilities: Object.values(ARCH_CAPABILITIES).reduce((all, bit) => all | (1n << BigInt(bit)), 0n),
  caches: [
    { level: 1, type: 'data', size: 0xc000, ways: 12, lineSize: 64, sharedBy: 'core', inclusive: false },
    { level: 1, type: 'instruction', size: 0x8000, ways: 8, lineSize: 64, sharedBy: 'core', inclusive: false },
    { level: 2, type: 'unified', size: 0x20_0000, ways: 16, lineSize: 64, sharedBy: 'core', inclusive: false },
    { level: 3, type: 'unified', size: 0x1e0_0000, ways: 15, lineSize: 64, sharedBy: 'package', inclusive: false },
  ],
  // Intel keeps the offset that it has with AVX-512.
  pkruOffset: 2688,
  tscHz: TSC_HZ,
  crystalHz: TSC_HZ,
}
