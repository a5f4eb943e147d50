import { describe, expect, it } from 'vitest'
import { StateError } from '../../src/index.ts'
import { createBox } from './box.ts'

describe('a processor with SVM', () => {
  it('has no snapshot: what SVM knows of its guests would not be in it', () => {
    const { processor } = createBox().bare
    expect(() => processor.snapshot()).toThrow(StateError)
    expect(() => processor.snapshot()).toThrow(/^supervisor: expected a processor without one/)
  })
})
