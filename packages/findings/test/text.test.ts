import { describe, expect, it } from 'vitest'
import { createFindings, describeFinding, describeRule, printable } from '../src/index.ts'
import { occurrence, rule, violation } from './fixtures.ts'

describe('a finding in words', () => {
  it('says rule, time, processor, place, stack, addresses, entry, what hardware does and what to look at', () => {
    const findings = createFindings()
    findings.add({ ...violation(0x1000n), spa: 0x7000n }, occurrence(1_234_567, 0xffff_ffff_9100_0001n))
    findings.add(violation(0x2000n), occurrence(2_000_000, 0xffff_ffff_9100_0001n))
    const [finding] = findings.list()
    expect(describeFinding(finding, rule)).toEqual([
      'F1 snp-test-rule: Nobody does <this> & that',
      '  It was done.',
      '  when   1.235 ms of virtual time, 2 times, last at 2.000 ms',
      '  by     cpu 1, VMPL0, 64-bit, CPL 0: RIP 0xffffffff91000001 f+0x1/0x2 (linked at 0xffffffff81000001)',
      '  stack  ? 0x10',
      '         g+0x0/0x8',
      '  at     gpa 0x1000, spa 0x7000',
      '  RMP    guest-valid',
      '         also at gpa 0x2000',
      '  real   a hang: It hangs.',
      '  look   Look.',
      '  rule   A manual, §1',
    ])
  })

  it('shows nothing of a guest\'s texts but printable ASCII, and an end', () => {
    expect(printable('a\x1b[2J\n\u202eb')).toBe('a\\x1b[2J\\x0a\\x202eb')
    expect(printable('x'.repeat(500))).toHaveLength(201)
  })
})

it('a rule explains itself', () => {
  expect(describeRule(rule).join('\n')).toMatch(/^snp-test-rule: .*Because\..*a hang\. It hangs\..*<https:\/\/example.com\/>$/s)
})
