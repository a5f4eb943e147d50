/** The 512-byte legacy region, FXSAVE, FXRSTOR, LDMXCSR, STMXCSR (SDM vol. 1 §10.5, vol. 2). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { checkVector } from '../fp/checks.ts'
import { FCW_MASK, FCW_ONES } from '../fp/x87-control.ts'
import type { Insn } from '../insn.ts'
import { CR4, FCS, FCW, FDP, FDS, FIP, FOP, FPR, FSW, FTW, MXCSR, XMM } from '../state.ts'
import { in64, readOperand, readU32, readU64, writeOperand, writeU32, writeU64 } from './access.ts'
import { CR4_BITS } from './bits.ts'
import { checkFxsave, keepsSelectors } from './fpu-checks.ts'
import { areaAddress, checkEnd, checkStore, loadFrom, openArea, storeTo } from './save-area.ts'

/** Bits of MXCSR that exist; DAZ is among them, so the mask is the full one (SDM vol. 1 §11.6.6). */
export const MXCSR_MASK = 0xffff
export const MXCSR_RESET = 0x1f80
export const FCW_RESET = 0x37f

/** #GP(0) for reserved bits of MXCSR. */
export function checkMxcsr(value: number): void {
  if ((value & ~MXCSR_MASK) !== 0) raise(VECTOR.GP, 0)
}

const topOf = (cpu: Cpu): number => (readU32(cpu, FSW) >>> 11) & 7

/** Whether pointers are saved as 64-bit offsets (REX.W) or as selector and 32-bit offset. */
const wide = (insn: Insn): boolean => in64(insn) && insn.size === 8

/** Writes the x87 part: control words, pointers, ST0–ST7 in stack order. */
export function saveX87(cpu: Cpu, area: DataView, isWide: boolean): void {
  const { u8 } = cpu.views
  area.setUint16(0, readU32(cpu, FCW), true)
  area.setUint16(2, readU32(cpu, FSW), true)
  area.setUint8(4, readU32(cpu, FTW))
  area.setUint8(5, 0)
  area.setUint16(6, readU32(cpu, FOP), true)
  savePointer(area, 8, readU64(cpu, FIP), readU32(cpu, FCS), isWide)
  savePointer(area, 16, readU64(cpu, FDP), readU32(cpu, FDS), isWide)
  const top = topOf(cpu)
  for (let i = 0; i < 8; i++) {
    const from = FPR + ((top + i) & 7) * 16
    for (let b = 0; b < 10; b++) area.setUint8(32 + i * 16 + b, u8[from + b])
    for (let b = 10; b < 16; b++) area.setUint8(32 + i * 16 + b, 0)
  }
}

function savePointer(area: DataView, at: number, offset: bigint, selector: number, isWide: boolean): void {
  if (isWide) {
    area.setBigUint64(at, offset, true)
    return
  }
  area.setUint32(at, Number(offset & 0xffff_ffffn), true)
  area.setUint16(at + 4, selector, true)
  area.setUint16(at + 6, 0, true)
}

/** A status word with ES and B as the flags and masks make them: an image cannot hide or invent a pending exception. */
function withSummary(status: number, control: number): number {
  const pending = (status & ~control & 0x3f) !== 0
  return pending ? status | 0x8080 : status & ~0x8080
}

/** FIP keeps as many bits as linear addresses can have with 5-level paging (observed on Intel processors). */
const pointer = (image: bigint): bigint => BigInt.asUintN(64, BigInt.asIntN(57, image))

/** Loads the x87 part. */
export function loadX87(cpu: Cpu, area: DataView, isWide: boolean): void {
  const { u8 } = cpu.views
  const control = area.getUint16(0, true) & FCW_MASK | FCW_ONES
  writeU32(cpu, FCW, control)
  writeU32(cpu, FSW, withSummary(area.getUint16(2, true), control))
  writeU32(cpu, FTW, area.getUint8(4))
  writeU32(cpu, FOP, area.getUint16(6, true) & 0x7ff)
  writeU64(cpu, FIP, isWide ? pointer(area.getBigUint64(8, true)) : BigInt(area.getUint32(8, true)))
  writeU64(cpu, FDP, isWide ? area.getBigUint64(16, true) : BigInt(area.getUint32(16, true)))
  writeU32(cpu, FCS, isWide || !keepsSelectors(cpu) ? 0 : area.getUint16(12, true))
  writeU32(cpu, FDS, isWide || !keepsSelectors(cpu) ? 0 : area.getUint16(20, true))
  const top = topOf(cpu)
  for (let i = 0; i < 8; i++) {
    const to = FPR + ((top + i) & 7) * 16
    for (let b = 0; b < 10; b++) u8[to + b] = area.getUint8(32 + i * 16 + b)
    u8.fill(0, to + 10, to + 16)
  }
}

/** Number of XMM registers that the present code can name. */
const xmmCount = (is64: boolean): number => (is64 ? 16 : 8)

export function saveXmm(cpu: Cpu, area: Uint8Array, is64: boolean): void {
  area.set(cpu.views.u8.subarray(XMM, XMM + xmmCount(is64) * 16), 160)
}

export function loadXmm(cpu: Cpu, area: Uint8Array, is64: boolean): void {
  cpu.views.u8.set(area.subarray(160, 160 + xmmCount(is64) * 16), XMM)
}

const legacy = new Uint8Array(512)
const legacyView = new DataView(legacy.buffer)

const hasOsfxsr = (cpu: Cpu): boolean => (readU32(cpu, CR4) & CR4_BITS.OSFXSR) !== 0

/** FXSAVE and FXSAVE64. Bytes 464–511 belong to software and are left alone. */
export const fxsave: Meaning = (cpu, insn) => {
  checkFxsave(cpu)
  const area = openArea(cpu, insn, legacy.length, 16n, true)
  checkEnd(cpu, area, legacy.length)
  checkStore(cpu, area, 0, legacy.length)
  loadFrom(cpu, area, 0, legacy)
  saveX87(cpu, legacyView, wide(insn))
  legacyView.setUint32(24, readU32(cpu, MXCSR), true)
  legacyView.setUint32(28, MXCSR_MASK, true)
  if (hasOsfxsr(cpu)) saveXmm(cpu, legacy, in64(insn))
  storeTo(cpu, area, 0, legacy)
}

/** FXRSTOR and FXRSTOR64. */
export const fxrstor: Meaning = (cpu, insn) => {
  checkFxsave(cpu)
  const area = openArea(cpu, insn, legacy.length, 16n, false)
  cpu.load(areaAddress(cpu, area, legacy.length - 1, 1), 1)
  const take = (at: number, end: number): void => { loadFrom(cpu, area, at, legacy.subarray(at, end)) }
  // What is reserved is not read.
  take(0, 28)
  take(32, 160)
  if (hasOsfxsr(cpu)) take(160, in64(insn) ? 416 : 288)
  const mxcsr = legacyView.getUint32(24, true)
  if (hasOsfxsr(cpu)) checkMxcsr(mxcsr)
  loadX87(cpu, legacyView, wide(insn))
  if (!hasOsfxsr(cpu)) return
  writeU32(cpu, MXCSR, mxcsr)
  loadXmm(cpu, legacy, in64(insn))
}

/** LDMXCSR: #GP(0) for reserved bits. */
export const ldmxcsr: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  const value = readOperand(cpu, insn, 0, 4)
  checkMxcsr(value)
  writeU32(cpu, MXCSR, value)
}

export const stmxcsr: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  writeOperand(cpu, insn, 0, 4, readU32(cpu, MXCSR))
}
