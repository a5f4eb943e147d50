/** Bits of the control registers and of EFLAGS, by the names of SDM vol. 3 §2.3–2.6 and APM vol. 2 §3.1. */

/** CR0 (SDM vol. 3 §2.5). */
export const CR0_BITS = {
  PE: 1, MP: 1 << 1, EM: 1 << 2, TS: 1 << 3, ET: 1 << 4, NE: 1 << 5,
  WP: 1 << 16, AM: 1 << 18, NW: 1 << 29, CD: 1 << 30, PG: 0x8000_0000,
} as const

/** CR4 (SDM vol. 3 §2.5). */
export const CR4_BITS = {
  VME: 1, PVI: 1 << 1, TSD: 1 << 2, DE: 1 << 3, PSE: 1 << 4, PAE: 1 << 5, MCE: 1 << 6, PGE: 1 << 7, PCE: 1 << 8,
  OSFXSR: 1 << 9, OSXMMEXCPT: 1 << 10, UMIP: 1 << 11, LA57: 1 << 12, VMXE: 1 << 13, SMXE: 1 << 14, FSGSBASE: 1 << 16,
  PCIDE: 1 << 17, OSXSAVE: 1 << 18, KL: 1 << 19, SMEP: 1 << 20, SMAP: 1 << 21, PKE: 1 << 22, CET: 1 << 23,
} as const

/** EFER (APM vol. 2 §3.1.7). */
export const EFER_BITS = {
  SCE: 1, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11, SVME: 1 << 12, LMSLE: 1 << 13, FFXSR: 1 << 14, TCE: 1 << 15,
  AIBRSE: 1 << 21,
} as const

/** EFLAGS (SDM vol. 1 §3.4.3). */
export const FLAG = {
  CF: 1, ONE: 2, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, TF: 0x100, IF: 0x200, DF: 0x400, OF: 0x800, IOPL: 0x3000,
  NT: 0x4000, RF: 0x1_0000, VM: 0x2_0000, AC: 0x4_0000, VIF: 0x8_0000, VIP: 0x10_0000, ID: 0x20_0000,
} as const

/** Attributes of a segment record: descriptor bits 47:40 and 55:52 put together (VMCB layout, APM vol. 2 app. B). */
export const ATTR = {
  TYPE: 0xf, ACCESSED: 1, WRITABLE: 2, READABLE: 2, EXPAND_DOWN: 4, CONFORMING: 4, CODE: 8,
  S: 1 << 4, DPL_SHIFT: 5, P: 1 << 7, AVL: 1 << 8, L: 1 << 9, DB: 1 << 10, G: 1 << 11,
} as const

/** System-descriptor types (SDM vol. 3 table 3-2). */
export const SYSTEM_TYPE = {
  TSS16_AVAILABLE: 1, LDT: 2, TSS16_BUSY: 3, CALL_GATE16: 4, TASK_GATE: 5, INTERRUPT_GATE16: 6, TRAP_GATE16: 7,
  TSS_AVAILABLE: 9, TSS_BUSY: 11, CALL_GATE: 12, INTERRUPT_GATE: 14, TRAP_GATE: 15,
} as const
