/** What a processor makes of accesses that the nested tables or the RMP refuse (APM vol. 2, §15.35.4, §15.36.10). */
import {
  ACCESS_FETCH, ACCESS_USER, ACCESS_WRITE, nestedFaultInfo, STAGE_FINAL, STAGE_TABLE, WALK_NESTED_FAULT, WALK_REFUSED,
} from '@cofferdam/paging'
import type { WalkResult } from '@cofferdam/paging'
import type { GuardRequest } from '@cofferdam/memory'
import { NestedFaultInfo, PageFaultError, SvmExit, VC_PAGE_NOT_VALIDATED } from '@cofferdam/spec'
import type { AccessOutcome, Exit } from '@cofferdam/x86'
import { guestFault, state, VECTOR } from '@cofferdam/x86'
import { rmpFault } from '../rmp/check.ts'
import type { RmpVerdict } from '../rmp/check.ts'
import type { SevProcessor } from './context.ts'
import type { SevPolicy } from './keys.ts'

/** Where an access that failed a check of the RMP was going. */
export interface DeniedAccess {
  /** Guest physical address, for the hypervisor. */
  readonly gpa: number
  /** Linear address, for CR2. */
  readonly linear: bigint
  /** ACCESS_ bits. */
  readonly access: number
  /** It was made for a walk of the guest's own tables. */
  readonly table: boolean
  /** The effective C-bit. */
  readonly encrypted: boolean
}

const linearOf = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)

const exitOf = (info1: bigint, gpa: number): Exit =>
  ({ code: SvmExit.NPF, info1, info2: BigInt(gpa), intInfo: 0n, nextRip: 0n, bytes: null })

/** Bits of a page-fault error code that the access itself brings. */
const accessBits = (access: number): number => access & (ACCESS_WRITE | ACCESS_USER | ACCESS_FETCH)

/** What a failed check of the RMP comes to. */
export function deniedByRmp(sev: SevProcessor, verdict: RmpVerdict, denied: DeniedAccess): AccessOutcome {
  const { linear, access } = denied
  if (sev.guest?.snp === true && sev.shared.fact !== null) {
    sev.denied = {
      kind: 'denied', verdict, access, gva: linear, gpa: BigInt(denied.gpa), encrypted: denied.encrypted,
      table: denied.table, before: sev.processor.mmu.bytesBefore(),
    }
  }
  const fault = rmpFault(verdict, sev.guest !== null, denied.encrypted)
  if (fault.kind === 'PF') {
    const errorCode = (accessBits(access) | PageFaultError.mask.P | fault.errorCode) >>> 0
    return { vector: VECTOR.PF, errorCode, address: linear }
  }
  if (fault.kind === 'VC') {
    // The address is in CR2 (§15.36.10).
    sev.processor.cpu.views.u64[state.CR2 >>> 3] = linear
    return { vector: VECTOR.VC, errorCode: fault.errorCode, address: linear }
  }
  // Nested accesses are user accesses; the walk of a table may have to set its flags.
  const bits = (denied.table ? ACCESS_WRITE : access & (ACCESS_WRITE | ACCESS_FETCH)) | ACCESS_USER
  const stage = denied.table ? NestedFaultInfo.mask.table : NestedFaultInfo.mask.final
  return { leave: exitOf(BigInt(bits) | NestedFaultInfo.mask.P | stage | fault.info, denied.gpa) }
}

/**
 * The guest takes what an access came to: #VC, or the exit with that guest physical address. Only now is it a fact;
 * what a processor looked up and did not need is none.
 */
export function tellDenied(sev: SevProcessor, taken: 'VC' | bigint): void {
  const { denied, shared, processor } = sev
  if (denied === null) return
  sev.denied = null
  const isThis = taken === 'VC' ? guestFault.errorCode === VC_PAGE_NOT_VALIDATED : taken === denied.gpa
  if (isThis) shared.fact?.(processor, denied)
}

/** A walk that ended in the second dimension, or at a table that the RMP keeps. */
export function deniedWalk(
  sev: SevProcessor, policy: SevPolicy, result: WalkResult, low: number, high: number, access: number,
): AccessOutcome | null {
  const table = result.stage === STAGE_TABLE
  if (result.status === WALK_REFUSED) {
    return deniedByRmp(sev, result.refusal as RmpVerdict, {
      gpa: result.gpa, linear: linearOf(low, high), access, table: true, encrypted: sev.guest?.sev === true,
    })
  }
  const { guest } = sev
  if (result.status !== WALK_NESTED_FAULT || guest?.sev !== true) return null
  const gpa = result.gpa + (result.stage === STAGE_FINAL ? low & 0xfff : 0)
  const encrypted = table || policy.isPrivate(guest, result, access)
  const info = nestedFaultInfo(result) | (guest.snp && encrypted ? NestedFaultInfo.mask.ENC : 0n)
  // A reserved bit in the nested tables says that there is a device, for which the guest must ask (§15.35.4).
  if (guest.es && (info & NestedFaultInfo.mask.RSVD) !== 0n) {
    return { vector: VECTOR.VC, errorCode: SvmExit.NPF, address: linearOf(low, high) }
  }
  return { leave: exitOf(info, gpa) }
}

/** A page that a guard refused. */
export function deniedPage(
  sev: SevProcessor, verdict: RmpVerdict, request: Readonly<GuardRequest>, result: WalkResult, low: number,
  high: number,
): AccessOutcome {
  const access = (request.user ? ACCESS_USER : 0) | ((request.access & 2) !== 0 ? ACCESS_WRITE : 0)
    | ((request.access & 4) !== 0 ? ACCESS_FETCH : 0)
  return deniedByRmp(sev, verdict, {
    gpa: result.gpa + (low & 0xfff), linear: linearOf(low, high), access, table: false, encrypted: request.key !== 0,
  })
}
