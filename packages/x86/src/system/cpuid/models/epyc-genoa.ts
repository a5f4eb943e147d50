import type { CpuModel } from '../model.ts'
import { COMMON_FEATURES, TSC_HZ } from './common.ts'

/**
 * AMD EPYC 9004 ("Genoa", family 19h model 11h) without AVX-512, and with TSC-deadline and SERIALIZE, which that family
 * lacks but this processor has. Values from AMD's Processor Programming Reference for that family (publication 55901)
 * and APM vol. 3 appendix E.
 *
 * The processor runs one instruction after the other and speculates on nothing, so every "not affected" bit is true,
 * and kernels leave their mitigations out: AutomaticIBRS instead of retpolines, SRSO_NO, BTC_NO, SSB_NO, TSA_*_NO.
 * LfenceAlwaysSerializing saves Linux the write of DE_CFG. XSAVEERPTR spares it the FXSAVE-leak workaround.
 */
export const epycGenoa: CpuModel = {
  name: 'epyc-genoa',
  vendor: 'AuthenticAMD',
  brand: 'AMD EPYC-Genoa Processor (Cofferdam)',
  family: 0x19,
  model: 0x11,
  stepping: 1,
  // A revision with the TSA fixes (AMD-SB-7029).
  microcode: 0x0a10_1154,
  maxBasicLeaf: 0x10,
  maxExtendedLeaf: 0x8000_0021,
  physicalBits: 48,
  features: new Set([
    ...COMMON_FEATURES,
    'mmxext', 'cr8_legacy', 'topoext', 'cmp_legacy', 'xsaveerptr',
    'amd_ibpb', 'amd_ibrs', 'amd_stibp', 'stibp_always_on', 'ibrs_preferred', 'ibrs_same_mode', 'amd_ssbd', 'ssb_no',
    'btc_no', 'ibpb_ret',
    'no_nested_data_bp', 'lfence_serializing', 'null_clears_base', 'autoibrs', 'no_smm_ctl_msr', 'sbpb', 'ibpb_brtype',
    'srso_no', 'srso_user_kernel_no', 'tsa_sq_no', 'tsa_l1_no',
  ]),
  archCapabilities: 0n,
  caches: [
    { level: 1, type: 'data', size: 0x8000, ways: 8, lineSize: 64, sharedBy: 'core', inclusive: false },
    { level: 1, type: 'instruction', size: 0x8000, ways: 8, lineSize: 64, sharedBy: 'core', inclusive: false },
    { level: 2, type: 'unified', size: 0x10_0000, ways: 8, lineSize: 64, sharedBy: 'core', inclusive: true },
    { level: 3, type: 'unified', size: 0x200_0000, ways: 16, lineSize: 64, sharedBy: 'package', inclusive: false },
  ],
  // L1: 64 instruction and 72 data entries, fully associative. L2: 512 and 3072 entries.
  tlb: { l1Large: 0xff48_ff40, l1Small: 0xff48_ff40, l2Large: 0x5c00_2200, l2Small: 0x6c00_4200 },
  // Right behind AVX, as on processors of the family without AVX-512.
  pkruOffset: 832,
  tscHz: TSC_HZ,
  crystalHz: TSC_HZ,
}
