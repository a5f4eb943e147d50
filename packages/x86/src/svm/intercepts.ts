/**
 * Instruction intercepts: one line per instruction (APM vol. 2, table 15-7). Each looks at the exceptions that come
 * before the intercept, by the rules of the instruction's own meaning, and then at the VMCB.
 */
import { Intercept3, Intercept4, Intercept5, SvmExit } from '@cofferdam/spec'
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { CR_REG, DR_REG, MEM } from '../insn.ts'
import type { OpName } from '../ops.ts'
import { OPS } from '../ops.ts'
import { CR0, CR2, CR3, CR4, MSR_TSC_AUX } from '../state.ts'
import {
  cr4Has, gpr32, gpr64, in64, RCX, readU32, readU64, requireCpl0, requireProtected, segBase, setEdxEax, setGpr,
} from '../system/access.ts'
import { CR0_BITS, CR4_BITS, FLAG } from '../system/bits.ts'
import { checkDebugAccess, checkUmip } from '../system/control.ts'
import { checkCr0, checkCr3, checkCr4 } from '../system/control-registers.ts'
import { effectiveOffset } from '../system/effective.ts'
import { checkMonitor, checkPmc, checkTsc } from '../system/misc.ts'
import { systemOf } from '../system/cpu-system.ts'
import { checkSvm, checkSvmAddress } from './instructions.ts'
import { interceptIo, interceptMsr } from './permission-maps.ts'
import type { GuestWorld } from './world.ts'

/** Looks at one instruction of a guest; answers true when it has carried it out itself. Leaving is a jump. */
export type Intercept = (world: GuestWorld, cpu: Cpu, insn: Insn) => boolean

const I3 = Intercept3.mask
const I4 = Intercept4.mask
const I5 = Intercept5.mask
const NOTHING = (): void => undefined

type Check = (cpu: Cpu, insn: Insn) => void

/** An intercept with a bit of its own in one of the vectors. */
const by = (vector: 'vector3' | 'vector4' | 'vector5', mask: number, code: number, check: Check): Intercept =>
  (world, cpu, insn) => {
    if ((world.control[vector] & mask) !== 0) {
      check(cpu, insn)
      world.leave(code)
    }
    return false
  }

const privileged: Check = (cpu) => { requireCpl0(cpu) }
const loadsSelector: Check = (cpu) => {
  requireProtected(cpu)
  requireCpl0(cpu)
}
const storesSelector: Check = (cpu) => {
  requireProtected(cpu)
  checkUmip(cpu)
}

const isControlRegister = (n: number): boolean => n === 0 || (n >= 2 && n <= 4) || n === 8

/** EXITINFO1 of MOV CRn: the general register, and that it was a MOV (§15.8.1). */
const movInfo = (register: number): bigint => (1n << 63n) | BigInt(register)

/** What is neither TS nor MP. */
const selective = (cpu: Cpu, wanted: number): boolean =>
  ((readU32(cpu, CR0) ^ wanted) & ~(CR0_BITS.TS | CR0_BITS.MP)) !== 0

const crWrites = (world: GuestWorld, n: number): boolean => ((world.control.cr >>> (16 + n)) & 1) !== 0

const REGISTERS: Readonly<Record<number, number>> = { 0: CR0, 2: CR2, 3: CR3, 4: CR4 }

/** The write trap comes when the register has its new value, which it shows (§15.35.10). */
function trapsWrite(world: GuestWorld, cpu: Cpu, n: number): void {
  if (((world.control.vector4 >>> (16 + n)) & 1) === 0) return
  const read = (): bigint => (n === 8 ? BigInt(world.control.vintr.tpr) : readU64(cpu, REGISTERS[n]))
  world.trapAfter(SvmExit.CR0_WRITE_TRAP + n, read)
}

/** MOV CRn, reg: all exceptions first. */
const writesControl: Intercept = (world, cpu, insn) => {
  const n = insn.reg0
  if (!isControlRegister(n)) return false
  requireCpl0(cpu)
  const value = in64(insn) ? gpr64(cpu, insn.reg1) : BigInt(gpr32(cpu, insn.reg1))
  let wanted = value
  if (n === 0) wanted = BigInt(checkCr0(cpu, value))
  else if (n === 3) wanted = checkCr3(cpu, value)
  else if (n === 4) wanted = BigInt(checkCr4(cpu, value))
  else if (n === 8 && value > 15n) raise(VECTOR.GP, 0)
  if (crWrites(world, n)) world.leave(SvmExit.CR0_WRITE + n, movInfo(insn.reg1))
  if (n === 0 && (world.control.vector3 & I3.CR0_SEL_WRITE) !== 0 && selective(cpu, Number(wanted))) {
    world.leave(SvmExit.CR0_SEL_WRITE, movInfo(insn.reg1))
  }
  trapsWrite(world, cpu, n)
  if (n !== 8) return false
  // V_TPR follows CR8; with V_INTR_MASKING it is all of it (§15.21.2).
  world.setTpr(Number(value))
  return world.control.vintr.masking
}

/** MOV reg, CRn. */
const readsControl: Intercept = (world, cpu, insn) => {
  const n = insn.reg1
  if (!isControlRegister(n)) return false
  requireCpl0(cpu)
  if (((world.control.cr >>> n) & 1) !== 0) world.leave(SvmExit.CR0_READ + n, movInfo(insn.reg0))
  if (n !== 8 || !world.control.vintr.masking) return false
  setGpr(cpu, insn.reg0, 4, world.control.vintr.tpr)
  return true
}

const debugRegister = (
  shift: number, base: number, of: (insn: Insn) => number, gpr: (insn: Insn) => number,
): Intercept => (world, cpu, insn) => {
  const n = checkDebugAccess(cpu, insn, of(insn))
  if (((world.control.dr >>> (shift + n)) & 1) !== 0) world.leave(base + n, BigInt(gpr(insn)))
  return false
}
const writesDebug = debugRegister(16, SvmExit.DR0_WRITE, (i) => i.reg0, (i) => i.reg1)
const readsDebug = debugRegister(0, SvmExit.DR0_READ, (i) => i.reg1, (i) => i.reg0)

/** MOV with a control or debug register; other MOVs that TypeScript carries out are nobody's business. */
const mov: Intercept = (world, cpu, insn) => {
  if (insn.kind0 === CR_REG) return writesControl(world, cpu, insn)
  if (insn.kind1 === CR_REG) return readsControl(world, cpu, insn)
  if (insn.kind0 === DR_REG) return writesDebug(world, cpu, insn)
  return insn.kind1 === DR_REG && readsDebug(world, cpu, insn)
}

/** LMSW takes the selective intercept for every write; CLTS takes none. */
const lmsw: Intercept = (world, cpu) => {
  requireCpl0(cpu)
  if (crWrites(world, 0)) world.leave(SvmExit.CR0_WRITE)
  if ((world.control.vector3 & I3.CR0_SEL_WRITE) !== 0) world.leave(SvmExit.CR0_SEL_WRITE)
  trapsWrite(world, cpu, 0)
  return false
}
const clts: Intercept = (world, cpu) => {
  requireCpl0(cpu)
  if (crWrites(world, 0)) world.leave(SvmExit.CR0_WRITE)
  trapsWrite(world, cpu, 0)
  return false
}
const smsw: Intercept = (world, cpu) => {
  checkUmip(cpu)
  if ((world.control.cr & 1) !== 0) world.leave(SvmExit.CR0_READ)
  return false
}

/** RDTSC and RDTSCP, which a TSC ratio makes this file's as well. */
const timestamp = (vector: 'vector3' | 'vector4', mask: number, code: number, aux: boolean): Intercept =>
  (world, cpu) => {
    checkTsc(cpu)
    if ((world.control[vector] & mask) !== 0) world.leave(code)
    const time = world.scaledTsc()
    if (time === null) return false
    setEdxEax(cpu, time)
    if (aux) setGpr(cpu, RCX, 4, readU32(cpu, MSR_TSC_AUX))
    return true
  }

/** INT n: before any exception, with the vector as decode assist (§15.8.2). */
const int: Intercept = (world, _cpu, insn) => {
  const vector = insn.immLo & 0xff
  if ((world.control.vector3 & I3.INTn) !== 0) world.leave(SvmExit.SWINT, BigInt(vector))
  world.entersHandler(vector, true)
  return false
}

/** INT3 and INTO are the exceptions #BP and #OF, with RIP at the instruction (§15.12). */
const trapException = (vector: number, taken: (cpu: Cpu) => boolean): Intercept => (world, cpu, insn) => {
  if (!taken(cpu) || (vector === VECTOR.OF && in64(insn))) return false
  if (((world.control.exceptions >>> vector) & 1) !== 0) world.leave(SvmExit.EXCP0 + vector)
  world.entersHandler(vector, false)
  return false
}
const icebp: Intercept = (world) => {
  if ((world.control.vector4 & I4.ICEBP) !== 0) world.leave(SvmExit.ICEBP)
  world.entersHandler(VECTOR.DB, false)
  return false
}

const invlpg: Intercept = (world, cpu, insn) => {
  if ((world.control.vector3 & I3.INVLPG) === 0) return false
  if (insn.kind0 !== MEM) raise(VECTOR.UD)
  requireCpl0(cpu)
  const offset = effectiveOffset(cpu, insn)
  const address = !in64(insn) || insn.seg >= 4 ? offset + segBase(cpu, insn.seg) : offset
  return world.leave(SvmExit.INVLPG, BigInt.asUintN(in64(insn) ? 64 : 32, address))
}

/** PAUSE leaves when its count runs out (§15.14.4). */
const pause: Intercept = (world) => {
  if ((world.control.vector3 & I3.PAUSE) !== 0 && world.pauseCountedOut()) world.leave(SvmExit.PAUSE)
  return false
}

/** MWAIT: the conditional intercept is looked at first. EXITINFO1 says whether a monitor is armed. */
const mwait: Intercept = (world, cpu) => {
  checkMonitor(cpu)
  const armed = systemOf(cpu).monitorAddress >= 0n
  const { vector4 } = world.control
  if (armed && (vector4 & I4.MWAIT_ARMED) !== 0) world.leave(SvmExit.MWAIT_CONDITIONAL, 1n)
  if ((vector4 & I4.MWAIT) !== 0) world.leave(SvmExit.MWAIT, armed ? 1n : 0n)
  return false
}

const monitorCheck: Check = (cpu) => {
  checkMonitor(cpu)
  if (gpr32(cpu, RCX) !== 0) raise(VECTOR.GP, 0)
}
/** XSETBV's intercept comes before its #GP, but there is no instruction without CR4.OSXSAVE. */
const xsetbvCheck: Check = (cpu) => { if (!cr4Has(cpu, CR4_BITS.OSXSAVE)) raise(VECTOR.UD) }

/** VMMCALL: intercepted before anything, #UD when not (§15.18). */
const vmmcall: Intercept = (world) => {
  if ((world.control.vector4 & I4.VMMCALL) !== 0) world.leave(SvmExit.VMMCALL)
  return false
}

const wbinvd = by('vector4', I4.WBINVD, SvmExit.WBINVD, privileged)

/** VMGEXIT is VMMCALL without SEV-ES; with it, it always leaves, and is done by then (§15.35.6). */
const vmgexit: Intercept = (world, cpu, insn) => {
  if (!world.encryptedState) return vmmcall(world, cpu, insn)
  world.trapAfter(SvmExit.VMGEXIT, () => 0n)
  return true
}

const byName: Partial<Record<OpName, Intercept>> = {
  mov, lmsw, clts, smsw, int, int1: icebp, invlpg, pause, mwait, vmmcall, vmgexit, wbinvd, wbnoinvd: wbinvd,
  int3: trapException(VECTOR.BP, () => true),
  into: trapException(VECTOR.OF, (cpu) => (cpu.getFlags() & FLAG.OF) !== 0),
  lidt: by('vector3', I3.IDTR_WRITE, SvmExit.IDTR_WRITE, privileged),
  lgdt: by('vector3', I3.GDTR_WRITE, SvmExit.GDTR_WRITE, privileged),
  lldt: by('vector3', I3.LDTR_WRITE, SvmExit.LDTR_WRITE, loadsSelector),
  ltr: by('vector3', I3.TR_WRITE, SvmExit.TR_WRITE, loadsSelector),
  sidt: by('vector3', I3.IDTR_READ, SvmExit.IDTR_READ, checkUmip),
  sgdt: by('vector3', I3.GDTR_READ, SvmExit.GDTR_READ, checkUmip),
  sldt: by('vector3', I3.LDTR_READ, SvmExit.LDTR_READ, storesSelector),
  str: by('vector3', I3.TR_READ, SvmExit.TR_READ, storesSelector),
  rdtsc: timestamp('vector3', I3.RDTSC, SvmExit.RDTSC, false),
  rdtscp: timestamp('vector4', I4.RDTSCP, SvmExit.RDTSCP, true),
  rdpmc: by('vector3', I3.RDPMC, SvmExit.RDPMC, checkPmc),
  pushf: by('vector3', I3.PUSHF, SvmExit.PUSHF, NOTHING),
  popf: by('vector3', I3.POPF, SvmExit.POPF, NOTHING),
  cpuid: by('vector3', I3.CPUID, SvmExit.CPUID, NOTHING),
  rsm: by('vector3', I3.RSM, SvmExit.RSM, NOTHING),
  iret: by('vector3', I3.IRET, SvmExit.IRET, NOTHING),
  invd: by('vector3', I3.INVD, SvmExit.INVD, privileged),
  hlt: by('vector3', I3.HLT, SvmExit.HLT, privileged),
  invlpga: by('vector3', I3.INVLPGA, SvmExit.INVLPGA, checkSvm),
  in: interceptIo, out: interceptIo, ins: interceptIo, outs: interceptIo,
  rdmsr: interceptMsr(false), wrmsr: interceptMsr(true),
  vmrun: by('vector4', I4.VMRUN, SvmExit.VMRUN, checkSvmAddress),
  vmload: by('vector4', I4.VMLOAD, SvmExit.VMLOAD, checkSvmAddress),
  vmsave: by('vector4', I4.VMSAVE, SvmExit.VMSAVE, checkSvmAddress),
  stgi: by('vector4', I4.STGI, SvmExit.STGI, checkSvm),
  clgi: by('vector4', I4.CLGI, SvmExit.CLGI, checkSvm),
  skinit: by('vector4', I4.SKINIT, SvmExit.SKINIT, checkSvm),
  monitor: by('vector4', I4.MONITOR, SvmExit.MONITOR, monitorCheck),
  xsetbv: by('vector4', I4.XSETBV, SvmExit.XSETBV, xsetbvCheck),
  invpcid: by('vector5', I5.INVPCID, SvmExit.INVPCID, privileged),
}

/** Intercepts by the number of the operation. */
export const INTERCEPTS: readonly (Intercept | undefined)[] = OPS.map((name) => byName[name as OpName])

/** Which intercepts make RDTSC, RDTSCP, PUSHF, POPF and PAUSE come this way. */
export const wantsTraps = (vector3: number, vector4: number): boolean =>
  (vector3 & (I3.RDTSC | I3.PUSHF | I3.POPF | I3.PAUSE)) !== 0 || (vector4 & I4.RDTSCP) !== 0
