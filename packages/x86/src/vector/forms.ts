/** The shapes that vector instructions come in; each turns a function over lanes into a meaning. */
import type { Cpu, Meaning } from '../cpu.ts'
import { MEM, MMX_REG, type Insn } from '../insn.ts'
import { checkVector } from '../fp/checks.ts'
import { enterMmx, firstSource, readMmx, readOperand, readXmm, vectorBytes, writeMmx, writeXmm } from './operands.ts'
import { A, B, R, type NumberLane, type Vec } from './vec.ts'

/** Computes `bytes` bytes (8 for MMX, 16, 32) of `r` from sources `a` and `b`; unary ones look at `b` only. */
export type Kernel = (a: Vec, b: Vec, r: Vec, bytes: number, imm: number) => void

/** dst ← kernel(src1, src2): legacy `op dst, src`, VEX `op dst, src1, src2`, and the MMX form. */
export function binary(kernel: Kernel, options: { mmxMemory?: number } = {}): Meaning {
  const mmxMemory = options.mmxMemory ?? 8
  return (cpu, insn) => {
    checkVector(cpu, insn)
    if (insn.kind0 === MMX_REG) {
      readOperand(cpu, insn, 1, insn.kind1 === MEM ? mmxMemory : 8, B)
      readMmx(cpu, insn.reg0, A)
      return finishMmx(cpu, insn, kernel)
    }
    const bytes = vectorBytes(insn)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, bytes, B)
    readXmm(cpu, first ? insn.reg1 : insn.reg0, bytes, A)
    kernel(A, B, R, bytes, insn.immLo)
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** dst ← kernel(src): the same operands in legacy and VEX forms. */
export function unary(kernel: Kernel): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    if (insn.kind0 === MMX_REG) {
      readOperand(cpu, insn, 1, 8, B)
      return finishMmx(cpu, insn, kernel)
    }
    const bytes = vectorBytes(insn)
    readOperand(cpu, insn, 1, bytes, B)
    kernel(B, B, R, bytes, insn.immLo)
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

function finishMmx(cpu: Cpu, insn: Insn, kernel: Kernel): void {
  kernel(A, B, R, 8, insn.immLo)
  enterMmx(cpu)
  writeMmx(cpu, insn.reg0, R)
}

const WIDTH: Record<NumberLane, number> = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4 }

/** A kernel that treats lanes alike; what `f` returns is cut to the lane's width. */
export function each(lane: NumberLane, f: (a: number, b: number) => number): Kernel {
  const shift = Math.log2(WIDTH[lane])
  return (a, b, r, bytes) => {
    const from = a[lane]
    const other = b[lane]
    const to = r[lane]
    for (let i = 0; i < bytes >> shift; i++) to[i] = f(from[i], other[i])
  }
}

/** The same for 64-bit lanes. */
export function eachQ(lane: 'u64' | 'i64', f: (a: bigint, b: bigint) => bigint): Kernel {
  return (a, b, r, bytes) => {
    for (let i = 0; i < bytes >> 3; i++) r[lane][i] = f(a[lane][i], b[lane][i])
  }
}

/** Cuts to a range: the signed and unsigned saturation of SDM vol. 1, §9.3.3. */
export function clamp(value: number, low: number, high: number): number {
  return value < low ? low : value > high ? high : value
}

export const clampI8 = (value: number): number => clamp(value, -0x80, 0x7f)
export const clampU8 = (value: number): number => clamp(value, 0, 0xff)
export const clampI16 = (value: number): number => clamp(value, -0x8000, 0x7fff)
export const clampU16 = (value: number): number => clamp(value, 0, 0xffff)
