import { beforeEach, describe, expect, it } from 'vitest'
import { createUart16550, createVirtualClock, SnapshotError, type Uart16550, type VirtualClock } from '../src/index.ts'
import { probe } from './helpers.ts'

const RBR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7
let clock: VirtualClock
let irq: ReturnType<typeof probe>
let sent: number[]
let room: number
let uart: Uart16550
const read = (r: number): number => uart.handlers.read(r, 1)
const write = (r: number, v: number): void => { uart.handlers.write(r, 1, v) }
const text = (s: string): number[] => Array.from(s, (c) => c.charCodeAt(0))
/** DTR, RTS and OUT2, as a driver sets them. */
const open = (): void => { write(MCR, 0x0b) }

beforeEach(() => {
  clock = createVirtualClock()
  irq = probe()
  sent = []
  room = 0
  uart = createUart16550({ clock, irq, onTransmit: (b) => sent.push(b), onReceiveRoom: () => { room += 1 } })
})

describe('16550A transmitter', () => {
  it('sends what is written to THR and is always empty', () => {
    text('ok').forEach((c) => { write(RBR, c) })
    expect(sent).toEqual(text('ok'))
    expect(read(LSR) & 0x60).toBe(0x60)
  })

  it('raises THRE when its interrupt is enabled with an empty holding register', () => {
    open()
    write(IER, 2)
    expect(irq.level).toBe(true)
    expect(read(IIR)).toBe(0x02)
  })

  it('clears THRE by reading IIR, and only when IIR named it', () => {
    open()
    write(IER, 2)
    read(IIR)
    expect(irq.level).toBe(false)
    expect(read(IIR)).toBe(0x01)
  })

  it('raises THRE again after the next byte', () => {
    open()
    write(IER, 2)
    read(IIR)
    write(RBR, 65)
    expect(irq.level).toBe(true)
  })

  it('keeps THRE pending while a source of higher priority is identified', () => {
    open()
    write(IER, 3)
    uart.receive([1])
    expect(read(IIR)).toBe(0x04)
    read(RBR)
    expect(read(IIR)).toBe(0x02)
  })
})

describe('16550A receiver', () => {
  it('gives the bytes in order and says DR while there are any', () => {
    open()
    write(FCR, 1)
    expect(uart.receive(text('abc'))).toBe(3)
    expect(read(LSR) & 1).toBe(1)
    expect([read(RBR), read(RBR), read(RBR)]).toEqual(text('abc'))
    expect(read(LSR) & 1).toBe(0)
  })

  it('takes one byte without FIFOs and sixteen with them, and refuses the rest instead of losing it', () => {
    open()
    expect(uart.receive(text('xy'))).toBe(1)
    expect(read(RBR)).toBe(120)
    write(FCR, 1)
    expect(uart.receive(new Uint8Array(40))).toBe(16)
    expect(uart.receive([1])).toBe(0)
    expect(read(LSR) & 2).toBe(0)
    const before = room
    read(RBR)
    expect(room).toBe(before + 1)
    expect(uart.receive([1])).toBe(1)
  })

  it('interrupts at the trigger level, and below it after four idle character times', () => {
    open()
    write(LCR, 0x83); write(0, 1); write(1, 0); write(LCR, 0x03)
    write(FCR, 0x41)
    write(IER, 1)
    uart.receive([1, 2, 3])
    expect(irq.level).toBe(false)
    const due = Math.ceil(40e9 / 115_200)
    clock.advanceTo(due - 1)
    expect(irq.level).toBe(false)
    clock.advanceTo(due)
    expect(read(IIR)).toBe(0xcc)
    uart.receive([4])
    expect(read(IIR)).toBe(0xc4)
    read(RBR)
    expect(irq.level).toBe(false)
  })

  it('holds input back until the driver is ready, so that its FIFO reset loses nothing', () => {
    expect(uart.receive([1])).toBe(0)
    write(FCR, 7)
    expect(room).toBe(0)
    open()
    expect(room).toBe(1)
    expect(uart.receive([1])).toBe(1)
  })

  it('takes input for a guest that polls the line status', () => {
    for (let i = 0; i < 7; i++) read(LSR)
    expect(uart.receive([1])).toBe(0)
    read(LSR)
    expect(room).toBe(1)
    expect(uart.receive([1])).toBe(1)
  })

  it('reports a break with its zero byte and clears the report when the status is read', () => {
    open()
    write(FCR, 1)
    write(IER, 4)
    uart.receiveBreak()
    expect(read(IIR)).toBe(0xc6)
    expect(read(LSR)).toBe(0xf1)
    expect(read(LSR)).toBe(0x61)
    expect(read(RBR)).toBe(0)
  })

  it('clears the receiver when the FIFOs are switched on or off', () => {
    open()
    uart.receive([7])
    write(FCR, 1)
    expect(read(LSR) & 1).toBe(0)
  })
})

describe('16550A modem and loopback', () => {
  it('shows the outputs as inputs in loopback: DTR as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD', () => {
    for (const [mcr, msr] of [[0x11, 0x20], [0x12, 0x10], [0x14, 0x40], [0x18, 0x80], [0x1f, 0xf0]]) {
      write(MCR, mcr)
      expect(read(MSR) & 0xf0).toBe(msr)
    }
  })

  it('receives its own bytes in loopback, sends none, and overruns', () => {
    write(MCR, 0x10)
    write(RBR, 0x55)
    expect(sent).toEqual([])
    write(RBR, 0x66)
    expect(read(LSR) & 0x03).toBe(0x03)
    expect(read(RBR)).toBe(0x66)
  })

  it('interrupts on a modem change, and reading MSR clears the deltas', () => {
    open()
    read(MSR)
    write(IER, 8)
    expect(irq.level).toBe(false)
    uart.setModemLines({ cts: false, dsr: true, ri: false, dcd: true })
    expect(irq.level).toBe(true)
    expect(read(IIR)).toBe(0)
    expect(read(MSR)).toBe(0xa1)
    expect(irq.level).toBe(false)
  })

  it('marks only the trailing edge of a ring', () => {
    read(MSR)
    uart.setModemLines({ cts: true, dsr: true, ri: true, dcd: true })
    expect(read(MSR) & 0x0f).toBe(0)
    uart.setModemLines({ cts: true, dsr: true, ri: false, dcd: true })
    expect(read(MSR) & 0x0f).toBe(4)
  })

  it('keeps the interrupt off the bus unless OUT2 is set and loopback is off', () => {
    write(IER, 2)
    expect(irq.level).toBe(false)
    write(MCR, 0x18)
    expect(irq.level).toBe(false)
    write(MCR, 0x08)
    expect(irq.level).toBe(true)
  })
})

describe('16550A registers', () => {
  it('identifies itself as a 16550A: FIFO bits in IIR, scratch register, four IER bits', () => {
    write(FCR, 1)
    expect(read(IIR) >> 6).toBe(3)
    write(SCR, 0xae)
    expect(read(SCR)).toBe(0xae)
    write(IER, 0xff)
    expect(read(IER)).toBe(0x0f)
  })

  it('shows the divisor latch under DLAB', () => {
    write(LCR, 0x80); write(0, 0x34); write(1, 0x12)
    expect(uart.handlers.read(0, 2)).toBe(0x1234)
    write(LCR, 0)
    expect(read(1)).toBe(0)
  })

  it('goes on from a snapshot as if nothing had happened', () => {
    open()
    write(FCR, 0x81)
    write(IER, 1)
    uart.receive([9, 8])
    const saved = JSON.parse(JSON.stringify(uart.snapshot())) as ReturnType<Uart16550['snapshot']>
    const clock2 = createVirtualClock({ start: clock.now() })
    const irq2 = probe()
    const copy = createUart16550({ clock: clock2, irq: irq2, onTransmit: () => undefined })
    copy.restore(saved)
    clock2.advanceTo(1e9)
    expect(irq2.level).toBe(true)
    expect([copy.handlers.read(0, 1), copy.handlers.read(0, 1)]).toEqual([9, 8])
  })

  it('refuses a damaged snapshot by the name of the field', () => {
    const saved = { ...uart.snapshot(), fifo: [1, 2] }
    expect(() => { uart.restore(saved) }).toThrow(SnapshotError)
    expect(() => { uart.restore(saved) }).toThrow("'fifo': expected 16 items")
  })
})
