/**
 * CPUID, time, random numbers, segment bases, protection keys, XCR0, MONITOR/MWAIT, and a few long loads and stores.
 */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { DS, ES, FS, GS, MSR_TSC_AUX, PKRU, SS, XCR0 } from '../state.ts'
import {
  addressRegister, cpl, cr4Has, edxEax, gpr32, gpr64, in64, isProtected, operandReg, RAX, RBX, RCX, RDX, readU32,
  readU64, requireCpl0, segBase, setEdxEax, setGpr, setGpr64, setSegBase,
} from './access.ts'
import { CR4_BITS, FLAG } from './bits.ts'
import { writeXcr0 } from './control-registers.ts'
import { cpuid as answerCpuid } from './cpuid/leaves.ts'
import { systemOf } from './cpu-system.ts'
import { requireCanonical } from './descriptor.ts'
import { effectiveOffset } from './effective.ts'
import { PERF_CTR0 } from './msr/amd.ts'
import type { Msr } from './msr/msr.ts'
import { readTsc } from './msr/time-apic.ts'
import { inUse, setPkru } from './xsave-state.ts'

const answer = new Uint32Array(4)

/** CPUID: EAX and ECX choose the leaf. */
export const cpuid: Meaning = (cpu) => {
  answerCpuid(cpu, systemOf(cpu), gpr32(cpu, RAX), gpr32(cpu, RCX), answer)
  setGpr(cpu, RAX, 4, answer[0])
  setGpr(cpu, RBX, 4, answer[1])
  setGpr(cpu, RCX, 4, answer[2])
  setGpr(cpu, RDX, 4, answer[3])
}

/** #GP(0) for RDTSC and RDTSCP outside CPL 0 with CR4.TSD. */
export function checkTsc(cpu: Cpu): void {
  if (cr4Has(cpu, CR4_BITS.TSD) && isProtected(cpu) && cpl(cpu) !== 0) raise(VECTOR.GP, 0)
}

export const rdtsc: Meaning = (cpu) => {
  checkTsc(cpu)
  setEdxEax(cpu, readTsc(cpu))
}

/** RDTSCP: also IA32_TSC_AUX to ECX. */
export const rdtscp: Meaning = (cpu) => {
  checkTsc(cpu)
  setEdxEax(cpu, readTsc(cpu))
  setGpr(cpu, RCX, 4, readU32(cpu, MSR_TSC_AUX))
}

/** The counter in ECX; a number without one, and user mode without CR4.PCE, is #GP(0). */
export function checkPmc(cpu: Cpu): Msr {
  if (cpl(cpu) !== 0 && !cr4Has(cpu, CR4_BITS.PCE)) raise(VECTOR.GP, 0)
  const counter = gpr32(cpu, RCX)
  const { model, msrs } = systemOf(cpu)
  const register = model.vendor === 'AuthenticAMD' && counter < 4 ? msrs.get(PERF_CTR0 + counter) : undefined
  return register ?? raise(VECTOR.GP, 0)
}

/** RDPMC: the counters that the model's MSRs have. */
export const rdpmc: Meaning = (cpu) => { setEdxEax(cpu, checkPmc(cpu).read(cpu) & 0xffff_ffff_ffffn) }

/** RDRAND and RDSEED: always a value, CF = 1 and the other status flags 0. */
export const rdrand: Meaning = (cpu, insn) => {
  const value = cpu.host.random64()
  if (insn.size === 8) setGpr64(cpu, insn.reg0, BigInt.asUintN(64, value))
  else setGpr(cpu, insn.reg0, insn.size, Number(value & 0xffff_ffffn))
  cpu.setFlags(FLAG.CF, FLAG.CF | FLAG.OF | FLAG.SF | FLAG.ZF | FLAG.AF | FLAG.PF)
}
export const rdseed = rdrand

/** RDPID: IA32_TSC_AUX, at any privilege. */
export const rdpid: Meaning = (cpu, insn) => { setGpr64(cpu, insn.reg0, BigInt(readU32(cpu, MSR_TSC_AUX))) }

/** #UD unless CR4.FSGSBASE lets user code at the segment bases, in 64-bit mode. */
function checkFsGsBase(cpu: Cpu, insn: Insn): void {
  if (!in64(insn) || !cr4Has(cpu, CR4_BITS.FSGSBASE)) raise(VECTOR.UD)
}

const readBase = (seg: number): Meaning => (cpu, insn) => {
  checkFsGsBase(cpu, insn)
  const base = segBase(cpu, seg)
  setGpr64(cpu, insn.reg0, insn.size === 8 ? base : base & 0xffff_ffffn)
}

const writeBase = (seg: number): Meaning => (cpu, insn) => {
  checkFsGsBase(cpu, insn)
  const base = insn.size === 8 ? gpr64(cpu, insn.reg0) : BigInt(gpr32(cpu, insn.reg0))
  requireCanonical(cpu, base)
  setSegBase(cpu, seg, base)
}

export const rdfsbase = readBase(FS)
export const rdgsbase = readBase(GS)
export const wrfsbase = writeBase(FS)
export const wrgsbase = writeBase(GS)

/** RDPKRU and WRPKRU: #UD without CR4.PKE; ECX (and EDX) must be zero. */
export const rdpkru: Meaning = (cpu) => {
  if (!cr4Has(cpu, CR4_BITS.PKE)) raise(VECTOR.UD)
  if (gpr32(cpu, RCX) !== 0) raise(VECTOR.GP, 0)
  setEdxEax(cpu, BigInt(readU32(cpu, PKRU)))
}

export const wrpkru: Meaning = (cpu) => {
  if (!cr4Has(cpu, CR4_BITS.PKE)) raise(VECTOR.UD)
  if (gpr32(cpu, RCX) !== 0 || gpr32(cpu, RDX) !== 0) raise(VECTOR.GP, 0)
  setPkru(cpu, gpr32(cpu, RAX))
}

/** XGETBV: XCR0, or which of its states are in use (ECX = 1). */
export const xgetbv: Meaning = (cpu) => {
  if (!cr4Has(cpu, CR4_BITS.OSXSAVE)) raise(VECTOR.UD)
  const index = gpr32(cpu, RCX)
  if (index > 1) raise(VECTOR.GP, 0)
  const xcr0 = readU64(cpu, XCR0)
  setEdxEax(cpu, index === 0 ? xcr0 : xcr0 & BigInt(inUse(cpu)))
}

/** XSETBV: XCR0 only. */
export const xsetbv: Meaning = (cpu) => {
  if (!cr4Has(cpu, CR4_BITS.OSXSAVE)) raise(VECTOR.UD)
  requireCpl0(cpu)
  if (gpr32(cpu, RCX) !== 0) raise(VECTOR.GP, 0)
  writeXcr0(cpu, edxEax(cpu))
}

/** MONITOR: arms the line at DS:rAX. Extensions in ECX are #GP(0). */
export const monitor: Meaning = (cpu, insn) => {
  checkMonitor(cpu)
  if (gpr32(cpu, RCX) !== 0) raise(VECTOR.GP, 0)
  const seg = insn.segOverride >= 0 ? insn.segOverride : DS
  const address = cpu.segmentAddress(seg, addressRegister(cpu, insn, RAX), 1, false)
  cpu.load(address, 1)
  systemOf(cpu).monitorAddress = address
}

/**
 * MWAIT: with a monitor armed, waits like HLT. The engine may wake it at any time, and a store to the line is a reason
 * that it does not see: so it returns at once, which the architecture allows (SDM vol. 2, MWAIT), unless ECX[0] asks
 * for a wait that interrupts end.
 */
export const mwait: Meaning = (cpu) => {
  checkMonitor(cpu)
  if (gpr32(cpu, RCX) > 1) raise(VECTOR.GP, 0)
  systemOf(cpu).monitorAddress = -1n
}

/** #UD where the model has no MONITOR, and outside CPL 0. */
export function checkMonitor(cpu: Cpu): void {
  if (!systemOf(cpu).model.features.has('monitor') || cpl(cpu) !== 0) raise(VECTOR.UD)
}

const line = new Uint8Array(64)

/** MOVDIR64B: 64 bytes from memory to ES:reg, which must be aligned to 64. */
export const movdir64b: Meaning = (cpu, insn) => {
  const source = cpu.operandAddress(insn, 64, false)
  cpu.loadBytes(source, line)
  const target = cpu.segmentAddress(ES, addressRegister(cpu, insn, operandReg(insn, 0)), 64, true)
  if ((target & 63n) !== 0n) raise(VECTOR.GP, 0)
  cpu.storeBytes(target, line)
}

/** SERIALIZE: everything is serial here. */
export const serialize: Meaning = () => undefined

/** CMPXCHG8B and CMPXCHG16B. Memory is written in any case, as processors do, so it must be writable. */
export const cmpxchg8b: Meaning = (cpu, insn) => {
  const address = cpu.operandAddress(insn, 8, true)
  cpu.checkWrite(address, 8)
  const old = cpu.load64(address)
  const equal = old === edxEax(cpu)
  if (equal) cpu.store64(address, (BigInt(gpr32(cpu, RCX)) << 32n) | BigInt(gpr32(cpu, RBX)))
  else {
    cpu.store64(address, old)
    setEdxEax(cpu, old)
  }
  cpu.setFlags(equal ? FLAG.ZF : 0, FLAG.ZF)
}

const pair = new BigUint64Array(2)
const pairBytes = new Uint8Array(pair.buffer)

/** CMPXCHG16B: #GP(0) unless the operand is aligned to 16 bytes. */
export const cmpxchg16b: Meaning = (cpu, insn) => {
  // Alignment comes before canonicality: #GP also where the address would be #SS.
  if ((effectiveOffset(cpu, insn) & 15n) !== 0n && insn.seg === SS) raise(VECTOR.GP, 0)
  const address = cpu.operandAddress(insn, 16, true)
  if ((address & 15n) !== 0n) raise(VECTOR.GP, 0)
  cpu.checkWrite(address, 16)
  cpu.loadBytes(address, pairBytes)
  const equal = pair[0] === gpr64(cpu, RAX) && pair[1] === gpr64(cpu, RDX)
  if (equal) {
    pair[0] = gpr64(cpu, RBX)
    pair[1] = gpr64(cpu, RCX)
  } else {
    setGpr64(cpu, RAX, pair[0])
    setGpr64(cpu, RDX, pair[1])
  }
  cpu.storeBytes(address, pairBytes)
  cpu.setFlags(equal ? FLAG.ZF : 0, FLAG.ZF)
}

