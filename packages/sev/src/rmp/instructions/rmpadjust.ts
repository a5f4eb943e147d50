/** RMPADJUST (APM vol. 3): sets the permissions that a less privileged VMPL has on a page, and the VMSA attribute. */
import { RmpAdjustAttributes, RmpPageSize, RmpStatus, VMPL_ALL, VmplPermission } from '@cofferdam/spec'
import { RmpCheck, checkPrivate } from '../check.ts'
import { permissionsOf, withPermissions } from '../entry.ts'
import { LARGE_PAGES } from '../table.ts'
import type { RmpTable } from '../table.ts'
import { TRANSLATION, done, guestOnly } from './common.ts'
import type { InstructionAgent, RmpOutcome, RmpTranslation, Translate } from './common.ts'

/** RMPADJUST's operands (APM vol. 3). */
export interface RmpadjustRequest {
  readonly agent: InstructionAgent
  /** rAX: linear address. */
  readonly address: bigint
  /** rCX. */
  readonly pageSize: number
  /** rDX. */
  readonly attributes: bigint
  readonly translate: Translate
  /** CPUID 8000_001F EAX.VMPL_SSS: shadow stack permission exists. */
  readonly shadowStack?: boolean
}

/** Carries out RMPADJUST. */
export function rmpadjust(rmp: RmpTable, request: RmpadjustRequest): RmpOutcome {
  const { agent, address, attributes, pageSize } = request
  const refused = guestOnly(agent)
  if (refused !== null) return refused
  const { targetVmpl, permissions: wanted, vmsa } = RmpAdjustAttributes.unpack(attributes)
  const permissions = Number(wanted)
  const target = Number(targetVmpl)
  const known = VMPL_ALL | (request.shadowStack === true ? VmplPermission.mask.shadowStack : 0)
  const large = pageSize === RmpPageSize.SIZE_2M
  if (pageSize > RmpPageSize.SIZE_2M || (attributes & ~RmpAdjustAttributes.used) !== 0n || target > 3 ||
    (permissions & ~known) !== 0) return done(RmpStatus.FAIL_INPUT)
  // A VMSA is one 4 KiB page.
  if (large && ((address & 0x1f_ffffn) !== 0n || vmsa !== 0n)) return done(RmpStatus.FAIL_INPUT)
  if (target <= agent.vmpl) return done(RmpStatus.FAIL_PERMISSION)

  const at = request.translate()
  if (at === null) return TRANSLATION
  const wrong = checkOperand(rmp, request, at, large)
  if (wrong !== null) return wrong
  const { found } = rmp
  // No VMPL gives what it does not have.
  if ((permissions & ~permissionsOf(found.permissions, agent.vmpl)) !== 0) return done(RmpStatus.FAIL_PERMISSION)
  const before = permissionsOf(found.permissions, target)
  // The attribute is VMPL0's to change; others' wish is ignored.
  const vmsaNow = agent.vmpl === 0 ? vmsa !== 0n : found.vmsa
  const lost = (before & ~permissions) !== 0 || vmsaNow !== found.vmsa
  rmp.change(at.page, { permissions: withPermissions(found.permissions, target, permissions), vmsa: vmsaNow })
  return done(RmpStatus.SUCCESS, lost ? [{ page: at.page, pages: large ? LARGE_PAGES : 1 }] : [])
}

/** Checks the page that the operand names; `rmp.found` is its entry when null comes back. */
export function checkOperand(
  rmp: RmpTable, { agent }: { readonly agent: InstructionAgent }, at: RmpTranslation, large: boolean,
): RmpOutcome | null {
  const { found } = rmp
  const verdict = checkPrivate(rmp, at.page, agent.asid, at.guestPage, at.nestedShift)
  if (verdict === RmpCheck.PASSED || verdict === RmpCheck.PAGE_SIZE) {
    if (large && !found.large) return done(RmpStatus.FAIL_SIZEMISMATCH)
    if (!large && found.large) return { kind: 'check', verdict: RmpCheck.SIZE_MISMATCH, at }
  }
  if (verdict !== RmpCheck.PASSED) return { kind: 'check', verdict, at }
  if (!found.validated) return { kind: 'check', verdict: RmpCheck.NOT_VALIDATED, at }
  if (found.inUse) return done(RmpStatus.FAIL_INUSE)
  if (large && (at.page % LARGE_PAGES !== 0 || at.guestPage % LARGE_PAGES !== 0)) return done(RmpStatus.FAIL_INPUT)
  return null
}
