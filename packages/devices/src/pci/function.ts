/**
 * A PCI function: configuration space, BARs, capabilities, INTx. Sources: PCI Local Bus Specification 3.0, chapter 6;
 * PCI Express Base Specification 5.0, section 7.5.
 */
import type { AccessSize } from '@cofferdam/memory'
import type { IrqLine } from '../clock.ts'
import { copyPlain, type Plain, restorePlain, SnapshotError } from '../snapshot.ts'
import { barBits, type BarSpec, checkBars, placementOfBar } from './bars.ts'
import type { Mapper, MovableRegion } from './mapper.ts'

/** Offsets in configuration space. */
export const PCI = {
  VENDOR: 0x00, DEVICE: 0x02, COMMAND: 0x04, STATUS: 0x06, REVISION: 0x08, CLASS: 0x09, HEADER_TYPE: 0x0e, BAR0: 0x10,
  SUBSYSTEM_VENDOR: 0x2c, SUBSYSTEM: 0x2e, CAPABILITIES: 0x34, INTERRUPT_LINE: 0x3c, INTERRUPT_PIN: 0x3d,
} as const

/** Command register. */
export const PCI_COMMAND = { IO: 1, MEMORY: 2, MASTER: 4, INTX_DISABLE: 1 << 10, WRITABLE: 0x0547 } as const
/** Status register, low byte. */
const STATUS = { INTX: 0x08, CAPABILITIES: 0x10 } as const

/** What configuration accesses reach. */
export interface PciFunction {
  readonly name: string
  /** `offset` below 4096, aligned to `size`. */
  readConfig(offset: number, size: AccessSize): number
  writeConfig(offset: number, size: AccessSize, value: number): void
  /** Bus numbers behind a bridge: configuration accesses to them go to `forward`. */
  readonly bridge?: PciBridgePort
  reset(): void
  snapshot(): PciFunctionSnapshot
  restore(saved: PciFunctionSnapshot): void
}

/** The far side of a PCI-to-PCI bridge. */
export interface PciBridgePort {
  secondary(): number
  subordinate(): number
  find(bus: number, device: number, fn: number): PciFunction | undefined
}

/** State of a function: its configuration space in hexadecimal, and what its capabilities hold. */
export interface PciFunctionSnapshot {
  readonly config: string
  readonly intx: boolean
  readonly capabilities: readonly Plain[]
  /** Of a bridge: the functions behind it, by device and function. */
  readonly functions?: Readonly<Record<string, PciFunctionSnapshot>>
}

/** A capability in the list at 34h. */
export interface PciCapability {
  readonly id: number
  /** Bytes after the id and the link. */
  readonly bytes: readonly number[]
  /** Bits of `bytes` that software may write. */
  readonly writable: readonly number[]
  /** Gives the capability its place: `get` and `set` reach its bytes, offset 0 being the id. */
  attach?(space: CapabilitySpace): void
  /** Bytes of the capability, from `offset` (its id is at 0) on, are about to be read: registers that are computed. */
  reading?(offset: number, length: number): void
  /** Bytes of the capability were written. */
  written?(offset: number, length: number): void
  reset?(): void
  snapshot?(): Plain
  restore?(saved: Plain): void
}

/** A capability's bytes in configuration space. */
export interface CapabilitySpace {
  get(offset: number, size: AccessSize): number
  set(offset: number, size: AccessSize, value: number): void
  /** The function's bus-master enable: it may send messages. */
  isMaster(): boolean
}

/** Options of {@link createPciFunction}. */
export interface PciFunctionOptions {
  readonly name: string
  readonly vendor: number
  readonly device: number
  /** Base class, subclass, programming interface: 0x060000 is a host bridge. */
  readonly classCode: number
  readonly revision?: number
  readonly subsystemVendor?: number
  readonly subsystem?: number
  readonly multiFunction?: boolean
  /** 1–4 for INTA–INTD, 0 for none. */
  readonly interruptPin?: number
  /** Where INTx goes; see `createPirqRouter`. */
  readonly intx?: IrqLine
  readonly bars?: readonly BarSpec[]
  readonly mapper?: Mapper
  readonly capabilities?: readonly PciCapability[]
  /** Further registers: offset, initial bytes, writable bits. */
  readonly registers?: readonly PciRegisters[]
  /** Called after any write of configuration space, and after a restore. */
  readonly onWrite?: () => void
  readonly headerType?: number
  readonly bridge?: PciBridgePort
  /** 4096 for a PCI Express function; default 256. */
  readonly configSize?: 256 | 4096
}

/** A run of device-specific registers. */
export interface PciRegisters {
  readonly offset: number
  readonly bytes: readonly number[]
  readonly writable: readonly number[]
}

/** A function with its device-side methods. */
export interface PciFunctionCore extends PciFunction {
  /** Little-endian read of configuration space, for the device itself. */
  get(offset: number, size: AccessSize): number
  /** Sets registers whatever is writable. */
  set(offset: number, size: AccessSize, value: number): void
  /** Raises or lowers INTx. */
  setIntx(level: boolean): void
  command(): number
}

/** Bytes of a little-endian number. */
export const littleEndian = (value: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff)

/** Creates a function with header type 0 (or the one given). */
export function createPciFunction(options: PciFunctionOptions): PciFunctionCore {
  const size = options.configSize ?? 256
  const bars = options.bars ?? []
  const capabilities = options.capabilities ?? []
  const bytes = new Uint8Array(size)
  const writable = new Uint8Array(size)
  const places: number[] = []
  let intx = false
  let intxOut = false
  checkBars(options.name, bars)

  const get = (offset: number, width: AccessSize): number => {
    let value = 0
    for (let i = 0; i < width && offset + i < size; i++) value += bytes[offset + i] * 2 ** (8 * i)
    return value
  }
  const set = (offset: number, width: number, value: number): void => {
    littleEndian(value, width).forEach((byte, i) => { bytes[offset + i] = byte })
  }
  const allow = (offset: number, width: number, mask: number): void => {
    littleEndian(mask, width).forEach((byte, i) => { writable[offset + i] = byte })
  }

  const layOut = (): void => {
    set(PCI.VENDOR, 2, options.vendor)
    set(PCI.DEVICE, 2, options.device)
    bytes[PCI.REVISION] = options.revision ?? 0
    set(PCI.CLASS, 3, options.classCode)
    bytes[PCI.HEADER_TYPE] = (options.headerType ?? 0) | (options.multiFunction ? 0x80 : 0)
    if ((options.headerType ?? 0) === 0) {
      set(PCI.SUBSYSTEM_VENDOR, 2, options.subsystemVendor ?? 0)
      set(PCI.SUBSYSTEM, 2, options.subsystem ?? 0)
    }
    bytes[PCI.INTERRUPT_PIN] = options.interruptPin ?? 0
    allow(PCI.COMMAND, 2, PCI_COMMAND.WRITABLE)
    writable[PCI.INTERRUPT_LINE] = 0xff
    writable[0x0c] = 0xff // cache line size: kept, without effect
    for (const bar of bars) {
      const bits = barBits(bar)
      set(PCI.BAR0 + 4 * bar.index, bits.fixed.length * 4, 0)
      bits.fixed.forEach((value, i) => { set(PCI.BAR0 + 4 * (bar.index + i), 4, value) })
      bits.writable.forEach((mask, i) => { allow(PCI.BAR0 + 4 * (bar.index + i), 4, mask) })
    }
    for (const r of options.registers ?? []) {
      r.bytes.forEach((byte, i) => { bytes[r.offset + i] = byte })
      r.writable.forEach((mask, i) => { writable[r.offset + i] = mask })
    }
    let link: number = PCI.CAPABILITIES
    let next = 0x40
    capabilities.forEach((capability, n) => {
      const length = capability.bytes.length + 2 + 3 & ~3
      while (writable.subarray(next, next + length).some((m) => m !== 0)) next += 4
      places[n] = next
      bytes[link] = next
      bytes[next] = capability.id
      capability.bytes.forEach((byte, i) => { bytes[next + 2 + i] = byte })
      capability.writable.forEach((mask, i) => { writable[next + 2 + i] = mask })
      link = next + 1
      next += length
      bytes[PCI.STATUS] |= STATUS.CAPABILITIES
    })
  }
  layOut()
  const initial = bytes.slice()
  capabilities.forEach((capability, n) => {
    const at = places[n]
    capability.attach?.({
      get: (offset, width) => get(at + offset, width),
      set: (offset, width, value) => { set(at + offset, width, value) },
      isMaster: () => (bytes[PCI.COMMAND] & PCI_COMMAND.MASTER) !== 0,
    })
  })

  const regions: MovableRegion[] = bars.map((bar) => {
    if (options.mapper === undefined) throw new Error(`${options.name}: a function with BARs needs a mapper`)
    return options.mapper.region(`${options.name} BAR ${bar.index}`, bar.handlers)
  })
  const placeBars = (): void => {
    bars.forEach((bar, n) => {
      const at = PCI.BAR0 + 4 * bar.index
      const high = bar.kind === 'memory64' ? get(at + 4, 4) : 0
      regions[n].place(placementOfBar(bar, bytes[PCI.COMMAND], get(at, 4), high))
    })
  }
  /** Visits the capability that an access touches, with the access's offset in it. */
  const touched = (offset: number, width: number, visit: (capability: PciCapability, at: number) => void): void => {
    capabilities.forEach((capability, n) => {
      const from = places[n]
      if (offset + width > from && offset < from + 2 + capability.bytes.length) visit(capability, offset - from)
    })
  }
  const driveIntx = (): void => {
    const level = intx && (get(PCI.COMMAND, 2) & PCI_COMMAND.INTX_DISABLE) === 0
    if (level === intxOut) return
    intxOut = level
    options.intx?.set(level)
  }
  /** Brings everything outside to what the registers say. */
  const apply = (): void => {
    placeBars()
    driveIntx()
    options.onWrite?.()
  }

  return {
    name: options.name,
    bridge: options.bridge,
    get,
    set,
    command: () => get(PCI.COMMAND, 2),
    readConfig(offset, width) {
      // What lies beyond the function's own space reads as 0, which ends the list of extended capabilities.
      if (offset >= size) return 0
      touched(offset, width, (capability, at) => { capability.reading?.(at, width) })
      return get(offset, width)
    },
    writeConfig(offset, width, value) {
      for (let i = 0; i < width && offset + i < size; i++) {
        const at = offset + i
        bytes[at] = (bytes[at] & ~writable[at]) | (Math.floor(value / 2 ** (8 * i)) & writable[at])
      }
      apply()
      touched(offset, width, (capability, at) => { capability.written?.(at, width) })
    },
    setIntx(level) {
      intx = level
      bytes[PCI.STATUS] = level ? bytes[PCI.STATUS] | STATUS.INTX : bytes[PCI.STATUS] & ~STATUS.INTX
      driveIntx()
    },
    reset() {
      bytes.set(initial)
      intx = false
      for (const capability of capabilities) capability.reset?.()
      apply()
    },
    snapshot: () => ({
      config: [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(''),
      intx,
      capabilities: capabilities.map((c) => copyPlain(c.snapshot?.() ?? null)),
    }),
    restore(saved) {
      const shape = { config: '', intx: false }
      restorePlain(options.name, shape, saved)
      if (!new RegExp(`^[0-9a-f]{${2 * size}}$`).test(saved.config)) {
        throw new SnapshotError(options.name, 'config', `${2 * size} hexadecimal digits`)
      }
      const given: unknown = saved.capabilities
      if (!Array.isArray(given) || given.length !== capabilities.length) {
        throw new SnapshotError(options.name, 'capabilities', `${capabilities.length} items`)
      }
      const config = Uint8Array.from({ length: size }, (_, i) => parseInt(saved.config.slice(2 * i, 2 * i + 2), 16))
      // Vendor and device, revision and class.
      if ([0, 1, 2, 3, 8, 9, 10, 11].some((i) => config[i] !== bytes[i])) {
        throw new SnapshotError(options.name, 'config', 'the same device')
      }
      bytes.set(config)
      intx = saved.intx
      // The receiver of INTx keeps its own level.
      intxOut = intx && (get(PCI.COMMAND, 2) & PCI_COMMAND.INTX_DISABLE) === 0
      capabilities.forEach((c, n) => c.restore?.(saved.capabilities[n]))
      apply()
    },
  }
}
