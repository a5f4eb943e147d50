import { describe, expect, it } from 'vitest'
import { createProgress, STUCK } from '../src/guest/progress.ts'

const faults = (times: number, fault: () => boolean): boolean[] => Array.from({ length: times }, fault)

describe('a guest\'s nested page faults', () => {
  it('are one too many after a thousand at one address, once', () => {
    const progress = createProgress()
    const seen = faults(STUCK + 5, () => progress.fault(0x1000n))
    expect(seen.indexOf(true)).toBe(STUCK - 1)
    expect(seen.filter(Boolean)).toHaveLength(1)
  })

  it('begin anew when the guest has got past them', () => {
    const progress = createProgress()
    expect(faults(STUCK - 1, () => progress.fault(0x1000n))).not.toContain(true)
    progress.ran(2)
    expect(progress.fault(0x1000n)).toBe(false)
  })

  it('are no progress while only the instruction that faults is tried', () => {
    const progress = createProgress()
    const seen = faults(STUCK, () => {
      progress.ran(1)
      return progress.fault(0x1000n)
    })
    expect(seen.at(-1)).toBe(true)
  })

  it('are not got past by handlers of interrupts in between, whose first ones have faults of their own', () => {
    const progress = createProgress()
    let handlers = 0n
    const seen = faults(STUCK, () => {
      if (progress.fault(0x1000n)) return true
      progress.injected()
      progress.ran(500)
      if (handlers < 8n) progress.fault(0x2000n + handlers++ * 0x1000n)
      progress.ran(500)
      return false
    })
    expect(seen.at(-1)).toBe(true)
  })

  it('begin anew when the guest goes on behind such a handler', () => {
    const progress = createProgress()
    progress.fault(0x1000n)
    progress.injected()
    progress.ran(500)
    progress.fault(0x1000n)
    progress.ran(500)
    expect(faults(STUCK - 1, () => progress.fault(0x1000n))).not.toContain(true)
  })
})
