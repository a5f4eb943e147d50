/** Puts virtio devices into the slots of a PCI bus. */
import type { Clock, IrqLine } from '../clock.ts'
import type { DmaMemory } from '../dma.ts'
import type { InterruptMessage } from '../ioapic.ts'
import type { PciBus } from '../pci/host.ts'
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
  readonly clock: (slot: number) => Clock
  readonly intx: (slot: number) => IrqLine
  readonly deliver: (message: InterruptMessage) => boolean
}

/** Slots 1–30 of a Q35's bus 0; slot 31 is the LPC bridge. */
export const MAX_VIRTIO_DEVICES = 30

/** Adds the devices from slot 1 on. @throws Error for more than there are slots, or a slot that is taken */
export function attachVirtio(options: VirtioSlotsOptions): void {
  if (options.devices.length > MAX_VIRTIO_DEVICES) throw new Error('more virtio devices than slots')
  options.devices.forEach((device, n) => {
    const slot = n + 1
    options.bus.add(slot, 0, createVirtioPci({
      device,
      memory: options.memory,
      clock: options.clock(slot),
      intx: options.intx(slot),
      mapper: options.mapper,
      accessPlatform: options.accessPlatform,
      onBroken: options.onBroken,
      send(address, data) {
        const message = messageOfMsi(address, data)
        if (message !== undefined) options.deliver(message)
      },
    }))
  })
}
