/** Termination requests in words (56421 §2.3.1, table 4: reason sets; the guests' own reasons). */
import { STAGE_TERMINATION, STAGE_TERMINATION_SET } from '@cofferdam/boot'
import { TERMINATION_REASONS } from '@cofferdam/spec'

const SETS: Readonly<Record<number, string>> = { 0: 'GHCB', 1: 'Linux', [STAGE_TERMINATION_SET]: 'boot stage' }

/** What a guest means by a reason set and a reason. */
export function terminationText(set: number, reason: number): string {
  const reasons = set === STAGE_TERMINATION_SET ? STAGE_TERMINATION
    : TERMINATION_REASONS[set] as Readonly<Record<number, string>> | undefined
  const text = reasons?.[reason] ?? 'a reason that is not known'
  return `${text} (reason set ${set}${set in SETS ? `, ${SETS[set]}` : ''}, reason ${reason})`
}
