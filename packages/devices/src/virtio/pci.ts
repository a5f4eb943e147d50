/**
 * Virtio over PCI, the modern interface only. Source: VIRTIO 1.2, section 4.1. One 64-bit BAR holds the structures that
 * the capabilities point to, another MSI-X's table; guests without MSI-X get INTx and the ISR status.
 */
import type { AccessSize, IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from '../byte-ports.ts'
import type { IrqLine } from '../clock.ts'
import {
  type CapabilitySpace, createPciFunction, littleEndian, PCI_COMMAND, type PciCapability, type PciFunctionCore,
} from '../pci/function.ts'
import type { Mapper } from '../pci/mapper.ts'
import { createMsixCapability, msixHandlers, type SendMsi } from '../pci/msi.ts'
import { type Plain, restorePlain, SnapshotError } from '../snapshot.ts'
import { commonConfigHandlers, CommonConfig, initialSelection } from './common-config.ts'
import { IsrStatus, NO_VECTOR, VIRTIO_PCI_CAP } from './constants.ts'
import {
  createVirtioTransport, type VirtioTransport, type VirtioTransportOptions, type VirtioTransportSnapshot,
} from './transport.ts'

/** Options of {@link createVirtioPci}. */
export interface VirtioPciOptions
  extends Pick<VirtioTransportOptions, 'device' | 'memory' | 'clock' | 'accessPlatform' | 'onBroken'> {
  readonly mapper: Mapper
  /** INTA of the slot, from `createPirqRouter().source(…)`. */
  readonly intx: IrqLine
  readonly send: SendMsi
}

/** The function, for a slot of a bus. */
export interface VirtioPci extends PciFunctionCore {
  readonly transport: VirtioTransport
}

/** Red Hat's vendor ID, which all virtio devices have (section 4.1.2). */
const VENDOR = 0x1af4
const FIRST_DEVICE = 0x1040

const MSIX_BAR = 1
const BAR = 4
/** Where in the BAR each structure lies: pages of their own. */
const PLACE = { common: 0x0000, isr: 0x1000, device: 0x2000, notify: 0x3000 } as const
const PAGE = 0x1000
const BAR_SIZE = 0x4000
const NOTIFY_MULTIPLIER = 4
const PENDING_AT = 0x800

/** `struct virtio_pci_cap` after the generic id and link (section 4.1.4): length, type, BAR, place. */
const capabilityBytes = (type: number, bar: number, offset: number, length: number, extra: readonly number[] = []) =>
  [16 + extra.length, type, bar, 0, 0, 0, ...littleEndian(offset, 4), ...littleEndian(length, 4), ...extra]

const structure = (type: number, offset: number, length: number, extra: readonly number[] = []): PciCapability => {
  const bytes = capabilityBytes(type, BAR, offset, length, extra)
  return { id: 0x09, bytes, writable: bytes.map(() => 0) }
}

const notifyStructure = (queues: number): PciCapability =>
  structure(VIRTIO_PCI_CAP.NOTIFY, PLACE.notify, queues * NOTIFY_MULTIPLIER, littleEndian(NOTIFY_MULTIPLIER, 4))

/** The window to the BAR in configuration space, for firmware that cannot map it (section 4.1.4.9). */
function createPciCfgCapability(access: IoHandlers): PciCapability {
  let space: CapabilitySpace | undefined
  const DATA = 16
  /** Width of the access that the fields describe, or undefined where they describe none. */
  const target = (): { offset: number, size: AccessSize } | undefined => {
    const [bar, offset, size] = [space?.get(4, 1), space?.get(8, 4) ?? 0, space?.get(12, 4)]
    if (bar !== BAR || (size !== 1 && size !== 2 && size !== 4)) return undefined
    return offset % size === 0 && offset + size <= BAR_SIZE ? { offset, size } : undefined
  }
  return {
    id: 0x09,
    bytes: capabilityBytes(VIRTIO_PCI_CAP.PCI, 0, 0, 0, [0, 0, 0, 0]),
    writable: [0, 0, 0xff, 0, 0, 0, ...Array.from({ length: 12 }, () => 0xff)],
    attach(given) { space = given },
    reading(offset, length) {
      const at = target()
      if (at !== undefined && offset < DATA + at.size && offset + length > DATA) {
        space?.set(DATA, at.size, access.read(at.offset, at.size))
      }
    },
    written(offset, length) {
      const at = target()
      if (at !== undefined && offset < DATA + at.size && offset + length > DATA) {
        access.write(at.offset, at.size, space?.get(DATA, at.size) ?? 0)
      }
    },
  }
}

/** Creates a device on PCI. Its BARs are placed by firmware or the kernel. */
export function createVirtioPci(options: VirtioPciOptions): VirtioPci {
  const { device } = options
  const queueCount = device.queueSizes.length
  const vectors = queueCount + 1
  const selection = initialSelection(queueCount)
  const pending = { isr: 0 }

  const msix = createMsixCapability({
    vectors, send: options.send, bar: MSIX_BAR, tableOffset: 0, pendingOffset: PENDING_AT,
  })
  const setIsr = (isr: number): void => {
    pending.isr = isr
    fn.setIntx(isr !== 0 && !msix.enabled())
  }
  const interrupt = (bit: number, vector: number): void => {
    if (!msix.enabled()) setIsr(pending.isr | bit)
    else if (vector !== NO_VECTOR) msix.notify(vector)
  }

  const isMaster = (): boolean => (fn.command() & PCI_COMMAND.MASTER) !== 0
  const transport = createVirtioTransport({
    device,
    clock: options.clock,
    accessPlatform: options.accessPlatform,
    onBroken: options.onBroken,
    // A function that may not master the bus reaches no memory.
    memory: {
      read: (address, target) => isMaster() && options.memory.read(address, target),
      write: (address, bytes) => isMaster() && options.memory.write(address, bytes),
    },
    interruptQueue(queue) { interrupt(IsrStatus.mask.queue, selection.queueVectors[queue]) },
    interruptConfig() { interrupt(IsrStatus.mask.config, selection.configVector) },
  })
  const resetRegisters = (): void => {
    Object.assign(selection, initialSelection(queueCount))
    setIsr(0)
  }

  const common = commonConfigHandlers({ transport, selection, vectors, onReset: resetRegisters })
  const isr: IoHandlers = {
    read(offset) {
      if (offset !== 0) return 0
      const value = pending.isr
      setIsr(0)
      return value
    },
    write: () => undefined,
  }
  const config = byteHandlers({
    read: (offset) => (offset < device.configSize ? device.readConfig(offset) : 0),
    write(offset, value) { if (offset < device.configSize) device.writeConfig(offset, value) },
  })
  const notify: IoHandlers = {
    read: () => 0,
    write(offset) { if (offset % NOTIFY_MULTIPLIER === 0) transport.notify(offset / NOTIFY_MULTIPLIER) },
  }
  const pages = [common, isr, config, notify]
  const bar: IoHandlers = {
    read: (offset, size) => pages[offset >> 12].read(offset & PAGE - 1, size),
    write(offset, size, value) { pages[offset >> 12].write(offset & PAGE - 1, size, value) },
  }

  /** The first capability carries the device's state in the function's snapshot. */
  const stateful: PciCapability = {
    ...structure(VIRTIO_PCI_CAP.COMMON, PLACE.common, CommonConfig.size),
    reset() {
      transport.reset()
      Object.assign(selection, initialSelection(queueCount))
      pending.isr = 0
    },
    snapshot: (): Plain => ({ selection, pending, transport: transport.snapshot() as unknown as Plain }),
    restore(saved) {
      const checked = { selection: initialSelection(queueCount), pending: { isr: 0 }, transport: {} }
      restorePlain(device.name, checked, saved)
      const vector = [checked.selection.configVector, ...checked.selection.queueVectors]
      if (vector.some((n) => n < 0 || (n >= vectors && n !== NO_VECTOR))) {
        throw new SnapshotError(device.name, 'selection.queueVectors', 'MSI-X vectors that exist')
      }
      Object.assign(selection, checked.selection)
      pending.isr = checked.pending.isr & IsrStatus.used
      transport.restore((saved as unknown as { transport: VirtioTransportSnapshot }).transport)
    },
  }

  const fn: PciFunctionCore = createPciFunction({
    name: device.name,
    vendor: VENDOR,
    device: FIRST_DEVICE + device.type,
    classCode: device.classCode,
    // Section 4.1.2.1: a device without the legacy interface.
    revision: 1,
    subsystemVendor: VENDOR,
    subsystem: 0x1100,
    interruptPin: 1,
    intx: options.intx,
    mapper: options.mapper,
    bars: [
      { index: MSIX_BAR, kind: 'memory32', size: PAGE, handlers: msixHandlers(msix, PENDING_AT) },
      { index: BAR, kind: 'memory64', size: BAR_SIZE, prefetchable: true, handlers: bar },
    ],
    capabilities: [
      stateful,
      notifyStructure(queueCount),
      structure(VIRTIO_PCI_CAP.ISR, PLACE.isr, 1),
      ...(device.configSize === 0 ? [] : [structure(VIRTIO_PCI_CAP.DEVICE, PLACE.device, device.configSize)]),
      msix,
      createPciCfgCapability(bar),
    ],
    // MSI-X may have been switched on or off, and INTx is silent while it is on.
    onWrite: () => { setIsr(pending.isr) },
  })
  return { ...fn, transport }
}
