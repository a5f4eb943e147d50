/** The common configuration structure. Source: VIRTIO 1.2, section 4.1.4.3. */
import type { AccessSize, IoHandlers } from '@cofferdam/memory'
import { layout } from '@cofferdam/spec'
import { NO_VECTOR } from './constants.ts'
import type { VirtioTransport } from './transport.ts'
import { isQueueSize, type VirtqueueCore } from './virtqueue.ts'

/** `struct virtio_pci_common_cfg`; 64-bit addresses as two words, since accesses are of 4 bytes at most. */
export const CommonConfig = layout(56, {
  deviceFeatureSelect: [0, 4], deviceFeature: [4, 4], driverFeatureSelect: [8, 4], driverFeature: [12, 4],
  configMsixVector: [16, 2], numQueues: [18, 2], deviceStatus: [20, 1], configGeneration: [21, 1],
  queueSelect: [22, 2], queueSize: [24, 2], queueMsixVector: [26, 2], queueEnable: [28, 2], queueNotifyOff: [30, 2],
  queueDescLow: [32, 4], queueDescHigh: [36, 4], queueDriverLow: [40, 4], queueDriverHigh: [44, 4],
  queueDeviceLow: [48, 4], queueDeviceHigh: [52, 4],
})

type Field = keyof typeof CommonConfig.fields

/** What the structure keeps beside the transport's registers. */
export const initialSelection = (queues: number) => ({
  deviceFeatureSelect: 0, driverFeatureSelect: 0, queueSelect: 0, configVector: NO_VECTOR as number,
  queueVectors: Array.from({ length: queues }, (): number => NO_VECTOR),
})

/** Selectors and MSI-X vectors. */
export type Selection = ReturnType<typeof initialSelection>

/** Options of {@link commonConfigHandlers}. */
export interface CommonConfigOptions {
  readonly transport: VirtioTransport
  readonly selection: Selection
  /** MSI-X vectors that exist; others are refused by reading back {@link NO_VECTOR}. */
  readonly vectors: number
  /** Status was written as 0. */
  readonly onReset: () => void
}

interface Register {
  read(): number
  write?(value: number): void
}

/** Creates the registers, field by field as the section lists them. */
export function commonConfigHandlers(options: CommonConfigOptions): IoHandlers {
  const { transport, selection } = options
  const { queues } = transport
  const selected = (): VirtqueueCore | undefined => queues.at(selection.queueSelect)
  const vector = (value: number): number => (value < options.vectors ? value : NO_VECTOR)
  /** A register of the selected queue; 0 where there is no such queue. Fixed once the queue is enabled. */
  const ofQueue = (read: (q: VirtqueueCore) => number, write: (q: VirtqueueCore, value: number) => void): Register => ({
    read() {
      const queue = selected()
      return queue === undefined ? 0 : read(queue)
    },
    write(value) {
      const queue = selected()
      if (queue !== undefined && !queue.state.enabled) write(queue, value)
    },
  })
  const word = (area: 'descriptors' | 'driver' | 'device', half: 0 | 1): Register =>
    ofQueue((q) => q.state[area][half], (q, value) => { q.state[area][half] = value >>> 0 })

  const registers: Readonly<Record<Field, Register>> = {
    deviceFeatureSelect: {
      read: () => selection.deviceFeatureSelect, write(value) { selection.deviceFeatureSelect = value },
    },
    deviceFeature: { read: () => transport.deviceFeatures(selection.deviceFeatureSelect) },
    driverFeatureSelect: {
      read: () => selection.driverFeatureSelect, write(value) { selection.driverFeatureSelect = value },
    },
    driverFeature: {
      read: () => transport.driverFeatures(selection.driverFeatureSelect),
      write(value) { transport.setDriverFeatures(selection.driverFeatureSelect, value) },
    },
    configMsixVector: {
      read: () => selection.configVector, write(value) { selection.configVector = vector(value) },
    },
    numQueues: { read: () => queues.length },
    deviceStatus: {
      read: () => transport.status(),
      write(value) {
        transport.setStatus(value)
        if (value === 0) options.onReset()
      },
    },
    configGeneration: { read: () => transport.generation() },
    queueSelect: { read: () => selection.queueSelect, write(value) { selection.queueSelect = value } },
    queueSize: ofQueue((q) => q.state.size, (q, value) => {
      if (isQueueSize(value, q.maxSize)) q.state.size = value
    }),
    queueMsixVector: {
      read: () => selection.queueVectors.at(selection.queueSelect) ?? NO_VECTOR,
      write(value) {
        if (selection.queueSelect < queues.length) selection.queueVectors[selection.queueSelect] = vector(value)
      },
    },
    queueEnable: ofQueue((q) => Number(q.state.enabled), (q, value) => { q.state.enabled = value === 1 }),
    queueNotifyOff: ofQueue((q) => q.index, () => undefined),
    queueDescLow: word('descriptors', 0), queueDescHigh: word('descriptors', 1),
    queueDriverLow: word('driver', 0), queueDriverHigh: word('driver', 1),
    queueDeviceLow: word('device', 0), queueDeviceHigh: word('device', 1),
  }
  const places = new Map<number, { readonly size: number, readonly register: Register }>()
  for (const [name, [offset, size]] of Object.entries(CommonConfig.fields)) {
    places.set(offset, { size, register: registers[name as Field] })
  }

  return {
    // Section 4.1.3.1: the driver reads and writes each field by its width; anything else has no meaning.
    read(offset: number, size: AccessSize) {
      const place = places.get(offset)
      return place?.size === size ? place.register.read() : 0
    },
    write(offset: number, size: AccessSize, value: number) {
      const place = places.get(offset)
      if (place?.size === size) place.register.write?.(value)
    },
  }
}
