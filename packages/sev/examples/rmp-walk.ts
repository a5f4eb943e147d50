// Follows an address through the RMP: where its entry lies, what it says, and what an access by host and guest meets.
import { createPhysicalMemory } from '@cofferdam/memory'
import { RmpState } from '@cofferdam/spec'
import {
  RMP_CHECK_NAMES, createRmpGuard, createRmpTable, describeRmpEntry, pvalidate, rmpContext, rmpEndMsr, rmpNeededBytes,
  rmpupdate,
} from '@cofferdam/sev'

const hex = (n: number): string => `0x${n.toString(16)}`
const memory = createPhysicalMemory({ ram: [{ start: 0, length: 64 * 2 ** 20 }], overhead: 2 ** 17 })
const rmp = createRmpTable(memory)
const base = 48 * 2 ** 20
rmp.load({ base: BigInt(base), end: rmpEndMsr(base, rmpNeededBytes(64 * 2 ** 20)), cfg: 0n })
rmp.enabled = true

// The hypervisor gives page 0x1234 to the guest with ASID 5, at guest address 0x8000; the guest validates it.
const host = { asid: 0, vmpl: 0, cpl: 0, snp: false }
const guest = { asid: 5, vmpl: 0, cpl: 0, snp: true }
const state = RmpState.create({ gpa: 0x8000n, assigned: 1, asid: 5 })
rmpupdate(rmp, { agent: host, address: 0x123_4000n, state, maxAsid: 509 })
const at = { page: 0x1234, guestPage: 8, nestedShift: 12 }

const { check } = createRmpGuard(rmp)
const show = (): void => {
  const entry = rmp.read(0x1234)
  console.log(`entry at ${hex(rmp.entryAddress(0x1234))}: ${entry === null ? 'none' : describeRmpEntry(entry)}`)
  const access = { page: 0x1234, access: 3, shift: 12, user: false, walk: false }
  const byHost = check({ ...access, key: 0, guestPage: -1, nestedShift: 0, context: 0 })
  const byGuest = check({ ...access, key: 1, guestPage: 8, nestedShift: 12, context: rmpContext(guest) })
  console.log(`  host writes: ${RMP_CHECK_NAMES[byHost]}; guest writes: ${RMP_CHECK_NAMES[byGuest]}`)
}
show()
const done = pvalidate(rmp, { agent: guest, address: 0x8000n, pageSize: 0, validate: 1, translate: () => at })
console.log(`PVALIDATE: ${done.kind === 'done' ? `EAX ${done.status}, CF ${done.carry ? 1 : 0}` : done.kind}`)
show()
