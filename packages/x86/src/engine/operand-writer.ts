/** Puts an instruction's registers, address and immediate into its micro-op. */
import type { MemoryViews } from '@cofferdam/memory'
import { IMM, MEM, MODE64, NONE, REG, REG_HIGH, XMM_REG } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import { DS, TEMP_REG, ZERO_REG } from '../state.ts'
import { UOP, regByte } from './uop.ts'

export type OperandWriter = (uop: number, insn: Insn, nextRip: bigint) => void

export function createOperandWriter({ u8, u32, i32, i64 }: MemoryViews): OperandWriter {
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
  const writeAddress = (uop: number, insn: Insn, nextRip: bigint): boolean => {
    if (insn.absolute64 !== 0) {
      if (insn.op === OP.call) {
        i32[(uop + UOP.DISP) >>> 2] = insn.disp
        return true
      }
      u32[(uop + UOP.IMM) >>> 2] = insn.disp
      u32[(uop + UOP.IMM + 4) >>> 2] = insn.dispHi
      if (insn.ripRelative !== 0) i64[(uop + UOP.IMM) >>> 3] = nextRip + BigInt(insn.disp)
      return true
    }
    const ripBase = insn.ripRelative !== 0
    u8[uop + UOP.BASE] = insn.base < 0 || ripBase ? ZERO_REG * 8 : insn.base * 8
    u8[uop + UOP.INDEX] = insn.index < 0 ? ZERO_REG * 8 : insn.index * 8
    u8[uop + UOP.SCALE] = insn.scale
    i32[(uop + UOP.DISP) >>> 2] = ripBase ? Number(BigInt.asIntN(32, nextRip + BigInt(insn.disp))) : insn.disp
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
export function settleAddress(insn: Insn, nextRip: bigint): void {
  if (insn.ripRelative === 0) return
  const address = nextRip + BigInt(insn.disp)
  if (BigInt.asIntN(32, address) !== BigInt.asIntN(64, address)) insn.absolute64 = 1
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

/** Where a relative branch goes, cut to the operand size in legacy modes. */
export function branchTarget(insn: Insn, nextRip: bigint): bigint {
  const target = nextRip + BigInt(insn.rel)
  if (insn.mode === MODE64) return BigInt.asIntN(64, target)
  return BigInt.asUintN(insn.size === 2 ? 16 : 32, target)
}
