/** Model-specific registers as records: index, name, read, legalised write (SDM vol. 4; APM vol. 2 appendix A). */
import type { Cpu } from '../../cpu.ts'
import { raise, VECTOR } from '../../cpu.ts'
import { readU64, writeU64 } from '../access.ts'
import { systemOf } from '../cpu-system.ts'
import { requireCanonical } from '../descriptor.ts'

/** One MSR. */
export interface Msr {
  readonly index: number
  /** Name as the manual spells it. */
  readonly name: string
  /** Raises #GP(0) where the register cannot be read. */
  read(cpu: Cpu): bigint
  /** Takes all 64 bits. Raises #GP(0) for a value that is not legal. */
  write(cpu: Cpu, value: bigint): void
}

/** #GP(0). */
export const gp = (): never => raise(VECTOR.GP, 0)

/** #GP(0) when bits outside `legal` are set. */
export function requireBits(value: bigint, legal: bigint): void {
  if ((value & ~legal) !== 0n) gp()
}

/** Low 32 bits. */
export const LOW32 = 0xffff_ffffn

/** A register that reads as `value` and cannot be written. */
export const readOnly = (index: number, name: string, value: bigint | ((cpu: Cpu) => bigint)): Msr => ({
  index, name, read: typeof value === 'bigint' ? () => value : value, write: gp,
})

/** A command register: writes act, reads are #GP. */
export const writeOnly = (index: number, name: string, write: (cpu: Cpu, value: bigint) => void): Msr => ({
  index, name, read: gp, write,
})

/** What a held register starts with and takes. */
export interface HeldOptions {
  readonly initial?: bigint
  /** Bits that may be set. */
  readonly legal?: bigint
  /** Raises #GP(0) for other values that are not legal. */
  readonly check?: (value: bigint, cpu: Cpu) => void
}

/** A register that only holds what was written. `legal` limits its bits, `check` may refuse values. */
export const held = (
  index: number, name: string, options: HeldOptions = {},
): Msr => ({
  index,
  name,
  read: (cpu) => systemOf(cpu).held.get(index) ?? options.initial ?? 0n,
  write: (cpu, value) => {
    if (options.legal !== undefined) requireBits(value, options.legal)
    options.check?.(value, cpu)
    systemOf(cpu).held.set(index, value)
  },
})

/** A register that lives in processor state at `address` (`state.ts`). */
export const inState = (
  index: number, name: string, address: number, check?: (cpu: Cpu, value: bigint) => void,
): Msr => ({
  index,
  name,
  read: (cpu) => readU64(cpu, address),
  write: (cpu, value) => {
    check?.(cpu, value)
    writeU64(cpu, address, value)
  },
})

/** A register in state that takes canonical addresses only. */
export const canonicalInState = (index: number, name: string, address: number): Msr =>
  inState(index, name, address, requireCanonical)

/** A register in state that takes 32 bits. */
export const wordInState = (index: number, name: string, address: number): Msr =>
  inState(index, name, address, (_cpu, value) => { requireBits(value, LOW32) })
