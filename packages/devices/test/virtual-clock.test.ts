import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createVirtualClock } from '../src/index.ts'

describe('virtual clock', () => {
  it('fires each timer once, at its time, in order of time', () => {
    const clock = createVirtualClock()
    const log: string[] = []
    clock.at(30, () => log.push(`c@${clock.now()}`))
    clock.at(10, () => log.push(`a@${clock.now()}`))
    clock.at(20, () => log.push(`b@${clock.now()}`))
    expect(clock.next()).toBe(10)
    clock.advanceTo(20)
    expect(log).toEqual(['a@10', 'b@20'])
    clock.advanceTo(100)
    expect(log).toEqual(['a@10', 'b@20', 'c@30'])
    expect(clock.now()).toBe(100)
    expect(clock.next()).toBe(Infinity)
  })

  it('fires a timer of the past at the next advance, with now() unchanged', () => {
    const clock = createVirtualClock({ start: 50 })
    let seen = -1
    clock.at(10, () => { seen = clock.now() })
    expect(seen).toBe(-1)
    clock.advanceTo(50)
    expect(seen).toBe(50)
  })

  it('fires in the same call what a firing timer arms, when it is due', () => {
    const clock = createVirtualClock()
    const log: number[] = []
    const again = (): void => { log.push(clock.now()); clock.at(clock.now() + 5, again) }
    clock.at(5, again)
    clock.advanceTo(17)
    expect(log).toEqual([5, 10, 15])
    expect(clock.next()).toBe(20)
  })

  it('orders timers of one instant by rank, whatever the order of arming', () => {
    const clock = createVirtualClock()
    const log: number[] = []
    for (const rank of [3, 1, 2]) clock.ranked(rank).at(7, () => log.push(rank))
    clock.advanceTo(7)
    expect(log).toEqual([1, 2, 3])
  })

  it('tells when a timer becomes the earliest', () => {
    const told: number[] = []
    const clock = createVirtualClock({ onEarlier: (time) => told.push(time) })
    clock.at(50, () => undefined)
    clock.at(60, () => undefined)
    clock.at(40, () => undefined)
    expect(told).toEqual([50, 40])
  })

  it('refuses a re-entrant advance', () => {
    const clock = createVirtualClock()
    clock.at(1, () => { clock.advanceTo(5) })
    expect(() => { clock.advanceTo(2) }).toThrow('inside a timer')
  })

  it('agrees with a sorted list for any mix of arming, cancelling and advancing', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('arm' as const), delay: fc.nat(20) }),
      fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(30) }),
      fc.record({ kind: fc.constant('advance' as const), by: fc.nat(15) }),
    )
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const clock = createVirtualClock()
      const fired: number[] = []
      const wanted: number[] = []
      const timers: { time: number; id: number; live: boolean; cancel: () => void }[] = []
      for (const s of steps) {
        if (s.kind === 'arm') {
          const id = timers.length
          const timer = clock.at(clock.now() + s.delay, () => fired.push(id))
          timers.push({ time: timer.time, id, live: true, cancel: () => { timer.cancel() } })
        } else if (s.kind === 'cancel' && timers.length > 0) {
          const timer = timers[s.which % timers.length]
          timer.live = false
          timer.cancel()
        } else if (s.kind === 'advance') {
          const to = clock.now() + s.by
          const due = timers.filter((t) => t.live && t.time <= to).sort((a, b) => a.time - b.time || a.id - b.id)
          for (const t of due) { wanted.push(t.id); t.live = false }
          clock.advanceTo(to)
        }
        expect(clock.pending()).toBe(timers.filter((t) => t.live).length)
      }
      expect(fired).toEqual(wanted)
    }))
  })
})
