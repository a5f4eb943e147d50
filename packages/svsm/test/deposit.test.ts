import { SvsmCoreCall, SvsmResult, Vmsa } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createDeposits, MAX_DEPOSITS } from '../src/deposits.ts'
import type { SvsmFact } from '../src/index.ts'
import { CALLING_AREA, FEATURES, list, nextOf, PAGE, RAM, SCRATCH, startedBox } from './fixture.ts'

const R = SvsmResult
const C = SvsmCoreCall
const GIVEN = 0x200_0000

type Box = ReturnType<typeof startedBox>
const deposit = (box: Box, entries: readonly bigint[]): number =>
  box.call(0, C.DEPOSIT_MEM, { rcx: list(box, entries) }).code
const available = (box: Box): number => box.at(CALLING_AREA).bytes[1]
const entriesOf = (box: Box): bigint[] => {
  const { bytes } = box.at(SCRATCH)
  const view = new DataView(bytes.buffer)
  return Array.from({ length: view.getUint16(0, true) }, (_, i) => view.getBigUint64(8 + 8 * i, true))
}

describe('the pages that were deposited', () => {
  it('are no more in a snapshot than a guest can give', () => {
    const many = (n: number) => Array.from({ length: n }, (_, i) => ({ address: i * PAGE, large: false }))
    const deposits = createDeposits()
    deposits.restore(many(MAX_DEPOSITS))
    expect(deposits.size()).toBe(MAX_DEPOSITS)
    expect(() => { deposits.restore(many(200_000)) }).toThrow('svsm: deposits: expected at most 4096')
  })
})

describe('SVSM_CORE_DEPOSIT_MEM', () => {
  it('takes pages away from the guest, and says that they can be withdrawn', () => {
    const box = startedBox()
    box.own(GIVEN, 2)
    expect(deposit(box, [BigInt(GIVEN), BigInt(GIVEN + PAGE)])).toBe(R.SUCCESS)
    expect(box.at(GIVEN).rights).toEqual([15, 0, 0, 0])
    expect([nextOf(box), available(box)]).toEqual([2, 1])
  })

  it('takes no calling area and no VMSA', () => {
    const box = startedBox()
    box.own(GIVEN)
    expect(deposit(box, [BigInt(CALLING_AREA)])).toBe(R.INVALID_ADDRESS)
    box.at(GIVEN + PAGE).bytes.set(Vmsa.create({ vmpl: box.vmpl, efer: 0x1000n, sevFeatures: FEATURES }))
    box.own(GIVEN, 2)
    const create = { rcx: BigInt(GIVEN + PAGE), rdx: BigInt(GIVEN), r8: 1n }
    expect(box.call(0, C.CREATE_VCPU, create).code).toBe(R.SUCCESS)
    expect(deposit(box, [BigInt(GIVEN)])).toBe(R.INVALID_ADDRESS)
    expect(deposit(box, [BigInt(GIVEN + PAGE)])).toBe(R.INVALID_ADDRESS)
  })

  it('leaves the guest no way to name what it gave', () => {
    const box = startedBox()
    box.own(GIVEN)
    deposit(box, [BigInt(GIVEN)])
    expect(deposit(box, [BigInt(GIVEN)])).toBe(R.INVALID_ADDRESS)
    expect(box.call(0, C.PVALIDATE, { rcx: list(box, [BigInt(GIVEN)]) }).code).toBe(R.INVALID_ADDRESS)
    expect(box.call(0, C.REMAP_CA, { rcx: BigInt(GIVEN) }).code).toBe(R.INVALID_ADDRESS)
  })

  it.each([
    ['reserved bits', BigInt(GIVEN) | 4n, R.INVALID_PARAMETER],
    ['a page size', BigInt(GIVEN) | 2n, R.INVALID_PARAMETER],
    ['2 MiB that are not aligned', BigInt(GIVEN + PAGE) | 1n, R.INVALID_PARAMETER],
    ['no memory', BigInt(RAM), R.INVALID_ADDRESS],
    ['2 MiB of smaller pages', BigInt(GIVEN) | 1n, R.PROTOCOL_BASE + 6],
  ])('refuses %s, and names the entry', (_, entry, code) => {
    const box = startedBox()
    box.own(GIVEN)
    expect(deposit(box, [entry])).toBe(code)
    expect([nextOf(box), available(box)]).toEqual([0, 0])
  })
})

describe('reserved bits of what is deposited', () => {
  it('are noted as a mistake of the guest', () => {
    const facts: SvsmFact[] = []
    const box = startedBox({ svsm: { onFact: (_apicId, _vmsa, fact) => { facts.push(fact) } } })
    deposit(box, [BigInt(GIVEN) | 0x84n])
    expect(facts).toMatchObject([{ call: 'SVSM_CORE_DEPOSIT_MEM', bits: 0x84n }])
  })
})

describe('SVSM_CORE_WITHDRAW_MEM', () => {
  it('gives pages back, cleared, as many as the list has room for', () => {
    const box = startedBox()
    box.own(GIVEN, 3)
    deposit(box, [BigInt(GIVEN), BigInt(GIVEN + PAGE), BigInt(GIVEN + 2 * PAGE)])
    box.at(GIVEN + 2 * PAGE).bytes.fill(0x55)
    expect(box.call(0, C.WITHDRAW_MEM, { rcx: list(box, [0n, 0n]) }).code).toBe(R.SUCCESS)
    expect(entriesOf(box)).toEqual([BigInt(GIVEN + 2 * PAGE), BigInt(GIVEN + PAGE)])
    expect(box.at(GIVEN + 2 * PAGE).rights[2]).toBe(15)
    expect(box.at(GIVEN + 2 * PAGE).bytes.every((byte) => byte === 0)).toBe(true)
    expect(available(box)).toBe(1)
    expect(box.call(0, C.WITHDRAW_MEM, { rcx: list(box, [0n, 0n]) }).code).toBe(R.SUCCESS)
    expect([entriesOf(box), available(box)]).toEqual([[BigInt(GIVEN)], 0])
  })

  it('has nothing for a guest that gave nothing, and needs room', () => {
    const box = startedBox()
    expect(box.call(0, C.WITHDRAW_MEM, { rcx: list(box, [9n]) }).code).toBe(R.SUCCESS)
    expect(entriesOf(box)).toEqual([])
    expect(box.call(0, C.WITHDRAW_MEM, { rcx: list(box, []) }).code).toBe(R.INVALID_PARAMETER)
  })
})
