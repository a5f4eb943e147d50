/**
 * RCPPS, RSQRTPS and scalar forms. Intel's processors look the top bits of the significand up in a table of 12-bit
 * values; measured over all 2^23 significands, the entries are the correctly rounded reciprocals (square roots) of the
 * middles of the intervals. AMD's differ. MXCSR plays no part: denormals count as zero, nothing is raised.
 */
import type { Meaning } from '../cpu.ts'
import { firstSource, readOperand, readXmm, regOf, vectorBytes, writeXmm } from '../vector/operands.ts'
import { A, B, R } from '../vector/vec.ts'
import { checkVector } from './checks.ts'

/** 2^13 · f(x) rounded, less the integer bit, placed at the top of a binary32 fraction. */
const entry = (value: number): number => (Math.floor(value * 8192 + 0.5) - 4096) << 11

/** By bits 22:12 of the operand. */
const RECIPROCAL = Int32Array.from({ length: 2048 }, (_, i) => entry(1 / (1 + (i + 0.5) / 2048)))
/** By bits 23:13: an odd biased exponent (lowest bit set) means an even power of two. */
const ROOT = Int32Array.from({ length: 2048 }, (_,
  i) => entry(1 / Math.sqrt((1 + (i % 1024 + 0.5) / 1024) * (i < 1024 ? 2 : 1))))

const INFINITE = 0x7f80_0000
const QUIET = 0x40_0000

/** 1 / x, relative error below 1.5 · 2^−12. Bits in, bits out. */
function reciprocal(bits: number): number {
  const sign = bits & 0x8000_0000
  const exponent = bits >>> 23 & 0xff
  if (exponent === 0) return sign | INFINITE
  if (exponent === 255) return bits & 0x7f_ffff ? bits | QUIET : sign
  if (exponent > 252) return sign
  return sign | (253 - exponent) << 23 | RECIPROCAL[bits >> 12 & 0x7ff]
}

/** 1 / √x with the same error. */
function reciprocalRoot(bits: number): number {
  const sign = bits & 0x8000_0000
  const exponent = bits >>> 23 & 0xff
  if (exponent === 0) return sign | INFINITE
  if (exponent === 255 && bits & 0x7f_ffff) return bits | QUIET
  if (sign) return 0xffc0_0000
  if (exponent === 255) return 0
  return (380 - exponent) >> 1 << 23 | ROOT[bits >> 13 & 0x7ff]
}

function packed(f: (bits: number) => number): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    readOperand(cpu, insn, 1, bytes, B)
    for (let i = 0; i < bytes / 4; i++) R.i32[i] = f(B.i32[i])
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

function scalar(f: (bits: number) => number): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, 4, B, false)
    readXmm(cpu, regOf(insn, first), 16, A)
    A.i32[0] = f(B.i32[0])
    writeXmm(cpu, insn, insn.reg0, 16, A)
  }
}

export const sseApproximateMeanings: Record<string, Meaning> = {
  rcpps: packed(reciprocal), rcpss: scalar(reciprocal),
  rsqrtps: packed(reciprocalRoot), rsqrtss: scalar(reciprocalRoot),
}
