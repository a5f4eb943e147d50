/** A small machine's memory with an RMP at 1 MiB, and the instructions with their registers filled in. */
import { createPhysicalMemory } from '@cofferdam/memory'
import type { GuardRequest, PhysicalMemory } from '@cofferdam/memory'
import { RmpState } from '@cofferdam/spec'
import { createRmpTable, psmash, pvalidate, rmpEndMsr, rmpContext, rmpadjust, rmpupdate } from '../src/index.ts'
import type { InstructionAgent, RmpOutcome, RmpTable } from '../src/index.ts'

export const RMP_BASE = 0x10_0000
/** Covered pages: two 2 MiB regions and a part of a third. */
export const COVERED = 512 * 2 + 256

export const host: InstructionAgent = { asid: 0, vmpl: 0, cpl: 0, snp: false }
export const guest = (asid = 1, vmpl = 0): InstructionAgent => ({ asid, vmpl, cpl: 0, snp: true })

export interface Fixture {
  readonly memory: PhysicalMemory
  readonly rmp: RmpTable
}

export function fixture(fill = 0): Fixture {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: 16 * 2 ** 20 }], overhead: 65536 * 2, fill })
  const rmp = createRmpTable(memory)
  if (fill !== 0) memory.fill(RMP_BASE, 0x10_0000, 0)
  const bytes = 0x4000 + COVERED * 16 + 0x1000
  rmp.load({ base: BigInt(RMP_BASE), end: rmpEndMsr(RMP_BASE, bytes), cfg: 0n })
  rmp.enabled = true
  return { memory, rmp }
}

export interface Assignment {
  readonly gpa?: number
  readonly assigned?: number
  readonly pageSize?: number
  readonly immutable?: number
  readonly asid?: number
  readonly reserved?: number
}

export const update = (rmp: RmpTable, page: number, a: Assignment): RmpOutcome => rmpupdate(rmp, {
  agent: host, address: BigInt(page) << 12n, maxAsid: 100,
  state: RmpState.create({ gpa: BigInt(a.gpa ?? 0) << 12n, assigned: a.assigned ?? 1, pageSize: a.pageSize ?? 0,
    immutable: a.immutable ?? 0, asid: a.asid ?? ((a.assigned ?? 1) === 1 ? 1 : 0), reserved: a.reserved ?? 0 }),
})

export const smash = (rmp: RmpTable, page: number): RmpOutcome =>
  psmash(rmp, { agent: host, address: BigInt(page) << 12n })

export interface Place {
  readonly page: number
  readonly guestPage: number
  readonly shift?: number
}

const translation = ({ page, guestPage, shift = 12 }: Place) => ({ page, guestPage, nestedShift: shift })

export const validate = (rmp: RmpTable, at: Place, on = 1, pageSize = 0, agent = guest()): RmpOutcome =>
  pvalidate(rmp, {
    agent, address: BigInt(at.guestPage) << 12n, pageSize, validate: on, translate: () => translation(at),
  })

export const adjust = (
  rmp: RmpTable, at: Place, attributes: { target: number; perms: number; vmsa?: number }, pageSize = 0, agent = guest(),
): RmpOutcome => rmpadjust(rmp, {
  agent, address: BigInt(at.guestPage) << 12n, pageSize, translate: () => translation(at),
  attributes: BigInt(attributes.target | (attributes.perms << 8) | ((attributes.vmsa ?? 0) << 16)),
})

/** A memory access by the host. */
export const hostAccess = (page: number, access: number, shift = 12): GuardRequest =>
  ({ page, key: 0, access, shift, guestPage: -1, nestedShift: 0, context: 0, user: false, walk: false })

/** A memory access by an SNP guest. */
export const guestAccess = (
  at: Place, access: number, more: Partial<GuardRequest> & { vmpl?: number; asid?: number } = {},
): GuardRequest => ({
  page: at.page, key: 1, access, shift: at.shift ?? 12, guestPage: at.guestPage, nestedShift: at.shift ?? 12,
  context: rmpContext({ asid: more.asid ?? 1, vmpl: more.vmpl ?? 0, snp: true }), user: false, walk: false, ...more,
})

/** EAX of an instruction that ended normally, else why it did not. */
export const status = (outcome: RmpOutcome): number | string => {
  if (outcome.kind === 'done') return outcome.status
  return outcome.kind === 'check' ? `check ${outcome.verdict}` : outcome.kind
}
