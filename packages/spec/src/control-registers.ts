import { bits, bits64 } from './bits.ts'

/** EFLAGS (SDM vol. 1, §3.4.3). Bit 1 reads as 1. */
export const Eflags = bits({
  CF: 0, FIXED1: 1, PF: 2, AF: 4, ZF: 6, SF: 7, TF: 8, IF: 9, DF: 10, OF: 11, IOPL: [13, 12], NT: 14, RF: 16, VM: 17,
  AC: 18, VIF: 19, VIP: 20, ID: 21,
})

/** CR0 (SDM vol. 3, §2.5). */
export const Cr0 = bits({
  PE: 0, MP: 1, EM: 2, TS: 3, ET: 4, NE: 5, WP: 16, AM: 18, NW: 29, CD: 30, PG: 31,
})

/** CR3 without PCIDs (SDM vol. 3, table 4-12): the address field is that of 4- and 5-level paging. */
export const Cr3 = bits64({ PWT: 3, PCD: 4, address: [51, 12], LAM_U57: 61, LAM_U48: 62, noFlush: 63 })

/** CR3 with CR4.PCIDE = 1 (SDM vol. 3, table 4-13). */
export const Cr3Pcid = bits64({ pcid: [11, 0], address: [51, 12], LAM_U57: 61, LAM_U48: 62, noFlush: 63 })

/** CR4 (SDM vol. 3, §2.5; APM vol. 2, §3.1.3). */
export const Cr4 = bits({
  VME: 0, PVI: 1, TSD: 2, DE: 3, PSE: 4, PAE: 5, MCE: 6, PGE: 7, PCE: 8, OSFXSR: 9, OSXMMEXCPT: 10, UMIP: 11, LA57: 12,
  VMXE: 13, SMXE: 14, FSGSBASE: 16, PCIDE: 17, OSXSAVE: 18, KL: 19, SMEP: 20, SMAP: 21, PKE: 22, CET: 23, PKS: 24,
  UINTR: 25, LAM_SUP: 28,
})

/** EFER, MSR C000_0080 (APM vol. 2, §3.1.7). */
export const Efer = bits({
  SCE: 0, LME: 8, LMA: 10, NXE: 11, SVME: 12, LMSLE: 13, FFXSR: 14, TCE: 15, MCOMMIT: 17, INTWB: 18, UAIE: 20,
  AIBRSE: 21,
})

/** XCR0 (SDM vol. 1, §13.3). */
export const Xcr0 = bits({
  X87: 0, SSE: 1, AVX: 2, BNDREGS: 3, BNDCSR: 4, OPMASK: 5, ZMM_HI256: 6, HI16_ZMM: 7, PKRU: 9, TILECFG: 17,
  TILEDATA: 18,
})

/** DR6 (SDM vol. 3, §17.2.3). */
export const Dr6 = bits({ B0: 0, B1: 1, B2: 2, B3: 3, BLD: 11, BD: 13, BS: 14, BT: 15, RTM: 16 })

/** DR7 (SDM vol. 3, §17.2.4). Bit 10 reads as 1. */
export const Dr7 = bits({
  L0: 0, G0: 1, L1: 2, G1: 3, L2: 4, G2: 5, L3: 6, G3: 7, LE: 8, GE: 9, FIXED1: 10, RTM: 11, GD: 13, RW0: [17, 16],
  LEN0: [19, 18], RW1: [21, 20], LEN1: [23, 22], RW2: [25, 24], LEN2: [27, 26], RW3: [29, 28], LEN3: [31, 30],
})
