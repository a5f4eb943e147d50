import { bits, bits64 } from './bits.ts'

/**
 * Segment attributes as the VMCB keeps them (APM vol. 2, §15.5.1 and appendix B): bits 55:52 and 47:40 of a
 * descriptor, pushed together.
 */
export const SegmentAttributes = bits({ type: [3, 0], S: 4, DPL: [6, 5], P: 7, AVL: 8, L: 9, DB: 10, G: 11 })

/** A code or data descriptor (SDM vol. 3, figure 3-8). */
export const SegmentDescriptor = bits64({
  limitLow: [15, 0], baseLow: [39, 16], type: [43, 40], S: 44, DPL: [46, 45], P: 47, limitHigh: [51, 48], AVL: 52,
  L: 53, DB: 54, G: 55, baseHigh: [63, 56],
})

/** Types of code and data segments (SDM vol. 3, table 3-1), accessed. */
export const SegmentType = { DATA_RW: 0x3, CODE_XR: 0xb } as const

/** Types of system segments and gates (SDM vol. 3, table 3-2). */
export const SystemType = {
  TSS16_AVAILABLE: 1, LDT: 2, TSS16_BUSY: 3, CALL_GATE16: 4, TASK_GATE: 5, INTERRUPT_GATE16: 6, TRAP_GATE16: 7,
  TSS_AVAILABLE: 9, TSS_BUSY: 11, CALL_GATE: 12, INTERRUPT_GATE: 14, TRAP_GATE: 15,
} as const

/** Segment-related error code (SDM vol. 3, figure 6-7). */
export const SelectorError = bits({ EXT: 0, IDT: 1, TI: 2, index: [15, 3] })

/** A segment selector. */
export const Selector = bits({ RPL: [1, 0], TI: 2, index: [15, 3] })
