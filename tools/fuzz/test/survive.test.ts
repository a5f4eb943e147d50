import { describe, expect, it } from 'vitest'
import { createProcessorSurvivor } from '../src/survive/processor.ts'

const kinds = [
  ['in a random state, with random code', false],
  ['with anything in its MSRs, control registers, descriptor tables and page tables', true],
] as const

describe('a processor', () => {
  it.each(kinds)('%s goes on, halts or shuts down, and does the same interpreted and compiled', (_name, system) => {
    const survivor = createProcessorSurvivor({ system })
    const ends = new Set<string>()
    for (let number = 0; number < 120; number++) {
      const { problem, ended } = survivor.run(20_261_121, number)
      expect(problem, `case ${number}`).toBeNull()
      ends.add(ended)
    }
    expect(ends.size).toBeGreaterThan(12)
  })

  it('does the same in a case whatever was run before it', () => {
    const [one, other] = [createProcessorSurvivor({ system: true }), createProcessorSurvivor({ system: true })]
    for (let number = 0; number < 8; number++) one.run(7, number)
    expect(one.run(7, 8)).toEqual(other.run(7, 8))
  })
})
