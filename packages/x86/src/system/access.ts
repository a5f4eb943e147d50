/** Reading and writing what a system instruction names: registers, operands, modes, flags, the stack. */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MEM, MODE64, REG_HIGH } from '../insn.ts'
import { CPL, CR0, CR4, CS, EFER, GPR, SEG, SEG_BASE, SEG_SIZE, SS } from '../state.ts'
import { ATTR, CR0_BITS, CR4_BITS, EFER_BITS, FLAG } from './bits.ts'

/** One 64-bit value seen as words: BigInt arithmetic costs ten times as much as this on the warm paths. */
const whole = new BigUint64Array(1)
const words = new Uint32Array(whole.buffer)
const signedWords = new Int32Array(whole.buffer)

/** Numbers of the general registers in encoding order. */
export const RAX = 0
export const RCX = 1
export const RDX = 2
export const RBX = 3
export const RSP = 4
export const RBP = 5
export const RSI = 6
export const RDI = 7

export const readU32 = (cpu: Cpu, at: number): number => cpu.views.u32[at >>> 2]
export const writeU32 = (cpu: Cpu, at: number, value: number): void => {
  cpu.views.u32[at >>> 2] = value
}
export const readU64 = (cpu: Cpu, at: number): bigint => cpu.views.u64[at >>> 3]
export const writeU64 = (cpu: Cpu, at: number, value: bigint): void => {
  cpu.views.u64[at >>> 3] = value
}

/** Bits 31:0 of a general register. */
export const gpr32 = (cpu: Cpu, reg: number): number => cpu.views.u32[(GPR >>> 2) + reg * 2]
export const gpr64 = (cpu: Cpu, reg: number): bigint => cpu.views.u64[(GPR >>> 3) + reg]
export const setGpr64 = (cpu: Cpu, reg: number, value: bigint): void => {
  cpu.views.u64[(GPR >>> 3) + reg] = value
}

/**
 * Writes `size` bytes of a register; 4-byte writes clear bits 63:32 (SDM vol. 1 §3.4.1.1), shorter ones keep the rest.
 */
export function setGpr(cpu: Cpu, reg: number, size: number, value: number): void {
  const { u8, u16, u32 } = cpu.views
  const at = GPR + reg * 8
  if (size === 1) u8[at] = value
  else if (size === 2) u16[at >>> 1] = value
  else {
    u32[at >>> 2] = value
    u32[(at >>> 2) + 1] = 0
  }
}

/** EDX:EAX as one value, and back (both writes clear the upper halves). */
export const edxEax = (cpu: Cpu): bigint => (BigInt(gpr32(cpu, RDX)) << 32n) | BigInt(gpr32(cpu, RAX))
export function setEdxEax(cpu: Cpu, value: bigint): void {
  setGpr(cpu, RAX, 4, Number(value & 0xffff_ffffn))
  setGpr(cpu, RDX, 4, Number((value >> 32n) & 0xffff_ffffn))
}

export const cpl = (cpu: Cpu): number => cpu.views.u32[CPL >>> 2]
export const isProtected = (cpu: Cpu): boolean => (cpu.views.u32[CR0 >>> 2] & CR0_BITS.PE) !== 0
/** EFER.LMA: long mode, 64-bit or compatibility. */
export const isLongMode = (cpu: Cpu): boolean => (cpu.views.u32[EFER >>> 2] & EFER_BITS.LMA) !== 0
/** 64-bit mode: long mode with a code segment that has L set. */
export const is64Bit = (cpu: Cpu): boolean => isLongMode(cpu) && (segAttributes(cpu, CS) & ATTR.L) !== 0
export const cr4Has = (cpu: Cpu, bit: number): boolean => (cpu.views.u32[CR4 >>> 2] & bit) !== 0

export const segSelector = (cpu: Cpu, seg: number): number => cpu.views.u16[(SEG + seg * SEG_SIZE) >>> 1]
export const segAttributes = (cpu: Cpu, seg: number): number => cpu.views.u16[(SEG + seg * SEG_SIZE + 2) >>> 1]
export const segLimit = (cpu: Cpu, seg: number): number => cpu.views.u32[(SEG + seg * SEG_SIZE + 4) >>> 2]
export const segBase = (cpu: Cpu, seg: number): bigint => cpu.views.u64[(SEG + seg * SEG_SIZE + SEG_BASE) >>> 3]
export const setSegBase = (cpu: Cpu, seg: number, base: bigint): void => {
  cpu.views.u64[(SEG + seg * SEG_SIZE + SEG_BASE) >>> 3] = base
}

/** #GP(0) unless CPL is 0 (real mode always is). */
export function requireCpl0(cpu: Cpu): void {
  if (cpu.views.u32[CPL >>> 2] !== 0) raise(VECTOR.GP, 0)
}

/** #UD in real mode: the instructions that need selectors (SDM vol. 2, "Real-Address Mode Exceptions"). */
export function requireProtected(cpu: Cpu): void {
  if (!isProtected(cpu)) raise(VECTOR.UD)
}

/** Whether a linear address is canonical under the present paging depth (48 or 57 bits). */
export function isCanonical(cpu: Cpu, address: bigint): boolean {
  whole[0] = address
  const top = signedWords[1] >> (cr4Has(cpu, CR4_BITS.LA57) ? 24 : 15)
  return top === 0 || top === -1
}

/** The 64-bit value in state at `at` plus a small offset, modulo 2^64. */
export function stateSum(cpu: Cpu, at: number, offset: number): bigint {
  const { u32 } = cpu.views
  const low = u32[at >>> 2] + offset
  words[0] = low
  words[1] = u32[(at >>> 2) + 1] + (low > 0xffff_ffff ? 1 : 0)
  return whole[0]
}

/** Replaces flags and tells the engine when AC, which data translation depends on under SMAP, changed. */
export function changeFlags(cpu: Cpu, value: number, mask: number): void {
  const acChanges = (mask & FLAG.AC) !== 0 && ((cpu.getFlags() ^ value) & FLAG.AC) !== 0
  cpu.setFlags(value, mask)
  if (acChanges) cpu.modeChanged()
}

/** Number of the register of operand `n`, and its kind. */
export const operandKind = (insn: Insn, n: number): number =>
  n === 0 ? insn.kind0 : n === 1 ? insn.kind1 : n === 2 ? insn.kind2 : insn.kind3
export const operandReg = (insn: Insn, n: number): number =>
  n === 0 ? insn.reg0 : n === 1 ? insn.reg1 : n === 2 ? insn.reg2 : insn.reg3

/** Reads a register or memory operand of 1, 2 or 4 bytes as an unsigned number. */
export function readOperand(cpu: Cpu, insn: Insn, n: number, size: 1 | 2 | 4): number {
  const kind = operandKind(insn, n)
  if (kind === MEM) return cpu.load(cpu.operandAddress(insn, size, false), size)
  const reg = operandReg(insn, n)
  const value = gpr32(cpu, reg)
  if (kind === REG_HIGH) return (value >>> 8) & 0xff
  return size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value
}

/** Reads a register or memory operand of 8 bytes. */
export function readOperand64(cpu: Cpu, insn: Insn, n: number): bigint {
  if (operandKind(insn, n) === MEM) return cpu.load64(cpu.operandAddress(insn, 8, false))
  return gpr64(cpu, operandReg(insn, n))
}

/** Writes a register or memory operand of 1, 2 or 4 bytes. */
export function writeOperand(cpu: Cpu, insn: Insn, n: number, size: 1 | 2 | 4, value: number): void {
  const kind = operandKind(insn, n)
  if (kind === MEM) cpu.store(cpu.operandAddress(insn, size, true), size, value)
  else if (kind === REG_HIGH) cpu.views.u8[GPR + operandReg(insn, n) * 8 + 1] = value
  else setGpr(cpu, operandReg(insn, n), size, value)
}

/** Writes a register or memory operand of 8 bytes. */
export function writeOperand64(cpu: Cpu, insn: Insn, n: number, value: bigint): void {
  if (operandKind(insn, n) === MEM) cpu.store64(cpu.operandAddress(insn, 8, true), value)
  else setGpr64(cpu, operandReg(insn, n), value)
}

/**
 * Writes `value` to operand `n`: a register at the operand size of the instruction, memory always 16 bits (SLDT, STR,
 * SMSW).
 */
export function writeSelectorOperand(cpu: Cpu, insn: Insn, n: number, value: number): void {
  if (operandKind(insn, n) === MEM) cpu.store(cpu.operandAddress(insn, 2, true), 2, value & 0xffff)
  else setGpr(cpu, operandReg(insn, n), insn.size === 2 ? 2 : 4, value)
}

/** Bits 63:0 of a register cut to the address size of the instruction. */
export function addressRegister(cpu: Cpu, insn: Insn, reg: number): bigint {
  if (insn.addrSize === 8) return gpr64(cpu, reg)
  const value = gpr32(cpu, reg)
  return BigInt(insn.addrSize === 2 ? value & 0xffff : value)
}

/** Width of stack addresses in bytes: 8 in 64-bit mode, else by SS.B. */
export const stackSize = (cpu: Cpu): 2 | 4 | 8 =>
  is64Bit(cpu) ? 8 : (segAttributes(cpu, SS) & ATTR.DB) !== 0 ? 4 : 2

/** Offset `delta` bytes from the stack pointer, wrapped to the stack's address size. */
export function stackOffset(cpu: Cpu, delta: number): bigint {
  const width = stackSize(cpu)
  if (width === 8) return delta === 0 ? gpr64(cpu, RSP) : BigInt.asUintN(64, gpr64(cpu, RSP) + BigInt(delta))
  const sum = gpr32(cpu, RSP) + delta
  return BigInt(width === 4 ? sum >>> 0 : sum & 0xffff)
}

/** Sets the stack pointer at the stack's address size, keeping the bits above as SP and ESP writes do. */
export function setStackOffset(cpu: Cpu, offset: bigint): void {
  const width = stackSize(cpu)
  if (width === 8) setGpr64(cpu, RSP, offset)
  else setGpr(cpu, RSP, width, Number(offset & 0xffff_ffffn))
}

/** Linear address of the stack slot `delta` bytes from the stack pointer, checked for `size` bytes (#SS). */
export const stackAddress = (cpu: Cpu, delta: number, size: number, write: boolean): bigint =>
  cpu.segmentAddress(SS, stackOffset(cpu, delta), size, write)

/** Loads a stack slot as a 64-bit value. */
export function loadStack(cpu: Cpu, delta: number, size: number): bigint {
  const address = stackAddress(cpu, delta, size, false)
  return size === 8 ? cpu.load64(address) : BigInt(cpu.load(address, size === 4 ? 4 : 2))
}

/** Loads a stack slot of 2 or 4 bytes, or the lower half of one of 8, as a number. */
export function loadStack32(cpu: Cpu, delta: number, size: number): number {
  const address = stackAddress(cpu, delta, size, false)
  return cpu.load(address, size === 2 ? 2 : 4)
}

/** Stores a stack slot; the stack pointer itself stays as it is. */
export function storeStack(cpu: Cpu, delta: number, size: number, value: bigint): void {
  const address = stackAddress(cpu, delta, size, true)
  if (size === 8) cpu.store64(address, BigInt.asUintN(64, value))
  else cpu.store(address, size === 4 ? 4 : 2, Number(BigInt.asUintN(size * 8, value)))
}

/** True when the instruction was decoded for 64-bit code. */
export const in64 = (insn: Insn): boolean => insn.mode === MODE64
