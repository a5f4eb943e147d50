/**
 * What the RMP's instructions share. Each is a function over a decoded request: it gives what the instruction leaves in
 * registers and which translations have to go, or the exception it ends in. Nothing here touches a processor.
 */
import type { RmpVerdict } from '../check.ts'

/** Who executes the instruction. */
export interface InstructionAgent {
  /** 0 for the host. */
  readonly asid: number
  readonly vmpl: number
  readonly cpl: number
  /** The processor runs an SNP-active guest. */
  readonly snp: boolean
}

/** Pages whose translations every processor has to forget: `pages` from system page `page` on. */
export interface TlbEffect {
  readonly page: number
  readonly pages: number
}

/** Where a guest's linear address leads. */
export interface RmpTranslation {
  /** System page number. */
  readonly page: number
  /** Guest page number. */
  readonly guestPage: number
  /** log2 of the nested page's size. */
  readonly nestedShift: number
}

/** Translates the operand as a 1-byte read does; null when that faulted, which the processor then already knows. */
export type Translate = () => RmpTranslation | null

/** EAX (a code of `RmpStatus`), CF, and what has to be flushed. */
export interface RmpDone {
  readonly kind: 'done'
  readonly status: number
  /** CF after PVALIDATE: the RMP was not changed. */
  readonly carry: boolean
  readonly flush: readonly TlbEffect[]
}

/** Why an instruction did nothing. */
export type RmpRefusal =
  /** #UD or #GP(0), before any access. */
  | { readonly kind: 'exception'; readonly vector: 6 | 13 }
  /** The operand's translation faulted. */
  | { readonly kind: 'translation' }
  /** An RMP check failed; see `rmpFault`. */
  | { readonly kind: 'check'; readonly verdict: RmpVerdict; readonly at: RmpTranslation }

/** What an instruction on the RMP did: EAX and CF, or a refusal. */
export type RmpOutcome = RmpDone | RmpRefusal

/** An instruction that ran: EAX = `status`, CF = `carry`, and which translations must go. */
export const done = (status: number, flush: readonly TlbEffect[] = [], carry = false): RmpDone =>
  ({ kind: 'done', status, carry, flush })

/** #UD, before any access. */
export const UD: RmpRefusal = { kind: 'exception', vector: 6 }
/** #GP(0), before any access. */
export const GP: RmpRefusal = { kind: 'exception', vector: 13 }
/** The operand's translation faulted. */
export const TRANSLATION: RmpRefusal = { kind: 'translation' }

/** Refuses an instruction of the guest's: #UD outside of SNP-active guests, #GP(0) above CPL 0. */
export function guestOnly({ snp, cpl }: InstructionAgent): RmpRefusal | null {
  if (!snp) return UD
  return cpl === 0 ? null : GP
}

/** Refuses an instruction of the host's: #UD in guests and without SNP, #GP(0) above CPL 0. */
export function hostOnly({ asid, cpl }: InstructionAgent, enabled: boolean): RmpRefusal | null {
  if (asid !== 0 || !enabled) return UD
  return cpl === 0 ? null : GP
}
