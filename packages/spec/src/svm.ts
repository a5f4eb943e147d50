/**
 * SVM: intercepts, the VMCB's control and save areas, exit codes (APM vol. 2, chapter 15, appendices B and C).
 */
import { bits, bits64 } from './bits.ts'
import { layout } from './layout.ts'
import { saveArea } from './save-area.ts'

/** Control area 000h: reads (15:0) and writes (31:16) of CR0–CR15. */
export const InterceptCr = bits({ reads: [15, 0], writes: [31, 16] })

/** Control area 004h: reads (15:0) and writes (31:16) of DR0–DR15. */
export const InterceptDr = bits({ reads: [15, 0], writes: [31, 16] })

/** Control area 00Ch. */
export const Intercept3 = bits({
  INTR: 0, NMI: 1, SMI: 2, INIT: 3, VINTR: 4, CR0_SEL_WRITE: 5, IDTR_READ: 6, GDTR_READ: 7, LDTR_READ: 8, TR_READ: 9,
  IDTR_WRITE: 10, GDTR_WRITE: 11, LDTR_WRITE: 12, TR_WRITE: 13, RDTSC: 14, RDPMC: 15, PUSHF: 16, POPF: 17, CPUID: 18,
  RSM: 19, IRET: 20, INTn: 21, INVD: 22, PAUSE: 23, HLT: 24, INVLPG: 25, INVLPGA: 26, IOIO_PROT: 27, MSR_PROT: 28,
  TASK_SWITCH: 29, FERR_FREEZE: 30, SHUTDOWN: 31,
})

/** Control area 010h. */
export const Intercept4 = bits({
  VMRUN: 0, VMMCALL: 1, VMLOAD: 2, VMSAVE: 3, STGI: 4, CLGI: 5, SKINIT: 6, RDTSCP: 7, ICEBP: 8, WBINVD: 9, MONITOR: 10,
  MWAIT: 11, MWAIT_ARMED: 12, XSETBV: 13, RDPRU: 14, EFER_WRITE_TRAP: 15, crWriteTrap: [31, 16],
})

/** Control area 014h. */
export const Intercept5 = bits({
  INVLPGB: 0, INVLPGB_ILLEGAL: 1, INVPCID: 2, MCOMMIT: 3, TLBSYNC: 4, BUSLOCK: 5, IDLE_HLT: 6,
})

/** Control area 05Ch: what VMRUN flushes. Other values are undefined. */
export const TlbControl = { NOTHING: 0, ALL: 1, ASID: 3, ASID_NON_GLOBAL: 7 } as const

/** Control area 060h. `intrPrio` … `vector` describe the virtual interrupt that `V_IRQ` makes pending. */
export const VirtualInterrupt = bits64({
  TPR: [7, 0], V_IRQ: 8, VGIF: 9, V_NMI: 11, V_NMI_MASK: 12, intrPrio: [19, 16], V_IGN_TPR: 20, V_INTR_MASKING: 24,
  VGIF_ENABLE: 25, V_NMI_ENABLE: 26, X2AVIC_ENABLE: 30, AVIC_ENABLE: 31, vector: [39, 32],
})

/** Control area 068h. */
export const InterruptState = bits64({ INTERRUPT_SHADOW: 0, GUEST_INTERRUPT_MASK: 1 })

/** Control area 090h. */
export const NestedControl = bits64({
  NP_ENABLE: 0, SEV_ENABLE: 1, SEV_ES_ENABLE: 2, GMET_ENABLE: 3, SSS_CHECK_ENABLE: 4, VTE_ENABLE: 5,
  READ_ONLY_GUEST_PAGE_TABLES: 6, INVLPGB_ENABLE: 7,
})

/** Control area 0B8h. */
export const VirtualizationControl = bits64({ LBR: 0, VMSAVE_VMLOAD: 1, IBS: 2, PMC: 3 })

/** Control area 0C0h: state that software has not changed since the last VMRUN of this VMCB. */
export const VmcbClean = bits({
  I: 0, IOPM: 1, ASID: 2, TPR: 3, NP: 4, CRx: 5, DRx: 6, DT: 7, SEG: 8, CR2: 9, LBR: 10, AVIC: 11, CET: 12,
})

/** EVENTINJ and EXITINTINFO (APM vol. 2, §15.20 and §15.7.2). */
export const EventInject = bits64({ vector: [7, 0], type: [10, 8], EV: 11, V: 31, errorCode: [63, 32] })

/** EventInject.type. */
export const EventType = { INTR: 0, NMI: 2, EXCEPTION: 3, SOFTWARE: 4 } as const

/** EXITINFO1 of an I/O intercept (APM vol. 2, figure 15-2). EXITINFO2 is the next RIP. */
export const IoioInfo = bits({
  IN: 0, STR: 2, REP: 3, SZ8: 4, SZ16: 5, SZ32: 6, A16: 7, A32: 8, A64: 9, segment: [12, 10], port: [31, 16],
})

/** EXITINFO1 of a MOV to or from a control register with decode assists (APM vol. 2, §15.8.1). */
export const CrAccessInfo = bits64({ gpr: [3, 0], MOV_CR: 63 })

/** A segment in save areas; attributes as in `SegmentAttributes`. */
export const VmcbSegment = layout(16, { selector: [0, 2], attributes: [2, 2], limit: [4, 4], base: [8, 8] })

/** The VMCB's control area, its first 1024 bytes (APM vol. 2, table B-1). */
export const VmcbControl = layout(0x400, {
  interceptCr: [0x000, 4],
  interceptDr: [0x004, 4],
  interceptException: [0x008, 4],
  intercept3: [0x00c, 4],
  intercept4: [0x010, 4],
  intercept5: [0x014, 4],
  pauseFilterThreshold: [0x03c, 2],
  pauseFilterCount: [0x03e, 2],
  iopmBasePa: [0x040, 8],
  msrpmBasePa: [0x048, 8],
  tscOffset: [0x050, 8],
  guestAsid: [0x058, 4],
  tlbControl: [0x05c, 1],
  erapControl: [0x05d, 1],
  virtualInterrupt: [0x060, 8],
  interruptState: [0x068, 8],
  exitCode: [0x070, 8],
  exitInfo1: [0x078, 8],
  exitInfo2: [0x080, 8],
  exitIntInfo: [0x088, 8],
  nestedControl: [0x090, 8],
  avicApicBar: [0x098, 8],
  ghcbGpa: [0x0a0, 8],
  eventInj: [0x0a8, 8],
  nestedCr3: [0x0b0, 8],
  virtualizationControl: [0x0b8, 8],
  clean: [0x0c0, 4],
  nextRip: [0x0c8, 8],
  bytesFetched: [0x0d0, 1],
  instructionBytes: [0x0d1, 15],
  avicBackingPage: [0x0e0, 8],
  avicLogicalTable: [0x0f0, 8],
  avicPhysicalTable: [0x0f8, 8],
  vmsaPa: [0x108, 8],
  vmgexitRax: [0x110, 8],
  vmgexitCpl: [0x118, 1],
  busLockCounter: [0x120, 2],
  updateIrr: [0x134, 4],
  allowedSevFeatures: [0x138, 8],
  guestSevFeatures: [0x140, 8],
  requestedIrr: [0x150, 32],
  reservedForHost: [0x3e0, 32],
})

/** Where the save area begins in a VMCB. */
export const VMCB_SAVE_OFFSET = 0x400

/** VmcbControl.allowedSevFeatures: the mask is looked at when this bit is set (APM vol. 2, §15.36.20). */
export const ALLOWED_SEV_FEATURES_ENABLE = 1n << 63n

/** The VMCB's state save area, from byte 400h on (APM vol. 2, table B-2); segments are `VmcbSegment`. */
export const VmcbSave = layout(0xc00, {
  ...saveArea,
  perfCtl0: [0x0e0, 8],
  perfCtr0: [0x0e8, 8],
  perfCtl1: [0x0f0, 8],
  perfCtr1: [0x0f8, 8],
  perfCtl2: [0x100, 8],
  perfCtr2: [0x108, 8],
  perfCtl3: [0x110, 8],
  perfCtr3: [0x118, 8],
  perfCtl4: [0x120, 8],
  perfCtr4: [0x128, 8],
  perfCtl5: [0x130, 8],
  perfCtr5: [0x138, 8],
  instrRetiredCtr: [0x1c0, 8],
  perfCtrGlobalSts: [0x1c8, 8],
  perfCtrGlobalCtl: [0x1d0, 8],
})

/** EXITCODE (APM vol. 2, appendix C), without "VMEXIT_". CR, DR and exception exits are bases to add the number to. */
export const SvmExit = {
  CR0_READ: 0x000, CR0_WRITE: 0x010, DR0_READ: 0x020, DR0_WRITE: 0x030, EXCP0: 0x040, INTR: 0x060, NMI: 0x061,
  SMI: 0x062, INIT: 0x063, VINTR: 0x064, CR0_SEL_WRITE: 0x065, IDTR_READ: 0x066, GDTR_READ: 0x067, LDTR_READ: 0x068,
  TR_READ: 0x069, IDTR_WRITE: 0x06a, GDTR_WRITE: 0x06b, LDTR_WRITE: 0x06c, TR_WRITE: 0x06d, RDTSC: 0x06e,
  RDPMC: 0x06f, PUSHF: 0x070, POPF: 0x071, CPUID: 0x072, RSM: 0x073, IRET: 0x074, SWINT: 0x075, INVD: 0x076,
  PAUSE: 0x077, HLT: 0x078, INVLPG: 0x079, INVLPGA: 0x07a, IOIO: 0x07b, MSR: 0x07c, TASK_SWITCH: 0x07d,
  FERR_FREEZE: 0x07e, SHUTDOWN: 0x07f, VMRUN: 0x080, VMMCALL: 0x081, VMLOAD: 0x082, VMSAVE: 0x083, STGI: 0x084,
  CLGI: 0x085, SKINIT: 0x086, RDTSCP: 0x087, ICEBP: 0x088, WBINVD: 0x089, MONITOR: 0x08a, MWAIT: 0x08b,
  MWAIT_CONDITIONAL: 0x08c, XSETBV: 0x08d, RDPRU: 0x08e, EFER_WRITE_TRAP: 0x08f, CR0_WRITE_TRAP: 0x090,
  INVLPGB: 0x0a0, INVLPGB_ILLEGAL: 0x0a1, INVPCID: 0x0a2, MCOMMIT: 0x0a3, TLBSYNC: 0x0a4, BUSLOCK: 0x0a5,
  IDLE_HLT: 0x0a6, NPF: 0x400, AVIC_INCOMPLETE_IPI: 0x401, AVIC_NOACCEL: 0x402, VMGEXIT: 0x403,
} as const

/** EXITCODEs of a VMRUN that did not enter the guest. */
export const SvmExitFailure = {
  INVALID: 0xffff_ffff_ffff_ffffn, BUSY: 0xffff_ffff_ffff_fffen, IDLE_REQUIRED: 0xffff_ffff_ffff_fffdn,
  INVALID_PMC: 0xffff_ffff_ffff_fffcn,
} as const

/** SVM features, CPUID 8000_000A EDX (APM vol. 3, appendix E). EAX[7:0] is the revision, EBX the number of ASIDs. */
export const Cpuid8000000aEdx = bits({
  NP: 0, LbrVirt: 1, SVML: 2, NRIPS: 3, TscRateMsr: 4, VmcbClean: 5, FlushByAsid: 6, DecodeAssists: 7,
  PmcVirt: 8, PauseFilter: 10, PauseFilterThreshold: 12, AVIC: 13, VMSAVEvirt: 15, VGIF: 16, GMET: 17, x2AVIC: 18,
  SSSCheck: 19, SpecCtrl: 20, ROGPT: 21, HOST_MCE_OVERRIDE: 23, TlbiCtl: 24, VNMI: 25, IbsVirt: 26,
  ExtLvtAvicAccessChg: 27, NestedVirtVmcbAddrChk: 28, BusLockThreshold: 29, IdleHltIntercept: 30,
})

/** VM_CR, MSR C001_0114 (APM vol. 2, §15.30.1). */
export const VmCr = bits({ DPD: 0, R_INIT: 1, DIS_A20M: 2, LOCK: 3, SVMDIS: 4 })
