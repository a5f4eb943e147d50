/** ACPI tables (ACPI 6.5, chapter 5, unless stated otherwise). */
import { bits } from './bits.ts'
import { layout } from './layout.ts'

/** Root System Description Pointer, revision 2 (§5.2.5.3). */
export const Rsdp = layout(36, {
  signature: [0, 8, 'bytes'], checksum: [8, 1], oemId: [9, 6], revision: [15, 1], rsdtAddress: [16, 4],
  length: [20, 4], xsdtAddress: [24, 8], extendedChecksum: [32, 1], reserved: [33, 3],
})

/** Header of every table (§5.2.6). */
export const SdtHeader = layout(36, {
  signature: [0, 4, 'bytes'], length: [4, 4], revision: [8, 1], checksum: [9, 1], oemId: [10, 6],
  oemTableId: [16, 8, 'bytes'], oemRevision: [24, 4], creatorId: [28, 4, 'bytes'], creatorRevision: [32, 4],
})

/** Generic Address Structure (§5.2.3.2). */
export const GenericAddress = layout(12, { space: [0, 1], bitWidth: [1, 1], bitOffset: [2, 1], accessSize: [3, 1],
  address: [4, 8] })
/** GenericAddress.space. */
export const AddressSpace = { MEMORY: 0, IO: 1, PCI_CONFIG: 2 } as const

/** Fixed ACPI Description Table, revision 6 (§5.2.9), with its header. */
export const Fadt = layout(276, {
  header: [0, 36], firmwareCtrl: [36, 4], dsdt: [40, 4], preferredPmProfile: [45, 1], sciInt: [46, 2], smiCmd: [48, 4],
  acpiEnable: [52, 1], acpiDisable: [53, 1], s4BiosReq: [54, 1], pstateCnt: [55, 1], pm1aEvtBlk: [56, 4],
  pm1bEvtBlk: [60, 4], pm1aCntBlk: [64, 4], pm1bCntBlk: [68, 4], pm2CntBlk: [72, 4], pmTmrBlk: [76, 4],
  gpe0Blk: [80, 4], gpe1Blk: [84, 4], pm1EvtLen: [88, 1], pm1CntLen: [89, 1], pm2CntLen: [90, 1], pmTmrLen: [91, 1],
  gpe0BlkLen: [92, 1], gpe1BlkLen: [93, 1], gpe1Base: [94, 1], cstCnt: [95, 1], pLvl2Lat: [96, 2], pLvl3Lat: [98, 2],
  flushSize: [100, 2], flushStride: [102, 2], dutyOffset: [104, 1], dutyWidth: [105, 1], dayAlrm: [106, 1],
  monAlrm: [107, 1], century: [108, 1], iapcBootArch: [109, 2], flags: [112, 4], resetReg: [116, 12],
  resetValue: [128, 1], armBootArch: [129, 2], minorVersion: [131, 1], xFirmwareCtrl: [132, 8], xDsdt: [140, 8],
  xPm1aEvtBlk: [148, 12], xPm1bEvtBlk: [160, 12], xPm1aCntBlk: [172, 12], xPm1bCntBlk: [184, 12],
  xPm2CntBlk: [196, 12], xPmTmrBlk: [208, 12], xGpe0Blk: [220, 12], xGpe1Blk: [232, 12], sleepControlReg: [244, 12],
  sleepStatusReg: [256, 12], hypervisorVendor: [268, 8, 'bytes'],
})

/** Fadt.flags (table 5.10). */
export const FadtFlags = bits({
  WBINVD: 0, WBINVD_FLUSH: 1, PROC_C1: 2, P_LVL2_UP: 3, PWR_BUTTON: 4, SLP_BUTTON: 5, FIX_RTC: 6, RTC_S4: 7,
  TMR_VAL_EXT: 8, DCK_CAP: 9, RESET_REG_SUP: 10, SEALED_CASE: 11, HEADLESS: 12, CPU_SW_SLP: 13, PCI_EXP_WAK: 14,
  USE_PLATFORM_CLOCK: 15, S4_RTC_STS_VALID: 16, REMOTE_POWER_ON: 17, FORCE_APIC_CLUSTER: 18, FORCE_APIC_PHYSICAL: 19,
  HW_REDUCED: 20, LOW_POWER_S0: 21,
})

/** Fadt.iapcBootArch (table 5.11). */
export const BootArch = bits({
  LEGACY_DEVICES: 0, KEYBOARD_8042: 1, VGA_NOT_PRESENT: 2, MSI_NOT_SUPPORTED: 3, ASPM_CONTROLS: 4,
  CMOS_RTC_NOT_PRESENT: 5,
})

/** Firmware ACPI Control Structure (§5.2.10). */
export const Facs = layout(64, {
  signature: [0, 4, 'bytes'], length: [4, 4], hardwareSignature: [8, 4], wakingVector: [12, 4], globalLock: [16, 4],
  flags: [20, 4], xWakingVector: [24, 8], version: [32, 1], ospmFlags: [36, 4],
})

/** MADT after the header (§5.2.12). */
export const MadtHead = layout(8, { localApicAddress: [0, 4], flags: [4, 4] })
/** MADT entries, each with its type and length (§5.2.12.2 to §5.2.12.20). */
export const MadtLocalApic = layout(8, { type: [0, 1], length: [1, 1], uid: [2, 1], apicId: [3, 1], flags: [4, 4] })
/** I/O APIC (ACPI 6.5, §5.2.12.3). */
export const MadtIoApic = layout(12, { type: [0, 1], length: [1, 1], id: [2, 1], address: [4, 4], gsiBase: [8, 4] })
/** Interrupt source override (ACPI 6.5, §5.2.12.5). */
export const MadtOverride = layout(10, { type: [0, 1], length: [1, 1], bus: [2, 1], source: [3, 1], gsi: [4, 4],
  flags: [8, 2] })
/** Local APIC NMI (ACPI 6.5, §5.2.12.7). */
export const MadtLocalNmi = layout(6, { type: [0, 1], length: [1, 1], uid: [2, 1], flags: [3, 2], lint: [5, 1] })
/** Processor local x2APIC (ACPI 6.5, §5.2.12.12). */
export const MadtX2Apic = layout(16, { type: [0, 1], length: [1, 1], x2ApicId: [4, 4], flags: [8, 4], uid: [12, 4] })
/** Local x2APIC NMI (ACPI 6.5, §5.2.12.13). */
export const MadtX2Nmi = layout(12, { type: [0, 1], length: [1, 1], flags: [2, 2], uid: [4, 4], lint: [8, 1] })
/** Multiprocessor wakeup (ACPI 6.5, §5.2.12.19). */
export const MadtWakeup = layout(16, { type: [0, 1], length: [1, 1], version: [2, 2], reserved: [4, 4],
  mailbox: [8, 8] })
/** Types of the MADT's entries (ACPI 6.5, §5.2.12). */
export const MadtType = {
  LOCAL_APIC: 0, IO_APIC: 1, OVERRIDE: 2, LOCAL_NMI: 4, X2APIC: 9, X2APIC_NMI: 10, WAKEUP: 16,
} as const
/** Flags of an interrupt source (MPS INTI flags, table 5.26). */
export const IntiFlags = bits({ polarity: [1, 0], trigger: [3, 2] })

/** MCFG after the header and 8 reserved bytes (PCI Firmware 3.3, §4.1.2). */
export const McfgEntry = layout(16, { base: [0, 8], segment: [8, 2], startBus: [10, 1], endBus: [11, 1],
  reserved: [12, 4] })

/** HPET after the header (IA-PC HPET 1.0a, §3.2.4). */
export const HpetTable = layout(20, { blockId: [0, 4], base: [4, 12], number: [16, 1], minimumTick: [17, 2],
  protection: [19, 1] })

/** SRAT entries (§5.2.16). The table has 12 bytes (1, then 8 reserved) after its header. */
export const SratProcessor = layout(16, {
  type: [0, 1], length: [1, 1], domainLow: [2, 1], apicId: [3, 1], flags: [4, 4], sapicEid: [8, 1], domainHigh: [9, 3],
  clockDomain: [12, 4],
})
/** Memory affinity (ACPI 6.5, §5.2.16.2). */
export const SratMemory = layout(40, {
  type: [0, 1], length: [1, 1], domain: [2, 4], base: [8, 8], size: [16, 8], flags: [28, 4],
})
/** Processor local x2APIC affinity (ACPI 6.5, §5.2.16.3). */
export const SratX2Apic = layout(24, {
  type: [0, 1], length: [1, 1], domain: [4, 4], x2ApicId: [8, 4], flags: [12, 4], clockDomain: [16, 4],
})
