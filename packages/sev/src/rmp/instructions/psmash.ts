/** PSMASH (APM vol. 3): makes 512 entries of 4 KiB out of one of 2 MiB, with the same rights. */
import { PSMASH_FAIL_BADADDR, RmpStatus } from '@cofferdam/spec'
import { LARGE_PAGES } from '../table.ts'
import type { RmpTable } from '../table.ts'
import { done, hostOnly } from './common.ts'
import type { InstructionAgent, RmpDone, RmpRefusal } from './common.ts'

/** PSMASH's operand (APM vol. 3). */
export interface PsmashRequest {
  readonly agent: InstructionAgent
  /** rAX: system physical address of the 2 MiB page. */
  readonly address: bigint
}

/** Carries out PSMASH. */
export function psmash(rmp: RmpTable, { agent, address }: PsmashRequest): RmpDone | RmpRefusal {
  const refused = hostOnly(agent, rmp.enabled)
  if (refused !== null) return refused
  if ((address & 0x1f_ffffn) !== 0n) return done(RmpStatus.FAIL_INPUT)
  const page = Number(address >> 12n)
  const entry = rmp.read(page)
  if (entry === null) return done(RmpStatus.FAIL_INPUT)
  if (!entry.assigned || !entry.large) return done(PSMASH_FAIL_BADADDR)
  if (entry.immutable) return done(RmpStatus.FAIL_PERMISSION)
  if (entry.inUse) return done(RmpStatus.FAIL_INUSE)
  rmp.writeSmall(page, entry)
  return done(RmpStatus.SUCCESS, [{ page, pages: LARGE_PAGES }])
}
