/**
 * Commands of the SEV firmware in the PSP, SEV-legacy and SEV-SNP: numbers, status codes, buffers (AMD 55766, SEV API
 * r0.24; AMD 56860, SNP firmware ABI r1.58; Linux include/linux/psp-sev.h and include/uapi/linux/psp-sev.h).
 */
import { bits, bits64 } from './bits.ts'
import { layout } from './layout.ts'

/** Command numbers, as written to the mailbox's command register. */
export const PspCommand = {
  INIT: 0x001, SHUTDOWN: 0x002, PLATFORM_RESET: 0x003, PLATFORM_STATUS: 0x004, PEK_GEN: 0x005, PEK_CSR: 0x006,
  PEK_CERT_IMPORT: 0x007, PDH_CERT_EXPORT: 0x008, PDH_GEN: 0x009, DF_FLUSH: 0x00a, DOWNLOAD_FIRMWARE: 0x00b,
  GET_ID: 0x00c, INIT_EX: 0x00d, NOP: 0x00e, RING_BUFFER: 0x00f, DECOMMISSION: 0x020, ACTIVATE: 0x021,
  DEACTIVATE: 0x022, GUEST_STATUS: 0x023, COPY: 0x024, ACTIVATE_EX: 0x025, LAUNCH_START: 0x030,
  LAUNCH_UPDATE_DATA: 0x031, LAUNCH_UPDATE_VMSA: 0x032, LAUNCH_MEASURE: 0x033, LAUNCH_SECRET: 0x034,
  LAUNCH_FINISH: 0x035, ATTESTATION: 0x036, SEND_START: 0x040, SEND_UPDATE_DATA: 0x041, SEND_UPDATE_VMSA: 0x042,
  SEND_FINISH: 0x043, SEND_CANCEL: 0x044, RECEIVE_START: 0x050, RECEIVE_UPDATE_DATA: 0x051,
  RECEIVE_UPDATE_VMSA: 0x052, RECEIVE_FINISH: 0x053, DBG_DECRYPT: 0x060, DBG_ENCRYPT: 0x061,
  SNP_INIT: 0x081, SNP_SHUTDOWN: 0x082, SNP_PLATFORM_STATUS: 0x083, SNP_DF_FLUSH: 0x084, SNP_INIT_EX: 0x085,
  SNP_SHUTDOWN_EX: 0x086, SNP_DECOMMISSION: 0x090, SNP_ACTIVATE: 0x091, SNP_GUEST_STATUS: 0x092,
  SNP_GCTX_CREATE: 0x093, SNP_GUEST_REQUEST: 0x094, SNP_ACTIVATE_EX: 0x095, SNP_LAUNCH_START: 0x0a0,
  SNP_LAUNCH_UPDATE: 0x0a1, SNP_LAUNCH_FINISH: 0x0a2, SNP_DBG_DECRYPT: 0x0b0, SNP_DBG_ENCRYPT: 0x0b1,
  SNP_PAGE_SWAP_OUT: 0x0c0, SNP_PAGE_SWAP_IN: 0x0c1, SNP_PAGE_MOVE: 0x0c2, SNP_PAGE_MD_INIT: 0x0c3,
  SNP_PAGE_SET_STATE: 0x0c6, SNP_PAGE_RECLAIM: 0x0c7, SNP_PAGE_UNSMASH: 0x0c8, SNP_CONFIG: 0x0c9,
  SNP_DOWNLOAD_FIRMWARE_EX: 0x0ca, SNP_COMMIT: 0x0cb, SNP_VLEK_LOAD: 0x0cd, SNP_FEATURE_INFO: 0x0ce,
} as const

/** Status codes (56860 §6, table 13; 55766 §4.4). */
export const PspStatus = {
  SUCCESS: 0x00, INVALID_PLATFORM_STATE: 0x01, INVALID_GUEST_STATE: 0x02, INVALID_CONFIG: 0x03, INVALID_LENGTH: 0x04,
  ALREADY_OWNED: 0x05, INVALID_CERTIFICATE: 0x06, POLICY_FAILURE: 0x07, INACTIVE: 0x08, INVALID_ADDRESS: 0x09,
  BAD_SIGNATURE: 0x0a, BAD_MEASUREMENT: 0x0b, ASID_OWNED: 0x0c, INVALID_ASID: 0x0d, WBINVD_REQUIRED: 0x0e,
  DFFLUSH_REQUIRED: 0x0f, INVALID_GUEST: 0x10, INVALID_COMMAND: 0x11, ACTIVE: 0x12, HWERROR_PLATFORM: 0x13,
  HWERROR_UNSAFE: 0x14, UNSUPPORTED: 0x15, INVALID_PARAM: 0x16, RESOURCE_LIMIT: 0x17, SECURE_DATA_INVALID: 0x18,
  INVALID_PAGE_SIZE: 0x19, INVALID_PAGE_STATE: 0x1a, INVALID_MDATA_ENTRY: 0x1b, INVALID_PAGE_OWNER: 0x1c,
  AEAD_OFLOW: 0x1d, RB_MODE_EXITED: 0x1f, RMP_INIT_REQUIRED: 0x20, BAD_SVN: 0x21, BAD_VERSION: 0x22,
  SHUTDOWN_REQUIRED: 0x23, UPDATE_FAILED: 0x24, RESTORE_REQUIRED: 0x25, RMP_INITIALIZATION_FAILED: 0x26,
  INVALID_KEY: 0x27, SHUTDOWN_INCOMPLETE: 0x28,
} as const

/** The mailbox's command/response register as software writes it (Linux drivers/crypto/ccp/psp-dev.h). */
export const PspMailboxCommand = bits({ INTERRUPT: 0, command: [26, 16], RESPONSE: 31 })

/** The same register as the firmware leaves it. */
export const PspMailboxResponse = bits({ status: [15, 0], command: [26, 16], RESPONSE: 31 })

/**
 * Offsets of the PSP's message registers in BAR 2 of its PCI function 1022:14CA, the one of fourth-generation EPYC
 * (Linux drivers/crypto/ccp/sp-pci.c). C2PMSG_n are written by software, P2CMSG by the PSP.
 */
export const PspRegister = {
  /** C2PMSG_17 to 19: command, and address of its buffer, of the TEE. */
  TEE_COMMAND: 0x1_0544, TEE_BUFFER_LOW: 0x1_0548, TEE_BUFFER_HIGH: 0x1_054c,
  /** Interrupt enable, and status: cleared by writing ones. */
  INTERRUPT_ENABLE: 0x1_0690, INTERRUPT_STATUS: 0x1_0694,
  /** C2PMSG_32, 56 and 57: SEV's command and response, and the address of its buffer. */
  SEV_COMMAND: 0x1_0980, SEV_BUFFER_LOW: 0x1_09e0, SEV_BUFFER_HIGH: 0x1_09e4,
  /** C2PMSG_58, 59: versions of TEE and boot loader, a byte for each part. C2PMSG_63: what this PSP can do. */
  TEE_VERSION: 0x1_09e8, BOOT_LOADER_VERSION: 0x1_09ec, CAPABILITY: 0x1_09fc,
} as const

/** Bits of INTERRUPT_ENABLE and INTERRUPT_STATUS (Linux drivers/crypto/ccp/sev-dev.h). */
export const PspInterrupt = bits({ SEV_COMPLETE: 1 })

/** The capability register (Linux drivers/crypto/ccp/psp-dev.h). */
export const PspCapability = bits({
  SEV: 0, TEE: 1, DBC: 2, SFS: 3, SECURITY_REPORTING: 7, FUSED_PART: 8, BOOT_INTEGRITY: 9, DEBUG_LOCK_ON: 10,
  TSME_STATUS: 13, ANTI_ROLLBACK_STATUS: 15, RPMC_PRODUCTION_ENABLED: 16, RPMC_SPIROM_AVAILABLE: 17,
  HSP_TPM_AVAILABLE: 18, ROM_ARMOR_ENFORCED: 19,
})

/** States that PLATFORM_STATUS and SNP_PLATFORM_STATUS report. */
export const SevPlatformState = { UNINIT: 0, INIT: 1, WORKING: 2 } as const
/** States of SNP that SNP_PLATFORM_STATUS reports. */
export const SnpPlatformState = { UNINIT: 0, INIT: 1 } as const

/** States of a guest that SNP_GUEST_STATUS reports (56860 §8.16). */
export const SnpGuestState = { INIT: 0, LAUNCH: 1, RUNNING: 2 } as const

/** INIT and INIT_EX (55766 §5.1). */
export const SevInit = layout(0x14, {
  flags: [0x00, 4], reserved: [0x04, 4], tmrAddress: [0x08, 8], tmrLength: [0x10, 4],
})
/** INIT_EX: INIT, and a buffer in memory instead of the SPI flash. */
export const SevInitEx = layout(0x24, {
  length: [0x00, 4], flags: [0x04, 4], tmrAddress: [0x08, 8], tmrLength: [0x10, 4], reserved: [0x14, 4],
  nvAddress: [0x18, 8], nvLength: [0x20, 4],
})
/** FLAGS of INIT and INIT_EX. */
export const SevInitFlags = bits({ ES: 0 })

/** PLATFORM_STATUS (55766 §5.7). */
export const SevPlatformStatus = layout(12, {
  apiMajor: [0, 1], apiMinor: [1, 1], state: [2, 1], flags: [3, 4], build: [7, 1], guestCount: [8, 4],
})
/** FLAGS of PLATFORM_STATUS. */
export const SevPlatformFlags = bits({ OWNER: 0, CONFIG_ES: 8 })

/** GET_ID (55766 §5.12). */
export const SevGetId = layout(12, { address: [0, 8], length: [8, 4] })

/** SNP_INIT_EX (56860 §8.8). */
export const SnpInitEx = layout(64, {
  flags: [0x00, 4], reserved1: [0x04, 4], listPaddr: [0x08, 8], maxSnpAsid: [0x10, 2], reserved2: [0x12, 46],
})
/** The bits that SNP_INIT_EX asks with. */
export const SnpInitExFlags = bits({ INIT_RMP: 0, LIST_PADDR_EN: 1, RAPL_DIS: 2, CIPHERTEXT_HIDING_EN: 3, TIO_EN: 4 })

/** RANGE_LIST of SNP_INIT_EX and SNP_PAGE_SET_STATE: a header, then ranges. */
export const SnpRangeListHeader = layout(8, { count: [0, 4], reserved: [4, 4] })
/** A range of a RANGE_LIST, in pages of 4 KiB. */
export const SnpRange = layout(16, { base: [0, 8], pageCount: [8, 4], reserved: [12, 4] })
/** The list fills at most a page. */
export const SNP_RANGE_LIST_MAX = 255

/** SNP_SHUTDOWN_EX (56860 §8.10). */
export const SnpShutdownEx = layout(8, { length: [0, 4], flags: [4, 4] })
/** FLAGS of SNP_SHUTDOWN_EX. */
export const SnpShutdownFlags = bits({ IOMMU_SNP_SHUTDOWN: 0, X86_SNP_SHUTDOWN: 1 })

/** SNP_PLATFORM_STATUS's buffer, and what it writes to the page that the buffer names (56860 §8.3). */
export const SnpAddress = layout(8, { address: [0, 8] })
/** What SNP_PLATFORM_STATUS writes. */
export const SnpPlatformStatus = layout(0x20, {
  apiMajor: [0x00, 1], apiMinor: [0x01, 1], state: [0x02, 1], rmp: [0x03, 1], buildId: [0x04, 4], flags: [0x08, 4],
  guestCount: [0x0c, 4], currentTcb: [0x10, 8], reportedTcb: [0x18, 8],
})
/** FLAGS of SNP_PLATFORM_STATUS. */
export const SnpPlatformFlags = bits({
  MASK_CHIP_ID: 0, MASK_CHIP_KEY: 1, VLEK_EN: 2, FEATURE_INFO: 3, RAPL_DIS: 4, CIPHERTEXT_HIDING_DRAM_CAP: 5,
  CIPHERTEXT_HIDING_DRAM_EN: 6,
})

/** SNP_CONFIG (56860 §8.6). */
export const SnpConfig = layout(64, { reportedTcb: [0, 8], flags: [8, 4], reserved: [12, 52] })
/** FLAGS of SNP_CONFIG. */
export const SnpConfigFlags = bits({ MASK_CHIP_ID: 0, MASK_CHIP_KEY: 1 })

/** SNP_COMMIT and SNP_VLEK_LOAD. */
export const SnpCommit = layout(4, { length: [0, 4] })
/** SNP_VLEK_LOAD's buffer. */
export const SnpVlekLoad = layout(16, {
  length: [0, 4], wrappedVersion: [4, 1], reserved: [5, 3], wrappedPaddr: [8, 8],
})
/** Bytes of a wrapped VLEK hashstick (56860 §8.29). */
export const VLEK_HASHSTICK_BYTES = 432

/** SNP_FEATURE_INFO and what it writes: a CPUID-like leaf 8000_0024 (56860 §8.5). */
export const SnpFeatureInfo = layout(16, { length: [0, 4], ecxIn: [4, 4], featureInfoPaddr: [8, 8] })
/** What SNP_FEATURE_INFO writes: registers as CPUID's. */
export const SnpFeatureInfoResult = layout(16, { eax: [0, 4], ebx: [4, 4], ecx: [8, 4], edx: [12, 4] })
/** Features in ECX of SNP_FEATURE_INFO's leaf 0. */
export const SnpFeatureEcx = bits({
  X86_SNP_SHUTDOWN: 1, RAPL_DIS: 2, CIPHERTEXT_HIDING: 3, AES_256_XTS_POLICY: 4, CXL_ALLOW_POLICY: 5,
})

/** SNP_GCTX_CREATE, SNP_DECOMMISSION: the context's address. SNP_ACTIVATE and SNP_ACTIVATE_EX (56860 §8.11–8.13). */
export const SnpActivate = layout(12, { gctxPaddr: [0, 8], asid: [8, 4] })
/** SNP_ACTIVATE_EX's buffer. */
export const SnpActivateEx = layout(0x20, {
  length: [0x00, 4], reserved: [0x04, 4], gctxPaddr: [0x08, 8], asid: [0x10, 4], numIds: [0x14, 4], idPaddr: [0x18, 8],
})

/** SNP_LAUNCH_START (56860 §8.17). */
export const SnpLaunchStart = layout(0x30, {
  gctxPaddr: [0x00, 8], policy: [0x08, 8], maGctxPaddr: [0x10, 8], flags: [0x18, 4], desiredTscKhz: [0x1c, 4],
  gosvw: [0x20, 16],
})
/** FLAGS of SNP_LAUNCH_START. */
export const SnpLaunchStartFlags = bits({ MA_EN: 0, IMI_EN: 1 })

/** SNP_LAUNCH_UPDATE (56860 §8.18). */
export const SnpLaunchUpdate = layout(0x28, {
  gctxPaddr: [0x00, 8], page: [0x08, 4], reserved1: [0x0c, 4], pagePaddr: [0x10, 8], permissions: [0x18, 4],
  reserved2: [0x1c, 4],
})
/** The page's size and type in SNP_LAUNCH_UPDATE. */
export const SnpLaunchUpdatePage = bits({ pageSize: 0, pageType: [3, 1], IMI_PAGE: 4 })
/** The permissions of VMPL1 to 3 in SNP_LAUNCH_UPDATE; VMPL0 has all. */
export const SnpLaunchUpdatePermissions = bits({ vmpl1: [15, 8], vmpl2: [23, 16], vmpl3: [31, 24] })

/** Page types of SNP_LAUNCH_UPDATE (56860 §8.18, table 68). */
export const SnpPageType = { NORMAL: 1, VMSA: 2, ZERO: 3, UNMEASURED: 4, SECRETS: 5, CPUID: 6 } as const

/** What extends the launch digest for each page (56860 §8.18.2, table 69). */
export const SnpPageInfo = layout(0x70, {
  digestCurrent: [0x00, 48], contents: [0x30, 48], length: [0x60, 2], pageType: [0x62, 1], imiPage: [0x63, 1],
  vmpl3: [0x64, 1], vmpl2: [0x65, 1], vmpl1: [0x66, 1], reserved: [0x67, 1], gpa: [0x68, 8],
})

/** SnpPageInfo.gpa of VMSA pages: the highest page that a 48-bit address reaches. */
export const SNP_VMSA_GPA = 0xffff_ffff_f000n

/** SNP_LAUNCH_FINISH (56860 §8.19). */
export const SnpLaunchFinish = layout(0x40, {
  gctxPaddr: [0x00, 8], idBlockPaddr: [0x08, 8], idAuthPaddr: [0x10, 8], flags: [0x18, 1], reserved: [0x19, 7],
  hostData: [0x20, 32],
})
/** FLAGS of SNP_LAUNCH_FINISH. */
export const SnpLaunchFinishFlags = bits({ ID_BLOCK_EN: 0, AUTH_KEY_EN: 1, VCEK_DIS: 2 })

/** ID block: what a guest owner signs (56860 §8.19, table 76). */
export const SnpIdBlock = layout(0x60, {
  launchDigest: [0x00, 48], familyId: [0x30, 16], imageId: [0x40, 16], version: [0x50, 4], guestSvn: [0x54, 4],
  policy: [0x58, 8],
})
/** VERSION of an ID block. */
export const SNP_ID_BLOCK_VERSION = 1

/** ID authentication information: signatures and keys (56860 §8.19, table 77). */
export const SnpIdAuth = layout(0x1000, {
  idKeyAlgorithm: [0x000, 4], authorKeyAlgorithm: [0x004, 4], reserved1: [0x008, 56], idBlockSignature: [0x040, 512],
  idKey: [0x240, 1028], reserved2: [0x644, 60], idKeySignature: [0x680, 512], authorKey: [0x880, 1028],
  reserved3: [0xc84, 892],
})

/** Keys and signatures of ECDSA with P-384 and SHA-384; numbers are little-endian (56860 §10). */
export const SnpEcdsaKey = layout(1028, { curve: [0, 4], qx: [4, 72], qy: [0x4c, 72], reserved: [0x94, 880] })
/** An ECDSA signature: R and S, little-endian. */
export const SnpEcdsaSignature = layout(512, { r: [0, 72], s: [72, 72], reserved: [144, 368] })
/** The algorithm of signatures: ECDSA on P-384 with SHA-384. */
export const ECDSA_P384_SHA384 = 1
/** The number of P-384 in public keys. */
export const CURVE_P384 = 2

/** SNP_GUEST_STATUS and what it writes (56860 §8.16). */
export const SnpGuestStatus = layout(16, { gctxPaddr: [0, 8], statusPaddr: [8, 8] })
/** What SNP_GUEST_STATUS writes. */
export const SnpGuestStatusResult = layout(0x20, {
  policy: [0x00, 8], asid: [0x08, 4], state: [0x0c, 1], reserved1: [0x0d, 3], flags: [0x10, 4], reserved2: [0x14, 12],
})
/** FLAGS of SNP_GUEST_STATUS. */
export const SnpGuestStatusFlags = bits({ VCEK_DIS: 0 })

/** SNP_GUEST_REQUEST (56860 §8.27). */
export const SnpGuestRequest = layout(24, { gctxPaddr: [0, 8], requestPaddr: [8, 8], responsePaddr: [16, 8] })

/** SNP_PAGE_RECLAIM, _UNSMASH, _MD_INIT: a page with its size in bit 0. */
export const SnpPageAddress = bits64({ pageSize: 0, page: [63, 12] })

/** SNP_PAGE_SET_STATE (56860 §8.31). */
export const SnpPageSetState = layout(16, { length: [0, 4], reserved: [4, 4], listPaddr: [8, 8] })

/** SNP_DBG_DECRYPT and SNP_DBG_ENCRYPT. */
export const SnpDebug = layout(24, { gctxPaddr: [0, 8], srcPaddr: [8, 8], dstPaddr: [16, 8] })

/** Guest policy (56860 §4.3, table 10). Bit 17 must be one. */
export const SnpPolicy = bits64({
  ABI_MINOR: [7, 0], ABI_MAJOR: [15, 8], SMT: 16, RESERVED_ONE: 17, MIGRATE_MA: 18, DEBUG: 19, SINGLE_SOCKET: 20,
  CXL_ALLOW: 21, MEM_AES_256_XTS: 22, RAPL_DIS: 23, CIPHERTEXT_HIDING_DRAM: 24, PAGE_SWAP_DISABLE: 25,
})
