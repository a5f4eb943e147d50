/**
 * A PCI-to-PCI bridge. Source: PCI-to-PCI Bridge Architecture Specification 1.2, chapters 3 and 4. Configuration
 * accesses pass by bus number. Accesses to devices behind pass through the bridge's windows, which `mapper` holds their
 * BARs to; their own accesses and messages pass while the bridge may master the bus.
 */
import { restorePlain, SnapshotError } from '../snapshot.ts'
import { createPciFunction, PCI_COMMAND, type PciFunctionCore, type PciFunctionSnapshot } from './function.ts'
import type { PciBus } from './host.ts'
import type { Mapper, MovableRegion, Placement } from './mapper.ts'

/** Options of {@link createPciBridge}. */
export interface PciBridgeOptions {
  readonly name: string
  /** The bus behind. */
  readonly secondary: PciBus
  /** Where BARs of devices behind are mapped in the end. */
  readonly mapper: Mapper
  readonly vendor?: number
  readonly device?: number
}

/** A bridge, and what devices behind it use. */
export interface PciBridge extends PciFunctionCore {
  /** For the BARs of devices behind: they are decoded inside the bridge's windows only. */
  readonly mapper: Mapper
  /** Devices behind may reach memory and send messages. */
  forwardsUpstream(): boolean
}

const REGISTER = {
  PRIMARY: 0x18, SECONDARY: 0x19, SUBORDINATE: 0x1a, IO: 0x1c, MEMORY: 0x20, PREFETCHABLE: 0x24,
  PREFETCHABLE_HIGH: 0x28, IO_HIGH: 0x30, CONTROL: 0x3e,
} as const
/** Bridge control: reset of the secondary bus. */
const SECONDARY_RESET = 1 << 6

/** First address and last; an empty window has its base above its limit. */
type Window = readonly [first: number, last: number]

/** The bridge's windows, as its registers have them (section 3.2.5). */
function windowsOf(bridge: PciFunctionCore): { ports: Window, memory: readonly Window[] } {
  const get = bridge.get
  const io: Window = [
    get(REGISTER.IO_HIGH, 2) * 0x1_0000 + (get(REGISTER.IO, 1) & 0xf0) * 0x100,
    get(REGISTER.IO_HIGH + 2, 2) * 0x1_0000 + (get(REGISTER.IO + 1, 1) & 0xf0) * 0x100 + 0xfff,
  ]
  const megabytes = (at: number, base: number, limit: number): Window => [
    base * 2 ** 32 + (get(at, 2) & 0xfff0) * 0x1_0000,
    limit * 2 ** 32 + (get(at + 2, 2) & 0xfff0) * 0x1_0000 + 0xf_ffff,
  ]
  return {
    ports: io,
    memory: [
      megabytes(REGISTER.MEMORY, 0, 0),
      megabytes(REGISTER.PREFETCHABLE, get(REGISTER.PREFETCHABLE_HIGH, 4), get(REGISTER.PREFETCHABLE_HIGH + 4, 4)),
    ],
  }
}

/** Whether the bridge passes accesses to a place on to the bus behind. */
function passes(bridge: PciFunctionCore, { space, start, length }: Placement): boolean {
  const { ports, memory } = windowsOf(bridge)
  const inside = ([first, last]: Window): boolean => start >= first && start + length - 1 <= last
  if (space === 'ports') return (bridge.command() & PCI_COMMAND.IO) !== 0 && inside(ports)
  return (bridge.command() & PCI_COMMAND.MEMORY) !== 0 && memory.some(inside)
}

/** Creates a bridge; QEMU's generic one (1B36:0001) unless told. Its snapshot holds the functions behind it too. */
export function createPciBridge(options: PciBridgeOptions): PciBridge {
  const { secondary } = options
  const behind: { readonly region: MovableRegion, wanted: Placement | undefined }[] = []
  let held = false

  const placeAll = (): void => {
    for (const { region, wanted } of behind) {
      region.place(wanted !== undefined && passes(bridge, wanted) ? wanted : undefined)
    }
  }
  const resetBehind = (): void => { for (const { pciFunction } of secondary.functions()) pciFunction.reset() }

  const bridge: PciFunctionCore = createPciFunction({
    name: options.name,
    vendor: options.vendor ?? 0x1b36,
    device: options.device ?? 0x0001,
    classCode: 0x06_0400,
    headerType: 1,
    registers: [
      { offset: REGISTER.PRIMARY, bytes: [0, 0, 0, 0], writable: [0xff, 0xff, 0xff, 0xff] },
      // I/O base and limit (32-bit decode), memory and prefetchable windows (64-bit).
      { offset: REGISTER.IO, bytes: [0x01, 0x01], writable: [0xf0, 0xf0] },
      {
        offset: REGISTER.MEMORY, bytes: [0, 0, 0, 0, 1, 0, 1, 0],
        writable: [0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff],
      },
      {
        offset: REGISTER.PREFETCHABLE_HIGH, bytes: Array.from({ length: 12 }, () => 0),
        writable: Array.from({ length: 12 }, () => 0xff),
      },
      { offset: REGISTER.CONTROL, bytes: [0, 0], writable: [0xff, 0x0f] },
    ],
    bridge: {
      secondary: () => bridge.get(REGISTER.SECONDARY, 1),
      subordinate: () => bridge.get(REGISTER.SUBORDINATE, 1),
      find: (bus, device, fn) => secondary.find(bridge.get(REGISTER.SECONDARY, 1), bus, device, fn),
    },
    onWrite() {
      placeAll()
      // Section 3.2.5.17: RST# is held as long as the bit is set; what devices keep is lost at once.
      const reset = (bridge.get(REGISTER.CONTROL, 2) & SECONDARY_RESET) !== 0
      if (reset && !held) resetBehind()
      held = reset
    },
  })

  return {
    ...bridge,
    mapper: {
      region(name, handlers) {
        const entry = { region: options.mapper.region(name, handlers), wanted: undefined as Placement | undefined }
        behind.push(entry)
        return {
          place(placement) {
            entry.wanted = placement
            entry.region.place(placement !== undefined && passes(bridge, placement) ? placement : undefined)
          },
          mapped: () => entry.region.mapped(),
        }
      },
    },
    forwardsUpstream: () => (bridge.command() & PCI_COMMAND.MASTER) !== 0,
    reset() {
      resetBehind()
      bridge.reset()
    },
    snapshot: () => ({
      ...bridge.snapshot(),
      functions: Object.fromEntries(secondary.functions().map(({ device, fn, pciFunction }) =>
        [`${device}.${fn}`, pciFunction.snapshot()])),
    }),
    restore(saved) {
      const given: unknown = saved.functions
      const functions = secondary.functions().map(({ device, fn, pciFunction }) => {
        const name = `${device}.${fn}`
        if (typeof given !== 'object' || given === null || !(name in given)) {
          throw new SnapshotError(options.name, `functions.${name}`, 'a function')
        }
        return { pciFunction, saved: (given as Record<string, PciFunctionSnapshot>)[name] }
      })
      restorePlain(options.name, { config: '' }, saved)
      // As it was: a secondary reset that goes on has done its work.
      held = (parseInt(saved.config.slice(2 * REGISTER.CONTROL, 2 * REGISTER.CONTROL + 2), 16) & SECONDARY_RESET) !== 0
      bridge.restore(saved)
      for (const one of functions) one.pciFunction.restore(one.saved)
    },
  }
}
