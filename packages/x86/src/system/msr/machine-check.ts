/** Machine-check registers (SDM vol. 3 §16.3): present, and always without an error. */
import type { Msr } from './msr.ts'
import { gp, held, readOnly } from './msr.ts'

/** Number of reporting banks. */
export const MC_BANKS = 4
/** IA32_MCG_CAP: bank count, MCG_CTL present. */
const MCG_CAP = BigInt(MC_BANKS) | (1n << 8n)
const ALL = 0xffff_ffff_ffff_ffffn

/** Software may only clear a status (SDM vol. 3 §16.3.2.2). */
const onlyZero = (value: bigint): void => { if (value !== 0n) gp() }

const bank = (n: number): Msr[] => [
  held(0x400 + n * 4, `IA32_MC${String(n)}_CTL`, { initial: ALL }),
  held(0x401 + n * 4, `IA32_MC${String(n)}_STATUS`, { check: onlyZero }),
  held(0x402 + n * 4, `IA32_MC${String(n)}_ADDR`, { check: onlyZero }),
  held(0x403 + n * 4, `IA32_MC${String(n)}_MISC`, { check: onlyZero }),
]

/** The registers of this group. */
export const MACHINE_CHECK_MSRS: readonly Msr[] = [
  readOnly(0, 'IA32_P5_MC_ADDR', 0n),
  readOnly(1, 'IA32_P5_MC_TYPE', 0n),
  readOnly(0x179, 'IA32_MCG_CAP', MCG_CAP),
  held(0x17a, 'IA32_MCG_STATUS', { legal: 7n }),
  held(0x17b, 'IA32_MCG_CTL', { initial: ALL }),
  ...Array.from({ length: MC_BANKS }, (_, n) => bank(n)).flat(),
]
