/** PAT and MTRRs (SDM vol. 3 §12.11 and §12.12). */
import { MSR_PAT } from '../../state.ts'
import type { CpuSystem } from '../cpu-system.ts'
import { systemOf } from '../cpu-system.ts'
import type { Msr } from './msr.ts'
import { gp, held, inState, readOnly } from './msr.ts'

/** Memory types by their code. */
export const MEMORY_TYPE = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6, UC_MINUS: 7 } as const

/** What the PAT holds after reset. */
export const PAT_RESET = 0x0007_0406_0007_0406n

const PAT_TYPES = new Set([0n, 1n, 4n, 5n, 6n, 7n])
const MTRR_TYPES = new Set([0n, 1n, 4n, 5n, 6n])

/** #GP(0) unless all eight bytes are types of the set. */
function requireTypes(value: bigint, types: ReadonlySet<bigint>): void {
  for (let i = 0n; i < 64n; i += 8n) if (!types.has((value >> i) & 0xffn)) gp()
}

/** Number of variable ranges. */
export const VARIABLE_RANGES = 8
const MTRR_CAP = BigInt(VARIABLE_RANGES) | (1n << 8n) | (1n << 10n)

/** Numbers of the memory type range registers (SDM vol. 3 §12.11). */
export const MTRR = {
  CAP: 0xfe, DEF_TYPE: 0x2ff, PHYS_BASE0: 0x200, PHYS_MASK0: 0x201,
  FIX64K_00000: 0x250, FIX16K_80000: 0x258, FIX16K_A0000: 0x259, FIX4K_C0000: 0x268,
} as const
/** Enable bits of IA32_MTRR_DEF_TYPE. */
export const MTRR_ENABLE = { FIXED: 1n << 10n, ALL: 1n << 11n } as const
const MASK_VALID = 1n << 11n

const defType = held(MTRR.DEF_TYPE, 'IA32_MTRR_DEF_TYPE', {
  legal: 0xcffn,
  check: (value) => { if (!MTRR_TYPES.has(value & 0xffn)) gp() },
})

const fixedRange = (index: number, name: string): Msr =>
  held(index, name, { check: (value) => { requireTypes(value, MTRR_TYPES) } })

const physical = (bits: number): bigint => (1n << BigInt(bits)) - 1n

const variableRange = (n: number): Msr[] => [
  held(MTRR.PHYS_BASE0 + n * 2, `IA32_MTRR_PHYSBASE${String(n)}`, {
    check: (value, cpu) => {
      if ((value & ~(physical(systemOf(cpu).legal.physicalBits) & ~0xf00n)) !== 0n) gp()
      if (!MTRR_TYPES.has(value & 0xffn)) gp()
    },
  }),
  held(MTRR.PHYS_MASK0 + n * 2, `IA32_MTRR_PHYSMASK${String(n)}`, {
    check: (value, cpu) => {
      if ((value & ~(physical(systemOf(cpu).legal.physicalBits) & ~0x7ffn)) !== 0n) gp()
    },
  }),
]

/** The MTRRs of the lowest MiB. */
export const FIXED_MTRRS: readonly Msr[] = [
  fixedRange(0x250, 'IA32_MTRR_FIX64K_00000'),
  fixedRange(0x258, 'IA32_MTRR_FIX16K_80000'),
  fixedRange(0x259, 'IA32_MTRR_FIX16K_A0000'),
  ...Array.from({ length: 8 }, (_, i) =>
    fixedRange(0x268 + i, `IA32_MTRR_FIX4K_${(0xc_0000 + i * 0x8000).toString(16).toUpperCase()}`)),
]

/** The registers of this group. */
export const MEMORY_TYPE_MSRS: readonly Msr[] = [
  inState(0x277, 'IA32_PAT', MSR_PAT, (_cpu, value) => { requireTypes(value, PAT_TYPES) }),
  readOnly(MTRR.CAP, 'IA32_MTRRCAP', MTRR_CAP),
  defType,
  ...FIXED_MTRRS,
  ...Array.from({ length: VARIABLE_RANGES }, (_, n) => variableRange(n)).flat(),
]

/**
 * Sets the MTRRs as firmware leaves them: write-back by default, the VGA window and ROM area and everything from
 * `holeStart` to 4 GiB uncached. `holeStart` must be such that the hole is a power of two (2 or 3 GiB are).
 */
export function setFirmwareMtrrs(system: CpuSystem, holeStart: number): void {
  const set = (index: number, value: bigint): void => { system.held.set(index, value) }
  const writeBack = 0x0606_0606_0606_0606n
  set(MTRR.FIX64K_00000, writeBack)
  set(MTRR.FIX16K_80000, writeBack)
  set(MTRR.FIX16K_A0000, 0n)
  for (let i = 0; i < 8; i++) set(MTRR.FIX4K_C0000 + i, 0x0505_0505_0505_0505n)
  set(MTRR.PHYS_BASE0, BigInt(holeStart))
  const size = BigInt(0x1_0000_0000 - holeStart)
  set(MTRR.PHYS_MASK0, (physical(system.legal.physicalBits) & ~(size - 1n)) | MASK_VALID)
  set(MTRR.DEF_TYPE, BigInt(MEMORY_TYPE.WB) | MTRR_ENABLE.FIXED | MTRR_ENABLE.ALL)
}
