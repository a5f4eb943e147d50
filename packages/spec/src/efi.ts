/** What a UEFI firmware hands over (UEFI 2.10). */
import { bits } from './bits.ts'
import { layout } from './layout.ts'

/** Types of the memory map (§7.2.3, table 7.10). */
export const EfiMemoryType = {
  RESERVED: 0, LOADER_CODE: 1, LOADER_DATA: 2, BOOT_SERVICES_CODE: 3, BOOT_SERVICES_DATA: 4, RUNTIME_SERVICES_CODE: 5,
  RUNTIME_SERVICES_DATA: 6, CONVENTIONAL: 7, UNUSABLE: 8, ACPI_RECLAIM: 9, ACPI_NVS: 10, MMIO: 11, MMIO_PORT_SPACE: 12,
  PAL_CODE: 13, PERSISTENT: 14, UNACCEPTED: 15,
} as const

/** Attributes of a descriptor (§7.2.3). */
export const EfiMemoryAttribute = {
  UC: 1n << 0n, WC: 1n << 1n, WT: 1n << 2n, WB: 1n << 3n, UCE: 1n << 4n, WP: 1n << 12n, RP: 1n << 13n, XP: 1n << 14n,
  NV: 1n << 15n, MORE_RELIABLE: 1n << 16n, RO: 1n << 17n, SP: 1n << 18n, CPU_CRYPTO: 1n << 19n, RUNTIME: 1n << 63n,
} as const

/** EFI_MEMORY_DESCRIPTOR, version 1 (§7.2.3). */
export const EfiMemoryDescriptor = layout(40, {
  type: [0, 4], physicalStart: [8, 8], virtualStart: [16, 8], numberOfPages: [24, 8], attribute: [32, 8],
})

/** EFI_TABLE_HEADER (§4.2). */
export const EfiTableHeader = layout(24, { signature: [0, 8], revision: [8, 4], headerSize: [12, 4], crc32: [16, 4],
  reserved: [20, 4] })

/** EFI_SYSTEM_TABLE on a 64-bit platform (§4.3). */
export const EfiSystemTable = layout(120, {
  header: [0, 24], firmwareVendor: [24, 8], firmwareRevision: [32, 4], consoleInHandle: [40, 8], conIn: [48, 8],
  consoleOutHandle: [56, 8], conOut: [64, 8], standardErrorHandle: [72, 8], stdErr: [80, 8], runtimeServices: [88, 8],
  bootServices: [96, 8], numberOfTableEntries: [104, 8], configurationTable: [112, 8],
})
/** "IBI SYST". */
export const EFI_SYSTEM_TABLE_SIGNATURE = 0x5453_5953_2049_4249n

/** EFI_RUNTIME_SERVICES on a 64-bit platform: pointers to functions (§4.5). */
export const EfiRuntimeServices = layout(136, {
  header: [0, 24], getTime: [24, 8], setTime: [32, 8], getWakeupTime: [40, 8], setWakeupTime: [48, 8],
  setVirtualAddressMap: [56, 8], convertPointer: [64, 8], getVariable: [72, 8], getNextVariableName: [80, 8],
  setVariable: [88, 8], getNextHighMonotonicCount: [96, 8], resetSystem: [104, 8], updateCapsule: [112, 8],
  queryCapsuleCapabilities: [120, 8], queryVariableInfo: [128, 8],
})
/** "RUNTSERV". */
export const EFI_RUNTIME_SERVICES_SIGNATURE = 0x5652_4553_544e_5552n
/** Revision 2.10 of tables (§4.3). */
export const EFI_REVISION_2_10 = 2 << 16 | 100

/** EFI_RT_PROPERTIES_TABLE: which runtime services work after ExitBootServices (§4.6.2). */
export const EfiRtProperties = layout(8, { version: [0, 2], length: [2, 2], supported: [4, 4] })
/** EfiRtProperties.supported. */
export const EfiRtSupported = bits({
  GET_TIME: 0, SET_TIME: 1, GET_WAKEUP_TIME: 2, SET_WAKEUP_TIME: 3, GET_VARIABLE: 4, GET_NEXT_VARIABLE_NAME: 5,
  SET_VARIABLE: 6, SET_VIRTUAL_ADDRESS_MAP: 7, CONVERT_POINTER: 8, GET_NEXT_HIGH_MONOTONIC_COUNT: 9, RESET_SYSTEM: 10,
  UPDATE_CAPSULE: 11, QUERY_CAPSULE_CAPABILITIES: 12, QUERY_VARIABLE_INFO: 13,
})

/** EFI_UNSUPPORTED (appendix D). */
export const EFI_UNSUPPORTED = 0x8000_0000_0000_0003n

/** Linux `struct efi_unaccepted_memory` without its bitmap of `size` bytes, which follows (include/linux/efi.h). */
export const LinuxUnacceptedMemory = layout(24, { version: [0, 4], unitSize: [4, 4], physBase: [8, 8], size: [16, 8] })

/** EFI_CONFIGURATION_TABLE (§4.6). */
export const EfiConfigurationTable = layout(24, { vendorGuid: [0, 16], vendorTable: [16, 8] })

/** GUIDs of configuration tables, in text form. */
export const EfiGuid = {
  ACPI_20: '8868e871-e4f1-11d3-bc22-0080c73c8881',
  SMBIOS3: 'f2fd1544-9794-4a2c-992e-e5bbcf20e394',
  RT_PROPERTIES: 'eb66918a-7eef-402a-842e-931d21c38ae9',
  /** Linux: LINUX_EFI_UNACCEPTED_MEM_TABLE. */
  LINUX_UNACCEPTED_MEMORY: 'd5d1de3c-105c-44f9-9ea9-bcef98120031',
  LINUX_MEMRESERVE: '888eb0c6-8ede-4ff5-a8f0-9aee5cb977c2',
  LINUX_RANDOM_SEED: '1ce1e5bc-7ceb-42f2-81e5-8aadf180f57b',
  /** AMD: confidential-computing blob. */
  CC_BLOB: '067b1f5f-cf26-44c5-8554-93d777912d42',
} as const

/** A GUID's 16 bytes: the first three groups are little-endian (UEFI appendix A). */
export function guidBytes(guid: string): Uint8Array {
  const groups = guid.split('-').map((g) => Array.from({ length: g.length / 2 },
    (_, i) => Number.parseInt(g.slice(2 * i, 2 * i + 2), 16)))
  const [a = [], b = [], c = [], d = [], e = []] = groups
  const bytes = [...a.reverse(), ...b.reverse(), ...c.reverse(), ...d, ...e]
  if (bytes.length !== 16 || bytes.some(Number.isNaN)) throw new RangeError(`no GUID: ${guid}`)
  return Uint8Array.from(bytes)
}
