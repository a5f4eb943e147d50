/** How rules of SEV-SNP look at facts. */
import type { Rule, Violation } from '@cofferdam/findings'
import type { SevFact } from './facts.ts'
import type { PageHistory } from './history.ts'

/** A rule with the function that finds it broken. */
export interface SevRule extends Rule {
  /** What is wrong about a fact, or null. `history` is what earlier facts have told of the guest's pages. */
  judge(fact: SevFact, history: PageHistory): Omit<Violation, 'rule'> | null
}

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`

const PAGE = 4096n

/** Address of a page. */
export const addressOf = (page: number): bigint => BigInt(page) * PAGE

/** `read`, `write` or `fetch` in words, from ACCESS_ bits. */
export const accessName = (access: number): string =>
  ((access & 16) !== 0 ? 'an instruction fetch' : (access & 2) !== 0 ? 'a write' : 'a read')
