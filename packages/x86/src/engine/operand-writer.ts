/** Puts an instruction's registers, address and immediate into its micro-op. */
import type { MemoryViews } from '@cofferdam/memory'
import { IMM, MEM, MODE64, NONE, REG, REG_HIGH, XMM_REG } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import { DS, TEMP_REG, ZERO_REG } from '../state.ts'
import { advance } from './rip.ts'
import type { Rip } from './rip.ts'
import { UOP, regByte } from './uop.ts'

export type OperandWriter = (uop: number, insn: Insn, nextRip: Readonly<Rip>) => void

/** What RIP-relative operands and branches lead to, for a moment. */
const target: Rip = { low: 0, high: 0 }

export function createOperandWriter({ u8, u32, i32 }: MemoryViews): OperandWriter {
  const writeRegister = (at: number, kind: number, number: number): void => {
    if (kind === REG) u8[at] = number * 8
    else if (kind === REG_HIGH) u8[at] = number * 8 + 1
    else if (kind === XMM_REG) u8[at] = number * 16
  }

  const writeImmediate = (uop: number, insn: Insn, absolute: boolean): void => {
    const mask = insn.size === 1 ? 0xff : insn.size === 2 ? 0xffff : -1
    if (absolute) {
      i32[(uop + UOP.DISP) >>> 2] = insn.immLo & mask
      return
    }
    i32[(uop + UOP.IMM) >>> 2] = insn.immLo & mask
    i32[(uop + UOP.IMM + 4) >>> 2] = insn.immHi
  }

  /** Answers whether the address took the place of the immediate. */
  const writeAddress = (uop: number, insn: Insn, nextRip: Readonly<Rip>): boolean => {
    if (insn.absolute64 !== 0) {
      if (insn.op === OP.call) {
        i32[(uop + UOP.DISP) >>> 2] = insn.disp
        return true
      }
      target.low = insn.disp
      target.high = insn.dispHi
      if (insn.ripRelative !== 0) advance(nextRip, insn.disp, true, target)
      u32[(uop + UOP.IMM) >>> 2] = target.low
      u32[(uop + UOP.IMM + 4) >>> 2] = target.high
      return true
    }
    const ripBase = insn.ripRelative !== 0
    u8[uop + UOP.BASE] = insn.base < 0 || ripBase ? ZERO_REG * 8 : insn.base * 8
    u8[uop + UOP.INDEX] = insn.index < 0 ? ZERO_REG * 8 : insn.index * 8
    u8[uop + UOP.SCALE] = insn.scale
    i32[(uop + UOP.DISP) >>> 2] = ripBase ? nextRip.low + insn.disp : insn.disp
    return false
  }

  return (uop, insn, nextRip) => {
    const hasMemory = insn.kind0 === MEM || insn.kind1 === MEM || insn.kind2 === MEM
    const absolute = hasMemory && writeAddress(uop, insn, nextRip)
    if (insn.kind0 !== NONE) writeRegister(uop + regByte(0), insn.kind0, insn.reg0)
    if (insn.kind1 !== NONE) writeRegister(uop + regByte(1), insn.kind1, insn.reg1)
    if (insn.kind2 !== NONE) writeRegister(uop + regByte(2), insn.kind2, insn.reg2)
    if (insn.kind0 === IMM || insn.kind1 === IMM || insn.kind2 === IMM) writeImmediate(uop, insn, absolute)
  }
}

/** RIP-relative operands out of reach of a sign-extended displacement become absolute ones. */
export function settleAddress(insn: Insn, nextRip: Readonly<Rip>): void {
  if (insn.ripRelative === 0) return
  advance(nextRip, insn.disp, true, target)
  if (target.low >> 31 !== target.high) insn.absolute64 = 1
}

/** The address is what the host put into the first temporary. */
export function memoryToTemporary(insn: Insn): void {
  insn.base = TEMP_REG
  insn.index = -1
  insn.disp = 0
  insn.seg = DS
  insn.ripRelative = 0
  insn.absolute64 = 0
}

/** Makes `to` where a relative branch goes, cut to the operand size in legacy modes. */
export function branchTarget(insn: Insn, nextRip: Readonly<Rip>, to: Rip): void {
  advance(nextRip, insn.rel, insn.mode === MODE64, to)
  if (insn.mode !== MODE64 && insn.size === 2) to.low &= 0xffff
}
