/** SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS (SDM vol. 2; APM vol. 3). Segments are loaded with fixed, flat values. */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import {
  CPL, CS, EFER, GS, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS,
  MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, SEG, SEG_BASE, SEG_SIZE, SS,
} from '../state.ts'
import {
  cpl, gpr32, gpr64, in64, isCanonical, isLongMode, isProtected, RCX, RDX, readU32, readU64, requireCpl0, RSP,
  setGpr, setGpr64, writeU32, writeU64,
} from './access.ts'
import { ATTR, EFER_BITS, FLAG } from './bits.ts'
import { systemOf } from './cpu-system.ts'
import { setSegment } from './descriptor.ts'

/** Flat code and data segments at a privilege level: present, accessed, 4 GiB. */
const codeAttributes = (level: number, long: boolean): number =>
  ATTR.P | ATTR.S | 0xb | (level << ATTR.DPL_SHIFT) | ATTR.G | (long ? ATTR.L : ATTR.DB)
const dataAttributes = (level: number): number => ATTR.P | ATTR.S | 3 | (level << ATTR.DPL_SHIFT) | ATTR.G | ATTR.DB

const R11 = 11
/** 2 (always one) and the flags that R11 may put into RFLAGS at SYSRET (SDM vol. 2, SYSRET). */
const SYSRET_FLAGS = 0x3c_7fd7
/** All flags but VM, RF and the reserved ones: what SFMASK can clear. */
const ALL_FLAGS = 0x3f_7fd5

function loadFlat(cpu: Cpu, codeSelector: number, stackSelector: number, level: number, long: boolean): void {
  setSegment(cpu, CS, codeSelector, codeAttributes(level, long), 0xffff_ffff, 0n)
  setSegment(cpu, SS, stackSelector, dataAttributes(level), 0xffff_ffff, 0n)
  writeU32(cpu, CPL, level)
}

/** SYSCALL. In long mode to LSTAR (or CSTAR from compatibility mode); outside it AMD goes to STAR, Intel has #UD. */
export const syscall: Meaning = (cpu, insn) => {
  if ((readU32(cpu, EFER) & EFER_BITS.SCE) === 0 || !isProtected(cpu)) raise(VECTOR.UD)
  if (!in64(insn) && systemOf(cpu).model.vendor === 'GenuineIntel') raise(VECTOR.UD)
  const selector = readU32(cpu, MSR_STAR + 4) & 0xfffc
  if (!isLongMode(cpu)) {
    setGpr(cpu, RCX, 4, Number(cpu.nextRip() & 0xffff_ffffn))
    loadFlat(cpu, selector, selector + 8, 0, false)
    cpu.setFlags(0, FLAG.IF | FLAG.RF | FLAG.VM)
    cpu.modeChanged()
    cpu.setNextRip(BigInt(readU32(cpu, MSR_STAR)))
    return
  }
  const flags = cpu.getFlags()
  setGpr64(cpu, RCX, cpu.nextRip())
  setGpr64(cpu, R11, BigInt(flags & ~FLAG.RF))
  loadFlat(cpu, selector, selector + 8, 0, true)
  cpu.setFlags(0, (readU32(cpu, MSR_SFMASK) & ALL_FLAGS) | FLAG.RF | FLAG.VM)
  cpu.modeChanged()
  cpu.setNextRip(readU64(cpu, in64(insn) ? MSR_LSTAR : MSR_CSTAR))
}

/** SYSRET: to 64-bit code with REX.W, else to compatibility code. */
export const sysret: Meaning = (cpu, insn) => {
  if ((readU32(cpu, EFER) & EFER_BITS.SCE) === 0 || !isProtected(cpu)) raise(VECTOR.UD)
  const isIntel = systemOf(cpu).model.vendor === 'GenuineIntel'
  if (isIntel && !in64(insn)) raise(VECTOR.UD)
  requireCpl0(cpu)
  const to64 = insn.size === 8
  // Intel checks RCX at CPL 0, before anything is loaded; AMD lets the user-mode fetch fault (SDM and APM, SYSRET).
  if (to64 && isIntel && !isCanonical(cpu, gpr64(cpu, RCX))) raise(VECTOR.GP, 0)
  const base = (readU32(cpu, MSR_STAR + 4) >>> 16) | 3
  const target = to64 ? gpr64(cpu, RCX) : BigInt(gpr32(cpu, RCX))
  if (isLongMode(cpu)) cpu.setFlags(gpr32(cpu, R11) & SYSRET_FLAGS, SYSRET_FLAGS | FLAG.RF | FLAG.VM)
  else cpu.setFlags(FLAG.IF, FLAG.IF)
  loadFlat(cpu, ((to64 ? base + 16 : base) & 0xffff) | 3, ((base + 8) & 0xffff) | 3, 3, to64)
  cpu.modeChanged()
  cpu.setNextRip(target)
}

/** SYSENTER: #UD on AMD in long mode (APM vol. 3, SYSENTER). */
export const sysenter: Meaning = (cpu) => {
  const long = isLongMode(cpu)
  if (long && systemOf(cpu).model.vendor === 'AuthenticAMD') raise(VECTOR.UD)
  const selector = readU32(cpu, MSR_SYSENTER_CS) & 0xfffc
  if (!isProtected(cpu) || selector === 0) raise(VECTOR.GP, 0)
  const entry = readU64(cpu, MSR_SYSENTER_EIP)
  const stack = readU64(cpu, MSR_SYSENTER_ESP)
  setGpr64(cpu, RSP, long ? stack : stack & 0xffff_ffffn)
  loadFlat(cpu, selector, selector + 8, 0, long)
  cpu.setFlags(0, FLAG.VM | FLAG.IF | FLAG.RF)
  cpu.modeChanged()
  cpu.setNextRip(long ? entry : entry & 0xffff_ffffn)
}

/** SYSEXIT: to RDX, with the stack in RCX. */
export const sysexit: Meaning = (cpu, insn) => {
  if (isLongMode(cpu) && systemOf(cpu).model.vendor === 'AuthenticAMD') raise(VECTOR.UD)
  const selector = readU32(cpu, MSR_SYSENTER_CS) & 0xfffc
  if (!isProtected(cpu) || selector === 0 || cpl(cpu) !== 0) raise(VECTOR.GP, 0)
  const to64 = insn.size === 8
  const target = gpr64(cpu, RDX)
  const stack = gpr64(cpu, RCX)
  if (to64 && (!isCanonical(cpu, target) || !isCanonical(cpu, stack))) raise(VECTOR.GP, 0)
  const code = selector + (to64 ? 32 : 16)
  setGpr64(cpu, RSP, to64 ? stack : stack & 0xffff_ffffn)
  loadFlat(cpu, code | 3, (code + 8) | 3, 3, to64)
  cpu.modeChanged()
  cpu.setNextRip(to64 ? target : target & 0xffff_ffffn)
}

/** SWAPGS: exchanges the GS base with KERNEL_GS_BASE; 64-bit mode at CPL 0 only. */
export const swapgs: Meaning = (cpu, insn) => {
  if (!in64(insn)) raise(VECTOR.UD)
  requireCpl0(cpu)
  const at = SEG + GS * SEG_SIZE + SEG_BASE
  const base = readU64(cpu, at)
  writeU64(cpu, at, readU64(cpu, MSR_KERNEL_GS_BASE))
  writeU64(cpu, MSR_KERNEL_GS_BASE, base)
}

