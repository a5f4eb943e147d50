import { createOracle } from '@cofferdam/oracle'
import { describe, expect, it } from 'vitest'
import { fuzz } from '../src/index.ts'

const oracle = createOracle()

describe.skipIf(!oracle.available)(`user-mode instructions against the processor${oracle.available ? '' : `: ${oracle.reason}`}`, () => {
  it('leave the state, and raise the faults, that the processor does', () => {
    if (!oracle.available) return
    const result = fuzz(oracle, { cases: 32_000, seed: 20_261_120 })
    expect(result.described).toEqual([])
    expect(result.different).toBe(0)
    expect(result.groups.size).toBeGreaterThan(10)
  }, 240_000)
})
