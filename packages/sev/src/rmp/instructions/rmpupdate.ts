/** RMPUPDATE (APM vol. 3): the hypervisor assigns a page to a guest, or takes it back. */
import { RmpPageSize, RmpState, RmpStatus } from '@cofferdam/spec'
import type { RmpFields } from '../entry.ts'
import { INITIAL_PERMISSIONS } from '../entry.ts'
import { LARGE_PAGES, MAX_GUEST_PAGE } from '../table.ts'
import type { RmpTable } from '../table.ts'
import { done, hostOnly } from './common.ts'
import type { InstructionAgent, RmpDone, RmpRefusal } from './common.ts'

/** RMPUPDATE's operands (APM vol. 3). */
export interface RmpupdateRequest {
  readonly agent: InstructionAgent
  /** rAX: system physical address of the page. */
  readonly address: bigint
  /** The 16 bytes at rCX, read once. */
  readonly state: Uint8Array
  /** Highest ASID of the processor. */
  readonly maxAsid: number
}

/** Carries out RMPUPDATE. */
export function rmpupdate(rmp: RmpTable, request: RmpupdateRequest): RmpDone | RmpRefusal {
  const refused = hostOnly(request.agent, rmp.enabled)
  if (refused !== null) return refused
  const wanted = readState(request.state)
  const large = wanted.pageSize === RmpPageSize.SIZE_2M
  const align = large ? 0x1f_ffffn : 0xfffn
  const page = Number(request.address >> 12n)
  const guestPage = Number(wanted.gpa >> 12n)
  if (((request.address | wanted.gpa) & align) !== 0n || guestPage > MAX_GUEST_PAGE) return done(RmpStatus.FAIL_INPUT)
  if (wanted.pageSize > 1 || wanted.assigned > 1 || wanted.immutable > 1 || wanted.reserved !== 0 ||
    wanted.asid > request.maxAsid) return done(RmpStatus.FAIL_INPUT)
  // A page of the hypervisor's belongs to no guest, and only the firmware fixes one.
  if (wanted.assigned === 0 && (wanted.immutable === 1 || wanted.asid !== 0)) return done(RmpStatus.FAIL_INPUT)
  const last = large ? page + LARGE_PAGES - 1 : page
  if (!rmp.covers(page) || !rmp.covers(last)) return done(RmpStatus.FAIL_INPUT)

  const status = large ? mayUpdateRegion(rmp, page) : mayUpdatePage(rmp, page)
  if (status !== RmpStatus.SUCCESS) return done(status)
  rmp.find(page)
  write(rmp, page, {
    assigned: wanted.assigned === 1, large, immutable: wanted.immutable === 1, guestPage, asid: wanted.asid,
    vmsa: false, validated: false, permissions: wanted.assigned === 1 ? INITIAL_PERMISSIONS : 0, inUse: false,
  })
  return done(RmpStatus.SUCCESS, [{ page, pages: last - page + 1 }])
}

/** `RmpState.read`, by hand: hosts execute this by the hundred thousand. */
function readState(state: Uint8Array) {
  const view = new DataView(state.buffer, state.byteOffset, RmpState.size)
  const at = RmpState.offset
  return {
    gpa: view.getBigUint64(at.gpa, true), assigned: view.getUint8(at.assigned), pageSize: view.getUint8(at.pageSize),
    immutable: view.getUint8(at.immutable), reserved: view.getUint8(at.reserved), asid: view.getUint32(at.asid, true),
  }
}

function mayUpdatePage(rmp: RmpTable, page: number): number {
  const { found } = rmp
  rmp.find(page)
  if (found.immutable) return RmpStatus.FAIL_PERMISSION
  if (found.inUse) return RmpStatus.FAIL_INUSE
  // A 4 KiB page of a 2 MiB page has to be smashed out of it first.
  return found.assigned && found.large ? RmpStatus.FAIL_OVERLAP : RmpStatus.SUCCESS
}

function mayUpdateRegion(rmp: RmpTable, page: number): number {
  const { found } = rmp
  rmp.findOwn(page)
  if (found.assigned && found.large) {
    if (found.immutable) return RmpStatus.FAIL_PERMISSION
    return found.inUse ? RmpStatus.FAIL_INUSE : RmpStatus.SUCCESS
  }
  if (found.assigned || found.subpages > 0) return RmpStatus.FAIL_OVERLAP
  for (let i = 0; i < LARGE_PAGES; i++) {
    rmp.findOwn(page + i)
    if (found.immutable) return RmpStatus.FAIL_PERMISSION
  }
  return RmpStatus.SUCCESS
}

/** Writes the new entry; what the guest made of the page stays only when nothing but the immutable bit changes. */
function write(rmp: RmpTable, page: number, fields: RmpFields): void {
  const { found } = rmp
  const same = found.assigned && fields.assigned && found.asid === fields.asid && found.large === fields.large &&
    found.guestPage === fields.guestPage
  if (same) rmp.change(page, { immutable: fields.immutable })
  else if (fields.large && !fields.assigned) rmp.writeSmall(page, fields)
  else rmp.write(page, fields)
}
