import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { calendarOf, secondsOf } from '../src/calendar.ts'
import { createRtcCmos, createVirtualClock, type RtcCmos, type VirtualClock } from '../src/index.ts'
import { probe } from './helpers.ts'

let clock: VirtualClock
let irq: ReturnType<typeof probe>
let rtc: RtcCmos
const SEED = Date.UTC(2025, 1, 28, 23, 59, 58) / 1000
const read = (index: number): number => { rtc.handlers.write(0, 1, index); return rtc.handlers.read(1, 1) }
const write = (index: number, value: number): void => {
  rtc.handlers.write(0, 1, index)
  rtc.handlers.write(1, 1, value)
}
const time = (): number[] => [0x32, 9, 8, 7, 4, 2, 0].map(read)

beforeEach(() => {
  clock = createVirtualClock()
  irq = probe()
  rtc = createRtcCmos({ clock, irq, seedTime: SEED, contents: [[0x34, 0x12], [0xf0, 0x56]] })
})

describe('calendar', () => {
  it('agrees with the engine over centuries, both ways', () => {
    fc.assert(fc.property(fc.integer({ min: -2e9, max: 8e9 }), (seconds) => {
      const date = new Date(seconds * 1000)
      const c = calendarOf(seconds)
      expect([c.year, c.month, c.day, c.weekday, c.hour, c.minute, c.second]).toEqual([date.getUTCFullYear(),
        date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCDay() + 1, date.getUTCHours(), date.getUTCMinutes(),
        date.getUTCSeconds()])
      expect(secondsOf(c)).toBe(seconds)
    }))
  })
})

describe('MC146818 time', () => {
  it('is the seed time in BCD and advances with virtual time over a month end', () => {
    expect(time()).toEqual([0x20, 0x25, 0x02, 0x28, 0x23, 0x59, 0x58])
    expect(read(6)).toBe(6) // a Friday
    clock.advanceTo(3e9)
    expect(time()).toEqual([0x20, 0x25, 0x03, 0x01, 0x00, 0x00, 0x01])
  })

  it('shows binary and 12-hour formats', () => {
    write(11, 0x06)
    expect(time()).toEqual([20, 25, 2, 28, 23, 59, 58])
    write(11, 0x00)
    expect(read(4)).toBe(0x91)
  })

  it('says an update is in progress just before each second', () => {
    clock.advanceTo(1e9 - 300_000)
    expect(read(10) & 0x80).toBe(0)
    clock.advanceTo(1e9 - 100_000)
    expect(read(10) & 0x80).toBe(0x80)
    clock.advanceTo(1e9)
    expect(read(10) & 0x80).toBe(0)
  })

  it('is set under SET and starts from there', () => {
    write(11, 0x82)
    const set = [[0, 0x30], [2, 0x15], [4, 0x12], [7, 0x24], [8, 0x12], [9, 0x30], [0x32, 0x20]]
    for (const [index, value] of set) write(index, value)
    clock.advanceTo(5e9)
    expect(read(0)).toBe(0x30)
    write(11, 0x02)
    clock.advanceTo(6e9)
    expect(time()).toEqual([0x20, 0x30, 0x12, 0x24, 0x12, 0x15, 0x31])
    expect(rtc.time()).toBe(Date.UTC(2030, 11, 24, 12, 15, 31) / 1000)
  })
})

describe('MC146818 interrupts', () => {
  it('updates: once a second until register C is read', () => {
    write(11, 0x12)
    clock.advanceTo(1e9)
    expect(irq.level).toBe(true)
    // Bit 6: the periodic flag is set at its rate whether or not its interrupt is enabled.
    expect(read(12)).toBe(0xd0)
    expect(irq.level).toBe(false)
    clock.advanceTo(3e9)
    expect(irq.edges).toBe(2)
  })

  it('periodic: 1024 Hz at rate 6, when register C is read each time', () => {
    write(11, 0x42)
    for (let t = 0; t < 1e9; t += 1e5) {
      clock.advanceTo(t)
      if (irq.level) expect(read(12) & 0xc0).toBe(0xc0)
    }
    expect(irq.edges).toBe(1023)
  })

  it('alarm: at the time of day, with don\'t-care codes', () => {
    write(1, 0x05); write(3, 0x00); write(5, 0xff)
    write(11, 0x22)
    clock.advanceTo(6e9)
    expect(irq.level).toBe(false)
    clock.advanceTo(7e9)
    expect(read(12)).toBe(0xf0)
  })

  it('sets flags without interrupting when nothing is enabled, and arms no timer', () => {
    expect(clock.next()).toBe(Infinity)
    clock.advanceTo(2e9)
    expect(read(12) & 0x10).toBe(0x10)
    expect(read(12) & 0x10).toBe(0)
    expect(irq.edges).toBe(0)
  })

  it('SET clears the update interrupt', () => {
    write(11, 0x92)
    expect(read(11)).toBe(0x82)
  })
})

describe('CMOS memory', () => {
  it('has both banks and the contents that firmware leaves', () => {
    expect(read(0x34)).toBe(0x12)
    rtc.handlers.write(2, 1, 0x70)
    expect(rtc.handlers.read(3, 1)).toBe(0x56)
    write(0x40, 0x99)
    expect(read(0x40)).toBe(0x99)
  })

  it('has a good battery', () => { expect(read(13)).toBe(0x80) })
})

describe('survival', () => {
  it('takes any writes and goes on identically from a snapshot', () => {
    const op = fc.record({ index: fc.nat(0x7f), value: fc.nat(255), wait: fc.nat(2_000_000_000) })
    fc.assert(fc.property(fc.array(op, { maxLength: 25 }), (ops) => {
      const c = createVirtualClock()
      rtc = createRtcCmos({ clock: c, irq: probe(), seedTime: SEED })
      for (const o of ops) {
        write(o.index, o.value)
        c.advanceTo(c.now() + (o.wait >> 6))
        if ((o.wait & 1) === 0) read(12)
      }
      const saved = JSON.parse(JSON.stringify(rtc.snapshot())) as ReturnType<RtcCmos['snapshot']>
      const old = rtc
      const oldNext = c.next()
      const before = [time(), read(11), read(12)]
      const c2 = createVirtualClock({ start: c.now() })
      rtc = createRtcCmos({ clock: c2, irq: probe() })
      rtc.restore(saved)
      expect(c2.next()).toBe(oldNext)
      expect([time(), read(11), read(12)]).toEqual(before)
      expect(rtc.snapshot()).toEqual(old.snapshot())
    }), { numRuns: 60 })
  })
})
