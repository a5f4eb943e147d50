/** Bits of the control and debug registers and of EFLAGS, by the names of SDM vol. 3 §2.3–2.6 and APM vol. 2 §3.1. */

import { ApicBase, Cr0, Cr4, Dr6, Dr7, Efer, Eflags, Xcr0 } from '@cofferdam/spec'

/** Masks of CR0's bits. */
export const CR0_BITS = Cr0.mask

/** Masks of CR4's bits. */
export const CR4_BITS = Cr4.mask

/** Masks of EFER's bits. */
export const EFER_BITS = Efer.mask

/** Bits of XCR0. */
export const XCR0_BITS = Xcr0.mask

/** Bits of IA32_APIC_BASE. */
export const APIC_BASE_BITS = ApicBase.mask

/** Bits of DR6. */
export const DR6_BITS = Dr6.mask

/** Bits of DR7. */
export const DR7_BITS = Dr7.mask

/** Masks of the flags; `ONE` is the bit that always reads as 1. */
export const FLAG = { ...Eflags.mask, ONE: Eflags.mask.FIXED1 } as const

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
