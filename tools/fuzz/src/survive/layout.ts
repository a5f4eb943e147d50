/** What lies where in the memory of cases. */

export const RAM = 2 ** 21

/** Where things are. */
export const AT = {
  /** For operands that 16-bit code reaches too. */
  scratch: 0x5f0,
  handlers: 0x600, gdt: 0x1000, ldt: 0x1800, idt: 0x2000, tss: 0x3000, code: 0x8000, stack: 0xf000, data: 0x1_0000,
  tables: 0x10_0000,
} as const
/** Pages of code, one behind the other. */
export const CODE_BYTES = 0x4000
