/** Instructions that exist only with a VEX prefix: broadcasts, lane crossings, masked moves, gathers. */
import { raise, VECTOR, type Cpu, type Meaning } from '../cpu.ts'
import { IMM, MEM, MODE64, type Insn } from '../insn.ts'
import { GPR, XMM, YMMH } from '../state.ts'
import { checkAvx } from '../fp/checks.ts'
import { effectiveOffset } from '../system/effective.ts'
import { anyAlignment, kindOf, readOperand, readXmm, vectorBytes, writeXmm } from './operands.ts'
import { A, B, C, R } from './vec.ts'

/** The first `width` bytes of the source, everywhere. */
function broadcast(width: 1 | 2 | 4 | 8 | 16): Meaning {
  return (cpu, insn) => {
    checkAvx(cpu)
    const bytes = vectorBytes(insn)
    readOperand(cpu, insn, 1, kindOf(insn, 1) === MEM ? width : 16, B)
    for (let i = 0; i < bytes; i++) R.u8[i] = B.u8[i % width]
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** VINSERTF128, VINSERTI128: imm8[0] chooses the half that the second source replaces. */
const insert128: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  readOperand(cpu, insn, 2, 16, B)
  readXmm(cpu, insn.reg1, 32, R)
  R.u8.set(B.first[16], insn.immLo & 1 ? 16 : 0)
  writeXmm(cpu, insn, insn.reg0, 32, R)
}

/** VEXTRACTF128, VEXTRACTI128. */
const extract128: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  readXmm(cpu, insn.reg1, 32, B)
  if (insn.immLo & 1) B.u8.copyWithin(0, 16, 32)
  if (insn.kind0 === MEM) cpu.storeBytes(cpu.operandAddress(insn, 16, true), B.first[16])
  else writeXmm(cpu, insn, insn.reg0, 16, B)
}

/** VPERM2F128, VPERM2I128: each nibble chooses a half of either source, or zero with bit 3. */
const permute128: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  readOperand(cpu, insn, 2, 32, B)
  readXmm(cpu, insn.reg1, 32, A)
  for (let half = 0; half < 2; half++) {
    const control = insn.immLo >> (4 * half)
    const from = control & 2 ? B : A
    for (let i = 0; i < 4; i++) R.u32[4 * half + i] = control & 8 ? 0 : from.u32[4 * (control & 1) + i]
  }
  writeXmm(cpu, insn, insn.reg0, 32, R)
}

/** VPERMD, VPERMPS: lanes of the second source chosen by the first, across halves. */
const permuteD: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  readOperand(cpu, insn, 2, 32, B)
  readXmm(cpu, insn.reg1, 32, A)
  for (let i = 0; i < 8; i++) R.u32[i] = B.u32[A.u32[i] & 7]
  writeXmm(cpu, insn, insn.reg0, 32, R)
}

/** VPERMQ, VPERMPD: 64-bit lanes chosen by imm8. */
const permuteQ: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  readOperand(cpu, insn, 1, 32, B)
  for (let i = 0; i < 4; i++) R.u64[i] = B.u64[(insn.immLo >> (2 * i)) & 3]
  writeXmm(cpu, insn, insn.reg0, 32, R)
}

/** VPERMILPS: lanes within each half, chosen by the second source or by imm8. */
const permilps: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  const bytes = vectorBytes(insn)
  const immediate = insn.kind2 === IMM
  readOperand(cpu, insn, immediate ? 1 : 2, bytes, B)
  const from = immediate ? B : A
  if (!immediate) readXmm(cpu, insn.reg1, bytes, A)
  for (let i = 0; i < bytes >> 2; i++) {
    const control = immediate ? insn.immLo >> (2 * (i & 3)) : B.u32[i]
    R.u32[i] = from.u32[(i & ~3) + (control & 3)]
  }
  writeXmm(cpu, insn, insn.reg0, bytes, R)
}

/** VPERMILPD: the control is bit 1 of each lane, or bit i of imm8. */
const permilpd: Meaning = (cpu, insn) => {
  checkAvx(cpu)
  const bytes = vectorBytes(insn)
  const immediate = insn.kind2 === IMM
  readOperand(cpu, insn, immediate ? 1 : 2, bytes, B)
  const from = immediate ? B : A
  if (!immediate) readXmm(cpu, insn.reg1, bytes, A)
  for (let i = 0; i < bytes >> 3; i++) {
    const control = immediate ? insn.immLo >> i : B.u32[2 * i] >> 1
    R.u64[i] = from.u64[(i & ~1) + (control & 1)]
  }
  writeXmm(cpu, insn, insn.reg0, bytes, R)
}

/** Whether mask lane `i` of C selects: its top bit. */
function selected(width: 4 | 8, i: number): boolean {
  return C.i32[width === 4 ? i : 2 * i + 1] < 0
}

/**
 * VMASKMOVPS/PD, VPMASKMOVD/Q: lanes whose mask lane has its top bit set. Lanes without are not touched in memory and
 * never fault (SDM vol. 2, VMASKMOV).
 */
function maskMove(width: 4 | 8): Meaning {
  return (cpu, insn) => {
    checkAvx(cpu)
    const bytes = vectorBytes(insn)
    const lanes = bytes / width
    const store = insn.kind0 === MEM
    readXmm(cpu, insn.reg1, bytes, C)
    const offset = effectiveOffset(cpu, insn)
    const at = (i: number): bigint => cpu.segmentAddress(insn.seg, offset + BigInt(i * width), width, store)
    // Segments come before pages (observed on Intel processors).
    for (let i = 0; i < lanes; i++) if (selected(width, i)) at(i)
    if (store) {
      anyAlignment(cpu, () => { maskStore(cpu, insn, at, lanes, width) })
      return
    }
    R.u8.fill(0)
    anyAlignment(cpu, () => {
      for (let i = 0; i < lanes; i++) {
        if (!selected(width, i)) continue
        cpu.loadBytes(at(i), B.first[width])
        R.u8.set(B.first[width], i * width)
      }
    })
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

function maskStore(cpu: Cpu, insn: Insn, at: (lane: number) => bigint, lanes: number, width: 4 | 8): void {
  readXmm(cpu, insn.reg2, lanes * width, A)
  for (let i = 0; i < lanes; i++) if (selected(width, i)) cpu.checkWrite(at(i), width)
  for (let i = 0; i < lanes; i++) {
    if (selected(width, i)) cpu.storeBytes(at(i), A.u8.subarray(i * width, (i + 1) * width))
  }
}

/**
 * VGATHER…, VPGATHER…: `index` of the record is a vector register. Lanes are loaded from the lowest; a fault leaves
 * those before it loaded and their mask lanes clear (SDM vol. 2, VGATHERDPS).
 */
function gather(indexWidth: 4 | 8, width: 4 | 8): Meaning {
  return (cpu, insn) => {
    checkAvx(cpu)
    if (insn.reg0 === insn.index || insn.reg2 === insn.index || insn.reg0 === insn.reg2) raise(VECTOR.UD)
    // The wider of index and data fills the vector; the narrower has as many lanes.
    const bytes = vectorBytes(insn)
    const lanes = bytes / Math.max(indexWidth, width)
    const size = lanes * width === 32 ? 32 : 16
    readXmm(cpu, insn.index, 32, B)
    readXmm(cpu, insn.reg0, 32, R)
    readXmm(cpu, insn.reg2, 32, C)
    for (let i = 0; i < bytes / width; i++) C.u8.fill(selected(width, i) ? 0xff : 0, i * width, (i + 1) * width)
    let loaded = 0
    try {
      for (let i = 0; i < lanes; i++) {
        if (!selected(width, i)) continue
        anyAlignment(cpu, () => { cpu.loadBytes(gatherAddress(cpu, insn, indexWidth, width, i), A.first[width]) })
        R.u8.set(A.first[width], i * width)
        C.u8.fill(0, i * width, (i + 1) * width)
        loaded++
      }
    } catch (fault) {
      if (loaded) writeXmm(cpu, insn, insn.reg0, bytes, R)
      writeXmm(cpu, insn, insn.reg2, bytes, C)
      throw fault
    }
    R.u8.fill(0, lanes * width)
    writeXmm(cpu, insn, insn.reg0, size, R)
    C.u8.fill(0)
    writeXmm(cpu, insn, insn.reg2, 32, C)
  }
}

function gatherAddress(cpu: Cpu, insn: Insn, indexWidth: 4 | 8, width: number, lane: number): bigint {
  const index = indexWidth === 4 ? BigInt(B.i32[lane]) : B.i64[lane]
  const base = insn.base < 0 ? 0n : cpu.views.u64[(GPR >> 3) + insn.base]
  const offset = base + (index << BigInt(insn.scale)) + BigInt(insn.disp)
  return cpu.segmentAddress(insn.seg, BigInt.asUintN(8 * insn.addrSize, offset), width, false)
}

/** VZEROUPPER (`lower` false), VZEROALL: outside 64-bit mode only registers 0–7. */
function zero(lower: boolean): Meaning {
  return (cpu, insn) => {
    checkAvx(cpu)
    const registers = insn.mode === MODE64 ? 16 : 8
    cpu.views.u8.fill(0, YMMH, YMMH + 16 * registers)
    if (lower) cpu.views.u8.fill(0, XMM, XMM + 16 * registers)
  }
}

export const avxMeanings: Record<string, Meaning> = {
  vbroadcastss: broadcast(4), vbroadcastsd: broadcast(8), vbroadcastf128: broadcast(16), vbroadcasti128: broadcast(16),
  vpbroadcastb: broadcast(1), vpbroadcastw: broadcast(2), vpbroadcastd: broadcast(4), vpbroadcastq: broadcast(8),
  vinsertf128: insert128, vinserti128: insert128, vextractf128: extract128, vextracti128: extract128,
  vperm2f128: permute128, vperm2i128: permute128,
  vpermd: permuteD, vpermps: permuteD, vpermq: permuteQ, vpermpd: permuteQ,
  vpermilps: permilps, vpermilpd: permilpd,
  vmaskmovps: maskMove(4), vmaskmovpd: maskMove(8), vpmaskmovd: maskMove(4), vpmaskmovq: maskMove(8),
  vgatherdps: gather(4, 4), vgatherdpd: gather(4, 8), vgatherqps: gather(8, 4), vgatherqpd: gather(8, 8),
  vpgatherdd: gather(4, 4), vpgatherdq: gather(4, 8), vpgatherqd: gather(8, 4), vpgatherqq: gather(8, 8),
  vzeroupper: zero(false), vzeroall: zero(true),
}
