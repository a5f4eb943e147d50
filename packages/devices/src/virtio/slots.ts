/** Puts virtio devices into the slots of a PCI bus. */
import type { Clock, IrqLine } from '../clock.ts'
import type { DmaMemory } from '../dma.ts'
import type { InterruptMessage } from '../ioapic.ts'
import { createPciBridge } from '../pci/bridge.ts'
import type { PciFunction } from '../pci/function.ts'
import { createPciBus, type PciBus } from '../pci/host.ts'
import { swizzle } from '../pci/interrupts.ts'
import type { Mapper } from '../pci/mapper.ts'
import { messageOfMsi } from '../pci/msi.ts'
import type { VirtioDevice } from './device.ts'
import { createVirtioPci } from './pci.ts'

/** Which devices there are, and what they reach. */
export interface VirtioOptions {
  /** Their order decides their slots. At most {@link MAX_VIRTIO_DEVICES}. */
  readonly devices: readonly VirtioDevice[]
  readonly memory: DmaMemory
  /** VIRTIO_F_ACCESS_PLATFORM is offered: guests with encrypted memory want it. */
  readonly accessPlatform?: boolean
  /** A driver broke a rule; the device waits for its reset. */
  readonly onBroken?: (device: string, reason: string) => void
}

/** Options of {@link attachVirtio}. */
export interface VirtioSlotsOptions extends VirtioOptions {
  readonly bus: PciBus
  readonly mapper: Mapper
  /** A clock for the `n`th device. */
  readonly clock: (n: number) => Clock
  /** The line of a pin (1 INTA – 4 INTD) of a slot of the root bus. */
  readonly intx: (slot: number, pin: number) => IrqLine
  readonly deliver: (message: InterruptMessage) => boolean
  /** Slots of the root bus that are to be left for others, at most 2; one always is. */
  readonly others?: number
}

/** Slots 1–29 of a Q35's bus 0; slot 30 is left for others, slot 31 is the LPC bridge. */
const SLOTS = 29
/** Devices behind the bridge, which takes the last of these slots when there are too many for them. */
const BEHIND = 20

/** How many devices there may be. */
export const MAX_VIRTIO_DEVICES = SLOTS - 1 + BEHIND

/** What a place on a bus gives to a device. */
interface Place {
  readonly add: (fn: PciFunction) => void
  readonly mapper: Mapper
  readonly intx: IrqLine
  /** Memory and messages can be reached from there. */
  readonly isOpen: () => boolean
}

/** The places of `count` devices: slots of the root bus, and from the last of them on of a bus behind a bridge. */
function createPlaces(options: VirtioSlotsOptions, count: number): Place[] {
  const { bus, mapper, intx } = options
  const slots = Math.min(SLOTS, SLOTS + 1 - (options.others ?? 0))
  const root = Array.from({ length: count > slots ? slots - 1 : count }, (_, n): Place => ({
    add: (fn) => { bus.add(n + 1, 0, fn) },
    mapper, intx: intx(n + 1, 1), isOpen: () => true,
  }))
  if (count <= slots) return root
  const secondary = createPciBus()
  const bridge = createPciBridge({ name: 'PCI bridge', secondary, mapper })
  bus.add(slots, 0, bridge)
  const behind = Array.from({ length: count - root.length }, (_, n): Place => ({
    add: (fn) => { secondary.add(n + 1, 0, fn) },
    mapper: bridge.mapper, intx: intx(slots, swizzle(n + 1, 1)), isOpen: bridge.forwardsUpstream,
  }))
  return [...root, ...behind]
}

/**
 * Adds the devices from slot 1 on; where there are more than 29, they go on behind a bridge in slot 29.
 * @throws Error for more than {@link MAX_VIRTIO_DEVICES}, or a slot that is taken
 */
export function attachVirtio(options: VirtioSlotsOptions): void {
  const { devices, memory } = options
  if (devices.length > MAX_VIRTIO_DEVICES) throw new Error('more virtio devices than slots')
  const places = createPlaces(options, devices.length)
  devices.forEach((device, n) => {
    const { add, mapper, intx, isOpen } = places[n]
    add(createVirtioPci({
      device, mapper, intx,
      clock: options.clock(n),
      accessPlatform: options.accessPlatform,
      onBroken: options.onBroken,
      memory: {
        read: (address, target) => isOpen() && memory.read(address, target),
        write: (address, bytes) => isOpen() && memory.write(address, bytes),
      },
      send(address, data) {
        const message = messageOfMsi(address, data)
        if (message !== undefined && isOpen()) options.deliver(message)
      },
    }))
  })
}
