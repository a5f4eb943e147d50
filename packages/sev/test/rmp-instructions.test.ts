import { RmpState, RmpStatus } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { RmpCheck, pvalidate, rmpadjust, rmpquery, rmpread, rmpupdate, psmash } from '../src/index.ts'
import { COVERED, adjust, fixture, guest, host, smash, status, update, validate } from './rmp-fixture.ts'

const never = (): never => { throw new Error('translated') }

describe('RMPUPDATE', () => {
  it('refuses malformed states', () => {
    const { rmp } = fixture()
    const bad = [
      { gpa: 1, reserved: 1 }, { assigned: 2 }, { pageSize: 2 }, { immutable: 2 }, { asid: 101 },
      { assigned: 0, asid: 1 }, { assigned: 0, immutable: 1, asid: 0 }, { gpa: 2 ** 39 },
    ]
    for (const state of bad) expect([state, status(update(rmp, 5, state))]).toEqual([state, RmpStatus.FAIL_INPUT])
    expect(status(update(rmp, 513, { pageSize: 1 }))).toBe(RmpStatus.FAIL_INPUT)
    expect(status(update(rmp, 512, { pageSize: 1, gpa: 1 }))).toBe(RmpStatus.FAIL_INPUT)
    const misaligned = rmpupdate(rmp, { agent: host, address: 0x5001n, state: RmpState.create(), maxAsid: 9 })
    expect(status(misaligned)).toBe(RmpStatus.FAIL_INPUT)
  })
  it('refuses pages that the table does not cover, wholly or in part', () => {
    const { rmp } = fixture()
    expect(status(update(rmp, 2 ** 30, { gpa: 1 }))).toBe(RmpStatus.FAIL_INPUT)
    expect(status(update(rmp, 2048, { gpa: 0, pageSize: 1 }))).toBe(RmpStatus.FAIL_INPUT)
  })
  it('keeps what the guest made of a page when only the immutable bit changes', () => {
    const { rmp } = fixture()
    update(rmp, 5, { gpa: 9 })
    validate(rmp, { page: 5, guestPage: 9 })
    update(rmp, 5, { gpa: 9, immutable: 1 })
    expect(rmp.read(5)).toMatchObject({ validated: true, immutable: true })
  })
  it('takes the validation away with any other change', () => {
    for (const change of [{ gpa: 10 }, { gpa: 9, asid: 2 }, { assigned: 0 }]) {
      const { rmp } = fixture()
      update(rmp, 5, { gpa: 9 })
      validate(rmp, { page: 5, guestPage: 9 })
      adjust(rmp, { page: 5, guestPage: 9 }, { target: 1, perms: 15 })
      expect(status(update(rmp, 5, change))).toBe(0)
      expect(rmp.read(5)).toMatchObject({ validated: false })
      expect(rmp.read(5)?.permissions).not.toBe(0xf0f)
    }
  })
  it('finds overlaps between sizes', () => {
    const { rmp } = fixture()
    update(rmp, 515, { gpa: 1 })
    expect(status(update(rmp, 512, { gpa: 512, pageSize: 1 }))).toBe(RmpStatus.FAIL_OVERLAP)
    update(rmp, 515, { assigned: 0 })
    expect(status(update(rmp, 512, { gpa: 512, pageSize: 1 }))).toBe(0)
    expect(status(update(rmp, 515, { gpa: 1 }))).toBe(RmpStatus.FAIL_OVERLAP)
    expect(status(update(rmp, 512, { assigned: 0 }))).toBe(RmpStatus.FAIL_OVERLAP)
    expect(status(update(rmp, 512, { assigned: 0, pageSize: 1 }))).toBe(0)
    for (let i = 0; i < 512; i++) expect(rmp.read(512 + i)?.assigned).toBe(false)
  })
  it('leaves immutable pages alone', () => {
    const { rmp } = fixture()
    update(rmp, 5, { gpa: 1, immutable: 1 })
    expect(status(update(rmp, 5, { assigned: 0 }))).toBe(RmpStatus.FAIL_PERMISSION)
  })
  it('names the translations that have to go', () => {
    const { rmp } = fixture()
    expect(update(rmp, 5, { gpa: 1 })).toMatchObject({ flush: [{ page: 5, pages: 1 }] })
    expect(update(rmp, 512, { gpa: 512, pageSize: 1 })).toMatchObject({ flush: [{ page: 512, pages: 512 }] })
  })
})

describe('PSMASH', () => {
  it('wants an assigned 2 MiB page, aligned and covered', () => {
    const { rmp } = fixture()
    expect(status(smash(rmp, 5))).toBe(RmpStatus.FAIL_INPUT)
    expect(status(smash(rmp, 2 ** 30))).toBe(RmpStatus.FAIL_INPUT)
    expect(status(smash(rmp, 512))).toBe(4)
    update(rmp, 512, { gpa: 512, pageSize: 1, immutable: 1 })
    expect(status(smash(rmp, 512))).toBe(RmpStatus.FAIL_PERMISSION)
  })
  it('gives every page its address and the rights of the whole', () => {
    const { rmp } = fixture()
    const at = { page: 512, guestPage: 1024, shift: 21 }
    update(rmp, 512, { gpa: 1024, pageSize: 1 })
    validate(rmp, at, 1, 1)
    adjust(rmp, at, { target: 2, perms: 3 }, 1)
    expect(status(smash(rmp, 512))).toBe(0)
    for (const i of [0, 1, 255, 511]) {
      const wanted = { guestPage: 1024 + i, large: false, validated: true, permissions: 0x3000f }
      expect(rmp.read(512 + i)).toMatchObject(wanted)
    }
    expect(status(update(rmp, 600, { assigned: 0 }))).toBe(0)
  })
})

describe('PVALIDATE', () => {
  const at = { page: 5, guestPage: 9 }
  it('is for VMPL0 and CPL 0 of an SNP guest', () => {
    const { rmp } = fixture()
    const run = (agent: typeof host) =>
      pvalidate(rmp, { agent, address: 0n, pageSize: 0, validate: 1, translate: never })
    expect(run(host)).toEqual({ kind: 'exception', vector: 6 })
    expect(run({ ...guest(), cpl: 3 })).toEqual({ kind: 'exception', vector: 13 })
    expect(run(guest(1, 1))).toEqual({ kind: 'exception', vector: 13 })
  })
  it('refuses sizes and addresses before it looks at memory', () => {
    const { rmp } = fixture()
    const run = (address: bigint, pageSize: number, on: number) =>
      status(pvalidate(rmp, { agent: guest(), address, pageSize, validate: on, translate: never }))
    expect(run(0n, 2, 1)).toBe(RmpStatus.FAIL_INPUT)
    expect(run(0n, 0, 2)).toBe(RmpStatus.FAIL_INPUT)
    expect(run(0x1000n, 1, 1)).toBe(RmpStatus.FAIL_INPUT)
  })
  it('sets CF when there is nothing to change', () => {
    const { rmp } = fixture()
    update(rmp, 5, { gpa: 9 })
    expect(validate(rmp, at, 0)).toMatchObject({ status: 0, carry: true, flush: [] })
    expect(validate(rmp, at, 1)).toMatchObject({ status: 0, carry: false, flush: [] })
    expect(validate(rmp, at, 1)).toMatchObject({ status: 0, carry: true })
    expect(validate(rmp, at, 0)).toMatchObject({ status: 0, carry: false, flush: [{ page: 5, pages: 1 }] })
  })
  it('tells the guest of an entry too small, and the host of one too large', () => {
    const { rmp } = fixture()
    update(rmp, 0, { gpa: 512 })
    expect(status(validate(rmp, { page: 0, guestPage: 512 }, 1, 1))).toBe(RmpStatus.FAIL_SIZEMISMATCH)
    update(rmp, 512, { gpa: 1024, pageSize: 1 })
    expect(status(validate(rmp, { page: 513, guestPage: 1025, shift: 21 }))).toBe(`check ${RmpCheck.SIZE_MISMATCH}`)
    expect(status(validate(rmp, { page: 512, guestPage: 1024, shift: 12 }, 1, 1))).toBe(`check ${RmpCheck.PAGE_SIZE}`)
  })
  it('leaves for the host with a page that is not this guest’s', () => {
    const { rmp } = fixture()
    expect(status(validate(rmp, at))).toBe(`check ${RmpCheck.REVERSE_MAP}`)
    update(rmp, 5, { gpa: 10 })
    expect(status(validate(rmp, at))).toBe(`check ${RmpCheck.GUEST_ADDRESS}`)
    expect(status(validate(rmp, { page: COVERED + 1024, guestPage: 1 }))).toBe(`check ${RmpCheck.NOT_COVERED}`)
  })
})

describe('RMPADJUST', () => {
  const at = { page: 5, guestPage: 9 }
  const valid = () => {
    const { rmp } = fixture()
    update(rmp, 5, { gpa: 9 })
    validate(rmp, at)
    return rmp
  }
  it('refuses reserved bits, sizes, VMPLs that do not exist, and large VMSAs', () => {
    const { rmp } = fixture()
    const run = (attributes: bigint, pageSize = 0, address = 0n) =>
      status(rmpadjust(rmp, { agent: guest(), address, pageSize, attributes, translate: never }))
    for (const attributes of [1n << 17n, 4n, 0x1001n, 1n << 63n]) expect(run(attributes)).toBe(RmpStatus.FAIL_INPUT)
    expect(run(1n, 2)).toBe(RmpStatus.FAIL_INPUT)
    expect(run(1n, 1, 0x1000n)).toBe(RmpStatus.FAIL_INPUT)
    expect(run(0x1_0001n, 1)).toBe(RmpStatus.FAIL_INPUT)
  })
  it('acts on less privileged VMPLs only, and gives no more than its own', () => {
    const rmp = valid()
    expect(status(adjust(rmp, at, { target: 0, perms: 1 }))).toBe(RmpStatus.FAIL_PERMISSION)
    expect(status(adjust(rmp, at, { target: 1, perms: 3 }))).toBe(0)
    expect(status(adjust(rmp, at, { target: 2, perms: 4 }, 0, guest(1, 1)))).toBe(RmpStatus.FAIL_PERMISSION)
    expect(status(adjust(rmp, at, { target: 2, perms: 1 }, 0, guest(1, 1)))).toBe(0)
    expect(rmp.read(5)?.permissions).toBe(0x01030f)
  })
  it('lets VMPL0 alone change the VMSA attribute', () => {
    const rmp = valid()
    adjust(rmp, at, { target: 1, perms: 15 })
    expect(status(adjust(rmp, at, { target: 2, perms: 0, vmsa: 1 }, 0, guest(1, 1)))).toBe(0)
    expect(rmp.read(5)?.vmsa).toBe(false)
    adjust(rmp, at, { target: 1, perms: 0, vmsa: 1 })
    expect(rmp.read(5)?.vmsa).toBe(true)
  })
  it('raises #VC on a page that is not validated', () => {
    const rmp = valid()
    validate(rmp, at, 0)
    expect(status(adjust(rmp, at, { target: 1, perms: 1 }))).toBe(`check ${RmpCheck.NOT_VALIDATED}`)
  })
  it('flushes only what it takes away', () => {
    const rmp = valid()
    expect(adjust(rmp, at, { target: 1, perms: 15 })).toMatchObject({ flush: [] })
    expect(adjust(rmp, at, { target: 1, perms: 1 })).toMatchObject({ flush: [{ page: 5, pages: 1 }] })
  })
})

describe('RMPQUERY', () => {
  it('tells permissions, VMSA and size, downwards only', () => {
    const { rmp } = fixture()
    update(rmp, 5, { gpa: 9 })
    validate(rmp, { page: 5, guestPage: 9 })
    adjust(rmp, { page: 5, guestPage: 9 }, { target: 1, perms: 5, vmsa: 1 })
    const run = (target: bigint, vmpl = 0) => rmpquery(rmp, {
      agent: guest(1, vmpl), target, translate: () => ({ page: 5, guestPage: 9, nestedShift: 12 }),
    })
    expect(run(1n)).toMatchObject({ status: 0, attributes: 0x105n, pageSize: 0 })
    expect(run(0n)).toMatchObject({ status: 0, attributes: 0x10fn })
    expect(run(0n, 1)).toMatchObject({ status: RmpStatus.FAIL_PERMISSION })
    expect(run(4n)).toMatchObject({ status: RmpStatus.FAIL_INPUT })
  })
})

describe('RMPREAD', () => {
  it('stores state in the format of RMPUPDATE', () => {
    const { rmp } = fixture()
    update(rmp, 515, { gpa: 9, asid: 7 })
    const read = (page: number) => {
      const result = rmpread(rmp, { agent: host, address: BigInt(page) << 12n })
      if (result.kind !== 'done') throw new Error(result.kind)
      return RmpState.read(new DataView(result.state.buffer))
    }
    expect(read(515)).toEqual({ gpa: 0x9000n, assigned: 1, pageSize: 2, immutable: 0, reserved: 0, asid: 7 })
    expect(read(516)).toMatchObject({ assigned: 0, pageSize: 2 })
    expect(read(5)).toMatchObject({ assigned: 0, pageSize: 0 })
    update(rmp, 515, { assigned: 0 })
    update(rmp, 512, { gpa: 1024, pageSize: 1 })
    expect(read(515)).toMatchObject({ gpa: 0x40_3000n, assigned: 1, pageSize: 3 })
  })
  it('is for the host, with SNP on', () => {
    const { rmp } = fixture()
    expect(rmpread(rmp, { agent: guest(), address: 0n })).toMatchObject({ kind: 'exception', vector: 6 })
    expect(psmash(rmp, { agent: { ...host, cpl: 3 }, address: 0n })).toMatchObject({ kind: 'exception', vector: 13 })
    rmp.enabled = false
    expect(rmpread(rmp, { agent: host, address: 0n })).toMatchObject({ kind: 'exception', vector: 6 })
  })
})
