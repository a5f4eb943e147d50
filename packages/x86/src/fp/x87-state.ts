/**
 * The x87 register stack, its environment and the end of every instruction: flags, condition codes, pointers
 * (SDM vol. 1, chapter 8). Registers are stored by physical number; FTW is abridged (1 = valid).
 */
import type { Cpu } from '../cpu.ts'
import { MODE64, type Insn } from '../insn.ts'
import { CS, FCW, FDP, FIP, FOP, FPR, FSW, FTW, SEG, SEG_BASE, SEG_SIZE } from '../state.ts'
import { anyAlignment } from '../vector/operands.ts'
import { checkX87, FSW_ES } from './checks.ts'
import { createEnv, DE, F80, IE, PE, ZE } from './softfloat.ts'

export const C0 = 0x100
export const C1 = 0x200
export const C2 = 0x400
export const C3 = 0x4000
/** FSW.SF: the invalid operation was a stack fault. */
export const SF = 0x40
const FSW_B = 0x8000

/** The environment of the x87 instruction that is running. `flags` may have SF too. */
export const env = createEnv()
env.x87 = true

/** Bits of precision that FCW.PC asks for; 01 is reserved and works as 64. */
export let precision = 64
/** Condition bit C1 of a stack overflow. */
let overflowed = false

/** Checks that a waiting instruction may run, and sets the environment up from FCW. */
export function beginX87(cpu: Cpu): void {
  checkX87(cpu, true)
  const control = cpu.views.u32[FCW >> 2]
  env.flags = 0
  env.roundedUp = false
  env.widened = false
  env.rounding = control >> 10 & 3
  env.unmasked = ~control & 0x3f
  precision = [24, 64, 53, 64][control >> 8 & 3]
  overflowed = false
}

/** TOP. */
export function topOf(cpu: Cpu): number {
  return cpu.views.u32[FSW >> 2] >> 11 & 7
}

export function setTop(cpu: Cpu, top: number): void {
  const { u32 } = cpu.views
  u32[FSW >> 2] = u32[FSW >> 2] & ~0x3800 | (top & 7) << 11
}

/** Physical number of ST(i). */
export function physical(cpu: Cpu, i: number): number {
  return (topOf(cpu) + i) & 7
}

export function isEmpty(cpu: Cpu, i: number): boolean {
  return !(cpu.views.u32[FTW >> 2] >> physical(cpu, i) & 1)
}

/** Bits of ST(i). */
export function readSt(cpu: Cpu, i: number): bigint {
  const at = FPR + 16 * physical(cpu, i)
  return BigInt(cpu.views.u16[(at + 8) >> 1]) << 64n | cpu.views.u64[at >> 3]
}

/** Writes ST(i) and marks it valid. */
export function writeSt(cpu: Cpu, i: number, bits: bigint): void {
  const { u16, u32, u64 } = cpu.views
  const n = physical(cpu, i)
  const at = FPR + 16 * n
  u64[at >> 3] = bits
  u16[(at + 8) >> 1] = Number(bits >> 64n)
  u32[FTW >> 2] |= 1 << n
}

/** Marks ST(i) empty. */
export function freeSt(cpu: Cpu, i: number): void {
  cpu.views.u32[FTW >> 2] &= ~(1 << physical(cpu, i))
}

/** Marks ST(0) empty and increments TOP. */
export function pop(cpu: Cpu): void {
  freeSt(cpu, 0)
  setTop(cpu, topOf(cpu) + 1)
}

/** ST(i) of an operand; an empty one is a stack underflow, for which the result is the indefinite NaN. */
export function underflows(cpu: Cpu, i: number): boolean {
  if (!isEmpty(cpu, i)) return false
  env.flags |= IE | SF
  return true
}

/**
 * Whether the instruction goes on to its result: writes flags, ES, condition codes (`clear` and `set`, C1 by itself)
  * and the instruction pointer. An unmasked invalid, denormal or divide-by-zero exception stops it, and then nothing
  * that would have been found later is noted.
 */
export function settle(cpu: Cpu, insn: Insn, clear = 0, set = 0, address?: bigint, stopping = IE | DE | ZE): boolean {
  const { u32 } = cpu.views
  const stopped = (env.flags & env.unmasked & stopping) !== 0
  if (stopped) env.flags &= 7 | SF
  else if (env.roundedUp && env.flags & PE) set |= C1
  if (overflowed) set |= C1
  let status = u32[FSW >> 2] & ~(clear | C1) | set | env.flags
  if (status & env.unmasked) status |= FSW_ES | FSW_B
  u32[FSW >> 2] = status
  notePointers(cpu, insn, address)
  return !stopped
}

/**
 * FIP of every instruction but control instructions. FOP and FDP change only with an unmasked exception, as on
 * processors with CPUID.7.0:EBX.FDP_EXCPTN_ONLY; FDP, an offset, only by instructions with a memory operand.
 */
export function notePointers(cpu: Cpu, insn: Insn, address?: bigint): void {
  const { u32, u64 } = cpu.views
  u64[FIP >> 3] = cpu.rip()
  if (!(env.flags & env.unmasked & 0x3f)) return
  u32[FOP >> 2] = escapeOpcode(cpu, insn)
  if (address === undefined) return
  const based = insn.mode !== MODE64 || insn.seg >= 4
  const base = based ? u64[(SEG + SEG_SIZE * insn.seg + SEG_BASE) >> 3] : 0n
  u64[FDP >> 3] = BigInt.asUintN(insn.mode === MODE64 ? 64 : 32, address - base)
}

/** The lower 11 bits of the opcode: the escape byte's lower three and ModRM, read again from the code. */
export function escapeOpcode(cpu: Cpu, insn: Insn): number {
  const bytes = new Uint8Array(insn.len)
  const base = insn.mode === MODE64 ? 0n : cpu.views.u64[(SEG + SEG_SIZE * CS + SEG_BASE) >> 3]
  anyAlignment(cpu, () => { cpu.loadBytes(cpu.rip() + base, bytes) })
  const at = bytes.findIndex(byte => byte >> 3 === 0x1b)
  return at < 0 ? 0 : (bytes[at] & 7) << 8 | bytes[at + 1]
}

/** Recomputes ES and B after FCW or the flags changed. */
export function updateSummary(cpu: Cpu): void {
  const { u32 } = cpu.views
  const pending = u32[FSW >> 2] & ~u32[FCW >> 2] & 0x3f
  u32[FSW >> 2] = u32[FSW >> 2] & ~(FSW_ES | FSW_B) | (pending ? FSW_ES | FSW_B : 0)
}

/** Whether a push would overwrite a register in use (stack overflow). */
export function overflows(cpu: Cpu): boolean {
  if (isEmpty(cpu, 7)) return false
  env.flags |= IE | SF
  overflowed = true
  return true
}

/**
 * Ends an instruction that pushes: on overflow the indefinite NaN. Nothing is pushed after an unmasked invalid
  * operation; a denormal operand is pushed all the same.
 */
export function settlePush(cpu: Cpu, insn: Insn, bits: bigint, address?: bigint): void {
  const full = !(env.flags & SF) && overflows(cpu)
  if (!settle(cpu, insn, 0, 0, address, IE)) return
  setTop(cpu, topOf(cpu) - 1)
  writeSt(cpu, 0, full ? F80.indefinite : bits)
}
