import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { createIoApic, type InterruptMessage, type IoApic, IOAPIC_PINS } from '../src/index.ts'

let sent: InterruptMessage[]
let accepts: boolean
let apic: IoApic
const write = (register: number, value: number): void => {
  apic.handlers.write(0, 4, register)
  apic.handlers.write(0x10, 4, value)
}
const read = (register: number): number => {
  apic.handlers.write(0, 4, register)
  return apic.handlers.read(0x10, 4)
}
const entry = (pin: number, low: number, high = 0): void => {
  write(0x11 + 2 * pin, high)
  write(0x10 + 2 * pin, low)
}
const set = (pin: number, level: boolean): void => { apic.line(pin).set(level) }

beforeEach(() => {
  sent = []
  accepts = true
  apic = createIoApic({ deliver: (m) => { sent.push(m); return accepts } })
})

describe('I/O APIC registers', () => {
  it('says version 20h with 24 entries, and has all pins masked', () => {
    expect(read(1)).toBe(0x0017_0020)
    for (let pin = 0; pin < IOAPIC_PINS; pin++) expect(read(0x10 + 2 * pin)).toBe(0x1_0000)
  })

  it('keeps its id', () => {
    write(0, 0x0500_0000)
    expect(read(0)).toBe(0x0500_0000)
    write(1, 0)
    expect(read(1)).toBe(0x0017_0020)
  })

  it('keeps delivery status and remote IRR from being written', () => {
    entry(3, 0xffff_ffff, 0xffff_ffff)
    expect(read(0x16)).toBe(0x0001_afff)
    expect(read(0x17)).toBe(0xfffe_0000)
  })
})

describe('I/O APIC edges', () => {
  it('sends one message per rising edge', () => {
    entry(4, 0x0034, 0x0200_0000)
    set(4, true); set(4, true); set(4, false); set(4, true)
    expect(sent).toEqual([1, 2].map(() => ({ mode: 0, vector: 0x34, level: false, destination: 2, logical: false })))
  })

  it('drops edges on a masked pin', () => {
    entry(4, 0x1_0034)
    set(4, true)
    entry(4, 0x0034)
    expect(sent).toEqual([])
  })

  it('turns a destination of FFh into a broadcast, but not a logical one', () => {
    entry(1, 0x0041, 0xff00_0000); set(1, true)
    entry(2, 0x0942, 0xff00_0000); set(2, true)
    expect(sent.map((m) => [m.destination, m.logical, m.mode])).toEqual([[0xffff_ffff, false, 0], [0xff, true, 1]])
  })

  it('delivers ExtINT and NMI as edges', () => {
    entry(0, 0x0700); set(0, true)
    entry(5, 0x8400); set(5, true)
    expect(sent.map((m) => [m.mode, m.level])).toEqual([[7, false], [4, false]])
  })
})

describe('I/O APIC levels', () => {
  beforeEach(() => { entry(16, 0xa050) })

  it('sends once and sets remote IRR until the EOI of its vector', () => {
    set(16, true)
    expect(read(0x30)).toBe(0xe050)
    set(16, false); set(16, true)
    expect(sent.length).toBe(1)
    apic.endOfInterrupt(0x51)
    expect(sent.length).toBe(1)
    apic.endOfInterrupt(0x50)
    expect(sent.length).toBe(2)
    set(16, false)
    apic.handlers.write(0x40, 4, 0x50)
    expect(sent.length).toBe(2)
    expect(read(0x30)).toBe(0xa050)
  })

  it('sends when a pin that is asserted is unmasked', () => {
    entry(16, 0x1_a050)
    set(16, true)
    expect(sent.length).toBe(0)
    entry(16, 0xa050)
    expect(sent.length).toBe(1)
  })

  it('keeps remote IRR over a write, and loses it when the pin is made edge triggered', () => {
    set(16, true)
    entry(16, 0x1_a050)
    expect(read(0x30)).toBe(0x1_e050)
    entry(16, 0x1_2050)
    entry(16, 0xa050)
    expect(sent.length).toBe(2)
  })

  it('does not wait for the EOI of a message that nobody accepted', () => {
    accepts = false
    set(16, true)
    expect(read(0x30)).toBe(0xa050)
  })
})

describe('I/O APIC properties', () => {
  it('a level pin never has two messages without an EOI between, and none is lost while it is asserted', () => {
    const step = fc.constantFrom('up', 'down', 'eoi', 'mask', 'unmask')
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let inService = false
      apic = createIoApic({ deliver: () => { expect(inService).toBe(false); inService = true; return true } })
      entry(20, 0xa060)
      let level = false
      let masked = false
      for (const s of steps) {
        if (s === 'up' || s === 'down') { level = s === 'up'; set(20, level) }
        if (s === 'eoi') { inService = false; apic.endOfInterrupt(0x60) }
        if (s === 'mask' || s === 'unmask') { masked = s === 'mask'; entry(20, masked ? 0x1_a060 : 0xa060) }
        if (level && !masked) expect(inService).toBe(true)
      }
      const copy = createIoApic({ deliver: () => true })
      copy.restore(JSON.parse(JSON.stringify(apic.snapshot())) as ReturnType<IoApic['snapshot']>)
      expect(copy.snapshot()).toEqual(apic.snapshot())
    }))
  })
})
