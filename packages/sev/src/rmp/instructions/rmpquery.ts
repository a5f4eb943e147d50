/** RMPQUERY (APM vol. 3): reads the permissions that a VMPL has on a page. */
import { RmpPageSize, RmpQueryAttributes, RmpStatus } from '@cofferdam/spec'
import { RmpCheck, checkPrivate } from '../check.ts'
import { permissionsOf } from '../entry.ts'
import type { RmpTable } from '../table.ts'
import { TRANSLATION, done, guestOnly } from './common.ts'
import type { InstructionAgent, RmpDone, RmpRefusal, Translate } from './common.ts'

/** RMPQUERY's operands (APM vol. 3). */
export interface RmpqueryRequest {
  readonly agent: InstructionAgent
  /** rCX: the VMPL asked about. */
  readonly target: bigint
  readonly translate: Translate
}

/** What RMPQUERY leaves besides EAX. */
export interface RmpqueryDone extends RmpDone {
  /** rDX: `RmpQueryAttributes`. */
  readonly attributes: bigint
  /** rCX: page size of the entry. */
  readonly pageSize: number
}

/** Carries out RMPQUERY. */
export function rmpquery(rmp: RmpTable, request: RmpqueryRequest): RmpqueryDone | RmpRefusal {
  const { agent, target } = request
  const refused = guestOnly(agent)
  if (refused !== null) return refused
  const answer = (status: number, attributes = 0n, pageSize = 0): RmpqueryDone =>
    ({ ...done(status), attributes, pageSize })
  if (target > 3n) return answer(RmpStatus.FAIL_INPUT)
  if (Number(target) < agent.vmpl) return answer(RmpStatus.FAIL_PERMISSION)

  const at = request.translate()
  if (at === null) return TRANSLATION
  const { found } = rmp
  const verdict = checkPrivate(rmp, at.page, agent.asid, at.guestPage, at.nestedShift)
  if (verdict !== RmpCheck.PASSED) return { kind: 'check', verdict, at }
  if (!found.validated) return { kind: 'check', verdict: RmpCheck.NOT_VALIDATED, at }
  const attributes = RmpQueryAttributes.pack({
    permissions: BigInt(permissionsOf(found.permissions, Number(target))), vmsa: found.vmsa ? 1n : 0n,
  })
  return answer(RmpStatus.SUCCESS, attributes, found.large ? RmpPageSize.SIZE_2M : RmpPageSize.SIZE_4K)
}
