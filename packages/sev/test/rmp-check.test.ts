import { NestedFaultInfo, PageFaultError } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import {
  RMP_EXEMPT, RmpCheck, createRmpGuard, createRmpTable, describeRmpEntry, enterVmsa, leaveVmsa, rmpFault, rmpPageState,
  vmsaProblem,
} from '../src/index.ts'
import type { RmpTable } from '../src/index.ts'
import { COVERED, adjust, fixture, guestAccess, hostAccess, smash, status, update, validate } from './rmp-fixture.ts'

const READ = 1
const WRITE = 3
const FETCH = 4

/** Page 10 is assigned at guest page 40 and validated, region 512 … 1023 is one page at guest page 1024. */
function guarded() {
  const { rmp } = fixture()
  const guard = createRmpGuard(rmp)
  update(rmp, 10, { gpa: 40 })
  validate(rmp, { page: 10, guestPage: 40 })
  update(rmp, 512, { gpa: 1024, pageSize: 1 })
  validate(rmp, { page: 512, guestPage: 1024, shift: 21 }, 1, 1)
  return { rmp, check: guard.check }
}

const small = { page: 10, guestPage: 40 }
const large = { page: 512 + 7, guestPage: 1024 + 7, shift: 21 }

describe('an access of the host', () => {
  it('may read everything', () => {
    const { check } = guarded()
    for (const page of [0, 10, 519, COVERED + 100]) expect(check(hostAccess(page, READ))).toBe(RmpCheck.PASSED)
  })
  it('may not write an assigned page', () => {
    const { check } = guarded()
    expect(check(hostAccess(10, WRITE))).toBe(RmpCheck.HYPERVISOR_OWNED)
    expect(check(hostAccess(519, WRITE))).toBe(RmpCheck.HYPERVISOR_OWNED)
    expect(check(hostAccess(11, WRITE))).toBe(RmpCheck.PASSED)
    expect(check(hostAccess(2 ** 30, WRITE))).toBe(RmpCheck.PASSED)
  })
  it('may not write through a 2 MiB or 1 GiB mapping that holds an assigned page', () => {
    const { check } = guarded()
    for (const shift of [21, 30]) {
      expect(check(hostAccess(11, WRITE, shift))).toBe(RmpCheck.OVERLAP)
      expect(check(hostAccess(10, WRITE, shift))).toBe(RmpCheck.HYPERVISOR_OWNED)
      expect(check(hostAccess(1024, WRITE, shift))).toBe(RmpCheck.PASSED)
    }
  })
  it('raises #PF with the RMP bit', () => {
    expect(rmpFault(RmpCheck.HYPERVISOR_OWNED, false, false))
      .toEqual({ kind: 'PF', errorCode: PageFaultError.mask.RMP })
  })
  it('is not checked while SNP is off, nor is the firmware ever', () => {
    const { rmp, check } = guarded()
    expect(check({ ...hostAccess(10, WRITE), context: RMP_EXEMPT })).toBe(RmpCheck.PASSED)
    rmp.enabled = false
    expect(check(hostAccess(10, WRITE))).toBe(RmpCheck.PASSED)
  })
})

describe("a guest's private access", () => {
  it('passes to a validated page of its own, of either size', () => {
    const { check } = guarded()
    for (const access of [READ, WRITE, FETCH]) {
      expect(check(guestAccess(small, access))).toBe(RmpCheck.PASSED)
      expect(check(guestAccess(large, access))).toBe(RmpCheck.PASSED)
    }
  })
  it('fails to a page of nobody, of another guest, or at another address', () => {
    const { check } = guarded()
    expect(check(guestAccess({ page: 11, guestPage: 40 }, READ))).toBe(RmpCheck.REVERSE_MAP)
    expect(check(guestAccess(small, READ, { asid: 2 }))).toBe(RmpCheck.REVERSE_MAP)
    expect(check(guestAccess({ page: 10, guestPage: 41 }, READ))).toBe(RmpCheck.GUEST_ADDRESS)
    expect(check(guestAccess({ ...large, guestPage: 1024 }, READ))).toBe(RmpCheck.GUEST_ADDRESS)
    expect(check(guestAccess({ page: COVERED + 999, guestPage: 40 }, READ))).toBe(RmpCheck.NOT_COVERED)
  })
  it("fails when the nested page's size is not the entry's", () => {
    const { check } = guarded()
    expect(check(guestAccess({ ...large, shift: 12 }, READ))).toBe(RmpCheck.PAGE_SIZE)
    expect(check(guestAccess({ ...small, shift: 21 }, READ))).toBe(RmpCheck.PAGE_SIZE)
  })
  it('fails to an immutable page', () => {
    const { rmp, check } = guarded()
    update(rmp, 10, { gpa: 40, immutable: 1 })
    expect(check(guestAccess(small, READ))).toBe(RmpCheck.IMMUTABLE)
  })
  it('raises #VC 404h to a page that is not validated', () => {
    const { rmp, check } = guarded()
    validate(rmp, small, 0)
    expect(check(guestAccess(small, READ))).toBe(RmpCheck.NOT_VALIDATED)
    expect(rmpFault(RmpCheck.NOT_VALIDATED, true, true)).toEqual({ kind: 'VC', errorCode: 0x404 })
  })
  it('needs the permission of its VMPL for what it does', () => {
    const { rmp, check } = guarded()
    const at = (access: number, user: boolean): number => check(guestAccess(small, access, { vmpl: 1, user }))
    expect(at(READ, false)).toBe(RmpCheck.VMPL)
    const allowed = (perms: number): number[] => {
      adjust(rmp, small, { target: 1, perms })
      return [at(READ, false), at(WRITE, false), at(FETCH, true), at(FETCH, false)].map((v) => (v === 0 ? 1 : 0))
    }
    expect(allowed(1)).toEqual([1, 0, 0, 0])
    expect(allowed(3)).toEqual([1, 1, 0, 0])
    expect(allowed(4)).toEqual([0, 0, 1, 0])
    expect(allowed(8)).toEqual([0, 0, 0, 1])
    expect(allowed(15)).toEqual([1, 1, 1, 1])
    expect(check(guestAccess(small, READ, { vmpl: 2 }))).toBe(RmpCheck.VMPL)
  })
  it('leaves with the bits of the check in EXITINFO1', () => {
    const bits = (verdict: Parameters<typeof rmpFault>[0], encrypted = true): string => {
      const fault = rmpFault(verdict, true, encrypted)
      return fault.kind === 'NPF' ? NestedFaultInfo.describe(fault.info) : fault.kind
    }
    expect(bits(RmpCheck.REVERSE_MAP)).toBe('RMP ENC')
    expect(bits(RmpCheck.VMPL)).toBe('RMP ENC VMPL')
    expect(bits(RmpCheck.SIZE_MISMATCH)).toBe('RMP ENC SIZEM')
    expect(bits(RmpCheck.HYPERVISOR_OWNED, false)).toBe('RMP')
  })
})

describe("a guest's shared access", () => {
  it("may write only the hypervisor's pages", () => {
    const { check } = guarded()
    const shared = (page: number, access: number, shift = 12): number =>
      check(guestAccess({ page, guestPage: 77, shift }, access, { key: 0 }))
    expect(shared(11, WRITE)).toBe(RmpCheck.PASSED)
    expect(shared(10, WRITE)).toBe(RmpCheck.HYPERVISOR_OWNED)
    expect(shared(10, READ)).toBe(RmpCheck.PASSED)
    expect(shared(11, WRITE, 21)).toBe(RmpCheck.OVERLAP)
  })
})

describe('a VMSA', () => {
  const vmsa = (rmp: RmpTable): void => { adjust(rmp, small, { target: 1, perms: 0, vmsa: 1 }) }
  it('runs when it is a validated 4 KiB VMSA page of the guest, and only on one processor', () => {
    const { rmp } = guarded()
    expect(vmsaProblem(rmp, 10, 1)).toBe('not a VMSA')
    vmsa(rmp)
    expect(vmsaProblem(rmp, 10, 1)).toBeNull()
    expect(vmsaProblem(rmp, 10, 2)).toBe('not assigned')
    expect(vmsaProblem(rmp, COVERED + 999, 1)).toBe('not covered')
    expect(vmsaProblem(rmp, 519, 1)).toBe('larger than 4 KiB')
    enterVmsa(rmp, 10)
    expect(vmsaProblem(rmp, 10, 1)).toBe('in use')
  })
  it('cannot be touched, adjusted or taken away while a processor runs from it', () => {
    const { rmp, check } = guarded()
    vmsa(rmp)
    expect(check(guestAccess(small, READ))).toBe(RmpCheck.PASSED)
    enterVmsa(rmp, 10)
    expect(check(guestAccess(small, READ))).toBe(RmpCheck.IN_USE)
    expect(status(adjust(rmp, small, { target: 1, perms: 0 }))).toBe(3)
    expect(status(update(rmp, 10, { assigned: 0 }))).toBe(3)
    leaveVmsa(rmp, 10)
    expect(status(adjust(rmp, small, { target: 1, perms: 0 }))).toBe(0)
    expect(vmsaProblem(rmp, 10, 1)).toBe('not a VMSA')
  })
})

describe('an entry', () => {
  it('says what it is', () => {
    const { rmp } = guarded()
    const describe = (page: number): string => {
      const entry = rmp.read(page)
      return entry === null ? 'none' : describeRmpEntry(entry)
    }
    expect(describe(10)).toBe('guest-valid, 4K, asid 1, gpa 0x28000, VMPL0 read write userExecute supervisorExecute')
    expect(describe(11)).toBe('hypervisor, 4K')
    expect(describe(519)).toContain('guest-valid, 2M, asid 1, gpa 0x407000')
    smash(rmp, 512)
    expect(describe(519)).toContain('guest-valid, 4K, asid 1, gpa 0x407000')
    update(rmp, 30, { asid: 0, immutable: 1 })
    const entry = rmp.read(30)
    expect(entry === null ? '' : rmpPageState(entry)).toBe('firmware')
  })
})

it('the table goes on from a snapshot over the same memory', () => {
  const { memory, rmp } = fixture()
  update(rmp, 10, { gpa: 40 })
  const other = createRmpTable(memory)
  other.restore(JSON.parse(JSON.stringify(rmp.snapshot())) as ReturnType<RmpTable['snapshot']>)
  expect(other.enabled).toBe(true)
  expect(other.read(10)).toEqual(rmp.read(10))
})
