/** Why a guest gave up, in words. */
import { TERMINATION_REASONS, TerminationSet } from '@cofferdam/spec'

const SETS: Readonly<Record<number, string>> = { [TerminationSet.GENERAL]: 'general', [TerminationSet.LINUX]: 'Linux' }

/** The reason of a termination request in words; unknown ones by number. */
export function terminationText(reasonSet: number, reason: number): string {
  const known = TERMINATION_REASONS[reasonSet]?.[reason]
  const set = SETS[reasonSet] ?? `set ${reasonSet}`
  return `the guest asked to be terminated: ${known ?? 'unknown reason'} (${set} reason 0x${reason.toString(16)})`
}
