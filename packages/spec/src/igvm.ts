/**
 * IGVM: a file with everything that launches a guest, on platforms of several kinds (microsoft/igvm, igvm_defs). A
 * fixed header, then variable headers of 8 aligned bytes each, then data that these name by their place in the file.
 */
import { bits } from './bits.ts'
import { layout } from './layout.ts'

/** "IGVM". */
export const IGVM_MAGIC = 0x4d56_4749

/** Fixed header of version 1; the checksum is a CRC-32 of it and of all variable headers, itself taken as 0. */
export const IgvmHeader = layout(0x18, {
  magic: [0x00, 4], formatVersion: [0x04, 4], variableHeaderOffset: [0x08, 4], variableHeaderSize: [0x0c, 4],
  totalFileSize: [0x10, 4], checksum: [0x14, 4],
})

/** The same of version 2. */
export const IgvmHeader2 = layout(0x20, {
  magic: [0x00, 4], formatVersion: [0x04, 4], variableHeaderOffset: [0x08, 4], variableHeaderSize: [0x0c, 4],
  totalFileSize: [0x10, 4], checksum: [0x14, 4], architecture: [0x18, 4], pageSize: [0x1c, 4],
})
/** The architecture of x86-64 in a header of version 2. */
export const IGVM_ARCHITECTURE_X64 = 0

/** What precedes each variable header: its type, and bytes without this and without the padding to 8. */
export const IgvmVariableHeader = layout(8, { type: [0, 4], length: [4, 4] })

/** Types of variable headers. Set bit 31 says that a loader which does not know the type may pass it over. */
export const IgvmType = {
  SUPPORTED_PLATFORM: 0x001,
  GUEST_POLICY: 0x101, RELOCATABLE_REGION: 0x102, PAGE_TABLE_RELOCATION_REGION: 0x103, CORIM_DOCUMENT: 0x104,
  CORIM_SIGNATURE: 0x105, CCA_POLICY: 0x106,
  PARAMETER_AREA: 0x301, PAGE_DATA: 0x302, PARAMETER_INSERT: 0x303, VP_CONTEXT: 0x304, REQUIRED_MEMORY: 0x305,
  VP_COUNT_PARAMETER: 0x307, SRAT: 0x308, MADT: 0x309, MMIO_RANGES: 0x30a, SNP_ID_BLOCK: 0x30b, MEMORY_MAP: 0x30c,
  ERROR_RANGE: 0x30d, COMMAND_LINE: 0x30e, SLIT: 0x30f, PPTT: 0x310, VBS_MEASUREMENT: 0x311, DEVICE_TREE: 0x312,
  ENVIRONMENT_INFO_PARAMETER: 0x313,
} as const
/** The bit of a type that lets a loader leave a header out that it does not know. */
export const IGVM_OPTIONAL = 0x8000_0000
/** The three sections follow each other in a file: first and last types of each. */
export const IGVM_SECTIONS = [[0x001, 0x100], [0x101, 0x200], [0x301, 0x400]] as const

/** A platform that the file is for; other headers name it by its bit. */
export const IgvmSupportedPlatform = layout(0x10, {
  compatibilityMask: [0x00, 4], highestVtl: [0x04, 1], platformType: [0x05, 1], platformVersion: [0x06, 2],
  sharedGpaBoundary: [0x08, 8],
})
/** Platform types of IGVM_VHS_SUPPORTED_PLATFORM. */
export const IgvmPlatform = { NATIVE: 0, VSM_ISOLATION: 1, SEV_SNP: 2, TDX: 3, SEV: 4, SEV_ES: 5, CCA: 6 } as const

/** IGVM_VHS_GUEST_POLICY: the policy of the launch. */
export const IgvmGuestPolicy = layout(0x10, { policy: [0x00, 8], compatibilityMask: [0x08, 4], reserved: [0x0c, 4] })

/** Regions that a loader may move; one that moves nothing need not look. Both begin with the mask. */
export const IGVM_RELOCATABLE_REGION_BYTES = 0x30
/** Bytes of IGVM_VHS_PAGE_TABLE_RELOCATION. */
export const IGVM_PAGE_TABLE_RELOCATION_BYTES = 0x20

/** A buffer for what the loader tells the guest. */
export const IgvmParameterArea = layout(0x10, {
  numberOfBytes: [0x00, 8], parameterAreaIndex: [0x08, 4], fileOffset: [0x0c, 4],
})

/** A page; without a file offset it is all zeroes. */
export const IgvmPageData = layout(0x18, {
  gpa: [0x00, 8], compatibilityMask: [0x08, 4], fileOffset: [0x0c, 4], flags: [0x10, 4], dataType: [0x14, 2],
  reserved: [0x16, 2],
})
/** FLAGS of IGVM_VHS_PAGE_DATA. */
export const IgvmPageFlags = bits({ is2mbPage: 0, unmeasured: 1, shared: 2 })
/** DATA_TYPE of IGVM_VHS_PAGE_DATA. */
export const IgvmPageType = { NORMAL: 0, SECRETS: 1, CPUID_DATA: 2, CPUID_XF: 3 } as const

/** Where a parameter area goes. */
export const IgvmParameterInsert = layout(0x10, {
  gpa: [0x00, 8], compatibilityMask: [0x08, 4], parameterAreaIndex: [0x0c, 4],
})

/** Where in which area something of the host's is written. */
export const IgvmParameter = layout(8, { parameterAreaIndex: [0, 4], byteOffset: [4, 4] })

/** A processor's first state; with SNP the file offset leads to a VMSA of 4096 bytes. */
export const IgvmVpContext = layout(0x14, {
  gpa: [0x00, 8], compatibilityMask: [0x08, 4], fileOffset: [0x0c, 4], vpIndex: [0x10, 2], reserved: [0x12, 2],
})

/** Memory that must be there. */
export const IgvmRequiredMemory = layout(0x18, {
  gpa: [0x00, 8], compatibilityMask: [0x08, 4], numberOfBytes: [0x0c, 4], flags: [0x10, 4], reserved: [0x14, 4],
})

/** Memory in which a guest tells of errors. */
export const IgvmErrorRange = layout(0x10, { gpa: [0x00, 8], compatibilityMask: [0x08, 4], sizeBytes: [0x0c, 4] })

/** An SNP ID block with its authentication, the keys and signatures in short form. */
export const IgvmSnpIdBlock = layout(0x2b8, {
  compatibilityMask: [0x000, 4], authorKeyEnabled: [0x004, 1], reserved: [0x005, 3], launchDigest: [0x008, 48],
  familyId: [0x038, 16], imageId: [0x048, 16], version: [0x058, 4], guestSvn: [0x05c, 4], idKeyAlgorithm: [0x060, 4],
  authorKeyAlgorithm: [0x064, 4], idKeySignature: [0x068, 144], idPublicKey: [0x0f8, 152],
  authorKeySignature: [0x190, 144],
  authorPublicKey: [0x220, 152],
})

/** A public key in an ID block. */
export const IgvmSnpPublicKey = layout(152, { curve: [0, 4], reserved: [4, 4], qx: [8, 72], qy: [80, 72] })

/** An entry of the memory map that the loader writes. */
export const IgvmMemoryMapEntry = layout(0x18, {
  startingGpaPageNumber: [0x00, 8], numberOfPages: [0x08, 8], entryType: [0x10, 2], flags: [0x12, 2],
  reserved: [0x14, 4],
})
/** Types of entries in the memory map that the loader writes. */
export const IgvmMemoryType = { MEMORY: 0, PLATFORM_RESERVED: 1, PERSISTENT: 2, VTL2_PROTECTABLE: 3 } as const

/** One of the two MMIO ranges that the loader writes. */
export const IgvmMemoryRange = layout(0x10, { startingGpaPageNumber: [0, 8], numberOfPages: [8, 8] })

/** What the loader says of the environment. */
export const IgvmEnvironment = bits({ memoryIsShared: 0 })
