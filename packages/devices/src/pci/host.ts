/**
 * How configuration accesses find a function: mechanism #1 through ports CF8h–CFFh (PCI Local Bus Specification 3.0,
 * §3.2.2.3.2) and the memory-mapped one (PCI Express Base Specification 5.0, §7.2.2).
 */
import type { IoHandlers } from '@cofferdam/memory'
import type { PciFunction, PciFunctionSnapshot } from './function.ts'
import { restorePlain, SnapshotError } from '../snapshot.ts'

/** A PCI bus: up to 32 devices of 8 functions. */
export interface PciBus {
  /** @throws Error when the slot is taken (a bug of the wiring). */
  add(device: number, fn: number, pciFunction: PciFunction): void
  get(device: number, fn: number): PciFunction | undefined
  /** All functions with their slots, in order. */
  functions(): readonly { readonly device: number; readonly fn: number; readonly pciFunction: PciFunction }[]
  /** The function at a bus number below this bus, through bridges. `own` is the number of this bus. */
  find(own: number, bus: number, device: number, fn: number): PciFunction | undefined
}

/** Creates an empty bus. */
export function createPciBus(): PciBus {
  const slots = new Map<number, PciFunction>()
  const key = (device: number, fn: number): number => device << 3 | fn
  return {
    add(device, fn, pciFunction) {
      if (slots.has(key(device, fn))) throw new Error(`PCI slot ${device}.${fn} is taken`)
      slots.set(key(device, fn), pciFunction)
    },
    get: (device, fn) => slots.get(key(device, fn)),
    functions: () => [...slots.entries()].sort(([a], [b]) => a - b)
      .map(([k, pciFunction]) => ({ device: k >> 3, fn: k & 7, pciFunction })),
    find(own, bus, device, fn) {
      if (bus === own) return slots.get(key(device, fn))
      for (const { bridge } of slots.values()) {
        // A bridge that firmware has not numbered yet (secondary 0) forwards nothing.
        if (bridge === undefined || bridge.secondary() <= own) continue
        if (bus >= bridge.secondary() && bus <= bridge.subordinate()) return bridge.find(bus, device, fn)
      }
      return undefined
    },
  }
}

/** State of the host: the address port and every function on bus 0. */
export interface PciHostSnapshot {
  readonly address: number
  readonly functions: Readonly<Record<string, PciFunctionSnapshot>>
}

/** Options of {@link createPciHost}. */
export interface PciHostOptions {
  readonly bus: PciBus
  /** Port CF9h, which lies between; see `createResetControl`. */
  readonly resetPort?: IoHandlers
}

/** The way of configuration accesses to the root bus. */
export interface PciHost {
  /** Ports CF8h–CFFh. */
  readonly ports: IoHandlers
  /** The memory-mapped configuration space: 1 MiB per bus. */
  readonly ecam: IoHandlers
  reset(): void
  snapshot(): PciHostSnapshot
  restore(saved: PciHostSnapshot): void
}

const allOnes = (size: number): number => (size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff)

/** Creates the host side of a root bus with number 0. */
export function createPciHost(options: PciHostOptions): PciHost {
  const { bus, resetPort } = options
  let address = 0

  const functionAt = (bdf: number): PciFunction | undefined => bus.find(0, bdf >> 8, bdf >> 3 & 31, bdf & 7)
  const slotName = (device: number, fn: number): string => `${device.toString(16).padStart(2, '0')}.${fn}`

  const ecamFunction = (offset: number): PciFunction | undefined => functionAt(Math.floor(offset / 4096) & 0xffff)

  return {
    ports: {
      read(offset, size) {
        if (offset === 0 && size === 4) return address
        if (offset === 1 && size === 1) return resetPort?.read(0, 1) ?? 0xff
        if (offset < 4 || (address & 0x8000_0000) === 0 || (offset & 3) + size > 4) return allOnes(size)
        return functionAt(address >>> 8 & 0xffff)?.readConfig((address & 0xfc) + (offset & 3), size) ?? allOnes(size)
      },
      write(offset, size, value) {
        // Only a whole double word reaches the address register; narrower accesses pass on to the port behind.
        if (offset === 0 && size === 4) address = (value & 0x80ff_fffc) >>> 0
        else if (offset === 1 && size === 1) resetPort?.write(0, 1, value)
        else if (offset >= 4 && (address & 0x8000_0000) !== 0 && (offset & 3) + size <= 4) {
          functionAt(address >>> 8 & 0xffff)?.writeConfig((address & 0xfc) + (offset & 3), size, value)
        }
      },
    },
    ecam: {
      read: (offset, size) => ecamFunction(offset)?.readConfig(offset & 0xfff, size) ?? allOnes(size),
      write: (offset, size, value) => { ecamFunction(offset)?.writeConfig(offset & 0xfff, size, value) },
    },
    reset() {
      address = 0
      for (const { pciFunction } of bus.functions()) pciFunction.reset()
    },
    snapshot: () => ({
      address,
      functions: Object.fromEntries(
        bus.functions().map(({ device, fn, pciFunction }) => [slotName(device, fn), pciFunction.snapshot()])),
    }),
    restore(saved) {
      const shape = { address: 0 }
      restorePlain('pci', shape, saved)
      const given: unknown = saved.functions
      for (const { device, fn } of bus.functions()) {
        const name = slotName(device, fn)
        if (typeof given !== 'object' || given === null || !(name in given)) {
          throw new SnapshotError('pci', `functions.${name}`, 'a function')
        }
      }
      const more = Object.keys(given as object).find((name) =>
        !bus.functions().some(({ device, fn }) => slotName(device, fn) === name))
      if (more !== undefined) throw new SnapshotError('pci', `functions.${more}`, 'no function in this slot')
      address = shape.address
      for (const { device, fn, pciFunction } of bus.functions()) {
        pciFunction.restore(saved.functions[slotName(device, fn)])
      }
    },
  }
}
