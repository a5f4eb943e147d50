/** What the system instructions need of the local APIC. */
import { Msr } from '@cofferdam/spec'
import { APIC_BASE_BITS } from './bits.ts'

/** #GP(0) as a value. */
export const APIC_GP = 'gp'

/** A local APIC as one processor's MSRs, CR8 and CPUID see it. */
export interface ApicPort {
  /**
   * Reads IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) or an x2APIC register (0x800–0x8ff).
   * 'gp' for a register that is reserved, or that the present APIC mode does not have.
   */
  readMsr(index: number): bigint | typeof APIC_GP
  /** Writes one of the same; 'gp' for reserved bits and for mode transitions that are not allowed. */
  writeMsr(index: number, value: bigint): typeof APIC_GP | undefined
  /** CR8: bits 7:4 of the task priority. */
  cr8(): number
  setCr8(value: number): void
  /** The guest's TSC was moved: a TSC deadline is measured anew. */
  tscChanged(): void
}

/** Indices of the MSRs that the APIC answers. */
export const APIC_MSR = {
  BASE: Msr.APIC_BASE, TSC_DEADLINE: Msr.TSC_DEADLINE, X2APIC_FIRST: Msr.X2APIC_BASE, X2APIC_LAST: 0x8ff,
} as const

/** A local APIC that only holds its base, deadline and priority: for processors without devices, and for tests. */
export function createPlainApic(isBsp = true): ApicPort {
  const held = new Map<number, bigint>([
    [APIC_MSR.BASE, 0xfee0_0000n | APIC_BASE_BITS.EN | (isBsp ? APIC_BASE_BITS.BSP : 0n)],
    [APIC_MSR.TSC_DEADLINE, 0n],
  ])
  let priority = 0
  return {
    readMsr: (index) => held.get(index) ?? APIC_GP,
    writeMsr: (index, value) => {
      if (!held.has(index)) return APIC_GP
      held.set(index, value)
      return undefined
    },
    cr8: () => priority,
    setCr8: (value) => {
      priority = value
    },
    tscChanged: () => undefined,
  }
}
