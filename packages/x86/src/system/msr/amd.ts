/** MSRs of AMD models (APM vol. 2 appendix A; PPR for family 19h model 11h, publication 55901). */
import type { CpuModel } from '../cpuid/model.ts'
import type { Msr } from './msr.ts'
import { held, readOnly, requireBits, writeOnly } from './msr.ts'

/** Bits of SYSCFG that a plain processor has (APM vol. 2 §7.9.1); SME and SNP come from an extension. */
export const SYSCFG = {
  MtrrFixDramEn: 1n << 18n, MtrrFixDramModEn: 1n << 19n, MtrrVarDramEn: 1n << 20n, MtrrTom2En: 1n << 21n,
  Tom2ForceMemTypeWB: 1n << 22n,
} as const
const SYSCFG_LEGAL = Object.values(SYSCFG).reduce((all, bit) => all | bit, 0n)

/** The first of four performance counters of 48 bits. */
export const PERF_CTR0 = 0xc001_0004

const feature = (model: CpuModel, name: string, bits: bigint): bigint => (model.features.has(name) ? bits : 0n)

const specCtrl = (model: CpuModel): bigint =>
  feature(model, 'amd_ibrs', 1n) | feature(model, 'amd_stibp', 2n) | feature(model, 'amd_ssbd', 4n)
const predCmd = (model: CpuModel): bigint => feature(model, 'amd_ibpb', 1n) | feature(model, 'sbpb', 1n << 7n)

/** HWCR after reset: TscFreqSel (the TSC counts at the P0 frequency), InvdWbinvd. */
const HWCR_INITIAL = (1n << 24n) | (1n << 4n)

/** The registers of an AMD model. */
export const amdMsrs = (model: CpuModel): readonly Msr[] => [
  held(0x48, 'SPEC_CTRL', { legal: specCtrl(model) }),
  writeOnly(0x49, 'PRED_CMD', (_cpu, value) => { requireBits(value, predCmd(model)) }),
  readOnly(0x8b, 'PATCH_LEVEL', BigInt(model.microcode)),
  held(0x1d9, 'DBG_CTL_MSR', { legal: 0x3fn }),
  readOnly(0x1db, 'BR_FROM', 0n),
  readOnly(0x1dc, 'BR_TO', 0n),
  readOnly(0x1dd, 'LastExcpFromIp', 0n),
  readOnly(0x1de, 'LastExcpToIp', 0n),
  // Performance counters are part of every AMD64 processor; these hold their values and count nothing.
  ...Array.from({ length: 4 }, (_, n) => held(0xc001_0000 + n, `PerfEvtSel${String(n)}`)),
  ...Array.from({ length: 4 }, (_, n) => held(PERF_CTR0 + n, `PerfCtr${String(n)}`)),
  held(0xc001_0010, 'SYSCFG', {
    initial: SYSCFG.MtrrFixDramEn | SYSCFG.MtrrVarDramEn | SYSCFG.MtrrTom2En | SYSCFG.Tom2ForceMemTypeWB,
    legal: SYSCFG_LEGAL,
  }),
  held(0xc001_0015, 'HWCR', { initial: HWCR_INITIAL }),
  ...['IORR_BASE0', 'IORR_MASK0', 'IORR_BASE1', 'IORR_MASK1'].map((name, n) => held(0xc001_0016 + n, name)),
  held(0xc001_001a, 'TOP_MEM'),
  held(0xc001_001d, 'TOP_MEM2'),
  // Linux sets bit 46 (extended configuration through CF8) in what AMD's northbridge showed here.
  held(0xc001_001f, 'NB_CFG'),
  writeOnly(0xc001_0020, 'PATCH_LOADER', () => undefined),
  held(0xc001_0055, 'IntPend'),
  held(0xc001_0058, 'MmioCfgBaseAddr'),
  held(0xc001_1020, 'LS_CFG'),
  held(0xc001_1021, 'IC_CFG'),
  held(0xc001_1022, 'DC_CFG'),
  // Bit 1: LFENCE is serialising, as Fn8000_0021_EAX says as well.
  held(0xc001_1029, 'DE_CFG', { initial: 2n }),
  held(0xc001_102a, 'BU_CFG2'),
  held(0xc001_102d, 'LS_CFG2'),
  held(0xc001_102e, 'BP_CFG'),
]
