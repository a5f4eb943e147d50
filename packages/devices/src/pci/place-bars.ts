/**
 * Gives every BAR of a root bus a place and turns its decoding on, as firmware leaves a machine: test kernels take the
 * BARs as they find them. Source of the way sizes are found: PCI Local Bus Specification 3.0, §6.2.5.1.
 */
import { PCI, PCI_COMMAND, type PciFunction } from './function.ts'
import type { PciBus } from './host.ts'

/** Room for BARs. */
export interface BarWindow {
  readonly start: number
  readonly length: number
}

const BARS = 6
const isIo = (value: number): boolean => (value & 1) !== 0
const is64 = (value: number): boolean => (value & 7) === 4

/** The size of a BAR of up to 4 GiB: the lowest bit that holds a one. */
function sizeOf(pciFunction: PciFunction, at: number, kept: number): number {
  pciFunction.writeConfig(at, 4, 0xffff_ffff)
  const writable = pciFunction.readConfig(at, 4)
  pciFunction.writeConfig(at, 4, kept)
  const bits = (writable & (isIo(kept) ? ~3 : ~15)) >>> 0
  return bits === 0 ? 0 : (bits & -bits) >>> 0
}

/** What a place of a window is taken from; undefined when it is full. */
function createWindow({ start, length }: BarWindow): (size: number) => number | undefined {
  let next = start
  return (size) => {
    const at = Math.ceil(next / size) * size
    if (at + size > start + length) return undefined
    next = at + size
    return at
  }
}

/** Places the BARs of the functions on a bus. One that finds no room stays off, as its function's decoding does. */
export function placeBars(bus: PciBus, windows: { readonly memory: BarWindow, readonly ports: BarWindow }): void {
  const memory = createWindow(windows.memory)
  const ports = createWindow(windows.ports)
  for (const { pciFunction } of bus.functions()) {
    if (pciFunction.bridge !== undefined) continue
    let enable = 0
    let complete = true
    for (let i = 0; i < BARS; i++) {
      const at = PCI.BAR0 + 4 * i
      const kept = pciFunction.readConfig(at, 4)
      const size = sizeOf(pciFunction, at, kept)
      if (size === 0) continue
      const place = isIo(kept) ? ports(size) : memory(Math.max(size, 4096))
      if (place === undefined) complete = false
      else pciFunction.writeConfig(at, 4, place)
      enable |= isIo(kept) ? PCI_COMMAND.IO : PCI_COMMAND.MEMORY
      // The high half of a 64-bit BAR stays 0.
      if (!isIo(kept) && is64(kept)) i++
    }
    if (enable === 0 || !complete) continue
    pciFunction.writeConfig(PCI.COMMAND, 2, pciFunction.readConfig(PCI.COMMAND, 2) | enable)
  }
}
