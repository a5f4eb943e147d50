/**
 * State components of XSAVE as the processor holds them: saving, loading, initialising, and whether they are in use.
 */
import type { Cpu } from '../cpu.ts'
import { FLUSH } from '../cpu.ts'
import { FCS, FCW, FDP, FDS, FIP, FOP, FPR, FSW, FTW, MXCSR, PKRU, XMM, YMMH } from '../state.ts'
import { readU32, readU64, writeU32, writeU64 } from './access.ts'
import { XCR0_BITS } from './bits.ts'
import { FCW_RESET, MXCSR_RESET } from './fxsave.ts'

/** Sets PKRU. Translations of every address space may be cached with rights that it gave. */
export function setPkru(cpu: Cpu, value: number): void {
  if (readU32(cpu, PKRU) === value >>> 0) return
  writeU64(cpu, PKRU, BigInt(value >>> 0))
  cpu.flushTlb(FLUSH.ALL)
}

const isZero = (cpu: Cpu, from: number, bytes: number): boolean => {
  const { u32 } = cpu.views
  for (let i = from >>> 2; i < (from + bytes) >>> 2; i++) if (u32[i] !== 0) return false
  return true
}

const x87InUse = (cpu: Cpu): boolean =>
  readU32(cpu, FCW) !== FCW_RESET || readU32(cpu, FSW) !== 0 || readU32(cpu, FTW) !== 0 || readU32(cpu, FOP) !== 0 ||
  readU64(cpu, FIP) !== 0n || readU64(cpu, FDP) !== 0n || readU32(cpu, FCS) !== 0 || readU32(cpu, FDS) !== 0 ||
  !isZero(cpu, FPR, 128)

/** XINUSE: which components differ from their initial state (SDM vol. 1 §13.6). MXCSR counts for XSAVES only, there. */
export function inUse(cpu: Cpu): number {
  return (x87InUse(cpu) ? XCR0_BITS.X87 : 0) | (isZero(cpu, XMM, 256) ? 0 : XCR0_BITS.SSE) |
    (isZero(cpu, YMMH, 256) ? 0 : XCR0_BITS.AVX) | (readU32(cpu, PKRU) === 0 ? 0 : XCR0_BITS.PKRU)
}

/** Puts x87 into its initial state (what FNINIT leaves, and empty registers zeroed). */
export function initX87(cpu: Cpu): void {
  writeU32(cpu, FCW, FCW_RESET)
  for (const at of [FSW, FTW, FOP, FCS, FDS]) writeU32(cpu, at, 0)
  writeU64(cpu, FIP, 0n)
  writeU64(cpu, FDP, 0n)
  cpu.views.u8.fill(0, FPR, FPR + 128)
}

export function initXmm(cpu: Cpu, is64: boolean): void {
  cpu.views.u8.fill(0, XMM, XMM + (is64 ? 256 : 128))
}

export function initAvx(cpu: Cpu, is64: boolean): void {
  cpu.views.u8.fill(0, YMMH, YMMH + (is64 ? 256 : 128))
}

export const initMxcsr = (cpu: Cpu): void => { writeU32(cpu, MXCSR, MXCSR_RESET) }
