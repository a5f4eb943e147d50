/** MSRs of Intel models (SDM vol. 4 table 2-2). */
import type { CpuModel } from '../cpuid/model.ts'
import type { Msr } from './msr.ts'
import { held, readOnly, requireBits, writeOnly } from './msr.ts'

/** IA32_MISC_ENABLE: fast strings, BTS and PEBS unavailable, MONITOR enabled where the model has it. */
function miscEnable(model: CpuModel): Msr {
  const fixed = (1n << 11n) | (1n << 12n)
  const monitor = model.features.has('monitor') ? 1n << 18n : 0n
  const writable = 1n | monitor
  const register = held(0x1a0, 'IA32_MISC_ENABLE', { initial: fixed | writable })
  return {
    ...register,
    // Bits of features that are not there keep their value.
    write: (cpu, value) => { register.write(cpu, (value & writable) | fixed) },
  }
}

const BHI_DIS_S = 1n << 10n

/** Bits of IA32_SPEC_CTRL by feature. */
const specCtrl = (model: CpuModel): bigint =>
  (model.features.has('spec_ctrl') ? 1n : 0n) | (model.features.has('intel_stibp') ? 2n : 0n) |
  (model.features.has('intel_ssbd') ? 4n : 0n) | (model.features.has('bhi_ctrl') ? BHI_DIS_S : 0n)

/** The registers of an Intel model. */
export const intelMsrs = (model: CpuModel): readonly Msr[] => [
  readOnly(0x17, 'IA32_PLATFORM_ID', 0n),
  // Locked with VMX and SGX off.
  readOnly(0x3a, 'IA32_FEATURE_CONTROL', 1n),
  held(0x48, 'IA32_SPEC_CTRL', { legal: specCtrl(model) }),
  writeOnly(0x49, 'IA32_PRED_CMD', (_cpu, value) => { requireBits(value, 1n) }),
  // Updates are taken and change nothing: the model already has its newest revision.
  writeOnly(0x79, 'IA32_BIOS_UPDT_TRIG', () => undefined),
  {
    ...readOnly(0x8b, 'IA32_BIOS_SIGN_ID', BigInt(model.microcode) << 32n),
    // Software writes 0 and executes CPUID, which loads the revision (SDM vol. 3 §10.11.7.1).
    write: () => undefined,
  },
  // Maximum non-turbo ratio in bits 15:8, in units of 100 MHz.
  readOnly(0xce, 'MSR_PLATFORM_INFO', BigInt(Math.round(model.tscHz / 1e8)) << 8n),
  held(0xe2, 'MSR_PKG_CST_CONFIG_CONTROL'),
  ...(model.features.has('arch_capabilities')
    ? [readOnly(0x10a, 'IA32_ARCH_CAPABILITIES', model.archCapabilities)] : []),
  ...(model.features.has('flush_l1d')
    ? [writeOnly(0x10b, 'IA32_FLUSH_CMD', (_cpu, value) => { requireBits(value, 1n) })] : []),
  miscEnable(model),
  held(0x1d9, 'IA32_DEBUGCTL', { legal: 3n }),
  held(0x1fc, 'MSR_POWER_CTL'),
]
