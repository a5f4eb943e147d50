import { createIoBus } from '@cofferdam/memory'
import { describe, expect, it } from 'vitest'
import { createMapper, createPciBus, createPciFunction, createPciTestdev, placeBars } from '../src/index.ts'

const windows = { memory: { start: 0xc000_0000, length: 0x10_0000 }, ports: { start: 0xc000, length: 0x400 } }
const registers = { read: () => 0x77, write: () => undefined }

const board = () => {
  const ports = createIoBus(0x1_0000)
  const memory = createIoBus(2 ** 46)
  return { ports, memory, mapper: createMapper({ ports, memory }), bus: createPciBus() }
}

describe('BARs as firmware leaves them', () => {
  it('lie in their windows, aligned to their size, and are decoded', () => {
    const { ports, memory, mapper, bus } = board()
    bus.add(1, 0, createPciTestdev({ mapper }))
    bus.add(2, 0, createPciFunction({
      name: 'card', vendor: 1, device: 2, classCode: 0x02_0000, mapper,
      bars: [
        { index: 0, kind: 'memory64', size: 0x1_0000, handlers: registers },
        { index: 2, kind: 'io', size: 64, handlers: registers },
      ],
    }))
    placeBars(bus, windows)
    expect(memory.ranges().map(({ start, length }) => [start, length]))
      .toEqual([[0xc000_0000, 4096], [0xc001_0000, 0x1_0000]])
    expect(ports.ranges().map(({ start, length }) => [start, length])).toEqual([[0xc000, 256], [0xc100, 64]])
    expect(memory.read(0xc001_0000, 1)).toBe(0x77)
  })

  it('leave a function without room switched off', () => {
    const { memory, mapper, bus } = board()
    bus.add(1, 0, createPciFunction({
      name: 'large', vendor: 1, device: 2, classCode: 0, mapper,
      bars: [{ index: 0, kind: 'memory32', size: 0x20_0000, handlers: registers }],
    }))
    placeBars(bus, windows)
    expect(memory.ranges()).toEqual([])
    expect(bus.get(1, 0)?.readConfig(4, 2)).toBe(0)
  })

  it('leave functions without BARs as they are', () => {
    const { bus } = board()
    bus.add(1, 0, createPciFunction({ name: 'bare', vendor: 1, device: 2, classCode: 0 }))
    placeBars(bus, windows)
    expect(bus.get(1, 0)?.readConfig(4, 2)).toBe(0)
  })
})
