import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { createPicPair, type PicPair } from '../src/index.ts'
import { probe } from './helpers.ts'

let output: ReturnType<typeof probe>
let pic: PicPair
const command = (v: number, slave = false): void => { (slave ? pic.slave : pic.master).write(0, 1, v) }
const data = (v: number, slave = false): void => { (slave ? pic.slave : pic.master).write(1, 1, v) }
const status = (slave = false): number => (slave ? pic.slave : pic.master).read(0, 1)
/** As Linux does: vectors 30h and 38h, 8086 mode, all unmasked. */
const init = (icw4 = 1): void => {
  command(0x11); data(0x30); data(4); data(icw4)
  command(0x11, true); data(0x38, true); data(2, true); data(1, true)
}
const raise = (n: number): void => { pic.line(n).set(true) }
const lower = (n: number): void => { pic.line(n).set(false) }

beforeEach(() => {
  output = probe()
  pic = createPicPair({ output })
  init()
})

describe('8259A requests', () => {
  it('answers the vector of the input, through the cascade for 8–15', () => {
    raise(4)
    expect(output.level).toBe(true)
    expect(pic.acknowledge()).toBe(0x34)
    command(0x20)
    raise(12)
    expect(pic.acknowledge()).toBe(0x3c)
  })

  it('serves the lower input number first, the slave at the place of input 2', () => {
    for (const n of [7, 9, 1, 3]) raise(n)
    const order = [1, 2, 3, 4].map(() => {
      const vector = pic.acknowledge()
      if (vector >= 0x38) command(0x20, true)
      command(0x20)
      return vector - 0x30
    })
    expect(order).toEqual([1, 9, 3, 7])
  })

  it('requests an edge-triggered input once until it falls and rises again', () => {
    raise(3)
    pic.acknowledge()
    command(0x20)
    expect(output.level).toBe(false)
    raise(3)
    expect(output.level).toBe(false)
    lower(3); raise(3)
    expect(output.level).toBe(true)
  })

  it('requests a level-triggered input (ELCR) as long as it is high', () => {
    pic.elcr.write(1, 1, 0x08)
    raise(11)
    expect(pic.acknowledge()).toBe(0x3b)
    command(0x20, true); command(0x20)
    expect(output.level).toBe(true)
    lower(11)
    expect(output.level).toBe(false)
  })

  it('lets ELCR make only inputs that may be shared level triggered', () => {
    pic.elcr.write(0, 2, 0xffff)
    expect(pic.elcr.read(0, 2)).toBe(0xdef8)
  })

  it('answers the spurious vector of input 7, without setting it in service, when the request went away', () => {
    raise(4); lower(4)
    expect(output.level).toBe(false)
    expect(pic.acknowledge()).toBe(0x37)
    command(0x0b)
    expect(status()).toBe(0)
  })

  it('masks inputs and keeps their requests', () => {
    data(0x10)
    raise(4)
    expect(output.level).toBe(false)
    expect(status()).toBe(0x10)
    data(0)
    expect(output.level).toBe(true)
  })
})

describe('8259A end of interrupt and priorities', () => {
  it('holds back equal and lower priorities while one is in service', () => {
    raise(3)
    pic.acknowledge()
    raise(5)
    expect(output.level).toBe(false)
    raise(1)
    expect(output.level).toBe(true)
    expect(pic.acknowledge()).toBe(0x31)
    command(0x20) // ends 1
    expect(output.level).toBe(false)
    command(0x63) // specific: ends 3
    expect(pic.acknowledge()).toBe(0x35)
  })

  it('needs no end of interrupt in automatic mode', () => {
    init(3)
    raise(3); pic.acknowledge()
    raise(5)
    expect(pic.acknowledge()).toBe(0x35)
  })

  it('rotates: the level that ended becomes the lowest', () => {
    raise(3); pic.acknowledge()
    command(0xa0)
    raise(2 + 1); lower(3); raise(3); raise(4)
    expect(pic.acknowledge()).toBe(0x34)
  })

  it('sets the lowest priority by command', () => {
    command(0xc0 | 5)
    raise(1); raise(6)
    expect(pic.acknowledge()).toBe(0x36)
  })

  it('in special mask mode lets all unmasked levels through, and a non-specific EOI skips masked ones', () => {
    raise(1); pic.acknowledge()
    data(0x02)
    command(0x68)
    raise(6)
    expect(pic.acknowledge()).toBe(0x36)
    command(0x20)
    command(0x0b)
    expect(status()).toBe(0x02)
  })

  it('in special fully nested mode lets the slave interrupt itself', () => {
    init(0x11)
    raise(12); pic.acknowledge()
    raise(9)
    expect(pic.acknowledge()).toBe(0x39)
  })

  it('answers a poll like an acknowledge', () => {
    raise(5)
    command(0x0c)
    expect(status()).toBe(0x85)
    expect(output.level).toBe(false)
    command(0x0b)
    expect(status()).toBe(0x20)
    command(0x0c)
    expect(status()).toBe(0)
  })

  it('probes as an 8259: the mask register reads back', () => {
    data(0xfb); data(0xff, true)
    expect(pic.master.read(1, 1)).toBe(0xfb)
    expect(pic.slave.read(1, 1)).toBe(0xff)
  })
})

describe('8259A properties', () => {
  const step = fc.record({ input: fc.integer({ min: 0, max: 15 }).filter((n) => n !== 2), level: fc.boolean() })
  it('delivers every unmasked input that stays high exactly once per rise, and ends with nothing in service', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      pic = createPicPair({ output: probe() })
      init()
      const up = new Set<number>()
      const wanted: number[] = []
      const got: number[] = []
      for (const { input, level } of steps) {
        if (level && !up.has(input)) wanted.push(input)
        if (level) up.add(input)
        else up.delete(input)
        pic.line(input).set(level)
        if (!pic.pending()) continue
        const vector = pic.acknowledge()
        got.push(vector - 0x30)
        if (vector >= 0x38) command(0x20, true)
        command(0x20)
      }
      expect(got).toEqual(wanted)
      expect(pic.snapshot().chips.map((c) => c.isr)).toEqual([0, 0])
    }))
  })

  it('goes on identically from a snapshot', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      for (const s of steps) pic.line(s.input).set(s.level)
      const copy = createPicPair({ output: probe() })
      copy.restore(JSON.parse(JSON.stringify(pic.snapshot())) as ReturnType<PicPair['snapshot']>)
      expect(copy.pending()).toBe(pic.pending())
      expect(copy.acknowledge()).toBe(pic.acknowledge())
      expect(copy.snapshot()).toEqual(pic.snapshot())
    }))
  })
})
