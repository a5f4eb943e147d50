/** What a guest does wrong in its calls to the SVSM, as findings. */
import type { Rule, Violation } from '@cofferdam/findings'

/** A call set bits that its protocol keeps reserved. */
export interface SvsmFact {
  readonly kind: 'svsm-reserved'
  /** `core.pvalidate`, … */
  readonly call: string
  /** The field, as the document names it, and its value. */
  readonly field: string
  readonly value: bigint
  /** Those bits of it that are reserved. */
  readonly bits: bigint
}

const hex = (value: bigint): string => `0x${value.toString(16)}`

/** The rule about reserved fields of requests (58019, each call's table). */
export const svsmReserved: Rule = {
  id: 'svsm-reserved-field',
  title: 'Reserved fields of a request to the SVSM are zero',
  sources: [
    { text: 'AMD 58019 (SVSM), §6.1 and §7.1: reserved fields must be zero, or the call fails with INVALID_PARAMETER' },
    { text: 'Linux 3ee9cebd0a5e: reserved bits in the entries of SVSM_CORE_PVALIDATE' },
  ],
  why: 'Requests lie in memory that is used again and again. What was left in a field that this version does not '
    + 'define, a later version takes for a flag; an SVSM that is strict refuses it today, another one does not, and '
    + 'the bug waits.',
  outcome: 'fault',
  hardware: 'A strict SVSM answers INVALID_PARAMETER, and the guest ends itself, because it cannot accept its memory. '
    + 'A lax one goes on.',
  advice: 'Is the whole request cleared before its fields are set, or built in a union with something else?',
}

/** The rules of this package. */
export const SVSM_RULES: readonly Rule[] = [svsmReserved]

/** What a fact comes to. */
export const judgeSvsm = ({ call, field, value, bits }: SvsmFact): Violation => ({
  rule: svsmReserved, what: `The call ${call} had ${hex(value)} in ${field}, where bits ${hex(bits)} are reserved.`,
})
