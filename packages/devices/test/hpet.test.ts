import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { createHpet, createVirtualClock, type Hpet, type VirtualClock } from '../src/index.ts'
import { probe } from './helpers.ts'

let clock: VirtualClock
let lines: ReturnType<typeof probe>[]
let pit: ReturnType<typeof probe>
let rtc: ReturnType<typeof probe>
let hpet: Hpet
const create = (start = 0): Hpet => {
  clock = createVirtualClock({ start })
  lines = Array.from({ length: 24 }, probe)
  pit = probe()
  rtc = probe()
  return createHpet({ clock, line: (n) => lines[n], pitOutput: pit, rtcOutput: rtc })
}
const read = (offset: number): number => hpet.handlers.read(offset, 4)
const write = (offset: number, value: number): void => { hpet.handlers.write(offset, 4, value) }
const counter = (): number => read(0xf0) + read(0xf4) * 2 ** 32
const config = (n: number): number => 0x100 + 0x20 * n
const comparator = (n: number): number => 0x108 + 0x20 * n
const ENABLE = 4, PERIODIC = 8, SET = 0x40, NARROW = 0x100, LEVEL = 2

beforeEach(() => { hpet = create() })

describe('HPET counter', () => {
  it('states its period and what it can do', () => {
    expect(read(4)).toBe(100_000_000)
    expect(read(0)).toBe(0x8086_a201)
    expect(read(config(0)) & 0x30).toBe(0x30)
    expect(read(config(0) + 4)).toBe(0x00ff_0104)
  })

  it('stands while halted, may be set then, and counts 10 MHz when enabled', () => {
    clock.advanceTo(1000)
    write(0xf0, 50)
    write(0x10, 1)
    clock.advanceTo(1e9 + 1000)
    expect(counter()).toBe(10_000_050)
    write(0xf0, 0)
    expect(counter()).toBe(10_000_050)
    write(0x10, 0)
    clock.advanceTo(2e9)
    expect(counter()).toBe(10_000_050)
  })

  it('carries into its high half', () => {
    write(0xf0, 0xffff_ffff)
    write(0x10, 1)
    clock.advanceTo(100)
    expect([read(0xf0), read(0xf4)]).toEqual([0, 1])
  })
})

describe('HPET comparators', () => {
  it('one-shot: an edge on its route when the counter matches', () => {
    write(config(0), ENABLE | NARROW | 16 << 9)
    write(comparator(0), 1000)
    write(0x10, 1)
    clock.advanceTo(99_999)
    expect(lines[16].edges).toBe(0)
    clock.advanceTo(100_000)
    expect(lines[16].edges).toBe(1)
    clock.advanceTo(10e9)
    expect(lines[16].edges).toBe(1)
  })

  it('periodic as Linux programs it: comparator under SET_VALUE, then the period', () => {
    write(0x10, 1)
    write(config(2), ENABLE | PERIODIC | SET | NARROW | 20 << 9)
    write(comparator(2), 1000)
    write(comparator(2), 500)
    clock.advanceTo(100_000)
    expect(lines[20].edges).toBe(1)
    clock.advanceTo(1_000_000)
    expect(lines[20].edges).toBe(19)
  })

  it('periodic with a 64-bit comparator written in two halves', () => {
    write(0x10, 1)
    write(config(1), ENABLE | PERIODIC | SET | 21 << 9)
    write(comparator(1), 100)
    write(comparator(1) + 4, 0)
    write(comparator(1), 50)
    write(comparator(1) + 4, 0)
    clock.advanceTo(20_000)
    expect(lines[21].edges).toBe(3)
  })

  it('level: the line stays up until its status is cleared by a 1', () => {
    write(config(1), ENABLE | LEVEL | NARROW | 17 << 9)
    write(comparator(1), 10)
    write(0x10, 1)
    clock.advanceTo(5000)
    expect([lines[17].level, read(0x20)]).toEqual([true, 2])
    write(0x20, 2)
    expect([lines[17].level, read(0x20)]).toEqual([false, 0])
  })

  it('wraps at 32 bits in 32-bit mode', () => {
    write(0xf0, 0xffff_fff0)
    write(config(0), ENABLE | NARROW | 16 << 9)
    write(comparator(0), 0x10)
    write(0x10, 1)
    clock.advanceTo(3200)
    expect(lines[16].edges).toBe(1)
  })

  it('never sends to a route that is not offered', () => {
    write(config(0), ENABLE | NARROW | 5 << 9)
    write(comparator(0), 10)
    write(0x10, 1)
    clock.advanceTo(5000)
    expect(lines.every((l) => l.edges === 0)).toBe(true)
  })
})

describe('HPET legacy replacement', () => {
  it('passes PIT and RTC through while off, and takes their places while on', () => {
    hpet.pit.set(true); hpet.pit.set(false)
    expect(pit.edges).toBe(1)
    write(config(0), ENABLE | NARROW)
    write(config(1), ENABLE | NARROW)
    write(comparator(0), 10)
    write(comparator(1), 20)
    write(0x10, 3)
    hpet.pit.set(true); hpet.rtc.set(true)
    expect([pit.edges, rtc.edges]).toEqual([1, 0])
    clock.advanceTo(2000)
    expect([pit.edges, rtc.edges]).toEqual([2, 1])
    hpet.rtc.set(false)
    write(0x10, 1)
    expect([pit.level, rtc.level]).toEqual([true, false])
  })
})

describe('HPET survival', () => {
  it('takes any writes and goes on identically from a snapshot', () => {
    const registers = [0x10, 0x20, 0xf0, 0xf4, 0x100, 0x108, 0x10c, 0x120, 0x128, 0x12c, 0x140, 0x148, 0x14c]
    const op = fc.record({ register: fc.constantFrom(...registers), value: fc.nat(0xffff_ffff), wait: fc.nat(10_000) })
    fc.assert(fc.property(fc.array(op, { maxLength: 40 }), (ops) => {
      hpet = create()
      for (const o of ops) {
        write(o.register, o.value)
        clock.advanceTo(clock.now() + o.wait)
      }
      const saved = JSON.parse(JSON.stringify(hpet.snapshot())) as ReturnType<Hpet['snapshot']>
      const before = [clock.next(), ...registers.map(read)]
      hpet = create(clock.now())
      hpet.restore(saved)
      expect([clock.next(), ...registers.map(read)]).toEqual(before)
    }))
  })
})
