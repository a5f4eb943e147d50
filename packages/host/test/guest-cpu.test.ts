import { createLocalApic } from '@cofferdam/x86'
import { describe, expect, it } from 'vitest'
import { createGuestCpu } from '../src/cpu/guest-cpu.ts'
import { guestModel } from '../src/index.ts'

const cpu = () => {
  const model = guestModel()
  const apic = createLocalApic({
    id: 0, bootstrap: true, now: () => 0, physicalAddressBits: model.physicalBits, send: () => undefined,
    eoiBroadcast: () => undefined, onChange: () => undefined,
  })
  return createGuestCpu({ model, index: 0, count: 1, apic, now: () => 0, holeStart: 0xc000_0000 })
}
const VALUES = [0n, 1n, 0x500n, 0xd01n, 0x1000n, 0xffff_ffffn, 1n << 40n, (1n << 64n) - 1n]
const RANGES =
  [[0, 0x1000], [0x4b56_4d00, 0x10], [0xc000_0000, 0x400], [0xc001_0000, 0x2000], [0xffff_ff00, 0x100]] as const

describe('the part of a processor that its host keeps', () => {
  it('answers each register with a value or #GP, whatever is written', () => {
    const { readMsr, writeMsr } = cpu()
    let written = 0
    for (const [first, count] of RANGES) {
      for (let index = first; index < first + count; index++) {
        for (const value of VALUES) if (writeMsr(index, value)) written++
        const value = readMsr(index)
        if (value !== undefined) expect([index, value === BigInt.asUintN(64, value)]).toEqual([index, true])
      }
    }
    expect(written).toBeGreaterThan(100)
  })

  it('takes nothing in XSS that the model does not have (Linux, kvm_set_msr_common)', () => {
    const { readMsr, writeMsr } = cpu()
    expect([writeMsr(0xda0, 0n), writeMsr(0xda0, 0x800n), readMsr(0xda0)]).toEqual([true, false, 0n])
  })

  it('lets a guest write EFER, which counts in its VMSA only', () => {
    const { readMsr, writeMsr } = cpu()
    expect(writeMsr(0xc000_0080, 0x801n)).toBe(true)
    expect(readMsr(0xc000_0080)).toBe(0x801n)
  })
})
