import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { createIoBus, RangeConflict } from '../src/index.ts'
import type { AccessSize, IoRange } from '../src/index.ts'

/** A device that remembers what reached it and answers with the offset. */
const device = (name: string, start: number, length: number): IoRange => ({
  name, start, length, handlers: { read: vi.fn((offset: number) => offset), write: vi.fn() },
})

describe('a bus', () => {
  it('hands an access to the device that claimed the address, by the offset in its range', () => {
    const bus = createIoBus(0x1_0000)
    const uart = device('UART', 0x3f8, 8)
    bus.attach(device('PIC', 0x20, 2))
    bus.attach(uart)
    expect(bus.read(0x3fd, 1)).toBe(5)
    bus.write(0x3f9, 1, 0x41)
    expect(uart.handlers.write).toHaveBeenCalledExactlyOnceWith(1, 1, 0x41)
  })

  it('gives handlers and callers unsigned values', () => {
    const bus = createIoBus(0x100)
    const signed: IoRange = { ...device('signed', 0, 4), handlers: { read: () => -1, write: vi.fn() } }
    bus.attach(signed)
    expect(bus.read(0, 4)).toBe(0xffff_ffff)
    bus.write(0, 4, -2)
    expect(signed.handlers.write).toHaveBeenCalledWith(0, 4, 0xffff_fffe)
  })

  it.each<[AccessSize, number]>([[1, 0xff], [2, 0xffff], [4, 0xffff_ffff]])(
    'answers all ones to a read of %i bytes that nobody claimed', (size, ones) => {
      expect(createIoBus(0x100).read(0x80, size)).toBe(ones)
    })

  it('swallows a write that nobody claimed', () => {
    const bus = createIoBus(0x100)
    const near = device('near', 0x80, 4)
    bus.attach(near)
    bus.write(0x7f, 1, 1)
    bus.write(0x84, 1, 1)
    expect(near.handlers.write).not.toHaveBeenCalled()
  })

  it('lets an access that runs over the end of a range reach nobody', () => {
    const bus = createIoBus(0x100)
    const [left, right] = [device('left', 0x10, 2), device('right', 0x12, 2)]
    bus.attach(left)
    bus.attach(right)
    expect(bus.read(0x11, 2)).toBe(0xffff)
    bus.write(0x10, 4, 0)
    for (const { handlers } of [left, right]) {
      expect(handlers.read).not.toHaveBeenCalled()
      expect(handlers.write).not.toHaveBeenCalled()
    }
  })

  it('reaches addresses beyond 4 GiB', () => {
    const bus = createIoBus(2 ** 52)
    bus.attach(device('BAR', 0x80_0000_0000, 0x1000))
    expect(bus.read(0x80_0000_0ff0, 4)).toBe(0xff0)
    expect(bus.read(0x0000_0ff0, 4)).toBe(0xffff_ffff)
  })
})

describe('claims', () => {
  it('refuses a range of which any byte is taken, and names both', () => {
    const bus = createIoBus(0x1_0000)
    const rtc = device('RTC', 0x70, 2)
    bus.attach(rtc)
    for (const [start, length] of [[0x70, 2], [0x71, 1], [0x6f, 2], [0x60, 0x40]]) {
      const other = device('other', start, length)
      expect(() => { bus.attach(other) }).toThrow(RangeConflict)
      try { bus.attach(other) } catch (error) { expect((error as RangeConflict).ranges).toEqual([rtc, other]) }
    }
    expect(() => { bus.attach(device('NMI', 0x71, 4)) })
      .toThrow('two devices claim one range: RTC [0x70, 0x72) and NMI [0x71, 0x75)')
    expect(bus.ranges()).toEqual([rtc])
  })

  it('takes neighbours that touch', () => {
    const bus = createIoBus(0x1_0000)
    const names = ['b', 'c', 'a'].map((name, i) => device(name, [0x72, 0x74, 0x70][i], 2))
    for (const one of names) bus.attach(one)
    expect(bus.ranges().map(({ name }) => name)).toEqual(['a', 'b', 'c'])
  })

  it.each([[-1, 2], [0xffff, 2], [0x10, 0], [0x10, -4]])('refuses a range from %i of %i bytes', (start, length) => {
    expect(() => { createIoBus(0x1_0000).attach(device('odd', start, length)) }).toThrow('odd: range outside the bus')
  })

  it('frees what is detached, also for the device that was found last', () => {
    const bus = createIoBus(0x1_0000)
    const bar = device('BAR', 0xc000, 0x20)
    bus.attach(bar)
    expect(bus.read(0xc004, 1)).toBe(4)
    bus.detach(bar)
    expect(bus.read(0xc004, 1)).toBe(0xff)
    bus.attach(device('other', 0xc002, 4))
    expect(bus.read(0xc004, 1)).toBe(2)
  })

  it('finds what a list of all claims finds, whatever was attached and detached before', () => {
    const step = fc.record({ start: fc.nat(63), length: fc.integer({ min: 1, max: 16 }), remove: fc.boolean() })
    fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const bus = createIoBus(0x80)
      let model: IoRange[] = []
      const holder = (at: number): IoRange | undefined => model.find((r) => at >= r.start && at < r.start + r.length)
      for (const { start, length, remove } of steps) {
        const there = holder(start)
        if (remove && there !== undefined) {
          bus.detach(there)
          model = model.filter((r) => r !== there)
        } else {
          const added = device('x', start, length)
          const free = Array.from({ length }, (_, i) => holder(start + i)).every((r) => r === undefined)
          if (free) {
            bus.attach(added)
            model.push(added)
          } else {
            expect(() => { bus.attach(added) }).toThrow(RangeConflict)
          }
        }
        for (let at = 0; at < 0x80; at++) expect(bus.find(at)).toBe(holder(at))
      }
    }))
  })
})
