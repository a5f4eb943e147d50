import { beforeEach, describe, expect, it } from 'vitest'
import { createResetControl, type ResetControl } from '../src/index.ts'

let resets: string[]
let control: ResetControl
beforeEach(() => {
  resets = []
  control = createResetControl({ onReset: (source) => resets.push(source) })
})

describe('reset', () => {
  it('happens when RST_CPU of CF9h rises', () => {
    control.cf9.write(0, 1, 0x02)
    expect(resets).toEqual([])
    control.cf9.write(0, 1, 0x06)
    control.cf9.write(0, 1, 0x06)
    expect(resets).toEqual(['cf9'])
    expect(control.cf9.read(0, 1)).toBe(6)
  })

  it('happens by the keyboard controller when output line 0 is pulsed', () => {
    control.command.write(0, 1, 0xff)
    expect(resets).toEqual([])
    control.command.write(0, 1, 0xfe)
    expect(resets).toEqual(['keyboard-controller'])
  })

  it('happens by bit 0 of port 92h, whose bit 1 keeps A20 open', () => {
    expect(control.port92.read(0, 1)).toBe(2)
    control.port92.write(0, 1, 3)
    expect(resets).toEqual(['port-92'])
  })
})

describe('keyboard controller', () => {
  const ask = (command: number): number => {
    control.command.write(0, 1, command)
    expect(control.command.read(0, 1) & 1).toBe(1)
    return control.data.read(0, 1)
  }
  it('passes its self test and reports that no device is attached', () => {
    expect(ask(0xaa)).toBe(0x55)
    expect(ask(0xab)).toBe(0x01)
    expect(ask(0xa9)).toBe(0x01)
    expect(control.command.read(0, 1) & 1).toBe(0)
  })

  it('keeps its command byte', () => {
    control.command.write(0, 1, 0x60)
    control.data.write(0, 1, 0x35)
    expect(ask(0x20)).toBe(0x35)
  })

  it('lets commands to a device go unanswered', () => {
    control.data.write(0, 1, 0xff)
    expect(control.command.read(0, 1) & 1).toBe(0)
  })

  it('answers the mouse loop wrongly, so that nobody looks for a mouse', () => {
    control.command.write(0, 1, 0xd3)
    control.data.write(0, 1, 0x5a)
    expect(control.data.read(0, 1)).toBe(0xa5)
  })

  it('can be absent: all ones, but the reset pulse works', () => {
    control = createResetControl({ onReset: (source) => resets.push(source), keyboardController: 'absent' })
    control.command.write(0, 1, 0xaa)
    expect([control.command.read(0, 1), control.data.read(0, 1)]).toEqual([0xff, 0xff])
    control.command.write(0, 1, 0xfe)
    expect(resets).toEqual(['keyboard-controller'])
  })
})
