/** The interface of a secure VM service module (AMD 58019 r1.00; Linux arch/x86/include/asm/sev.h). */
import { bits64 } from './bits.ts'
import { layout } from './layout.ts'

/** The calling area (58019 §5, table 3). */
export const SvsmCallingArea = layout(0x1000, { callPending: [0, 1], memAvailable: [1, 1], buffer: [8, 0xff8] })

/** RAX of a call: protocol in bits 63:32, call in 31:0. */
export const SvsmCallId = bits64({ call: [31, 0], protocol: [63, 32] })
/** Numbers of the protocols. */
export const SvsmProtocol = { CORE: 0, ATTESTATION: 1, VTPM: 2, APIC: 3 } as const
/** Calls of the core protocol. */
export const SvsmCoreCall = {
  REMAP_CA: 0, PVALIDATE: 1, CREATE_VCPU: 2, DELETE_VCPU: 3, DEPOSIT_MEM: 4, WITHDRAW_MEM: 5, QUERY_PROTOCOL: 6,
  CONFIGURE_VTOM: 7,
} as const
/** Calls of the attestation protocol. */
export const SvsmAttestCall = { SERVICES: 0, SINGLE_SERVICE: 1 } as const
/** Calls of the vTPM protocol. */
export const SvsmVtpmCall = { QUERY: 0, CMD: 1 } as const
/** Calls of the APIC emulation protocol. */
export const SvsmApicCall = {
  QUERY_FEATURES: 0, CONFIGURE: 1, READ_REGISTER: 2, WRITE_REGISTER: 3, CONFIGURE_VECTOR: 4,
} as const

/** RAX after a call (58019 §6.1, table 4). Codes of a protocol start at PROTOCOL_BASE. */
export const SvsmResult = {
  SUCCESS: 0, INCOMPLETE: 0x8000_0000, UNSUPPORTED_PROTOCOL: 0x8000_0001, UNSUPPORTED_CALL: 0x8000_0002,
  INVALID_ADDRESS: 0x8000_0003, INVALID_FORMAT: 0x8000_0004, INVALID_PARAMETER: 0x8000_0005,
  INVALID_REQUEST: 0x8000_0006, BUSY: 0x8000_0007, PROTOCOL_BASE: 0x8000_1000,
} as const

/** SVSM_CORE_PVALIDATE (58019 §7.1.2): header of the list at RCX, and its entries. */
export const SvsmPvalidateHeader = layout(8, { entries: [0, 2], next: [2, 2], reserved: [4, 4] })
/** An entry of SVSM_CORE_PVALIDATE's list. */
export const SvsmPvalidateEntry = bits64({ pageSize: [1, 0], validate: 2, ignoreCf: 3, pfn: [63, 12] })

/** SVSM_CORE_DEPOSIT_MEM and WITHDRAW_MEM: header of the list at RCX, and its entries. */
export const SvsmMemoryHeader = layout(8, { entries: [0, 2], next: [2, 2], reserved: [4, 4] })
/** An entry of the lists of SVSM_CORE_DEPOSIT_MEM and SVSM_CORE_WITHDRAW_MEM. */
export const SvsmMemoryEntry = bits64({ pageSize: [1, 0], pfn: [63, 12] })

/** SVSM_CORE_QUERY_PROTOCOL: RCX in; out 0 when there is no such protocol, else the versions that are served. */
export const SvsmQueryProtocol = bits64({ version: [31, 0], protocol: [63, 32] })
/** What SVSM_CORE_QUERY_PROTOCOL leaves in RCX; 0 for a protocol that is not there. */
export const SvsmQueryProtocolResult = bits64({ minVersion: [31, 0], maxVersion: [63, 32] })

/** A buffer in an attestation request. */
export const SvsmLocation = layout(16, { gpa: [0, 8], bytes: [8, 4], reserved: [12, 4] })

/** SVSM_ATTEST_SERVICES and _SINGLE_SERVICE (58019 §7.2, tables 11 and 12); the former ends before `serviceGuid`. */
export const SvsmAttestRequest = layout(0x58, {
  report: [0x00, 16],
  nonce: [0x10, 16],
  manifest: [0x20, 16],
  certificates: [0x30, 16],
  serviceGuid: [0x40, 16],
  manifestVersion: [0x50, 4],
  reserved: [0x54, 4],
})
/** Bytes of the request of SVSM_ATTEST_SERVICES, which ends before the last fields. */
export const SVSM_ATTEST_SERVICES_BYTES = 0x40

/** Services manifest: header, then entries (58019 §7.2, table 13). */
export const SvsmManifestHeader = layout(24, { guid: [0, 16], size: [16, 4], entries: [20, 4] })
/** A service in a manifest: its data, from the manifest's start. */
export const SvsmManifestEntry = layout(24, { guid: [0, 16], offset: [16, 4], size: [20, 4] })
/** GUIDs of the manifest and of services. */
export const SvsmServiceGuid = {
  MANIFEST: '63849ebb-3d92-4670-a1ff-58f9c94b87bb',
  VTPM: 'c476f1eb-0123-45a5-9641-b4e7dde5bfe3',
} as const

/** SVSM_VTPM_CMD: the request and response page at RCX (58019 §8.3). */
export const SvsmVtpmSendCommand = layout(9, { command: [0, 4], locality: [4, 1], size: [5, 4] })
/** TPM_SEND_COMMAND, the only platform command of SVSM_VTPM_CMD. */
export const SVSM_VTPM_PLATFORM_COMMAND_SEND = 8
