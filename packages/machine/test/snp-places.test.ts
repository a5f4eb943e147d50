import { Reg } from '@cofferdam/boot'
import { SevFeatures } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { callPvalidate } from './snp-broken.ts'
import { report } from './snp-code.ts'
import { ripOf, snpMachine } from './snp-machine.ts'
import type { Code } from './snp-machine.ts'

const { r15, rsp } = Reg

/** Has a value in a register, and ends itself. */
const holding: Code = (asm) => {
  asm.set(r15, 0x1234_5678_9abcn)
  asm.set(rsp, 0x200_0ff8)
  report(asm)
}

const REG_PROT = SevFeatures.mask.VmsaRegProt
describe('registers of an SNP guest that has ended', () => {
  it.each([
    ['as they are', undefined], ['protected in the VMSA', REG_PROT],
  ])('are its own, not what its host sees (%s)', (_, sevFeatures) => {
    const machine = snpMachine(holding, sevFeatures === undefined ? {} : { sevFeatures })
    const result = machine.run({ instructions: 5e6 })
    const lines = result.reason === 'shutdown' ? result.state?.join('\n') : undefined
    expect(lines).toMatch(/^cpu 0: RIP 0010:00000000010[0-9a-f]+ RFLAGS [0-9a-f]{8} 64-bit, CPL 0\n/)
    expect(lines).toContain('\nRSP 0018:0000000002000ff8\n')
    expect(lines).toContain(' R15 0000123456789abc\n')
    expect(machine.describe(0).join('\n')).toBe(lines)
    expect(machine.places()).toMatchObject([{ cpu: 0, mode: 'VMPL0, 64-bit, CPL 0' }])
    expect(machine.places()[0].rip >> 12n).toBe(0x1000n)
  })

  it('are those of processors that it has started', () => {
    const machine = snpMachine(holding, { vcpus: 2 })
    machine.run({ instructions: 5e6 })
    expect(machine.places()[1]).toEqual({ cpu: 1, rip: 0n, mode: 'halted: the guest has not started it' })
    expect(machine.describe(1)).toEqual(['cpu 1: the guest has not started it'])
  })
})

describe('what goes wrong in the SVSM', () => {
  it('is told with the place in the guest that has called it', () => {
    const twice = callPvalidate(0n, 2)
    const machine = snpMachine(twice, { svsm: { vmpl: 2 } })
    machine.run({ instructions: 5e6 })
    // RMPADJUST of a page that is not validated is #VC (its access is a read); PVALIDATE sets CF.
    const place = {
      vmpl: 2, mode: '64-bit', rip: { address: ripOf(twice, 'after') - 4n },
      what: expect.stringMatching(/^In the SVSM, which the guest had called here: /) as string,
    }
    expect(machine.findings.list()).toMatchObject([
      { rule: 'snp-unvalidated-access', ...place }, { rule: 'snp-double-validation', ...place },
    ])
  })
})
