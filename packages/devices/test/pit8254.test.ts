import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { createPit8254, createVirtualClock, type Pit8254, type VirtualClock } from '../src/index.ts'
import { PIT_RATE, ticksAt, timeOfTick } from '../src/ticks.ts'
import { probe } from './helpers.ts'

let clock: VirtualClock
let irq: ReturnType<typeof probe>
let pit: Pit8254
const out = (port: number, value: number): void => { pit.handlers.write(port, 1, value) }
const inb = (port: number): number => pit.handlers.read(port, 1)
const word = (port: number): number => inb(port) | inb(port) << 8
const load = (channel: number, mode: number, count: number): void => {
  out(3, channel << 6 | 0x30 | mode << 1)
  out(channel, count & 0xff)
  out(channel, count >> 8)
}
const toTick = (tick: number): void => { clock.advanceTo(timeOfTick(PIT_RATE, tick)) }
const readBackStatus = (channel: number): number => { out(3, 0xe0 | 2 << channel); return inb(channel) }
const latched = (channel: number): number => { out(3, channel << 6); return word(channel) }

beforeEach(() => {
  clock = createVirtualClock()
  irq = probe()
  pit = createPit8254({ clock, irq })
})

describe('ticks', () => {
  it('convert both ways exactly at any time', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 43 }), (tick) => {
      const time = timeOfTick(PIT_RATE, tick)
      expect(ticksAt(PIT_RATE, time)).toBe(tick)
      if (time > 0) expect(ticksAt(PIT_RATE, time - 1)).toBe(tick - 1)
    }))
  })
  it('run at 1.193182 MHz', () => {
    expect(ticksAt(PIT_RATE, 1e9)).toBe(1_193_181)
    expect(ticksAt(PIT_RATE, 3600e9)).toBe(4_295_454_545)
  })
})

describe('8254 modes', () => {
  it('mode 0: OUT is low from the control word until N + 1 pulses after the count, once', () => {
    load(0, 0, 100)
    expect(irq.level).toBe(false)
    toTick(100)
    expect(irq.level).toBe(false)
    toTick(101)
    expect(irq.level).toBe(true)
    toTick(1_000_000)
    expect(irq.edges).toBe(1)
  })

  it('mode 2: one interrupt every N ticks', () => {
    load(0, 2, 1193)
    clock.advanceTo(1e9)
    // One edge more: OUT rose to its idle level at the control word.
    expect(irq.edges - 1).toBe(Math.floor(1_193_181 / 1193))
  })

  it('mode 2: a count written during a period takes over at its end', () => {
    load(0, 2, 100)
    toTick(50)
    out(0, 30); out(0, 0)
    irq.edges = 0
    toTick(100)
    expect(irq.edges).toBe(0)
    toTick(101)
    expect(irq.edges).toBe(1)
    toTick(131)
    expect(irq.edges).toBe(2)
    toTick(161)
    expect(irq.edges).toBe(3)
  })

  it('mode 3: counts down by two twice per period, OUT high in the first half', () => {
    load(2, 3, 100)
    pit.port61.write(0, 1, 1)
    toTick(2)
    const high = pit.port61.read(0, 1) & 0x20
    toTick(11)
    expect(latched(2)).toBe(80)
    toTick(61)
    expect(high).toBe(0x20)
    expect(pit.port61.read(0, 1) & 0x20).toBe(0)
    expect(latched(2)).toBe(80)
  })

  it('mode 4: one strobe, its end one tick after N', () => {
    load(0, 4, 100)
    expect(irq.level).toBe(true) // OUT idles high
    const before = irq.edges
    toTick(102)
    expect(irq.edges).toBe(before + 1)
    toTick(100_000)
    expect(irq.edges).toBe(before + 1)
  })

  it('takes a count of 0 as 65536', () => {
    load(0, 2, 0)
    toTick(65_536)
    expect(irq.edges).toBe(1) // OUT rose to its idle level at the control word
    toTick(65_537)
    expect(irq.edges).toBe(2)
  })

  it('survives a count of 1 in a periodic mode', () => {
    load(0, 2, 1)
    clock.advanceTo(1e6)
    expect(irq.edges).toBeGreaterThan(0)
  })

  it('counts in BCD', () => {
    out(3, 0x31); out(0, 0x00); out(0, 0x01)
    toTick(2)
    out(3, 0)
    expect(word(0)).toBe(0x0099)
  })
})

describe('8254 reads', () => {
  it('a latched count stays until both bytes are read', () => {
    load(0, 2, 1000)
    toTick(101)
    out(3, 0)
    toTick(500)
    out(3, 0)
    expect(word(0)).toBe(900)
    expect(latched(0)).toBe(501)
  })

  it('read-back latches count and status; the status is read first', () => {
    load(0, 2, 1000)
    toTick(101)
    out(3, 0xc2)
    expect(inb(0)).toBe(0xb4)
    expect(word(0)).toBe(900)
  })

  it('the status says null count until the count is loaded, and shows mode and access', () => {
    out(3, 0x34)
    expect(readBackStatus(0)).toBe(0xf4)
    out(0, 10); out(0, 0)
    expect(readBackStatus(0)).toBe(0xf4)
    toTick(1)
    expect(readBackStatus(0)).toBe(0xb4)
  })

  it('reads low and high byte in turn, or the one that was chosen', () => {
    load(0, 2, 0x1234)
    toTick(1)
    expect(word(0)).toBe(0x1234)
    out(3, 0x24); out(0, 0x12)
    toTick(3)
    expect(inb(0)).toBe(0x11)
  })
})

describe('port 61h', () => {
  it('lets channel 2 count only while its gate is open, and shows its output, as TSC calibration needs', () => {
    pit.port61.write(0, 1, 0)
    load(2, 0, 50)
    toTick(1000)
    expect(pit.port61.read(0, 1) & 0x20).toBe(0)
    pit.port61.write(0, 1, 1)
    toTick(1049)
    expect(pit.port61.read(0, 1) & 0x20).toBe(0)
    toTick(1051)
    expect(pit.port61.read(0, 1) & 0x20).toBe(0x20)
  })

  it('toggles the refresh bit', () => {
    const bits = new Set<number>()
    for (let i = 1; i < 50; i++) {
      clock.advanceTo(i * 5000)
      bits.add(pit.port61.read(0, 1) & 0x10)
    }
    expect([...bits].sort()).toEqual([0, 16])
  })
})

describe('8254 properties', () => {
  it('interrupts as often as whole periods passed, whatever the steps of time', () => {
    fc.assert(fc.property(fc.integer({ min: 2, max: 65_536 }), fc.array(fc.nat(3_000_000), { maxLength: 20 }),
      (count, steps) => {
        const c = createVirtualClock()
        const line = probe()
        pit = createPit8254({ clock: c, irq: line })
        load(0, 2, count & 0xffff)
        for (const s of steps) c.advanceTo(c.now() + s)
        expect(line.edges - 1).toBe(Math.max(0, Math.floor((ticksAt(PIT_RATE, c.now()) - 1) / count)))
      }))
  })

  it('never fails and goes on identically from a snapshot, whatever is written', () => {
    const write = fc.record({ port: fc.nat(4), value: fc.nat(255), wait: fc.nat(100_000) })
    fc.assert(fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
      const c = createVirtualClock()
      pit = createPit8254({ clock: c, irq: probe() })
      for (const w of writes) {
        c.advanceTo(c.now() + w.wait)
        if (w.port === 4) pit.port61.write(0, 1, w.value)
        else out(w.port, w.value)
      }
      const c2 = createVirtualClock({ start: c.now() })
      const copy = createPit8254({ clock: c2, irq: probe() })
      copy.restore(JSON.parse(JSON.stringify(pit.snapshot())) as ReturnType<Pit8254['snapshot']>)
      expect(c2.next()).toBe(c.next())
      const all = (p: Pit8254): number[] => [0, 1, 2].flatMap((n) => [p.handlers.read(n, 1), p.handlers.read(n, 1)])
      expect(all(copy)).toEqual(all(pit))
    }))
  })
})
