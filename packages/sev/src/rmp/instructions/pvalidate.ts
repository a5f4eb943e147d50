/** PVALIDATE (APM vol. 3): validates a guest page, or takes that back. */
import { RmpPageSize, RmpStatus } from '@cofferdam/spec'
import { RmpCheck, checkPrivate } from '../check.ts'
import { LARGE_PAGES } from '../table.ts'
import type { RmpTable } from '../table.ts'
import { GP, TRANSLATION, done, guestOnly } from './common.ts'
import type { InstructionAgent, RmpOutcome, Translate } from './common.ts'

/** PVALIDATE's operands (APM vol. 3). */
export interface PvalidateRequest {
  readonly agent: InstructionAgent
  /** rAX: linear address. */
  readonly address: bigint
  /** ECX. */
  readonly pageSize: number
  /** EDX; bit 0 is the new state. */
  readonly validate: number
  readonly translate: Translate
}

/** Carries out PVALIDATE. */
export function pvalidate(rmp: RmpTable, request: PvalidateRequest): RmpOutcome {
  const { agent, address, pageSize } = request
  const refused = guestOnly(agent) ?? (agent.vmpl === 0 ? null : GP)
  if (refused !== null) return refused
  if (pageSize > RmpPageSize.SIZE_2M || request.validate > 1) return done(RmpStatus.FAIL_INPUT)
  const large = pageSize === RmpPageSize.SIZE_2M
  if (large && (address & 0x1f_ffffn) !== 0n) return done(RmpStatus.FAIL_INPUT)

  const at = request.translate()
  if (at === null) return TRANSLATION
  const { found } = rmp
  const verdict = checkPrivate(rmp, at.page, agent.asid, at.guestPage, at.nestedShift)
  // A 4 KiB entry under a 2 MiB request is the guest's to sort out, whatever size the nested page has.
  if (verdict === RmpCheck.PASSED || verdict === RmpCheck.PAGE_SIZE) {
    if (large && !found.large) return done(RmpStatus.FAIL_SIZEMISMATCH)
    if (!large && found.large) return { kind: 'check', verdict: RmpCheck.SIZE_MISMATCH, at }
  }
  if (verdict !== RmpCheck.PASSED) return { kind: 'check', verdict, at }
  if (found.inUse) return { kind: 'check', verdict: RmpCheck.IN_USE, at }
  if (large && (at.page % LARGE_PAGES !== 0 || at.guestPage % LARGE_PAGES !== 0)) return done(RmpStatus.FAIL_INPUT)

  const validated = request.validate === 1
  if (found.validated === validated) return done(RmpStatus.SUCCESS, [], true)
  rmp.change(at.page, { validated })
  // Nobody can have a translation of a page that was not validated.
  return done(RmpStatus.SUCCESS, validated ? [] : [{ page: at.page, pages: large ? LARGE_PAGES : 1 }])
}
