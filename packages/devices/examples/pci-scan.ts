/** Builds a Q35 root bus with a network card in slot 3, finds it as a kernel does, and places its BAR. */
import {
  createIch9Lpc, createMapper, createMsixCapability, createPciBus, createPciFunction, createPciHost, createPirqRouter,
  createQ35HostBridge, Q35_MMIO, Q35_PORTS, pirqOfSlot,
} from '@cofferdam/devices'
import { createIoBus, type IoHandlers } from '@cofferdam/memory'

const ports = createIoBus(0x1_0000)
const memory = createIoBus(2 ** 46)
const mapper = createMapper({ ports, memory })
const line = () => ({ set: () => undefined })
const pirq = createPirqRouter({ ioapic: line, pic: line })
const registers: IoHandlers = { read: () => 0xcafe, write: () => undefined }

const bus = createPciBus()
const host = createPciHost({ bus })
ports.attach({ name: 'PCI configuration', ...Q35_PORTS.pciConfig, handlers: host.ports })
bus.add(0, 0, createQ35HostBridge({ mapper, ecam: host.ecam, ecamBase: Q35_MMIO.ecam.start }))
bus.add(31, 0, createIch9Lpc({ mapper, pm: registers, pirq, pmBase: Q35_PORTS.pm.start }))
bus.add(3, 0, createPciFunction({
  name: 'network card',
  vendor: 0x1af4,
  device: 0x1041,
  classCode: 0x02_0000,
  interruptPin: 1,
  intx: pirq.source(pirqOfSlot(3, 1)),
  mapper,
  bars: [{ index: 0, kind: 'memory64', size: 0x4000, handlers: registers }],
  capabilities: [createMsixCapability({
    vectors: 4, bar: 0, tableOffset: 0x2000, pendingOffset: 0x3000, send: () => undefined,
  })],
}))

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')
const configuration = (slot: number, offset: number): number => Q35_MMIO.ecam.start + slot * 0x8000 + offset
for (let slot = 0; slot < 32; slot++) {
  const id = memory.read(configuration(slot, 0), 4)
  if (id === 0xffff_ffff) continue
  const about = memory.read(configuration(slot, 8), 4) >>> 8
  console.log(`00:${hex(slot, 2)}.0 ${hex(id & 0xffff, 4)}:${hex(id >>> 16, 4)} class ${hex(about, 6)}`)
}

memory.write(configuration(3, 0x10), 4, 0xffff_ffff)
const size = (~(memory.read(configuration(3, 0x10), 4) & ~15) >>> 0) + 1
memory.write(configuration(3, 0x10), 4, Q35_MMIO.pciWindow.start)
memory.write(configuration(3, 4), 2, 6)
console.log(`slot 3 BAR 0: ${size / 1024} KiB, reads ${hex(memory.read(Q35_MMIO.pciWindow.start, 4), 4)}`)
