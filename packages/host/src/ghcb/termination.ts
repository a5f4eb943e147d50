/** Termination requests in words: those of guests that `sev` knows, and our boot stage's. */
import { STAGE_TERMINATION, STAGE_TERMINATION_SET } from '@cofferdam/boot'
import { terminationText as generalText } from '@cofferdam/sev'

/** What a guest means by a reason set and a reason. */
export function terminationText(set: number, reason: number): string {
  const ours = set === STAGE_TERMINATION_SET
    ? STAGE_TERMINATION[reason] as string | undefined : undefined
  return ours === undefined ? generalText(set, reason) : `the boot stage gave up: ${ours}`
}
