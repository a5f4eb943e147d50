/**
 * A small x86-64 assembler, for programs of some hundred instructions that start a guest (or provoke a fault in one).
 * Every memory operand is a base register with a 32-bit displacement, every jump has a 32-bit one. Encodings: Intel SDM
 * vol. 2, APM vol. 3; VMGEXIT and PVALIDATE: APM vol. 3, revision 3.36.
 */

/** General registers in encoding order. */
export const Reg = {
  rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7,
  r8: 8, r9: 9, r10: 10, r11: 11, r12: 12, r13: 13, r14: 14, r15: 15,
} as const
export type Reg = (typeof Reg)[keyof typeof Reg]

/** Bytes of a memory operand. */
export type OperandSize = 1 | 2 | 4 | 8

/** Condition codes of jumps. */
export const Condition = { b: 2, ae: 3, e: 4, ne: 5, be: 6, a: 7 } as const
export type Condition = keyof typeof Condition

/** Two-operand arithmetic: the number in the opcode. */
const ALU = { add: 0, or: 1, and: 4, sub: 5, xor: 6, cmp: 7 } as const
/** Names of the arithmetic instructions that take two operands. */
export type Alu = keyof typeof ALU

/** Instructions without operands that the assembler knows. */
const PLAIN = {
  cld: [0xfc], cli: [0xfa], hlt: [0xf4], ret: [0xc3], ud2: [0x0f, 0x0b], wrmsr: [0x0f, 0x30], rdmsr: [0x0f, 0x32],
  repStosq: [0xf3, 0x48, 0xab], repMovsq: [0xf3, 0x48, 0xa5], cpuid: [0x0f, 0xa2],
  vmgexit: [0xf3, 0x0f, 0x01, 0xd9], pvalidate: [0xf2, 0x0f, 0x01, 0xff], rmpadjust: [0xf3, 0x0f, 0x01, 0xfe],
} as const
/** Names of the instructions without operands. */
export type Plain = keyof typeof PLAIN

/** Writes x86-64 code, with labels. */
export interface Assembler {
  /** Names the place where the next instruction goes. @throws RangeError when the name is taken */
  label(name: string): void
  /** `mov to, value`: in the shortest form that zero-extends. */
  set(to: Reg, value: number | bigint): void
  /** `mov to, from`. */
  move(to: Reg, from: Reg): void
  /** Loads and zero-extends. */
  load(to: Reg, base: Reg, displacement?: number, size?: OperandSize): void
  store(base: Reg, displacement: number, from: Reg, size?: OperandSize): void
  /** `op to, from`, 64 bits. */
  alu(op: Alu, to: Reg, from: Reg): void
  /** `op to, value`, a signed 32-bit value extended to 64 bits. */
  aluImmediate(op: Alu, to: Reg, value: number): void
  shiftLeft(to: Reg, bits: number): void
  shiftRight(to: Reg, bits: number): void
  /** `xchg [base + displacement], register` of one byte: locked by itself. */
  exchangeByte(base: Reg, displacement: number, register: Reg): void
  jump(label: string): void
  jumpIf(condition: Condition, label: string): void
  /** `jmp register`. */
  jumpTo(register: Reg): void
  call(label: string): void
  plain(instruction: Plain): void
  /** Bytes as they are. */
  bytes(...values: number[]): void
  /** Offset of a label from the start. @throws RangeError when there is none */
  offsetOf(label: string): number
  /** The program. @throws RangeError when a jump leads to no label */
  assemble(): Uint8Array
}

/** An empty program; it is position-independent. */
export function createAssembler(): Assembler {
  const code: number[] = []
  const labels = new Map<string, number>()
  const jumps: { readonly at: number, readonly label: string }[] = []

  const emit = (...values: number[]): void => { code.push(...values) }
  const word = (value: number): void => { emit(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24) }
  /** REX with W where asked for; R and B for the registers above 7. */
  const rex = (wide: boolean, reg: number, rm: number): number =>
    0x40 | (wide ? 8 : 0) | (reg > 7 ? 4 : 0) | (rm > 7 ? 1 : 0)
  const registers = (opcode: number, reg: number, rm: number): void => {
    emit(rex(true, reg, rm), opcode, 0xc0 | (reg & 7) << 3 | rm & 7)
  }
  /** ModRM of [base + disp32]; RSP and R12 need a SIB byte. */
  const memory = (reg: number, base: number, displacement: number): void => {
    emit(0x80 | (reg & 7) << 3 | base & 7)
    if ((base & 7) === Reg.rsp) emit(0x24)
    word(displacement | 0)
  }
  const target = (label: string): void => {
    jumps.push({ at: code.length, label })
    word(0)
  }
  const offsetOf = (label: string): number => {
    const at = labels.get(label)
    if (at === undefined) throw new RangeError(`assembler: no label ${label}`)
    return at
  }

  return {
    label(name) {
      if (labels.has(name)) throw new RangeError(`assembler: label ${name} stands twice`)
      labels.set(name, code.length)
    },
    set(to, value) {
      const wide = BigInt.asUintN(64, BigInt(value))
      const short = wide < 0x1_0000_0000n
      if (!short || to > 7) emit(rex(!short, 0, to))
      emit(0xb8 | to & 7)
      word(Number(wide & 0xffff_ffffn))
      if (!short) word(Number(wide >> 32n))
    },
    move(to, from) { registers(0x89, from, to) },
    load(to, base, displacement = 0, size = 8) {
      emit(rex(size !== 4, to, base))
      if (size < 4) emit(0x0f, size === 1 ? 0xb6 : 0xb7)
      else emit(0x8b)
      memory(to, base, displacement)
    },
    store(base, displacement, from, size = 8) {
      if (size === 2) emit(0x66)
      emit(rex(size === 8, from, base), size === 1 ? 0x88 : 0x89)
      memory(from, base, displacement)
    },
    alu(op, to, from) { registers(ALU[op] << 3 | 1, from, to) },
    aluImmediate(op, to, value) {
      if (value !== (value | 0)) throw new RangeError(`assembler: ${value} is no signed 32-bit value`)
      registers(0x81, ALU[op], to)
      word(value)
    },
    shiftLeft(to, bits) {
      registers(0xc1, 4, to)
      emit(bits)
    },
    shiftRight(to, bits) {
      registers(0xc1, 5, to)
      emit(bits)
    },
    exchangeByte(base, displacement, register) {
      emit(rex(false, register, base), 0x86)
      memory(register, base, displacement)
    },
    jump(label) {
      emit(0xe9)
      target(label)
    },
    jumpIf(condition, label) {
      emit(0x0f, 0x80 | Condition[condition])
      target(label)
    },
    jumpTo(register) { emit(rex(false, 0, register), 0xff, 0xe0 | register & 7) },
    call(label) {
      emit(0xe8)
      target(label)
    },
    plain(instruction) { emit(...PLAIN[instruction]) },
    bytes: emit,
    offsetOf,
    assemble() {
      const program = Uint8Array.from(code)
      const view = new DataView(program.buffer)
      for (const { at, label } of jumps) view.setInt32(at, offsetOf(label) - (at + 4), true)
      return program
    },
  }
}
