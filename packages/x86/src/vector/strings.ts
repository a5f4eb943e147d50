/** PCMPESTRI/M and PCMPISTRI/M (SDM vol. 2, §4.1). */
import type { Cpu, Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { GPR } from '../state.ts'
import { checkVector } from '../fp/checks.ts'
import { readOperand, readXmm, writeGpr32, writeXmm } from './operands.ts'
import { A, B, R, type Vec } from './vec.ts'

type Lane = 'u8' | 'i8' | 'u16' | 'i16'

/** Number of valid elements of a string that ends at its first zero. */
function implicitLength(v: Vec, lane: Lane, elements: number): number {
  for (let i = 0; i < elements; i++) if (v[lane][i] === 0) return i
  return elements
}

/** |rAX| or |rDX|, at most `elements`; with REX.W (`wide`) all 64 bits count. */
function explicitLength(cpu: Cpu, wide: boolean, reg: number, elements: number): number {
  const value = wide ? cpu.views.i64[(GPR >> 3) + reg] : BigInt(cpu.views.i32[(GPR >> 2) + 2 * reg])
  const magnitude = value < 0n ? -value : value
  return magnitude > BigInt(elements) ? elements : Number(magnitude)
}

/** Bits of IntRes1: the aggregation that imm8[3:2] names, over `a` (the pattern) and `b` (the text). */
function aggregate(imm: number, lane: Lane, elements: number, lengthA: number, lengthB: number): number {
  const a = A[lane]
  const b = B[lane]
  let result = 0
  for (let j = 0; j < elements; j++) {
    let bit: boolean
    switch ((imm >> 2) & 3) {
      case 0: // equal any
        bit = false
        if (j < lengthB) for (let i = 0; i < lengthA; i++) bit ||= a[i] === b[j]
        break
      case 1: // ranges: pairs of lowest and highest; an odd end is no pair
        bit = false
        if (j < lengthB) for (let i = 0; i + 1 < lengthA; i += 2) bit ||= a[i] <= b[j] && b[j] <= a[i + 1]
        break
      case 2: // equal each: beyond both ends counts as equal
        bit = j < lengthA && j < lengthB ? a[j] === b[j] : j >= lengthA && j >= lengthB
        break
      default: // equal ordered: the pattern begins here, as far as the register shows
        bit = true
        for (let i = 0; i + j < elements && i < lengthA; i++) bit &&= j + i < lengthB && a[i] === b[j + i]
    }
    if (bit) result |= 1 << j
  }
  return result
}

function compareStrings(explicit: boolean, index: boolean, wide = false): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    readOperand(cpu, insn, 1, 16, B, false)
    readXmm(cpu, insn.reg0, 16, A)
    const imm = insn.immLo
    const lane = (['u8', 'u16', 'i8', 'i16'] as const)[imm & 3]
    const elements = imm & 1 ? 8 : 16
    const lengthA = explicit ? explicitLength(cpu, wide, 0, elements) : implicitLength(A, lane, elements)
    const lengthB = explicit ? explicitLength(cpu, wide, 2, elements) : implicitLength(B, lane, elements)
    let result = aggregate(imm, lane, elements, lengthA, lengthB)
    // Polarity, imm8[5:4]: all bits, or only those of valid elements of the text.
    if (imm & 0x10) result ^= imm & 0x20 ? (1 << lengthB) - 1 : (1 << elements) - 1
    if (index) writeGpr32(cpu, 1, indexOf(result, elements, (imm & 0x40) !== 0))
    else writeMask(cpu, insn, result, elements, (imm & 0x40) !== 0)
    const flags = (result ? 1 : 0) | (lengthB < elements ? 0x40 : 0) | (lengthA < elements ? 0x80 : 0)
      | (result & 1 ? 0x800 : 0)
    cpu.setFlags(flags, 0x8d5)
  }
}

function indexOf(result: number, elements: number, last: boolean): number {
  if (result === 0) return elements
  return 31 - Math.clz32(last ? result : result & -result)
}

function writeMask(cpu: Cpu, insn: Insn, result: number, elements: number, expand: boolean): void {
  R.u8.fill(0, 0, 16)
  if (!expand) R.u16[0] = result
  else if (elements === 16) for (let i = 0; i < 16; i++) R.i8[i] = -(result >> i & 1)
  else for (let i = 0; i < 8; i++) R.i16[i] = -(result >> i & 1)
  writeXmm(cpu, insn, 0, 16, R)
}

export const stringMeanings: Record<string, Meaning> = {
  pcmpestrm: compareStrings(true, false), pcmpestri: compareStrings(true, true),
  pcmpestrm64: compareStrings(true, false, true), pcmpestri64: compareStrings(true, true, true),
  pcmpistrm: compareStrings(false, false), pcmpistri: compareStrings(false, true),
}
