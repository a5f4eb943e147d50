/** A broken rule with its evidence. */
import type { Outcome, TableEntry } from './rule.ts'

/** An address of code. */
export interface CodePlace {
  readonly address: bigint
  /** `name+0x12/0x40`; null when no symbol is known there. */
  readonly symbol: string | null
}

/** A word of the stack that looks like a return address; only `certain` ones were reached by frames. */
export interface Frame extends CodePlace {
  readonly certain: boolean
}

/** Who broke the rule, and where. */
export interface Scene {
  readonly cpu: number
  /** Virtual-machine privilege level; −1 where there are none. */
  readonly vmpl: number
  readonly cpl: number
  /** `64-bit`, `32-bit`, … */
  readonly mode: string
  /** RIP of the instruction. */
  readonly rip: CodePlace
  /** RIP as the linker placed it, where the kernel was moved (KASLR) and it is known by how much. */
  readonly linked: bigint | null
  readonly backtrace: readonly Frame[]
  /** Why there are no symbols; empty when there are. */
  readonly noSymbols: string
}

/** A finding. Times are nanoseconds of virtual time. */
export interface Finding extends Scene {
  /** `F1`, `F2`, … in the order of their first occurrence. */
  readonly id: string
  readonly rule: string
  readonly outcome: Outcome
  readonly what: string
  readonly gva: bigint | null
  readonly gpa: bigint | null
  readonly spa: bigint | null
  readonly entry: TableEntry | null
  /** How often it happened, with the first and the last time. */
  readonly count: number
  readonly first: number
  readonly last: number
  /** Other guest physical addresses that it happened at, at most {@link MAX_OTHERS}. */
  readonly others: readonly bigint[]
}

/** Addresses that a finding keeps beside its first. */
export const MAX_OTHERS = 8
