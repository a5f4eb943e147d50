import { createIoBus, type IoBus, type IoHandlers } from '@cofferdam/memory'
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  type BarSpec, createIch9Lpc, createMapper, createPciBridge, createPciBus, createPciFunction, createPciHost,
  createPirqRouter, createQ35HostBridge, type Mapper, type PciBridge, type PciBus, type PciFunctionCore,
  type PciHost, pirqOfSlot,
  Q35_MMIO, SnapshotError, swizzle,
} from '../src/index.ts'
import { probe } from './helpers.ts'

let ports: IoBus
let memory: IoBus
let conflicts: string[]
let mapper: Mapper
let bus: PciBus
let host: PciHost
const nothing: IoHandlers = { read: (offset) => offset, write: () => undefined }

const address = (slot: number, fn: number, offset: number): number =>
  (0x8000_0000 | slot << 11 | fn << 8 | offset & 0xfc) >>> 0
const read = (slot: number, offset: number, size: 1 | 2 | 4 = 4, fn = 0): number => {
  ports.write(0xcf8, 4, address(slot, fn, offset))
  return ports.read(0xcfc + (offset & 3), size)
}
const write = (slot: number, offset: number, value: number, size: 1 | 2 | 4 = 4, fn = 0): void => {
  ports.write(0xcf8, 4, address(slot, fn, offset))
  ports.write(0xcfc + (offset & 3), size, value)
}
const device = (name: string, bars: BarSpec[], more: object = {}): PciFunctionCore =>
  createPciFunction({ name, vendor: 0x1234, device: 0x5678, classCode: 0x02_0000, bars, mapper, ...more })

beforeEach(() => {
  ports = createIoBus(0x1_0000)
  memory = createIoBus(2 ** 46)
  conflicts = []
  mapper = createMapper({ ports, memory, onConflict: (name) => conflicts.push(name) })
  bus = createPciBus()
  host = createPciHost({ bus, resetPort: { read: () => 0x5a, write: () => undefined } })
  ports.attach({ name: 'PCI', start: 0xcf8, length: 8, handlers: host.ports })
})

describe('configuration mechanism #1', () => {
  it('is found as Linux probes for it', () => {
    ports.write(0xcfb, 1, 1)
    ports.write(0xcf8, 4, 0x8000_0000)
    expect(ports.read(0xcf8, 4)).toBe(0x8000_0000)
  })

  it('reads all ones where nobody is, and while it is disabled', () => {
    bus.add(3, 0, device('a', []))
    expect(read(3, 0)).toBe(0x5678_1234)
    expect(read(4, 0)).toBe(0xffff_ffff)
    expect(read(3, 0, 2, 1)).toBe(0xffff)
    ports.write(0xcf8, 4, address(3, 0, 0) & 0x7fff_ffff)
    expect(ports.read(0xcfc, 4)).toBe(0xffff_ffff)
  })

  it('reads parts of a register at their bytes', () => {
    bus.add(3, 0, device('a', []))
    expect([read(3, 2, 2), read(3, 1, 1), read(3, 0x0b, 1)]).toEqual([0x5678, 0x12, 2])
  })

  it('leaves port CF9h to the reset control', () => { expect(ports.read(0xcf9, 1)).toBe(0x5a) })
})

describe('a function', () => {
  it('keeps its identity whatever is written', () => {
    const f = device('a', [], { subsystem: 0xabcd, interruptPin: 2 })
    bus.add(1, 0, f)
    for (let offset = 0; offset < 256; offset += 4) write(1, offset, 0xffff_ffff)
    expect([read(1, 0), read(1, 8) >>> 8, read(1, 0x2c), read(1, 0x3d, 1)])
      .toEqual([0x5678_1234, 0x02_0000, 0xabcd_0000, 2])
  })

  it('tells the size of its BARs, and has none beyond them', () => {
    bus.add(1, 0, device('a', [
      { index: 0, kind: 'io', size: 32, handlers: nothing },
      { index: 1, kind: 'memory32', size: 4096, handlers: nothing },
      { index: 2, kind: 'memory64', size: 2 ** 33, prefetchable: true, handlers: nothing },
    ]))
    for (let bar = 0; bar < 6; bar++) write(1, 0x10 + 4 * bar, 0xffff_ffff)
    expect([0, 1, 2, 3, 4, 5].map((bar) => read(1, 0x10 + 4 * bar)))
      .toEqual([0xffff_ffe1, 0xffff_f000, 0x0000_000c, 0xffff_fffe, 0, 0])
  })

  it('decodes a BAR where it is placed, while decoding is on, and follows it', () => {
    bus.add(1, 0, device('a', [{ index: 0, kind: 'memory64', size: 4096, handlers: nothing }]))
    write(1, 0x10, 0xe000_0000)
    expect(memory.find(0xe000_0010)).toBeUndefined()
    write(1, 4, 2, 2)
    expect(memory.read(0xe000_0010, 4)).toBe(0x10)
    write(1, 0x14, 0x10)
    expect(memory.find(0xe000_0010)).toBeUndefined()
    expect(memory.read(0x10_e000_0024, 4)).toBe(0x24)
    write(1, 4, 0, 2)
    expect(memory.find(0x10_e000_0024)).toBeUndefined()
  })

  it('does not decode a BAR that lies on another device, until that one moves away', () => {
    bus.add(1, 0, device('a', [{ index: 0, kind: 'io', size: 16, handlers: nothing }]))
    bus.add(2, 0, device('b', [{ index: 0, kind: 'io', size: 16, handlers: nothing }]))
    write(1, 0x10, 0xc000); write(1, 4, 1, 2)
    write(2, 0x10, 0xc000); write(2, 4, 1, 2)
    expect(conflicts).toEqual(['b BAR 0'])
    expect(ports.find(0xc000)?.name).toBe('a BAR 0')
    write(1, 0x10, 0xd000)
    expect(ports.find(0xc000)?.name).toBe('b BAR 0')
  })

  it('survives being sized while it decodes', () => {
    bus.add(1, 0, device('a', [{ index: 0, kind: 'memory64', size: 4096, handlers: nothing }]))
    write(1, 4, 2, 2)
    write(1, 0x10, 0xffff_ffff); write(1, 0x14, 0xffff_ffff)
    write(1, 0x10, 0xe000_0000); write(1, 0x14, 0)
    expect(memory.find(0xe000_0000)?.name).toBe('a BAR 0')
  })

  it('drives INTx unless the command register forbids it', () => {
    const intx = probe()
    const f = device('a', [], { interruptPin: 1, intx })
    bus.add(1, 0, f)
    f.setIntx(true)
    expect([intx.level, read(1, 6, 2) & 8]).toEqual([true, 8])
    write(1, 4, 0x400, 2)
    expect([intx.level, read(1, 6, 2) & 8]).toEqual([false, 8])
  })

  it('is restored by a snapshot, BARs included', () => {
    const make = (): void => { bus.add(1, 0, device('a', [{ index: 0, kind: 'io', size: 16, handlers: nothing }])) }
    make()
    write(1, 0x10, 0xc000); write(1, 4, 1, 2)
    const saved = JSON.parse(JSON.stringify(host.snapshot())) as ReturnType<PciHost['snapshot']>
    ports = createIoBus(0x1_0000)
    mapper = createMapper({ ports, memory })
    bus = createPciBus()
    host = createPciHost({ bus })
    make()
    expect(() => { host.restore({ ...saved, functions: {} }) }).toThrow("'functions.01.0'")
    expect(() => { host.restore({ address: 0 } as never) }).toThrow(SnapshotError)
    host.restore(saved)
    expect(ports.find(0xc00f)?.name).toBe('a BAR 0')
    host.reset()
    expect(ports.find(0xc00f)).toBeUndefined()
  })
})

describe('ECAM and the host bridge', () => {
  beforeEach(() => {
    bus.add(0, 0, createQ35HostBridge({ mapper, ecam: host.ecam, ecamBase: Q35_MMIO.ecam.start }))
    bus.add(2, 1, device('a', []))
  })

  it('shows every function at bus, device, function', () => {
    expect(memory.read(0xb000_0000, 4)).toBe(0x29c0_8086)
    expect(memory.read(0xb001_1002, 2)).toBe(0x5678)
    expect(memory.read(0xb001_2000, 4)).toBe(0xffff_ffff)
    expect(memory.read(0xb001_1100, 4)).toBe(0)
  })

  it('moves with PCIEXBAR and shrinks with its length', () => {
    write(0, 0x60, 0)
    write(0, 0x64, 0)
    expect(memory.find(0xb000_0000)).toBeUndefined()
    write(0, 0x60, 0xe000_0003)
    expect(memory.read(0xe000_0000, 4)).toBe(0x29c0_8086)
    expect(memory.ranges().map((r) => r.length)).toEqual([0x0800_0000])
  })
})

describe('bridges', () => {
  it('pass accesses to the buses that they were given', () => {
    const behind = createPciBus()
    bus.add(4, 0, createPciBridge({ name: 'bridge', secondary: behind, mapper }))
    behind.add(5, 0, device('b', []))
    const at = (number: number, slot: number): number => host.ecam.read(number << 20 | slot << 15, 4)
    expect(at(1, 5)).toBe(0xffff_ffff)
    write(4, 0x18, 0x0002_0100)
    expect(at(1, 5)).toBe(0x5678_1234)
    expect(at(2, 5)).toBe(0xffff_ffff)
    expect(read(4, 0x0e, 1)).toBe(1)
  })
})

describe('a bridge and what is behind it', () => {
  let bridge: PciBridge
  let behind: PciBus
  const bar = (index: number, kind: BarSpec['kind'], size: number): BarSpec =>
    ({ index, kind, size, handlers: nothing })
  const at = (offset: number): number => 5 << 15 | 1 << 20 | offset
  const child = (offset: number, value: number): void => { host.ecam.write(at(offset), 4, value) }
  beforeEach(() => {
    behind = createPciBus()
    bridge = createPciBridge({ name: 'bridge', secondary: behind, mapper })
    bus.add(4, 0, bridge)
    behind.add(5, 0, createPciFunction({
      name: 'b', vendor: 1, device: 2, classCode: 0, mapper: bridge.mapper,
      bars: [bar(0, 'memory32', 0x1000), bar(1, 'io', 0x20), bar(2, 'memory64', 0x1000)],
    }))
    write(4, 0x18, 0x0001_0100)
    child(0x10, 0xc010_0000)
    child(0x14, 0x2000)
    child(0x18, 0x4000_0000)
    child(0x1c, 2)
    child(4, 3)
  })
  const found = (): boolean[] =>
    [memory.find(0xc010_0000), ports.find(0x2000), memory.find(0x2_4000_0000)].map((range) => range !== undefined)

  it('decodes BARs behind it inside its windows only, while its command register lets it', () => {
    expect(found()).toEqual([false, false, false])
    write(4, 4, 3)
    write(4, 0x20, 0xc010_c010)
    expect(found()).toEqual([true, false, false])
    write(4, 0x1c, 0x2121, 2)
    expect(found()).toEqual([true, true, false])
    write(4, 0x24, 0x4001_4001)
    write(4, 0x28, 2)
    write(4, 0x2c, 2)
    expect(found()).toEqual([true, true, true])
    write(4, 4, 1)
    expect(found()).toEqual([false, true, false])
    write(4, 4, 3)
    write(4, 0x20, 0xc000_c010)
    expect(found()[0]).toBe(false)
  })

  it('follows a BAR that moves out of a window, and in again', () => {
    write(4, 4, 3)
    write(4, 0x20, 0xc010_c010)
    child(0x10, 0xc020_0000)
    expect([found()[0], memory.find(0xc020_0000)]).toEqual([false, undefined])
    child(0x10, 0xc010_0000)
    expect(found()[0]).toBe(true)
  })

  it('lets devices reach memory while it may master the bus', () => {
    expect(bridge.forwardsUpstream()).toBe(false)
    write(4, 4, 4)
    expect(bridge.forwardsUpstream()).toBe(true)
  })

  it('resets the bus behind it when told to (3.2.5.17), and by its own reset', () => {
    write(4, 0x3e, 0x40, 2)
    expect(host.ecam.read(at(0x10), 4)).toBe(0)
    child(0x10, 0xc010_0000)
    write(4, 0x3e, 0x40, 2)
    expect(host.ecam.read(at(0x10), 4)).toBe(0xc010_0000)
    bridge.reset()
    write(4, 0x18, 0x0001_0100)
    expect(host.ecam.read(at(0x10), 4)).toBe(0)
  })

  it('has the functions behind it in its snapshot', () => {
    write(4, 4, 3)
    write(4, 0x20, 0xc010_c010)
    const saved = JSON.parse(JSON.stringify(host.snapshot())) as ReturnType<typeof host.snapshot>
    host.reset()
    expect(found()).toEqual([false, false, false])
    host.restore(saved)
    expect([...found(), host.ecam.read(at(0x10), 4)]).toEqual([true, false, false, 0xc010_0000])
    const { functions, ...other } = bridge.snapshot()
    expect(Object.keys(functions ?? {})).toEqual(['5.0'])
    expect(() => { bridge.restore(other) }).toThrow("bridge: snapshot field 'functions.5.0'")
  })
})

describe('PIRQ routing', () => {
  it('uses E–H for slots below 25 and A–D above, rotating by slot', () => {
    expect([pirqOfSlot(0, 1), pirqOfSlot(1, 1), pirqOfSlot(3, 2), pirqOfSlot(31, 1), pirqOfSlot(31, 4)])
      .toEqual([4, 5, 4, 0, 3])
    expect([swizzle(0, 1), swizzle(3, 2)]).toEqual([1, 1])
  })

  it('ORs the sources of a line, at the I/O APIC and where the PIC is routed', () => {
    const io = Array.from({ length: 24 }, probe)
    const pic = Array.from({ length: 16 }, probe)
    const router = createPirqRouter({ ioapic: (n) => io[n], pic: (n) => pic[n] })
    const a = router.source(5)
    const b = router.source(5)
    const c = router.source(6)
    router.setRoute(5, 11)
    router.setRoute(6, 11)
    a.set(true); b.set(true); c.set(true); a.set(false)
    expect([io[21].level, io[22].level, pic[11].level]).toEqual([true, true, true])
    b.set(false)
    expect([io[21].level, pic[11].level]).toEqual([false, true])
    c.set(false)
    expect(pic[11].level).toBe(false)
    c.set(true)
    router.setRoute(6, 0x80)
    expect(pic[11].level).toBe(false)
    router.setRoute(6, 13)
    expect(pic[13].level).toBe(false)
  })
})

describe('the LPC bridge', () => {
  it('places the power-management ports and follows PMBASE and its enable', () => {
    const router = createPirqRouter({ ioapic: () => probe(), pic: () => probe() })
    bus.add(31, 0, createIch9Lpc({ mapper, pm: nothing, pirq: router, pmBase: 0x600 }))
    expect(ports.read(0x608, 4)).toBe(8)
    write(31, 0x40, 0x0b01)
    expect([ports.find(0x608), ports.find(0xb08)?.name]).toEqual([undefined, 'ACPI power management'])
    write(31, 0x44, 0, 1)
    expect(ports.find(0xb08)).toBeUndefined()
  })

  it('has a root complex block that keeps routes and reads 0 elsewhere', () => {
    const router = createPirqRouter({ ioapic: () => probe(), pic: () => probe() })
    const make = () => createIch9Lpc({ mapper, pm: nothing, pirq: router })
    const lpc = make()
    bus.add(31, 0, lpc)
    write(31, 0xf0, 0xfed1_c001)
    memory.write(0xfed1_f140, 2, 0x3210)
    memory.write(0xfed1_c000, 4, 1)
    expect([memory.read(0xfed1_f140, 4), memory.read(0xfed1_c000, 4)]).toEqual([0x3210, 0])
    const saved = JSON.parse(JSON.stringify(lpc.snapshot())) as ReturnType<typeof lpc.snapshot>
    memory.write(0xfed1_f140, 2, 0)
    lpc.restore(saved)
    expect(memory.read(0xfed1_f140, 4)).toBe(0x3210)
  })
})

describe('survival', () => {
  it('takes any configuration writes without failing', () => {
    const op = fc.record({
      slot: fc.constantFrom(0, 1, 4, 31), offset: fc.nat(255), size: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
      value: fc.nat(0xffff_ffff),
    })
    fc.assert(fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
      ports = createIoBus(0x1_0000)
      memory = createIoBus(2 ** 46)
      mapper = createMapper({ ports, memory })
      bus = createPciBus()
      host = createPciHost({ bus })
      ports.attach({ name: 'PCI', start: 0xcf8, length: 8, handlers: host.ports })
      const router = createPirqRouter({ ioapic: () => probe(), pic: () => probe() })
      bus.add(0, 0, createQ35HostBridge({ mapper, ecam: host.ecam }))
      bus.add(1, 0, device('a', [
        { index: 0, kind: 'io', size: 64, handlers: nothing },
        { index: 4, kind: 'memory64', size: 4096, handlers: nothing },
      ]))
      bus.add(4, 0, createPciBridge({ name: 'bridge', secondary: createPciBus(), mapper }))
      bus.add(31, 0, createIch9Lpc({ mapper, pm: nothing, pirq: router, pmBase: 0x600 }))
      for (const o of ops) {
        host.ecam.write(o.slot << 15 | o.offset & -o.size, o.size, o.value)
        host.ecam.read(o.slot << 15 | o.offset & -o.size, o.size)
      }
      expect(host.ecam.read(0, 4)).toBe(0x29c0_8086)
      expect(ports.find(0xcf8)?.name).toBe('PCI')
    }))
  })
})
