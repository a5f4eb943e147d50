import { SEV_RULES } from '@cofferdam/sev'
import { SVSM_RULES } from '@cofferdam/svsm'
import { describe, expect, it } from 'vitest'
import { BROKEN } from './snp-broken.ts'
import type { Broken } from './snp-broken.ts'
import { findingsOf, ripOf, snpMachine } from './snp-machine.ts'

/** Bytes of VMGEXIT. */
const VMGEXIT_BYTES = 4n
/** `here`, or the VMGEXIT before `after`. */
function placeOf({ code }: Broken): bigint {
  try {
    return ripOf(code, 'here')
  } catch {
    return ripOf(code, 'after') - VMGEXIT_BYTES
  }
}

describe('the rules', () => {
  it('each have a guest that breaks them', () => {
    expect(Object.keys(BROKEN).sort()).toEqual([...SEV_RULES, ...SVSM_RULES].map(({ id }) => id).sort())
  })
})

describe.each(Object.entries(BROKEN))('%s', (id, broken) => {
  const { code, options, more = [], vmpl = 0, instructions = 5e6, gva, gpa, entry, nearMiss, nearOptions } = broken
  const rule = [...SEV_RULES, ...SVSM_RULES].find((one) => one.id === id)

  it('is found, with its evidence', () => {
    const machine = snpMachine(code, options)
    machine.run({ instructions })
    const [finding, ...others] = machine.findings.list()
    expect([finding.rule, ...others.map((other) => other.rule)]).toEqual([id, ...more])
    expect(finding).toMatchObject({
      id: 'F1', outcome: rule?.outcome, cpu: 0, vmpl, cpl: 0, mode: '64-bit', linked: null,
      rip: { address: placeOf(broken), symbol: null },
      ...(gva !== undefined && { gva: BigInt.asUintN(64, BigInt(gva)) }),
      ...(gpa !== undefined && { gpa: BigInt(gpa) }),
    })
    // Such a kernel has no symbols, and that is said.
    expect(finding.noSymbols).not.toBe('')
    expect(finding.entry?.text ?? null).toEqual(entry === null ? null : expect.stringMatching(entry) as string)
    expect((finding.spa ?? 0n) % 4096n).toBe(entry === null ? 0n : (finding.gpa ?? 0n) % 4096n)
    expect(finding.first).toBeGreaterThan(0)
    expect(finding.last).toBeLessThanOrEqual(machine.stats().virtualTime)
  })

  it('is not found where it is nearly broken', () => {
    expect(findingsOf(nearMiss, nearOptions, Math.min(instructions, 3e6))).toEqual([])
  })
})
