/** RMPREAD (APM vol. 3): shows the hypervisor what the RMP says about a page. */
import { RmpReadPageSize, RmpState, RmpStatus } from '@cofferdam/spec'
import type { RmpTable } from '../table.ts'
import { done, hostOnly } from './common.ts'
import type { InstructionAgent, RmpDone, RmpRefusal } from './common.ts'

/** RMPREAD's operands (APM vol. 3). */
export interface RmpreadRequest {
  readonly agent: InstructionAgent
  /** rAX: system physical address of the page. */
  readonly address: bigint
}

/** What RMPREAD leaves besides EAX: 16 bytes for the buffer at rCX (`RmpState`); all zero when it failed. */
export interface RmpreadDone extends RmpDone {
  readonly state: Uint8Array
}

/** Carries out RMPREAD. */
export function rmpread(rmp: RmpTable, { agent, address }: RmpreadRequest): RmpreadDone | RmpRefusal {
  const refused = hostOnly(agent, rmp.enabled)
  if (refused !== null) return refused
  const page = Number(address >> 12n)
  if ((address & 0xfffn) !== 0n || !rmp.covers(page)) return { ...done(RmpStatus.FAIL_INPUT), state: RmpState.create() }
  const hpageRegionStatus = rmp.regionAssigned(page) ? 1 : 0
  const { found } = rmp
  rmp.find(page)
  const state = RmpState.create({
    gpa: BigInt(found.guestPage) << 12n, assigned: found.assigned ? 1 : 0,
    pageSize: RmpReadPageSize.pack({ pageSize: found.large ? 1 : 0, hpageRegionStatus }),
    immutable: found.immutable ? 1 : 0, asid: found.asid,
  })
  return { ...done(RmpStatus.SUCCESS), state }
}
