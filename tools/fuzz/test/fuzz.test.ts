import { createOracle, unsuitable } from '@cofferdam/oracle'
import { describe, expect, it } from 'vitest'
import { fuzz } from '../src/index.ts'

const oracle = createOracle()
const why = oracle.available ? '' : `: ${oracle.reason}`
/** On other processors than the one that ours follows, what the manuals leave undefined is not compared. */
const exact = unsuitable(oracle) === ''

describe.skipIf(!oracle.available)(`user-mode instructions against the processor${why}`, () => {
  for (const mode of [64, 32, 16] as const) {
    it(`do to state, and fault, as they do there, interpreted and compiled: ${mode}-bit code`, () => {
      if (!oracle.available) return
      const result = fuzz(oracle, {
        cases: mode === 64 ? 12_288 : 8192, seed: 20_261_120 + mode, modes: [mode], batch: 2048, batches: 2, share: 2,
        exact,
      })
      expect(result.found.map(({ text }) => text)).toEqual([])
      expect(result.different).toBe(0)
      expect(result.coverage.counts.size).toBeGreaterThan(8)
    }, 240_000)
  }
})
