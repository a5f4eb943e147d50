/** Numbers of virtio. Source: OASIS "Virtual I/O Device (VIRTIO) Version 1.2", the sections named at each. */
import { bits, bits64 } from '@cofferdam/spec'

/** Device types (section 5). PCI's device ID is 1040h and the type. */
export const VIRTIO_TYPE = { NET: 1, BLOCK: 2, CONSOLE: 3, ENTROPY: 4, BALLOON: 5, P9: 9 } as const

/** Device status (section 2.1). */
export const DeviceStatus = bits({
  acknowledge: 0, driver: 1, driverOk: 2, featuresOk: 3, deviceNeedsReset: 6, failed: 7,
})

/** Feature bits that belong to no device type (section 6), those that we know. */
export const VirtioFeature = bits64({ indirectDesc: 28, eventIdx: 29, version1: 32, accessPlatform: 33 })

/** Flags of a descriptor (section 2.7.5). */
export const DescriptorFlag = bits({ next: 0, write: 1, indirect: 2 })

/** Flag of the available ring: the driver wants no interrupts (section 2.7.6). */
export const AVAIL_NO_INTERRUPT = 1

/** Bytes of one descriptor. */
export const DESCRIPTOR_SIZE = 16

/** Bits of the ISR status (section 4.1.4.5). */
export const IsrStatus = bits({ queue: 0, config: 1 })

/** `cfg_type` of virtio's PCI capabilities (section 4.1.4). */
export const VIRTIO_PCI_CAP = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const

/** Of an MSI-X vector register: none (section 4.1.5.1.2). */
export const NO_VECTOR = 0xffff
