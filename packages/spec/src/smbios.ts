/**
 * System Management BIOS tables (DMTF DSP0134, SMBIOS 3.4). Strings are numbers from 1, of those behind the
 * structure.
 */
import { layout } from './layout.ts'

/** 64-bit entry point (§5.2.2), found on 16-byte boundaries of 0xf0000–0xfffff. All bytes add up to 0. */
export const SmbiosEntry = layout(24, {
  anchor: [0, 5, 'bytes'], checksum: [5, 1], length: [6, 1], major: [7, 1], minor: [8, 1], docrev: [9, 1],
  revision: [10, 1], reserved: [11, 1], tableLength: [12, 4], tableAddress: [16, 8],
})

/** Types of structures that this project makes (§6.2). */
export const SmbiosType = {
  BIOS: 0, SYSTEM: 1, CHASSIS: 3, MEMORY_ARRAY: 16, MEMORY_DEVICE: 17, BOOT: 32, END: 127,
} as const

/** Every structure begins so (§6.1.2). */
export const SmbiosHeader = layout(4, { type: [0, 1], length: [1, 1], handle: [2, 2] })

/** BIOS information (§7.1). */
export const SmbiosBios = layout(0x18, {
  vendor: [4, 1], version: [5, 1], startSegment: [6, 2], releaseDate: [8, 1], romSize: [9, 1], characteristics: [10, 8],
  extension1: [18, 1], extension2: [19, 1], major: [20, 1], minor: [21, 1], controllerMajor: [22, 1],
  controllerMinor: [23, 1],
})

/** System information (§7.2). */
export const SmbiosSystem = layout(0x1b, {
  manufacturer: [4, 1], product: [5, 1], version: [6, 1], serial: [7, 1], uuid: [8, 16], wakeUp: [24, 1], sku: [25, 1],
  family: [26, 1],
})

/** System enclosure (§7.4), without contained elements. */
export const SmbiosChassis = layout(0x15, {
  manufacturer: [4, 1], type: [5, 1], version: [6, 1], serial: [7, 1], asset: [8, 1], bootState: [9, 1],
  powerState: [10, 1], thermalState: [11, 1], security: [12, 1],
})

/** Physical memory array (§7.17). */
export const SmbiosMemoryArray = layout(0x17, {
  location: [4, 1], use: [5, 1], correction: [6, 1], capacityKiB: [7, 4], errors: [11, 2], devices: [13, 2],
  extendedCapacity: [15, 8],
})

/** Memory device (§7.18). A size of 7fffh says that the extended size holds it, in MiB. */
export const SmbiosMemoryDevice = layout(0x22, {
  array: [4, 2], errors: [6, 2], totalWidth: [8, 2], dataWidth: [10, 2], size: [12, 2], formFactor: [14, 1],
  set: [15, 1],
  locator: [16, 1], bank: [17, 1], type: [18, 1], detail: [19, 2], speed: [21, 2], manufacturer: [23, 1],
  serial: [24, 1], asset: [25, 1], part: [26, 1], attributes: [27, 1], extendedSize: [28, 4], configuredSpeed: [32, 2],
})

/** System boot information (§7.33). */
export const SmbiosBoot = layout(0x0b, { status: [10, 1] })
