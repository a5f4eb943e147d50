/** Processor state after power-on and after INIT (SDM vol. 3 table 10-1). */
import type { Cpu } from '../cpu.ts'
import {
  CPL, CR0, CR2, CR3, CR4, CS, DR, EFER, FCW, GDTR, GPR, IDTR, LDTR, MSR_PAT, MXCSR, PKRU, SHADOW, TR, XCR0,
  XMM, XSS, YMMH,
} from '../state.ts'
import { RDX, setGpr, writeU32, writeU64 } from './access.ts'
import { ATTR, CR0_BITS } from './bits.ts'
import { systemOf } from './cpu-system.ts'
import { signature } from './cpuid/leaves.ts'
import { setSegment } from './descriptor.ts'
import { MXCSR_RESET } from './fxsave.ts'
import { PAT_RESET } from './msr/memory-types.ts'
import { initX87 } from './xsave-state.ts'

/** Where execution begins: F000:FFF0 with a CS base of FFFF0000. */
const RESET_RIP = 0xfff0n
const DATA = ATTR.P | ATTR.S | 3
const CODE = ATTR.P | ATTR.S | 0xb

/**
 * Puts a processor into its state after power-on; with `init`, what INIT leaves: MSRs, XMM, YMM and x87 state, and
 * CR0.CD and NW, keep their values. The caller resets the APIC, and starts the processor or lets it wait for a SIPI.
 */
export function resetCpu(cpu: Cpu, init = false): void {
  for (let reg = 0; reg < 16; reg++) writeU64(cpu, GPR + reg * 8, 0n)
  setGpr(cpu, RDX, 4, signature(systemOf(cpu).model))
  const caching = CR0_BITS.CD | CR0_BITS.NW
  const kept = init ? cpu.views.u32[CR0 >>> 2] & caching : caching
  writeU64(cpu, CR0, BigInt((CR0_BITS.ET | kept) >>> 0))
  for (const at of [CR2, CR3, CR4, EFER]) writeU64(cpu, at, 0n)
  for (let seg = 0; seg < 6; seg++) setSegment(cpu, seg, 0, DATA, 0xffff, 0n)
  setSegment(cpu, CS, 0xf000, CODE, 0xffff, 0xffff_0000n)
  setSegment(cpu, LDTR, 0, ATTR.P | 2, 0xffff, 0n)
  setSegment(cpu, TR, 0, ATTR.P | 0xb, 0xffff, 0n)
  for (const register of [GDTR, IDTR]) {
    writeU32(cpu, register, 0xffff)
    writeU64(cpu, register + 8, 0n)
  }
  for (let n = 0; n < 4; n++) writeU64(cpu, DR + n * 8, 0n)
  writeU64(cpu, DR + 48, 0xffff_0ff0n)
  writeU64(cpu, DR + 56, 0x400n)
  writeU32(cpu, CPL, 0)
  writeU32(cpu, SHADOW, 0)
  if (!init) resetExtendedState(cpu)
  cpu.setFlags(0, 0x3f_7fd5)
  cpu.modeChanged()
  cpu.setNextRip(RESET_RIP)
}

function resetExtendedState(cpu: Cpu): void {
  const system = systemOf(cpu)
  system.held.clear()
  system.nmiBlocked = false
  writeU64(cpu, XCR0, 1n)
  writeU64(cpu, XSS, 0n)
  writeU64(cpu, PKRU, 0n)
  writeU64(cpu, MSR_PAT, PAT_RESET)
  writeU32(cpu, MXCSR, MXCSR_RESET)
  initX87(cpu)
  writeU32(cpu, FCW, 0x40)
  cpu.views.u8.fill(0, XMM, XMM + 256)
  cpu.views.u8.fill(0, YMMH, YMMH + 256)
}

/** Puts a processor at the entry of a start-up IPI: CS:IP = vector · 100H : 0 (SDM vol. 3 §9.4.4). */
export function startAt(cpu: Cpu, vector: number): void {
  setSegment(cpu, CS, vector << 8, CODE, 0xffff, BigInt(vector << 12))
  cpu.modeChanged()
  cpu.setNextRip(0n)
}

