/** AAA, AAS, DAA, DAS, AAM, AAD, XLAT, ENTER, PUSHA, POPA: rare instructions of older code (SDM vol. 2). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { GPR } from '../state.ts'
import {
  addressRegister, gpr32, gpr64, in64, loadStack32, RAX, RBP, RBX, RSP, setGpr, setGpr64, setStackOffset,
  stackAddress, stackOffset, stackSize, storeStack,
} from './access.ts'
import { FLAG } from './bits.ts'

const no64 = (meaning: Meaning): Meaning => (cpu, insn) => {
  if (in64(insn)) raise(VECTOR.UD)
  meaning(cpu, insn)
}

const parity = (value: number): number => {
  const folded = value ^ (value >>> 4)
  return ((0x9669 >>> (folded & 15)) & 1) !== 0 ? FLAG.PF : 0
}

/** SF, ZF and PF of a byte. */
const byteFlags = (value: number): number =>
  (value & 0x80 ? FLAG.SF : 0) | ((value & 0xff) === 0 ? FLAG.ZF : 0) | parity(value & 0xff)

const STATUS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF

/** AAA and AAS. SF, ZF, PF and OF are undefined; they are left as the byte result gives them, OF clear. */
const asciiAdjust = (sign: 1 | -1): Meaning => no64((cpu) => {
  const ax = gpr32(cpu, RAX) & 0xffff
  const adjusts = (ax & 0xf) > 9 || (cpu.getFlags() & FLAG.AF) !== 0
  const result = adjusts ? (ax + sign * 0x106) & 0xffff : ax
  setGpr(cpu, RAX, 2, result & 0xff0f)
  cpu.setFlags((adjusts ? FLAG.AF | FLAG.CF : 0) | byteFlags(result & 0xf), STATUS)
})

export const aaa = asciiAdjust(1)
export const aas = asciiAdjust(-1)

/** DAA and DAS. OF is undefined, and left clear. */
const decimalAdjust = (sign: 1 | -1): Meaning => no64((cpu) => {
  const old = gpr32(cpu, RAX) & 0xff
  const flags = cpu.getFlags()
  const carry = (flags & FLAG.CF) !== 0
  let al = old
  let out = 0
  if ((old & 0xf) > 9 || (flags & FLAG.AF) !== 0) {
    const borrows = sign > 0 ? old + 6 > 0xff : old < 6
    al = (al + sign * 6) & 0xff
    out = FLAG.AF | (carry || borrows ? FLAG.CF : 0)
  }
  if (old > 0x99 || carry) {
    al = (al + sign * 0x60) & 0xff
    out |= FLAG.CF
  } else if (sign > 0) out &= ~FLAG.CF
  setGpr(cpu, RAX, 1, al)
  cpu.setFlags(out | byteFlags(al), STATUS)
})

export const daa = decimalAdjust(1)
export const das = decimalAdjust(-1)

/** AAM imm8: #DE for 0. */
export const aam: Meaning = no64((cpu, insn) => {
  const base = insn.immLo & 0xff
  if (base === 0) raise(VECTOR.DE)
  const al = gpr32(cpu, RAX) & 0xff
  const low = al % base
  setGpr(cpu, RAX, 2, (Math.floor(al / base) << 8) | low)
  cpu.setFlags(byteFlags(low), STATUS)
})

/** AAD imm8. */
export const aad: Meaning = no64((cpu, insn) => {
  const ax = gpr32(cpu, RAX) & 0xffff
  const addend = (ax >>> 8) * (insn.immLo & 0xff) & 0xff
  const sum = (ax & 0xff) + addend
  const al = sum & 0xff
  setGpr(cpu, RAX, 2, al)
  // CF, AF and OF are undefined; processors leave those of the addition.
  const carries = (ax & 0xff) ^ addend ^ sum
  const overflow = ((ax ^ sum) & (addend ^ sum) & 0x80) !== 0
  cpu.setFlags(byteFlags(al) | (sum >>> 8 & FLAG.CF) | (carries & FLAG.AF) | (overflow ? FLAG.OF : 0), STATUS)
})

/** SALC: AL = CF ? FF : 0 (undocumented by Intel until late; both vendors have it). */
export const salc: Meaning = no64((cpu) => { setGpr(cpu, RAX, 1, (cpu.getFlags() & FLAG.CF) !== 0 ? 0xff : 0) })

/** XLAT: AL from the table at (E/R)BX + AL. */
export const xlat: Meaning = (cpu, insn) => {
  const offset = addressRegister(cpu, insn, RBX) + BigInt(cpu.views.u8[GPR])
  const seg = insn.segOverride >= 0 ? insn.segOverride : 3
  const address = cpu.segmentAddress(seg, BigInt.asUintN(insn.addrSize * 8, offset), 1, false)
  setGpr(cpu, RAX, 1, cpu.load(address, 1))
}

/** Frame pointer as a stack offset. */
const framePointer = (cpu: Cpu): bigint => {
  const width = stackSize(cpu)
  return width === 8 ? gpr64(cpu, RBP) : BigInt(width === 4 ? gpr32(cpu, RBP) : gpr32(cpu, RBP) & 0xffff)
}

/** ENTER imm16, imm8: nested frames copy up to 31 frame pointers. The last push is checked before anything is kept. */
export const enter: Meaning = (cpu, insn) => {
  const { size } = insn
  const level = insn.imm2 & 31
  const wrap = stackSize(cpu) * 8
  storeStack(cpu, -size, size, gpr64(cpu, RBP))
  const frame = stackOffset(cpu, -size)
  let pushed = size
  let source = framePointer(cpu)
  for (let i = 1; i < level; i++) {
    source = BigInt.asUintN(wrap, source - BigInt(size))
    const address = cpu.segmentAddress(2, source, size, false)
    const value = size === 8 ? cpu.load64(address) : BigInt(cpu.load(address, size === 4 ? 4 : 2))
    pushed += size
    storeStack(cpu, -pushed, size, value)
  }
  if (level > 0) {
    pushed += size
    storeStack(cpu, -pushed, size, frame)
  }
  const end = pushed + (insn.immLo & 0xffff)
  cpu.checkWrite(stackAddress(cpu, -end, size, true), size)
  setStackOffset(cpu, stackOffset(cpu, -end))
  if (size === 8) setGpr64(cpu, RBP, frame)
  else setGpr(cpu, RBP, size, Number(frame & 0xffff_ffffn))
}

/** PUSHA and POPA; RSP's slot holds its old value and is ignored on the way back. */
export const pusha: Meaning = no64((cpu, insn) => {
  const { size } = insn
  for (let i = 0; i < 8; i++) storeStack(cpu, -size * (i + 1), size, gpr64(cpu, i))
  setStackOffset(cpu, stackOffset(cpu, -size * 8))
})

/** Registers popped before one faults keep what they got; the stack pointer stays (observed on Intel processors). */
export const popa: Meaning = no64((cpu, insn) => {
  const { size } = insn
  for (let i = 7; i >= 0; i--) {
    const value = loadStack32(cpu, size * (7 - i), size)
    if (i !== RSP) setGpr(cpu, i, size, value)
  }
  setStackOffset(cpu, stackOffset(cpu, size * 8))
})

