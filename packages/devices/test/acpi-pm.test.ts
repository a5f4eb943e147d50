import { beforeEach, describe, expect, it } from 'vitest'
import { ACPI_PM, type AcpiPm, createAcpiPm, createVirtualClock, PM1, type VirtualClock } from '../src/index.ts'
import { probe } from './helpers.ts'

let clock: VirtualClock
let sci: ReturnType<typeof probe>
let off: number
let slept: number[]
let pm: AcpiPm
const create = (timerBits: 24 | 32 = 24): void => {
  clock = createVirtualClock()
  sci = probe()
  off = 0
  slept = []
  pm = createAcpiPm({ clock, sci, timerBits, onPowerOff: () => { off += 1 }, onSleep: (t) => slept.push(t) })
}
const read = (offset: number, size: 1 | 2 | 4 = 2): number => pm.handlers.read(offset, size)
const write = (offset: number, value: number, size: 1 | 2 | 4 = 2): void => { pm.handlers.write(offset, size, value) }
const ENABLE = 2

beforeEach(() => { create() })

describe('SMIs', () => {
  it('seem to be set up already: there is no SMM for firmware to set up', () => {
    expect(read(ACPI_PM.SMI_ENABLE, 4)).toBe(1 << 5)
  })
})

describe('PM timer', () => {
  it('counts 3.579545 MHz in 24 bits', () => {
    clock.advanceTo(1e9)
    expect(read(ACPI_PM.PM_TIMER, 4)).toBe(3_579_545)
    clock.advanceTo(10e9)
    expect(read(ACPI_PM.PM_TIMER, 4)).toBe(35_795_454 % 2 ** 24)
  })

  it('counts on to 32 bits when it is that wide', () => {
    create(32)
    clock.advanceTo(10e9)
    expect(read(ACPI_PM.PM_TIMER, 4)).toBe(35_795_454)
  })

  it('sets its status when the top bit changes, and interrupts when enabled', () => {
    clock.advanceTo(2e9)
    expect(read(0) & PM1.TIMER).toBe(0)
    clock.advanceTo(2.4e9)
    expect(read(0) & PM1.TIMER).toBe(1)
    expect(sci.level).toBe(false)
    write(0, PM1.TIMER)
    write(ENABLE, PM1.TIMER)
    expect(sci.level).toBe(false)
    clock.advanceTo(4.7e9)
    expect(sci.level).toBe(true)
    write(0, PM1.TIMER)
    expect(sci.level).toBe(false)
  })

  it('arms nothing while its event is disabled', () => {
    expect(clock.next()).toBe(Infinity)
  })
})

describe('PM1 block', () => {
  it('interrupts for an enabled event until its status is cleared by a 1', () => {
    write(ENABLE, PM1.POWER_BUTTON)
    pm.pressPowerButton()
    expect(sci.level).toBe(true)
    write(0, 0)
    expect(sci.level).toBe(true)
    write(1, PM1.POWER_BUTTON >> 8, 1)
    expect(sci.level).toBe(false)
    expect(read(ENABLE)).toBe(PM1.POWER_BUTTON)
  })

  it('powers off when SLP_EN is written with a power-off type, by word or by byte', () => {
    write(ACPI_PM.PM1_CONTROL, 0x2000)
    write(ACPI_PM.PM1_CONTROL + 1, 0x3c, 1)
    expect(off).toBe(2)
    write(ACPI_PM.PM1_CONTROL, 0x2000 | 1 << 10)
    expect(slept).toEqual([1])
    write(ACPI_PM.PM1_CONTROL, 5 << 10)
    expect([off, slept.length]).toEqual([2, 1])
    expect(read(ACPI_PM.PM1_CONTROL)).toBe(5 << 10 | 1)
  })

  it('is in ACPI mode from the start, and port B2h switches', () => {
    write(ENABLE, PM1.POWER_BUTTON)
    pm.apm.write(0, 1, 3)
    expect(read(ACPI_PM.PM1_CONTROL) & 1).toBe(0)
    pm.pressPowerButton()
    expect(sci.level).toBe(false)
    pm.apm.write(0, 1, 2)
    expect(sci.level).toBe(true)
  })
})

describe('GPE0', () => {
  it('has status and enable of 64 events', () => {
    write(ACPI_PM.GPE0 + 12, 1 << 1, 4)
    pm.raiseGpe(33)
    expect(sci.level).toBe(true)
    expect(read(ACPI_PM.GPE0 + 4, 1)).toBe(2)
    write(ACPI_PM.GPE0 + 4, 2, 1)
    expect(sci.level).toBe(false)
  })
})

describe('snapshot', () => {
  it('goes on identically', () => {
    write(ENABLE, PM1.TIMER)
    clock.advanceTo(1e9)
    const saved = JSON.parse(JSON.stringify(pm.snapshot())) as ReturnType<AcpiPm['snapshot']>
    const next = clock.next()
    create()
    clock.advanceTo(1e9)
    pm.restore(saved)
    expect(clock.next()).toBe(next)
  })
})
