import { describe, expect, it } from 'vitest'
import { createFindings, MAX_OTHERS } from '../src/index.ts'
import { occurrence, violation } from './fixtures.ts'

describe('findings', () => {
  it('are one for one rule, instruction and VMPL, with a count, both times, and the evidence of the first', () => {
    const findings = createFindings()
    findings.add(violation(0x1000n), occurrence(10, 5n))
    const again = occurrence(20, 5n)
    findings.add(violation(0x2000n), again)
    findings.add(violation(0x2000n), occurrence(30, 5n))
    expect(again.asked()).toBe(0)
    expect(findings.list()).toMatchObject([
      { id: 'F1', gpa: 0x1000n, count: 3, first: 10, last: 30, others: [0x2000n] },
    ])
  })

  it('are others for another instruction or VMPL', () => {
    const findings = createFindings()
    findings.add(violation(0n), occurrence(1, 5n))
    findings.add(violation(0n), occurrence(2, 6n))
    findings.add(violation(0n), occurrence(3, 5n, 2))
    expect(findings.list().map(({ id, vmpl }) => [id, vmpl])).toEqual([['F1', 0], ['F2', 0], ['F3', 2]])
  })

  it('do not grow without bound: others are counted by rule, addresses are a few', () => {
    const findings = createFindings({ limit: 3 })
    for (let i = 0; i < 1000; i++) findings.add(violation(BigInt(i)), occurrence(i, BigInt(i % 10)))
    expect(findings.list()).toHaveLength(3)
    expect(findings.dropped).toBe(700)
    expect(findings.counts()).toEqual({ 'snp-test-rule': 1000 })
    expect(findings.list()[0].others).toHaveLength(MAX_OTHERS)
  })

  it('are told of once, when they are new', () => {
    const told: string[] = []
    const findings = createFindings({ onFinding: ({ id }) => { told.push(id) } })
    for (const rip of [1n, 1n, 2n]) findings.add(violation(0n), occurrence(0, rip))
    expect(told).toEqual(['F1', 'F2'])
  })

  it('have the entry of the page at their system address, unless the rule knows one from before', () => {
    const findings = createFindings()
    findings.add({ ...violation(0n), spa: 7n }, occurrence(0, 1n))
    findings.add({ ...violation(0n), spa: 7n, entry: { table: 'RMP', words: [], text: 'before' } }, occurrence(0, 2n))
    findings.add(violation(0n), occurrence(0, 3n))
    expect(findings.list().map(({ entry }) => entry?.text)).toEqual(['guest-valid', 'before', undefined])
  })
})
