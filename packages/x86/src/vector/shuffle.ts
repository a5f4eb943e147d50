/**
 * Instructions that put lanes elsewhere: pack, unpack, shuffle, align, blend, shift. 256-bit forms work on each 128-bit
 * half as the 128-bit form does (SDM vol. 1, §14.6).
 */
import type { Meaning } from '../cpu.ts'
import { MEM, MMX_REG } from '../insn.ts'
import { checkVector } from '../fp/checks.ts'
import { binary, clampI16, clampI8, clampU16, clampU8, each, eachQ, unary, type Kernel } from './forms.ts'
import { enterMmx, firstSource, kindOf, readMmx, readOperand, readXmm, regOf, vectorBytes, writeMmx,
  writeXmm } from './operands.ts'
import { A, B, C, R } from './vec.ts'

type Narrow = 'u8' | 'i8' | 'u16' | 'i16'

/** Signed lanes of both sources, saturated to half the width: the first source's below the second's. */
function pack(from: 'i16' | 'i32', to: Narrow, saturate: (value: number) => number): Kernel {
  const width = from === 'i16' ? 2 : 4
  return (a, b, r, bytes) => {
    const lanes = Math.min(bytes, 16) / width
    for (let base = 0; base < bytes / width; base += lanes) {
      for (let i = 0; i < lanes; i++) {
        r[to][2 * base + i] = saturate(a[from][base + i])
        r[to][2 * base + lanes + i] = saturate(b[from][base + i])
      }
    }
  }
}

/** Interleaves the low or the high halves of both sources. */
function unpack(width: 1 | 2 | 4 | 8, high: boolean): Kernel {
  return (a, b, r, bytes) => {
    const half = Math.min(bytes, 16) / 2
    for (let base = 0; base < bytes; base += 2 * half) {
      const from = high ? base + half : base
      for (let i = 0; i < half; i += width) {
        for (let k = 0; k < width; k++) {
          r.u8[base + 2 * i + k] = a.u8[from + i + k]
          r.u8[base + 2 * i + width + k] = b.u8[from + i + k]
        }
      }
    }
  }
}

const pshufb: Kernel = (a, b, r, bytes) => {
  const mask = Math.min(bytes, 16) - 1
  for (let i = 0; i < bytes; i++) {
    const control = b.u8[i]
    r.u8[i] = control & 0x80 ? 0 : a.u8[(i & ~mask) + (control & mask)]
  }
}

const pshufd: Kernel = (_, b, r, bytes, imm) => {
  for (let i = 0; i < bytes >> 2; i++) r.u32[i] = b.u32[(i & ~3) + ((imm >> 2 * (i & 3)) & 3)]
}

/** PSHUFLW, PSHUFHW: one half of each lane is shuffled, the other copied. PSHUFW is all low half. */
function shuffleWords(high: boolean): Kernel {
  const start = high ? 4 : 0
  return (_, b, r, bytes, imm) => {
    for (let i = 0; i < bytes >> 1; i++) {
      const within = i & 7
      const moved = within >= start && within < start + 4
      r.u16[i] = b.u16[moved ? (i & ~7) + start + ((imm >> 2 * (within & 3)) & 3) : i]
    }
  }
}

const shufps: Kernel = (a, b, r, bytes, imm) => {
  for (let i = 0; i < bytes >> 2; i++) {
    const from = i & 2 ? b : a
    r.u32[i] = from.u32[(i & ~3) + ((imm >> 2 * (i & 3)) & 3)]
  }
}

const shufpd: Kernel = (a, b, r, bytes, imm) => {
  for (let i = 0; i < bytes >> 3; i++) {
    const from = i & 1 ? b : a
    r.u64[i] = from.u64[(i & ~1) + ((imm >> i) & 1)]
  }
}

/** The second source below the first, shifted right by imm8 bytes. */
const palignr: Kernel = (a, b, r, bytes, imm) => {
  const lane = Math.min(bytes, 16)
  const shift = imm & 0xff
  for (let i = 0; i < bytes; i++) {
    const at = (i % lane) + shift
    const base = i - (i % lane)
    r.u8[i] = at < lane ? b.u8[base + at] : at < 2 * lane ? a.u8[base + at - lane] : 0
  }
}

/**
 * Lane i comes from the second source where bit i of the immediate is set; the pattern repeats every `period`
 * lanes.
 */
function blendImmediate(lane: 'u16' | 'u32' | 'u64', period: number): Kernel {
  const width = lane === 'u16' ? 2 : lane === 'u32' ? 4 : 8
  return (a, b, r, bytes, imm) => {
    for (let i = 0; i < bytes / width; i++) r[lane][i] = ((imm >> i % period) & 1 ? b : a)[lane][i]
  }
}

/** PBLENDVB, BLENDVPS, BLENDVPD: the mask is XMM0, with VEX the fourth operand; its lanes' top bits choose. */
function blendVariable(lane: 'i8' | 'i32' | 'i64'): Meaning {
  const width = lane === 'i8' ? 1 : lane === 'i32' ? 4 : 8
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    const first = firstSource(insn)
    readOperand(cpu, insn, first + 1, bytes, B)
    readXmm(cpu, first ? insn.reg1 : insn.reg0, bytes, A)
    readXmm(cpu, insn.vex ? insn.reg3 : 0, bytes, C)
    for (let i = 0; i < bytes / width; i++) R[lane][i] = (C[lane][i] < 0 ? B : A)[lane][i]
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** imm8: source lane in 7:6 (registers only), destination lane in 5:4, lanes to clear in 3:0. */
const insertps: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  const first = firstSource(insn)
  const n = first + 1
  const imm = insn.immLo
  const memory = kindOf(insn, n) === MEM
  readOperand(cpu, insn, n, memory ? 4 : 16, B, false)
  readXmm(cpu, first ? insn.reg1 : insn.reg0, 16, R)
  R.u32[(imm >> 4) & 3] = B.u32[memory ? 0 : (imm >> 6) & 3]
  for (let i = 0; i < 4; i++) if ((imm >> i) & 1) R.u32[i] = 0
  writeXmm(cpu, insn, insn.reg0, 16, R)
}

/** Shifts all lanes by one count: bits 63:0 of the second source, or imm8. Counts are never taken modulo the width. */
function shiftAll(kernel: (count: number) => Kernel): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const first = firstSource(insn)
    const n = first + 1
    const mmx = insn.kind0 === MMX_REG
    readOperand(cpu, insn, n, mmx ? 8 : 16, B)
    const count = B.u32[1] ? 255 : Math.min(B.u32[0], 255)
    if (mmx) {
      readMmx(cpu, insn.reg0, A)
      kernel(count)(A, B, R, 8, 0)
      enterMmx(cpu)
      return writeMmx(cpu, insn.reg0, R)
    }
    const bytes = vectorBytes(insn)
    readXmm(cpu, first ? insn.reg1 : insn.reg0, bytes, A)
    kernel(count)(A, B, R, bytes, 0)
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

const left = (lane: 'u16' | 'u32', width: number) => (count: number): Kernel =>
  each(lane, a => count < width ? a << count : 0)
const right = (lane: 'u16' | 'u32', width: number) => (count: number): Kernel =>
  each(lane, a => count < width ? a >>> count : 0)
const arithmeticRight = (lane: 'i16' | 'i32', width: number) => (count: number): Kernel =>
  each(lane, a => a >> Math.min(count, width - 1))
const leftQ = (count: number): Kernel => eachQ('u64', a => count < 64 ? a << BigInt(count) : 0n)
const rightQ = (count: number): Kernel => eachQ('u64', a => count < 64 ? a >> BigInt(count) : 0n)

/** PSLLDQ (direction −1), PSRLDQ (1): bytes within each 128-bit lane. */
function shiftBytes(direction: 1 | -1): Meaning {
  return (cpu, insn) => {
    checkVector(cpu, insn)
    const bytes = vectorBytes(insn)
    const count = Math.min(insn.immLo & 0xff, 16)
    readXmm(cpu, regOf(insn, firstSource(insn)), bytes, A)
    for (let i = 0; i < bytes; i++) {
      const at = (i & 15) + direction * count
      R.u8[i] = at >= 0 && at < 16 ? A.u8[(i & 16) + at] : 0
    }
    writeXmm(cpu, insn, insn.reg0, bytes, R)
  }
}

/** VPSLLV…, VPSRLV…: each lane has its own count. */
const variable: Record<string, Kernel> = {
  vpsllvd: each('u32', (a, count) => count < 32 ? a << count : 0),
  vpsrlvd: each('u32', (a, count) => count < 32 ? a >>> count : 0),
  vpsravd: (a, b, r, bytes) => {
    for (let i = 0; i < bytes >> 2; i++) r.i32[i] = a.i32[i] >> Math.min(b.u32[i], 31)
  },
  vpsllvq: eachQ('u64', (a, count) => count < 64n ? a << count : 0n),
  vpsrlvq: eachQ('u64', (a, count) => count < 64n ? a >> count : 0n),
}

const packsswb = pack('i16', 'i8', clampI8)
const packuswb = pack('i16', 'u8', clampU8)

const KERNELS: Record<string, Kernel> = {
  packsswb, packuswb, packssdw: pack('i32', 'i16', clampI16), packusdw: pack('i32', 'u16', clampU16),
  punpckhbw: unpack(1, true), punpckhwd: unpack(2, true), punpckhdq: unpack(4, true), punpckhqdq: unpack(8, true),
  punpcklqdq: unpack(8, false),
  unpcklps: unpack(4, false), unpckhps: unpack(4, true), unpcklpd: unpack(8, false), unpckhpd: unpack(8, true),
  pshufb, shufps, shufpd, palignr,
  pblendw: blendImmediate('u16', 8), vpblendd: blendImmediate('u32', 8),
  blendps: blendImmediate('u32', 8), blendpd: blendImmediate('u64', 4),
  ...variable,
}

export const shuffleMeanings: Record<string, Meaning> = {
  ...Object.fromEntries(Object.entries(KERNELS).map(([name, kernel]) => [name, binary(kernel)])),
  // The MMX forms read four bytes of memory, not eight.
  punpcklbw: binary(unpack(1, false), { mmxMemory: 4 }),
  punpcklwd: binary(unpack(2, false), { mmxMemory: 4 }),
  punpckldq: binary(unpack(4, false), { mmxMemory: 4 }),
  pshufd: unary(pshufd), pshuflw: unary(shuffleWords(false)), pshufhw: unary(shuffleWords(true)),
  pshufw: unary(shuffleWords(false)),
  pblendvb: blendVariable('i8'), blendvps: blendVariable('i32'), blendvpd: blendVariable('i64'),
  insertps,
  psllw: shiftAll(left('u16', 16)), pslld: shiftAll(left('u32', 32)), psllq: shiftAll(leftQ),
  psrlw: shiftAll(right('u16', 16)), psrld: shiftAll(right('u32', 32)), psrlq: shiftAll(rightQ),
  psraw: shiftAll(arithmeticRight('i16', 16)), psrad: shiftAll(arithmeticRight('i32', 32)),
  pslldq: shiftBytes(-1), psrldq: shiftBytes(1),
}
