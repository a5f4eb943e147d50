/** MOV to and from control and debug registers, CLTS, LMSW, SMSW (SDM vol. 2 and vol. 3 §2.5, §18.2). */
import { Dr6, Dr7 } from '@cofferdam/spec'
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { CR_REG, DR_REG, MEM } from '../insn.ts'
import { CR0, CR2, CR3, CR4, DR } from '../state.ts'
import {
  cpl, cr4Has, gpr32, gpr64, in64, readOperand, readU32, readU64, requireCpl0, setGpr, setGpr64, writeU32, writeU64,
} from './access.ts'
import { CR0_BITS, CR4_BITS, DR6_BITS, DR7_BITS } from './bits.ts'
import { writeCr0, writeCr3, writeCr4 } from './control-registers.ts'
import { systemOf } from './cpu-system.ts'

/** A general register at the width of control-register moves: 64 bits in 64-bit mode, else 32. */
const wide = (cpu: Cpu, insn: Insn, reg: number): bigint =>
  in64(insn) ? gpr64(cpu, reg) : BigInt(gpr32(cpu, reg))

function setWide(cpu: Cpu, insn: Insn, reg: number, value: bigint): void {
  if (in64(insn)) setGpr64(cpu, reg, value)
  else setGpr(cpu, reg, 4, Number(value & 0xffff_ffffn))
}

/** MOV CRn, reg. */
export const movToControl: Meaning = (cpu, insn) => {
  const number = insn.reg0
  if (number !== 0 && number !== 2 && number !== 3 && number !== 4 && number !== 8) raise(VECTOR.UD)
  requireCpl0(cpu)
  const value = wide(cpu, insn, insn.reg1)
  switch (number) {
    case 0: writeCr0(cpu, value); break
    case 2: writeU64(cpu, CR2, value); break
    case 3: writeCr3(cpu, value); break
    case 4: writeCr4(cpu, value); break
    default:
      if (value > 15n) raise(VECTOR.GP, 0)
      systemOf(cpu).apic.setCr8(Number(value))
  }
}

/** MOV reg, CRn. */
export const movFromControl: Meaning = (cpu, insn) => {
  const number = insn.reg1
  if (number !== 0 && number !== 2 && number !== 3 && number !== 4 && number !== 8) raise(VECTOR.UD)
  requireCpl0(cpu)
  const value = number === 0 ? readU64(cpu, CR0) : number === 2 ? readU64(cpu, CR2) : number === 3 ? readU64(cpu, CR3)
    : number === 4 ? readU64(cpu, CR4) : BigInt(systemOf(cpu).apic.cr8())
  setWide(cpu, insn, insn.reg0, value)
}

/** What reads as 1 and what can be written, without RTM and bus-lock traps (SDM vol. 3 §18.2.3, §18.2.4). */
const DR6_FIXED = 0xffff_0ff0
const DR6_WRITABLE = Dr6.used & ~(DR6_BITS.BLD | DR6_BITS.RTM)
const DR7_WRITABLE = Dr7.used & ~(DR7_BITS.FIXED1 | DR7_BITS.RTM)

const debugAddress = (n: number): number => DR + n * 8

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE makes them #UD; then CPL, then the general-detect trap. */
export function checkDebugAccess(cpu: Cpu, insn: Insn, register: number): number {
  if (register > 7) raise(VECTOR.UD)
  let n = register
  if (n === 4 || n === 5) {
    if (cr4Has(cpu, CR4_BITS.DE)) raise(VECTOR.UD)
    n += 2
  }
  requireCpl0(cpu)
  if ((readU32(cpu, debugAddress(7)) & DR7_BITS.GD) !== 0) {
    writeU32(cpu, debugAddress(6), (readU32(cpu, debugAddress(6)) | DR6_BITS.BD) >>> 0)
    raise(VECTOR.DB)
  }
  return n
}

/** MOV DRn, reg. DR6 and DR7 take 32 bits (#GP(0) above), and keep their fixed bits. */
export const movToDebug: Meaning = (cpu, insn) => {
  const n = checkDebugAccess(cpu, insn, insn.reg0)
  const value = wide(cpu, insn, insn.reg1)
  if (n >= 6 && value >> 32n !== 0n) raise(VECTOR.GP, 0)
  const low = Number(value & 0xffff_ffffn)
  if (n === 6) writeU64(cpu, debugAddress(6), BigInt(((low & DR6_WRITABLE) | DR6_FIXED) >>> 0))
  else if (n === 7) writeU64(cpu, debugAddress(7), BigInt(((low & DR7_WRITABLE) | DR7_BITS.FIXED1) >>> 0))
  else writeU64(cpu, debugAddress(n), value)
  cpu.modeChanged()
}

/** MOV reg, DRn. */
export const movFromDebug: Meaning = (cpu, insn) => {
  const n = checkDebugAccess(cpu, insn, insn.reg1)
  setWide(cpu, insn, insn.reg0, readU64(cpu, debugAddress(n)))
}

/** MOV with a control or debug register on either side. */
export const movControl: Meaning = (cpu, insn) => {
  if (insn.kind0 === CR_REG) movToControl(cpu, insn)
  else if (insn.kind1 === CR_REG) movFromControl(cpu, insn)
  else if (insn.kind0 === DR_REG) movToDebug(cpu, insn)
  else movFromDebug(cpu, insn)
}

/** CLTS: clears CR0.TS. */
export const clts: Meaning = (cpu) => {
  requireCpl0(cpu)
  writeU32(cpu, CR0, (readU32(cpu, CR0) & ~CR0_BITS.TS) >>> 0)
  cpu.modeChanged()
}

/** LMSW: the low four bits of CR0; PE can be set but not cleared. */
export const lmsw: Meaning = (cpu, insn) => {
  requireCpl0(cpu)
  const value = readOperand(cpu, insn, 0, 2)
  const old = readU32(cpu, CR0)
  writeCr0(cpu, BigInt(((old & ~0xe) | (value & 0xf) | (old & 1)) >>> 0))
}

/** #GP(0) for SGDT, SIDT, SLDT, STR and SMSW outside CPL 0 with CR4.UMIP. */
export function checkUmip(cpu: Cpu): void {
  if (cr4Has(cpu, CR4_BITS.UMIP) && cpl(cpu) > 0) raise(VECTOR.GP, 0)
}

/** SMSW: CR0 at the operand size, or its low 16 bits to memory. */
export const smsw: Meaning = (cpu, insn) => {
  checkUmip(cpu)
  if (insn.kind0 === MEM) cpu.store(cpu.operandAddress(insn, 2, true), 2, readU32(cpu, CR0) & 0xffff)
  else setGpr(cpu, insn.reg0, insn.size === 2 ? 2 : 4, readU32(cpu, CR0))
}
