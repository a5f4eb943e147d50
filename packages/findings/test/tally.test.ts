import { describe, expect, it } from 'vitest'
import { createTally, TALLY_OTHERS } from '../src/index.ts'

describe('a tally', () => {
  it('counts by name, and gives the names in their order', () => {
    const tally = createTally()
    for (const name of ['b', 'a', 'b']) tally.add(name)
    expect(Object.entries(tally.counts())).toEqual([['a', 1], ['b', 2]])
  })

  it('keeps so many names, and counts all others together', () => {
    const tally = createTally(3)
    for (let i = 0; i < 1000; i++) tally.add(`name ${i % 500}`)
    expect(tally.counts()).toEqual({ 'name 0': 2, 'name 1': 2, 'name 2': 2, [TALLY_OTHERS]: 994 })
  })
})
