/**
 * What an SNP guest is given: secrets page, CPUID page, blob of addresses, request messages (AMD 56860, SNP firmware
 * ABI r1.58; Linux arch/x86/include/asm/sev.h).
 */
import { bits, bits64 } from './bits.ts'
import { layout } from './layout.ts'

/** The secrets page (56860 §8.18.2.5, table 71; 56421 table 8 for the guest's own area; 58019 §4 for the SVSM's). */
export const SecretsPage = layout(0x1000, {
  version: [0x000, 4],
  /** Bit 0: the guest is an incoming migration image. */
  flags: [0x004, 4],
  fms: [0x008, 4],
  gosvw: [0x010, 16],
  vmpck0: [0x020, 32],
  vmpck1: [0x040, 32],
  vmpck2: [0x060, 32],
  vmpck3: [0x080, 32],
  /** The guest operating system's: 32-bit halves of its message sequence numbers. */
  messageSequence0: [0x0a0, 4],
  messageSequence1: [0x0a4, 4],
  messageSequence2: [0x0a8, 4],
  messageSequence3: [0x0ac, 4],
  apJumpTablePa: [0x0b0, 8],
  guestReserved: [0x0b8, 40],
  guestUsage: [0x0e0, 32],
  vmsaTweakBitmap: [0x100, 64],
  svsmBase: [0x140, 8],
  svsmSize: [0x148, 8],
  svsmCaa: [0x150, 8],
  svsmMaxVersion: [0x158, 4],
  svsmGuestVmpl: [0x15c, 1],
  tscFactor: [0x160, 4],
  launchMitVector: [0x168, 8],
})

/** A function in the CPUID page (56860 §7.1, table 14). */
export const CpuidFunction = layout(48, {
  eaxIn: [0, 4], ecxIn: [4, 4], xcr0In: [8, 8], xssIn: [16, 8], eax: [24, 4], ebx: [28, 4], ecx: [32, 4], edx: [36, 4],
  reserved: [40, 8],
})

/** Head of the CPUID page (56860 §8.18.2.6); the functions follow. */
export const CpuidPageHeader = layout(16, { count: [0, 4], reserved1: [4, 4], reserved2: [8, 8] })

/** Functions that fit in a CPUID page. */
export const CPUID_PAGE_MAX = 64

/** Linux `struct cc_blob_sev_info` (EFI configuration table CC_BLOB, or setup_data of type SETUP_CC_BLOB). */
export const CcBlob = layout(0x28, {
  magic: [0x00, 4],
  version: [0x04, 2],
  reserved: [0x06, 2],
  secretsPhys: [0x08, 8],
  secretsLength: [0x10, 4],
  reserved1: [0x14, 4],
  cpuidPhys: [0x18, 8],
  cpuidLength: [0x20, 4],
  reserved2: [0x24, 4],
})

/** CcBlob.magic, "AMDE". */
export const CC_BLOB_MAGIC = 0x4544_4d41

/** Header of a guest request message (56860 §8.26, table 101); the payload follows. Bytes from 0x30 on are AAD. */
export const GuestMessageHeader = layout(0x60, {
  authTag: [0x00, 32],
  sequence: [0x20, 8],
  reserved1: [0x28, 8],
  algorithm: [0x30, 1],
  headerVersion: [0x31, 1],
  headerSize: [0x32, 2],
  messageType: [0x34, 1],
  messageVersion: [0x35, 1],
  messageSize: [0x36, 2],
  reserved2: [0x38, 4],
  vmpck: [0x3c, 1],
  reserved3: [0x3d, 35],
})

/** First byte of the header that is authenticated, and how many follow. */
export const GUEST_MESSAGE_AAD_OFFSET = 0x30
/** Bytes of the header that are authenticated and not encrypted. */
export const GUEST_MESSAGE_AAD_BYTES = 0x30

/** GuestMessageHeader.algorithm and headerVersion. */
export const AEAD_AES_256_GCM = 1
/** HDR_VERSION of a guest message. */
export const GUEST_MESSAGE_HEADER_VERSION = 1

/** GuestMessageHeader.messageType (56860 §8.26, table 102). */
export const GuestMessageType = {
  INVALID: 0, CPUID_REQ: 1, CPUID_RSP: 2, KEY_REQ: 3, KEY_RSP: 4, REPORT_REQ: 5, REPORT_RSP: 6, EXPORT_REQ: 7,
  EXPORT_RSP: 8, IMPORT_REQ: 9, IMPORT_RSP: 10, ABSORB_REQ: 11, ABSORB_RSP: 12, VMRK_REQ: 13, VMRK_RSP: 14,
  ABSORB_NOMA_REQ: 15, ABSORB_NOMA_RSP: 16, TSC_INFO_REQ: 17, TSC_INFO_RSP: 18,
} as const

/** MSG_REPORT_REQ (56860 §7.3, table 22) and the head of its response; the report follows. */
export const ReportRequest = layout(96, {
  reportData: [0x00, 64], vmpl: [0x40, 4], flags: [0x44, 4], reserved: [0x48, 24],
})
/** ReportRequest.flags: 0 VLEK if one is loaded, else VCEK; 1 VCEK; 2 VLEK. */
export const ReportRequestFlags = bits({ keySelect: [1, 0] })
/** What stands before the report in MSG_REPORT_RSP. */
export const ReportResponseHeader = layout(0x20, { status: [0, 4], reportSize: [4, 4], reserved: [8, 24] })

/** MSG_KEY_REQ (56860 §7.2, table 18), message version 1; version 2 adds `launchMitVector`. */
export const KeyRequest = layout(0x28, {
  keySelect: [0x00, 4],
  reserved: [0x04, 4],
  guestFieldSelect: [0x08, 8],
  vmpl: [0x10, 4],
  guestSvn: [0x14, 4],
  tcbVersion: [0x18, 8],
  launchMitVector: [0x20, 8],
})
/** Bytes of a version 1 request. */
export const KEY_REQUEST_V1_BYTES = 0x20
/** KeyRequest.keySelect. `keySelect` chooses the endorsement key as in a report request. */
export const KeySelect = bits({ rootKeySelect: 0, keySelect: [2, 1] })
/** KeyRequest.guestFieldSelect: what is mixed into the derived key. */
export const KeyFieldSelect = bits64({
  GUEST_POLICY: 0, IMAGE_ID: 1, FAMILY_ID: 2, MEASUREMENT: 3, GUEST_SVN: 4, TCB_VERSION: 5, LAUNCH_MIT_VECTOR: 6,
})
/** MSG_KEY_RSP. */
export const KeyResponse = layout(0x40, { status: [0, 4], reserved: [4, 28], derivedKey: [0x20, 32] })

/** MSG_TSC_INFO (56860 §7.10). */
export const TSC_INFO_REQUEST_BYTES = 128
/** MSG_TSC_INFO_RSP. */
export const TscInfoResponse = layout(128, {
  status: [0, 4], reserved1: [4, 4], tscScale: [8, 8], tscOffset: [16, 8], tscFactor: [24, 4], reserved2: [28, 100],
})

/** Status in responses: success, an invalid parameter, a key that cannot be used (56860 §7). */
export const GuestMessageStatus = { SUCCESS: 0, INVALID_PARAM: 0x16, INVALID_KEY_SELECTION: 0x27 } as const

/** An entry of the certificate table that an extended request hands back (56421 §4.1.8); a zero entry ends it. */
export const CertTableEntry = layout(24, { guid: [0, 16], offset: [16, 4], length: [20, 4] })

/** CertTableEntry.guid. */
export const CertGuid = {
  VCEK: '63da758d-e664-4564-adc5-f4b93be8accd',
  VLEK: 'a8074bc2-a25a-483e-aae6-39c045a0b8a1',
  ASK: '4ab7b379-bbac-4fe4-a02f-05aef327c782',
  ARK: 'c0b406a4-a803-4952-9743-3fb6014cd0ae',
} as const
