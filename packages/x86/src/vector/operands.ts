/**
 * Operands of vector instructions: reads registers, memory and immediates into scratch vectors, and writes results by
 * the rule of the encoding: legacy forms leave bits 255:128 alone, VEX forms clear what they don't write
 * (SDM vol. 1, §14.1.3).
 */
import { raise, VECTOR, type Cpu } from '../cpu.ts'
import { IMM, MEM, MMX_REG, REG, REG_HIGH, XMM_REG, type Insn } from '../insn.ts'
import { FPR, FSW, FTW, GPR, XMM, YMMH } from '../state.ts'
import { effectiveAddress } from '../system/effective.ts'
import type { Vec } from './vec.ts'

/** Kind of operand `n` (0–3). */
export function kindOf(insn: Insn, n: number): number {
  return n === 0 ? insn.kind0 : n === 1 ? insn.kind1 : n === 2 ? insn.kind2 : insn.kind3
}

/** Register number of operand `n` (0–3). */
export function regOf(insn: Insn, n: number): number {
  return n === 0 ? insn.reg0 : n === 1 ? insn.reg1 : n === 2 ? insn.reg2 : insn.reg3
}

/** Index of the first source that is not the destination: VEX forms with three operands name it, legacy forms don't. */
export function firstSource(insn: Insn): 0 | 1 {
  return insn.vex ? 1 : 0
}

/** Width of the vector in bytes: 16 or 32. */
export function vectorBytes(insn: Insn): 16 | 32 {
  return insn.size === 32 ? 32 : 16
}

/** Copies the lowest `bytes` bytes (4, 8, 16 or 32) of XMM/YMM register `reg` to `out`; the rest of `out` is stale. */
export function readXmm(cpu: Cpu, reg: number, bytes: number, out: Vec): void {
  const { u32 } = cpu.views
  const low = (XMM + 16 * reg) >> 2
  const to = out.u32
  to[0] = u32[low]
  to[1] = u32[low + 1]
  if (bytes <= 8) return
  to[2] = u32[low + 2]
  to[3] = u32[low + 3]
  if (bytes !== 32) return
  const high = (YMMH + 16 * reg) >> 2
  to[4] = u32[high]
  to[5] = u32[high + 1]
  to[6] = u32[high + 2]
  to[7] = u32[high + 3]
}

/** Writes a whole vector of 16 or 32 bytes to XMM/YMM register `reg`; VEX.128 clears bits 255:128. */
export function writeXmm(cpu: Cpu, insn: Insn, reg: number, bytes: number, value: Vec): void {
  const { u32 } = cpu.views
  const from = value.u32
  const low = (XMM + 16 * reg) >> 2
  u32[low] = from[0]
  u32[low + 1] = from[1]
  u32[low + 2] = from[2]
  u32[low + 3] = from[3]
  const high = (YMMH + 16 * reg) >> 2
  if (bytes === 32) {
    u32[high] = from[4]
    u32[high + 1] = from[5]
    u32[high + 2] = from[6]
    u32[high + 3] = from[7]
  } else if (insn.vex) u32.fill(0, high, high + 4)
}

/** Reads MMn. */
export function readMmx(cpu: Cpu, reg: number, out: Vec): void {
  const at = (FPR + 16 * (reg & 7)) >> 2
  out.u32[0] = cpu.views.u32[at]
  out.u32[1] = cpu.views.u32[at + 1]
}

/** Writes MMn: bits 79:64 of the x87 register under it become ones. Call `enterMmx` too. */
export function writeMmx(cpu: Cpu, reg: number, value: Vec): void {
  const { u32, u16 } = cpu.views
  const at = (FPR + 16 * (reg & 7)) >> 2
  u32[at] = value.u32[0]
  u32[at + 1] = value.u32[1]
  u16[(at + 2) << 1] = 0xffff
}

/** What every MMX instruction but EMMS does to the x87 state: TOP becomes 0 and all tags valid (SDM vol. 3, §13.2). */
export function enterMmx(cpu: Cpu): void {
  clearTop(cpu)
  cpu.views.u32[FTW >> 2] = 0xff
}

/** The first half of `enterMmx`, which stores do even when they then fault (observed on Intel processors). */
export function clearTop(cpu: Cpu): void {
  cpu.views.u32[FSW >> 2] &= ~0x3800
}

/** Linear address of the memory operand; #GP(0) where it is no multiple of `align` (1: any address will do). */
export function memoryAddress(cpu: Cpu, insn: Insn, size: number, write: boolean, align = 1): bigint {
  // Alignment comes first: an address in the stack that is neither aligned nor canonical, or within the limit, is #GP.
  if (align > 1 && Number(effectiveAddress(cpu, insn) & 0x3fn) & (align - 1)) raise(VECTOR.GP, 0)
  return cpu.operandAddress(insn, size, write)
}

/**
 * Reads operand `n` into `out`: `bytes` (1–32) of a vector register, an MMX register, memory or a general register.
 * An immediate is read as an unsigned byte extended to 64 bits, as shift counts are. Legacy 16-byte memory operands
 * must be aligned unless `aligned` says otherwise.
 */
export function readOperand(cpu: Cpu, insn: Insn, n: number, bytes: number, out: Vec,
  aligned = bytes === 16 && !insn.vex): void {
  const reg = regOf(insn, n)
  switch (kindOf(insn, n)) {
    case XMM_REG:
      return readXmm(cpu, reg, bytes, out)
    case MMX_REG:
      return readMmx(cpu, reg, out)
    case MEM:
      cpu.loadBytes(memoryAddress(cpu, insn, bytes, false, aligned ? bytes : 1), out.first[bytes])
      return
    case REG:
      out.u64[0] = cpu.views.u64[(GPR >> 3) + reg]
      return
    case REG_HIGH:
      out.u8[0] = cpu.views.u8[GPR + 8 * reg + 1]
      return
    case IMM:
      out.u32[0] = insn.immLo & 0xff
      out.u32[1] = 0
      return
    default:
      throw new Error(`vector: operand ${n} of kind ${kindOf(insn, n)} is none of a vector instruction`)
  }
}

/** Writes the lowest `bytes` bytes (1–32) of `value` to the memory operand. */
export function writeMemory(cpu: Cpu, insn: Insn, bytes: number, value: Vec, aligned = false): void {
  cpu.storeBytes(memoryAddress(cpu, insn, bytes, true, aligned ? bytes : 1), value.first[bytes])
}

/** Bits 31:0 of a general register, unsigned. */
export function readGpr32(cpu: Cpu, reg: number): number {
  return cpu.views.u32[(GPR >> 2) + 2 * reg]
}

/** Writes a 32-bit result, which clears bits 63:32 of the register. */
export function writeGpr32(cpu: Cpu, reg: number, value: number): void {
  const { u32 } = cpu.views
  u32[(GPR >> 2) + 2 * reg] = value
  u32[(GPR >> 2) + 2 * reg + 1] = 0
}

export function writeGpr64(cpu: Cpu, reg: number, value: bigint): void {
  cpu.views.u64[(GPR >> 3) + reg] = value
}

/**
 * Accesses of masked moves, gathers and conversions of halves, which never raise #AC (SDM vol. 2, types 6, 11 and
 * 12).
 */
export function anyAlignment(cpu: Cpu, access: () => void): void {
  if (cpu.unaligned === undefined) access()
  else cpu.unaligned(access)
}
