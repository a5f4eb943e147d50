/**
 * The guest-hypervisor communication block, protocol version 2: the GHCB page, exit codes, the MSR protocol (AMD 56421
 * r2.03; Linux arch/x86/include/uapi/asm/svm.h and asm/sev-common.h).
 */
import { bits64 } from './bits.ts'
import { layout } from './layout.ts'
import { savedRegisters } from './save-area.ts'

/** The GHCB page (56421 §2.6, table 3). Register fields have the VMSA's offsets. */
export const Ghcb = layout(0x1000, {
  ...savedRegisters,
  cpl: [0x0cb, 1],
  xss: [0x140, 8],
  dr7: [0x160, 8],
  rip: [0x178, 8],
  rsp: [0x1d8, 8],
  rax: [0x1f8, 8],
  swExitCode: [0x390, 8],
  swExitInfo1: [0x398, 8],
  swExitInfo2: [0x3a0, 8],
  swScratch: [0x3a8, 8],
  xcr0: [0x3e8, 8],
  /** Bit n says that the qword at offset 8n is valid. */
  validBitmap: [0x3f0, 16],
  x87StateGpa: [0x400, 8],
  sharedBuffer: [0x800, 0x7f0],
  protocolVersion: [0xffa, 2],
  usage: [0xffc, 4],
})

/** Ghcb.usage of the standard layout; other values belong to hypervisors. */
export const GHCB_USAGE_STANDARD = 0

/** Software exit codes of VMGEXIT (56421 §4.1); codes below 8000_0000 are those of `SvmExit`. */
export const VmgExit = {
  MMIO_READ: 0x8000_0001, MMIO_WRITE: 0x8000_0002, NMI_COMPLETE: 0x8000_0003, AP_RESET_HOLD: 0x8000_0004,
  AP_JUMP_TABLE: 0x8000_0005, PAGE_STATE_CHANGE: 0x8000_0010, GUEST_REQUEST: 0x8000_0011,
  EXT_GUEST_REQUEST: 0x8000_0012, AP_CREATION: 0x8000_0013, HV_DOORBELL: 0x8000_0014, HV_IPI: 0x8000_0015,
  HV_TIMER: 0x8000_0016, APIC_ID_LIST: 0x8000_0017, SNP_RUN_VMPL: 0x8000_0018, SECURE_AVIC: 0x8000_001a,
  CONFIGURE_INT_INJ: 0x8000_001b, DISABLE_ALT_INJ: 0x8000_001c, SPECIFIC_EOI: 0x8000_001d, HV_FEATURES: 0x8000_fffd,
  TERMINATION: 0x8000_fffe, UNSUPPORTED_EVENT: 0x8000_ffff,
} as const

/** SW_EXITINFO1[31:0] when the hypervisor answers. */
export const GhcbAnswer = { NO_ACTION: 0, ISSUE_EXCEPTION: 1, MALFORMED_INPUT: 2 } as const

/** SW_EXITINFO2[31:0] with MALFORMED_INPUT (56421 §4.1). */
export const GhcbError = {
  NOT_REGISTERED: 1, INVALID_USAGE: 2, INVALID_SCRATCH_AREA: 3, MISSING_INPUT: 4, INVALID_INPUT: 5, INVALID_EVENT: 6,
} as const

/** SW_EXITINFO1 of AP_CREATION: bits 15:0 say what, 19:16 the VMPL, 63:32 the APIC id. */
export const ApCreationInfo = bits64({ request: [15, 0], vmpl: [19, 16], apicId: [63, 32] })
/** What SNP AP Creation asks for. */
export const ApCreationRequest = { CREATE_ON_INIT: 0, CREATE: 1, DESTROY: 2 } as const

/** SW_EXITINFO1 of AP_JUMP_TABLE. */
export const ApJumpTableRequest = { SET: 0, GET: 1 } as const

/** Requests and responses of the MSR protocol, bits 11:0 of the GHCB MSR (56421 §2.3.1). */
export const GhcbMsr = {
  SEV_INFO_RESP: 0x001, SEV_INFO_REQ: 0x002, CPUID_REQ: 0x004, CPUID_RESP: 0x005, AP_RESET_HOLD_REQ: 0x006,
  AP_RESET_HOLD_RESP: 0x007, PREFERRED_GPA_REQ: 0x010, PREFERRED_GPA_RESP: 0x011, REGISTER_GPA_REQ: 0x012,
  REGISTER_GPA_RESP: 0x013, PSC_REQ: 0x014, PSC_RESP: 0x015, RUN_VMPL_REQ: 0x016, RUN_VMPL_RESP: 0x017,
  HV_FEATURES_REQ: 0x080, HV_FEATURES_RESP: 0x081, TERMINATION_REQ: 0x100,
} as const

/** Fields of the GHCB MSR by request or response; bits that a declaration leaves out must be zero. */
export const GhcbMsrSevInfoResp = bits64({ info: [11, 0], cBit: [31, 24], minVersion: [47, 32], maxVersion: [63, 48] })
/** CPUID request and response: `value` is the leaf, then the register's contents. */
export const GhcbMsrCpuid = bits64({ info: [11, 0], register: [31, 30], value: [63, 32] })
/** AP reset hold response: not zero once a SIPI came. */
export const GhcbMsrApResetHoldResp = bits64({ info: [11, 0], value: [63, 12] })
/** GHCB address, and GHCB page registration: a guest frame number. */
export const GhcbMsrGpa = bits64({ info: [11, 0], gfn: [63, 12] })
/** SNP page state change request. */
export const GhcbMsrPscReq = bits64({ info: [11, 0], gfn: [51, 12], operation: [55, 52] })
/** SNP page state change response: 0, or an error. */
export const GhcbMsrPscResp = bits64({ info: [11, 0], errorCode: [63, 32] })
/** SNP run VMPL request. */
export const GhcbMsrRunVmplReq = bits64({ info: [11, 0], vmpl: [39, 32] })
/** SNP run VMPL response: 0, or an error. */
export const GhcbMsrRunVmplResp = bits64({ info: [11, 0], errorCode: [63, 32] })
/** Hypervisor features response. */
export const GhcbMsrHvFeaturesResp = bits64({ info: [11, 0], features: [63, 12] })
/** Termination request: a set of reasons, and one of it. */
export const GhcbMsrTermination = bits64({ info: [11, 0], reasonSet: [15, 12], reason: [23, 16] })
/** Requests that are their code and nothing else. */
export const GhcbMsrInfoOnly = bits64({ info: [11, 0] })

/** GhcbMsrGpa.gfn of a hypervisor without a preference, or that refuses a registration. */
export const GHCB_GPA_NONE = 0xf_ffff_ffff_ffffn

/** Registers that GhcbMsrCpuid.register names. */
export const GhcbCpuidRegister = { EAX: 0, EBX: 1, ECX: 2, EDX: 3 } as const

/** Hypervisor feature bits (56421 §4.1.13, table 7). */
export const HvFeatures = bits64({
  SNP: 0, AP_CREATION: 1, RESTRICTED_INJECTION: 2, RESTRICTED_INJECTION_TIMER: 3, APIC_ID_LIST: 4, MULTI_VMPL: 5,
  PAGE_STATE_CHANGE: 6, EXTENDED_INTERRUPTS: 9,
})

/** Operations of a page state change. */
export const PscOperation = { PRIVATE: 1, SHARED: 2, PSMASH: 3, UNSMASH: 4 } as const

/** Header of the page state change structure in the scratch area (56421 §4.1.6, table 11). */
export const PscHeader = layout(8, { currentEntry: [0, 2], endEntry: [2, 2], reserved: [4, 4] })

/** An entry of that structure. `currentPage` counts what the hypervisor has done of a 2 MiB page. */
export const PscEntry = bits64({ currentPage: [11, 0], gfn: [51, 12], operation: [55, 52], pageSize: 56 })

/** Entries that fit in the shared buffer. */
export const PSC_MAX_ENTRIES = 253

/** SW_EXITINFO2[63:32] of a page state change that failed; with INVALID_REQUEST the low half says what. */
export const PscError = { INVALID_REQUEST: 1, GENERIC: 0x100 } as const
/** What was wrong with a list of page state changes, in the low half of EXITINFO2. */
export const PscInvalid = { HEADER: 1, ENTRY: 2 } as const

/** SW_EXITINFO2[63:32] of a guest request that the hypervisor (not the firmware) refused. */
export const GuestRequestVmmError = { INVALID_LENGTH: 1, BUSY: 2 } as const

/** Reason sets of a termination request. */
export const TerminationSet = { GENERAL: 0, LINUX: 1 } as const

/** What a termination request says, by reason set and reason (56421 §2.3.1; Linux asm/sev-common.h). */
export const TERMINATION_REASONS: Readonly<Record<number, Readonly<Record<number, string>>>> = {
  [TerminationSet.GENERAL]: {
    0: 'general termination request',
    1: 'the GHCB protocol version is not supported',
    2: 'the hypervisor or the processor lacks SEV-SNP features that the guest needs',
  },
  [TerminationSet.LINUX]: {
    0: 'registration of the GHCB page failed',
    1: 'a page state change failed',
    2: 'PVALIDATE failed',
    3: 'the guest does not run at VMPL0',
    4: 'the CPUID table is not valid',
    5: 'CPUID from the hypervisor failed',
    6: 'the secrets page cannot be used',
    7: 'the secrets page names no SVSM, but the guest does not run at VMPL0',
    8: 'the secrets page names an SVSM, but has the guest run at VMPL0',
    9: "the SVSM's calling area is not aligned to a page",
    10: 'setting up the secure TSC failed',
    11: "remapping the SVSM's calling area failed",
    12: 'setting up the secure AVIC failed',
  },
}
