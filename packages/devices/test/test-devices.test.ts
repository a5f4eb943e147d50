import { createIoBus } from '@cofferdam/memory'
import { describe, expect, it } from 'vitest'
import { createMapper, createPciTestdev, createPcTestdev, type PcTestdevSnapshot } from '../src/index.ts'
import { probe } from './helpers.ts'

describe('pc-testdev', () => {
  const lines = Array.from({ length: 24 }, probe)
  const device = createPcTestdev({ line: (n) => lines[n] })

  it('keeps a word that is read in any width', () => {
    device.ports.write(0, 4, 0x1234_5678)
    device.ports.write(1, 1, 0xaa)
    expect([device.ports.read(0, 4), device.ports.read(2, 2)]).toEqual([0x1234_aa78, 0x1234])
  })

  it('raises and lowers interrupt lines', () => {
    device.irqLines.write(10, 1, 1)
    expect(lines[10].level).toBe(true)
    device.irqLines.write(10, 1, 0)
    expect(lines[10].level).toBe(false)
  })

  it('has memory of its own, and both are in the snapshot', () => {
    device.memory.write(0xffff, 1, 0x42)
    const saved = JSON.parse(JSON.stringify(device.snapshot())) as PcTestdevSnapshot
    const copy = createPcTestdev({ line: probe })
    copy.restore(saved)
    expect([copy.memory.read(0xffff, 1), copy.ports.read(0, 4)]).toEqual([0x42, 0x1234_aa78])
    expect(() => { copy.restore({ ...saved, buffer: 'x' }) }).toThrow("'buffer'")
  })
})

describe('pci-testdev', () => {
  const memory = createIoBus(2 ** 40)
  const device = createPciTestdev({ mapper: createMapper({ ports: createIoBus(0x1_0000), memory }) })
  device.writeConfig(0x10, 4, 0xe000_0000)
  device.writeConfig(4, 2, 2)
  const read = (offset: number): number => memory.read(0xe000_0000 + offset, 4)
  const write = (offset: number, value: number): void => { memory.write(0xe000_0000 + offset, 1, value) }
  const name = (): string => {
    let text = ''
    for (let i = 16; memory.read(0xe000_0000 + i, 1) !== 0; i++) {
      text += String.fromCharCode(memory.read(0xe000_0000 + i, 1))
    }
    return text
  }

  it('describes the test that was started, and reads 0 when there is none', () => {
    expect(read(4)).toBe(0)
    write(0, 1)
    expect([name(), read(4), read(8), read(12)]).toEqual(['mmio-wildcard-eventfd', 2049, 0xce, 0])
    write(0, 3)
    expect(read(4)).toBe(0)
  })

  it('counts the writes that the test asks for', () => {
    write(0, 0)
    write(2048, 0xfa); write(2048, 0xfb); write(2049, 0xfa)
    expect(read(12)).toBe(1)
    const saved = JSON.parse(JSON.stringify(device.snapshot())) as ReturnType<typeof device.snapshot>
    write(0, 1)
    device.restore(saved)
    expect([name(), read(12)]).toEqual(['mmio-no-eventfd', 1])
  })
})
