/**
 * A PCI-to-PCI bridge. Source: PCI-to-PCI Bridge Architecture Specification 1.2, section 3.2. Configuration accesses
 * pass by bus number; memory and port windows are kept and read back, but devices behind are decoded where their BARs
 * say, windows or not.
 */
import { createPciFunction, type PciFunctionCore } from './function.ts'
import type { PciBus } from './host.ts'

/** Options of {@link createPciBridge}. */
export interface PciBridgeOptions {
  readonly name: string
  /** The bus behind. */
  readonly secondary: PciBus
  readonly vendor?: number
  readonly device?: number
}

const BUS_NUMBERS = 0x18

/** Creates a bridge; QEMU's generic one (1B36:0001) unless told. */
export function createPciBridge(options: PciBridgeOptions): PciFunctionCore {
  const { secondary } = options
  const bridge: PciFunctionCore = createPciFunction({
    name: options.name,
    vendor: options.vendor ?? 0x1b36,
    device: options.device ?? 0x0001,
    classCode: 0x06_0400,
    headerType: 1,
    registers: [
      { offset: BUS_NUMBERS, bytes: [0, 0, 0, 0], writable: [0xff, 0xff, 0xff, 0xff] },
      // I/O base and limit (32-bit decode), memory and prefetchable windows (64-bit).
      { offset: 0x1c, bytes: [0x01, 0x01], writable: [0xf0, 0xf0] },
      { offset: 0x20, bytes: [0, 0, 0, 0, 1, 0, 1, 0], writable: [0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff] },
      { offset: 0x28, bytes: Array.from({ length: 12 }, () => 0), writable: Array.from({ length: 12 }, () => 0xff) },
      { offset: 0x3e, bytes: [0, 0], writable: [0xff, 0x0f] },
    ],
    bridge: {
      secondary: () => bridge.get(BUS_NUMBERS + 1, 1),
      subordinate: () => bridge.get(BUS_NUMBERS + 2, 1),
      find: (bus, device, fn) => secondary.find(bridge.get(BUS_NUMBERS + 1, 1), bus, device, fn),
    },
  })
  return bridge
}
