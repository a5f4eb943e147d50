import { describe, expect, it } from 'vitest'
import { createProcessorSurvivor } from '../src/survive/processor.ts'

describe('a processor in a random state, with random code', () => {
  it('goes on, halts or shuts down, and does the same interpreted and compiled', () => {
    const survivor = createProcessorSurvivor()
    const ends = new Set<string>()
    for (let number = 0; number < 150; number++) {
      const { problem, ended } = survivor.run(20_261_121, number)
      expect(problem, `case ${number}`).toBeNull()
      ends.add(ended)
    }
    expect(ends.size).toBeGreaterThan(12)
  })
})
