/** Moves between vector registers, memory and general registers, and what widens, gathers sign bits or tests. */
import type { Cpu, Meaning } from '../cpu.ts'
import { MEM, MMX_REG, XMM_REG, type Insn } from '../insn.ts'
import { FTW, GPR } from '../state.ts'
import { checkMmx, checkVector } from '../fp/checks.ts'
import { uncheckedAddress } from '../system/effective.ts'
import {
  anyAlignment, clearTop, enterMmx, firstSource, kindOf, readMmx, readOperand, readXmm, regOf, vectorBytes, writeGpr32,
  writeGpr64, writeMemory, writeMmx, writeXmm,
} from './operands.ts'
import { A, B, R } from './vec.ts'

/** Whole vectors, either direction. `aligned`: memory must be, with VEX too. */
function move(aligned: boolean): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    if (insn.kind0 === MEM) {
      readXmm(cpu, insn.reg1, bytes, B)
      return writeMemory(cpu, insn, bytes, B, aligned)
    }
    readOperand(cpu, insn, 1, bytes, B, aligned)
    writeXmm(cpu, insn, insn.reg0, bytes, B)
  }
}

/** MOVD with `size` 4 or 8: between a general register or memory and the bottom of a vector register. */
const movd: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  const bytes = insn.size === 8 ? 8 : 4
  const into = insn.kind0 === XMM_REG || insn.kind0 === MMX_REG
  readOperand(cpu, insn, 1, bytes, B)
  if (bytes === 4) B.u32[1] = 0
  if (into) return writeLow(cpu, insn, insn.reg0, insn.kind0 === MMX_REG)
  if (insn.kind1 === MMX_REG) clearTop(cpu)
  storeLow(cpu, insn, bytes)
  if (insn.kind1 === MMX_REG) enterMmx(cpu)
}

/** MOVQ between vector registers and memory; with MOVQ2DQ and MOVDQ2Q also across. */
const movq: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  readOperand(cpu, insn, 1, 8, B)
  if (insn.kind1 === MMX_REG) clearTop(cpu)
  if (insn.kind0 === MEM) writeMemory(cpu, insn, 8, B)
  else writeLow(cpu, insn, insn.reg0, insn.kind0 === MMX_REG)
  if (insn.kind0 === MMX_REG || insn.kind1 === MMX_REG) enterMmx(cpu)
}

/** Bits 63:0 of B to a register whose other bits are cleared. */
function writeLow(cpu: Cpu, insn: Insn, reg: number, mmx: boolean): void {
  if (mmx) {
    enterMmx(cpu)
    return writeMmx(cpu, reg, B)
  }
  B.u32[2] = B.u32[3] = 0
  writeXmm(cpu, insn, reg, 16, B)
}

/** The lowest `bytes` bytes of B to operand 0: memory, or a general register that is zero-extended. */
function storeLow(cpu: Cpu, insn: Insn, bytes: number): void {
  if (insn.kind0 === MEM) return writeMemory(cpu, insn, bytes, B)
  if (bytes === 8) return writeGpr64(cpu, insn.reg0, B.u64[0])
  writeGpr32(cpu, insn.reg0, bytes === 4 ? B.u32[0] : bytes === 2 ? B.u16[0] : B.u8[0])
}

/** MOVSS (4), MOVSD (8): loads clear the rest, register forms merge with the first source, stores store. */
function moveScalar(bytes: 4 | 8): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    if (insn.kind0 === MEM) {
      readXmm(cpu, insn.reg1, 8, B)
      return writeMemory(cpu, insn, bytes, B)
    }
    if (insn.kind1 === MEM) {
      R.u8.fill(0, 0, 16)
      readOperand(cpu, insn, 1, bytes, R, false)
      return writeXmm(cpu, insn, insn.reg0, 16, R)
    }
    const first = firstSource(insn)
    readXmm(cpu, regOf(insn, first), 16, R)
    readXmm(cpu, regOf(insn, first + 1), 8, B)
    R.u32[0] = B.u32[0]
    if (bytes === 8) R.u32[1] = B.u32[1]
    writeXmm(cpu, insn, insn.reg0, 16, R)
  }
}

/** MOVLPS/PD (`to` 0), MOVHPS/PD (`to` 1) and their register forms: a 64-bit half of one to a half of the other. */
function moveHalf(to: 0 | 1, registerFrom: 0 | 1): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    if (insn.kind0 === MEM) {
      readXmm(cpu, insn.reg1, 16, B)
      if (to) B.u64[0] = B.u64[1]
      return writeMemory(cpu, insn, 8, B)
    }
    const first = firstSource(insn)
    const memory = kindOf(insn, first + 1) === MEM
    readOperand(cpu, insn, first + 1, memory ? 8 : 16, B)
    readXmm(cpu, regOf(insn, first), 16, R)
    R.u64[to] = B.u64[memory ? 0 : registerFrom]
    writeXmm(cpu, insn, insn.reg0, 16, R)
  }
}

/** MOVSLDUP, MOVSHDUP: even or odd floats twice. */
function duplicate(odd: 0 | 1): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    readOperand(cpu, insn, 1, bytes, B)
    for (let i = 0; i < bytes >> 2; i++) R.u32[i] = B.u32[(i & ~1) | odd]
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** MOVDDUP: the memory form of 128 bits reads eight bytes, at any address. */
const movddup: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  const bytes = vectorBytes(insn)
  readOperand(cpu, insn, 1, bytes === 32 ? 32 : 8, B, false)
  R.u64[0] = R.u64[1] = B.u64[0]
  if (bytes === 32) R.u64[2] = R.u64[3] = B.u64[2]
  writeXmm(cpu, insn, insn.reg0, bytes, R)
}

/** MOVNTQ. */
const movntq: Meaning = (cpu, insn) => {
  checkMmx(cpu)
  readMmx(cpu, insn.reg1, B)
  clearTop(cpu)
  writeMemory(cpu, insn, 8, B)
  enterMmx(cpu)
}

/** MASKMOVQ, MASKMOVDQU: bytes whose mask byte has bit 7 set go to DS:rDI (`seg` says which segment). */
const maskmov: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  const mmx = insn.kind0 === MMX_REG
  readOperand(cpu, insn, 0, mmx ? 8 : 16, A)
  readOperand(cpu, insn, 1, mmx ? 8 : 16, B)
  const bytes = mmx ? 8 : 16
  let offset = cpu.views.u64[(GPR >> 3) + 7]
  if (insn.addrSize === 4) offset &= 0xffff_ffffn
  else if (insn.addrSize === 2) offset &= 0xffffn
  const seg = insn.segOverride >= 0 ? insn.segOverride : 3
  if (mmx) enterMmx(cpu)
  const runs = maskedRuns(bytes)
  for (const [from, to] of runs) cpu.segmentAddress(seg, offset + BigInt(from), to - from, true)
  // Eight bytes, whatever the mask says (observed on Intel processors).
  cpu.checkAlignment?.(uncheckedAddress(cpu, insn, seg, offset), 8)
  anyAlignment(cpu, () => {
    for (const [from, to] of runs) {
      cpu.checkWrite(cpu.segmentAddress(seg, offset + BigInt(from), to - from, true), to - from)
    }
    for (const [from, to] of runs) {
      cpu.storeBytes(cpu.segmentAddress(seg, offset + BigInt(from), to - from, true), A.u8.subarray(from, to))
    }
  })
}

function maskedRuns(bytes: number): [number, number][] {
  const runs: [number, number][] = []
  for (let i = 0; i < bytes; i++) {
    if (B.i8[i] >= 0) continue
    const from = i
    while (i < bytes && B.i8[i] < 0) i++
    runs.push([from, i])
  }
  return runs
}

/** PEXTRB/W/D(Q), EXTRACTPS; `bytes` 0 means `size` (4 or 8). */
function extract(bytes: 0 | 1 | 2 | 4): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const mmx = insn.kind1 === MMX_REG
    const width = bytes || (insn.size === 8 ? 8 : 4)
    readOperand(cpu, insn, 1, mmx ? 8 : 16, A)
    const at = (insn.immLo & ((mmx ? 8 : 16) / width - 1)) * width
    B.u64[0] = 0n
    for (let i = 0; i < width; i++) B.u8[i] = A.u8[at + i]
    storeLow(cpu, insn, width)
    if (mmx) enterMmx(cpu)
  }
}

/** PINSRB/W/D(Q): the width of D or Q is that of the source, `size2`. */
function insert(bytes: 0 | 1 | 2): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const mmx = insn.kind0 === MMX_REG
    const width = bytes || (insn.size2 === 8 ? 8 : 4)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, width, B, false)
    if (mmx) readMmx(cpu, insn.reg0, R)
    else readXmm(cpu, regOf(insn, first), 16, R)
    const at = (insn.immLo & ((mmx ? 8 : 16) / width - 1)) * width
    for (let i = 0; i < width; i++) R.u8[at + i] = B.u8[i]
    if (!mmx) return writeXmm(cpu, insn, insn.reg0, 16, R)
    enterMmx(cpu)
    writeMmx(cpu, insn.reg0, R)
  }
}

/** PMOVMSKB, MOVMSKPS, MOVMSKPD: top bits of all lanes into a general register. */
function signBits(lane: 'i8' | 'i32' | 'i64', width: number): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const mmx = insn.kind1 === MMX_REG
    // `size` is that of the general register; `size2` is the vector's.
    const bytes = mmx ? 8 : insn.size2 === 32 ? 32 : 16
    readOperand(cpu, insn, 1, bytes, A)
    let bits = 0
    for (let i = 0; i < bytes / width; i++) if (A[lane][i] < 0) bits |= 1 << i
    writeGpr32(cpu, insn.reg0, bits)
    if (mmx) enterMmx(cpu)
  }
}

/** PMOVSX…, PMOVZX…: the low lanes of the source, widened. Memory is read only as far as needed, at any address. */
function widen(from: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32', fromWidth: number, toWidth: number): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    const lanes = bytes / toWidth
    const size = lanes * fromWidth
    readOperand(cpu, insn, 1, size, B, false)
    for (let i = 0; i < lanes; i++) {
      const value = B[from][i]
      if (toWidth === 2) R.i16[i] = value
      else if (toWidth === 4) R.i32[i] = value
      else R.i64[i] = BigInt(value)
    }
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** PTEST (all bits), VTESTPS, VTESTPD (sign bits): ZF when a AND b has none, CF when NOT a AND b has none. */
function test(mask: (i: number) => number): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    readOperand(cpu, insn, 1, bytes, B)
    readXmm(cpu, insn.reg0, bytes, A)
    let both = 0
    let rest = 0
    for (let i = 0; i < bytes >> 2; i++) {
      both |= A.u32[i] & B.u32[i] & mask(i)
      rest |= ~A.u32[i] & B.u32[i] & mask(i)
    }
    cpu.setFlags((both ? 0 : 0x40) | (rest ? 0 : 1), 0x8d5)
  }
}

/** EMMS: marks all x87 registers empty; TOP becomes 0 as with the other MMX instructions. */
const emms: Meaning = (cpu) => {
  checkMmx(cpu)
  enterMmx(cpu)
  cpu.views.u32[FTW >> 2] = 0
}

const WIDENINGS: Record<string, Meaning> = {}
for (const [suffix, narrow, wide] of [['bw', 1, 2], ['bd', 1, 4], ['bq', 1, 8], ['wd', 2, 4], ['wq', 2, 8], ['dq', 4,
  8]] as const) {
  WIDENINGS[`pmovsx${suffix}`] = widen(narrow === 1 ? 'i8' : narrow === 2 ? 'i16' : 'i32', narrow, wide)
  WIDENINGS[`pmovzx${suffix}`] = widen(narrow === 1 ? 'u8' : narrow === 2 ? 'u16' : 'u32', narrow, wide)
}

export const moveMeanings: Record<string, Meaning> = {
  movaps: move(true), movapd: move(true), movdqa: move(true),
  movntps: move(true), movntpd: move(true), movntdq: move(true), movntdqa: move(true),
  movups: move(false), movupd: move(false), movdqu: move(false), lddqu: move(false),
  movd, movq, movq2dq: movq, movdq2q: movq, movntq,
  movss: moveScalar(4), movsd: moveScalar(8),
  movlps: moveHalf(0, 0), movlpd: moveHalf(0, 0), movhps: moveHalf(1, 0), movhpd: moveHalf(1, 0),
  movhlps: moveHalf(0, 1), movlhps: moveHalf(1, 0),
  movsldup: duplicate(0), movshdup: duplicate(1), movddup,
  maskmovq: maskmov, maskmovdqu: maskmov,
  pextrb: extract(1), pextrw: extract(2), pextrd: extract(0), extractps: extract(4),
  pinsrb: insert(1), pinsrw: insert(2), pinsrd: insert(0),
  pmovmskb: signBits('i8', 1), movmskps: signBits('i32', 4), movmskpd: signBits('i64', 8),
  ...WIDENINGS,
  ptest: test(() => -1), vtestps: test(() => 0x8000_0000 | 0), vtestpd: test(i => i & 1 ? 0x8000_0000 | 0 : 0),
  emms,
}
