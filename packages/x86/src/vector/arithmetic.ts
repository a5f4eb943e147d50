/** Lane-wise integer arithmetic, comparisons and logic: MMX, SSE2–SSE4.1, AVX2. */
import type { Meaning } from '../cpu.ts'
import { binary, clampI16, clampI8, clampU16, clampU8, each, eachQ, unary, type Kernel } from './forms.ts'

const min = (a: number, b: number): number => a < b ? a : b
const max = (a: number, b: number): number => a > b ? a : b
const sign = (a: number, b: number): number => b < 0 ? -a : b === 0 ? 0 : a
const abs = (_: number, b: number): number => b < 0 ? -b : b
const average = (a: number, b: number): number => (a + b + 1) >> 1
const equal = (a: number, b: number): number => a === b ? -1 : 0
const greater = (a: number, b: number): number => a > b ? -1 : 0
const add = (a: number, b: number): number => a + b
const subtract = (a: number, b: number): number => a - b

const pmuludq: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 3; i++) r.u64[i] = BigInt(a.u32[2 * i]) * BigInt(b.u32[2 * i])
}

const pmuldq: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 3; i++) r.i64[i] = BigInt(a.i32[2 * i]) * BigInt(b.i32[2 * i])
}

const pmaddwd: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 2; i++) {
    r.i32[i] = a.i16[2 * i] * b.i16[2 * i] + a.i16[2 * i + 1] * b.i16[2 * i + 1]
  }
}

const pmaddubsw: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 1; i++) {
    r.i16[i] = clampI16(a.u8[2 * i] * b.i8[2 * i] + a.u8[2 * i + 1] * b.i8[2 * i + 1])
  }
}

const psadbw: Kernel = (a, b, r, bytes) => {
  for (let q = 0; q < bytes >> 3; q++) {
    let sum = 0
    for (let i = 8 * q; i < 8 * q + 8; i++) sum += Math.abs(a.u8[i] - b.u8[i])
    r.u32[2 * q] = sum
    r.u32[2 * q + 1] = 0
  }
}

/** Pairs within each 128-bit lane (64 bits for MMX): the first source's below the second's. */
function horizontal(lane: 'i16' | 'i32', f: (even: number, odd: number) => number): Kernel {
  const width = lane === 'i16' ? 2 : 4
  return (a, b, r, bytes) => {
    const lanes = Math.min(bytes, 16) / width
    for (let base = 0; base < bytes / width; base += lanes) {
      for (let i = 0; i < lanes / 2; i++) {
        r[lane][base + i] = f(a[lane][base + 2 * i], a[lane][base + 2 * i + 1])
        r[lane][base + lanes / 2 + i] = f(b[lane][base + 2 * i], b[lane][base + 2 * i + 1])
      }
    }
  }
}

const phminposuw: Kernel = (_, b, r) => {
  let at = 0
  for (let i = 1; i < 8; i++) if (b.u16[i] < b.u16[at]) at = i
  const least = b.u16[at]
  r.u8.fill(0, 0, 16)
  r.u16[0] = least
  r.u16[1] = at
}

/** Imm8[1:0] chooses four bytes of the second source, imm8[2] eleven of the first; bits 5:3 for the upper lane. */
const mpsadbw: Kernel = (a, b, r, bytes, imm) => {
  for (let lane = 0; lane < bytes; lane += 16) {
    const control = lane ? imm >> 3 : imm
    const block = lane + (control & 3) * 4
    const from = lane + (control & 4)
    for (let i = 0; i < 8; i++) {
      let sum = 0
      for (let j = 0; j < 4; j++) sum += Math.abs(a.u8[from + i + j] - b.u8[block + j])
      r.u16[(lane >> 1) + i] = sum
    }
  }
}

// Written out, not by `each`: these run often enough that a loop of their own pays.
const and: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 2; i++) r.i32[i] = a.i32[i] & b.i32[i]
}
const andn: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 2; i++) r.i32[i] = ~a.i32[i] & b.i32[i]
}
const or: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 2; i++) r.i32[i] = a.i32[i] | b.i32[i]
}
const xor: Kernel = (a, b, r, bytes) => {
  for (let i = 0; i < bytes >> 2; i++) r.i32[i] = a.i32[i] ^ b.i32[i]
}

const KERNELS: Record<string, Kernel> = {
  paddb: each('u8', add), paddw: each('u16', add), paddd: each('u32', add), paddq: eachQ('u64', (a, b) => a + b),
  psubb: each('u8', subtract), psubw: each('u16', subtract), psubd: each('u32', subtract),
  psubq: eachQ('u64', (a, b) => a - b),
  paddsb: each('i8', (a, b) => clampI8(a + b)), paddsw: each('i16', (a, b) => clampI16(a + b)),
  paddusb: each('u8', (a, b) => clampU8(a + b)), paddusw: each('u16', (a, b) => clampU16(a + b)),
  psubsb: each('i8', (a, b) => clampI8(a - b)), psubsw: each('i16', (a, b) => clampI16(a - b)),
  psubusb: each('u8', (a, b) => clampU8(a - b)), psubusw: each('u16', (a, b) => clampU16(a - b)),
  pmullw: each('i16', (a, b) => a * b), pmulld: each('i32', Math.imul),
  pmulhw: each('i16', (a, b) => (a * b) >> 16), pmulhuw: each('u16', (a, b) => (a * b) / 0x10000),
  pmulhrsw: each('i16', (a, b) => (((a * b) >> 14) + 1) >> 1),
  pmuludq, pmuldq, pmaddwd, pmaddubsw, psadbw, mpsadbw,
  pcmpeqb: each('u8', equal), pcmpeqw: each('u16', equal), pcmpeqd: each('u32', equal),
  pcmpeqq: eachQ('u64', (a, b) => a === b ? -1n : 0n),
  pcmpgtb: each('i8', greater), pcmpgtw: each('i16', greater), pcmpgtd: each('i32', greater),
  pcmpgtq: eachQ('i64', (a, b) => a > b ? -1n : 0n),
  pminub: each('u8', min), pminuw: each('u16', min), pminud: each('u32', min),
  pminsb: each('i8', min), pminsw: each('i16', min), pminsd: each('i32', min),
  pmaxub: each('u8', max), pmaxuw: each('u16', max), pmaxud: each('u32', max),
  pmaxsb: each('i8', max), pmaxsw: each('i16', max), pmaxsd: each('i32', max),
  pavgb: each('u8', average), pavgw: each('u16', average),
  psignb: each('i8', sign), psignw: each('i16', sign), psignd: each('i32', sign),
  phaddw: horizontal('i16', add), phaddd: horizontal('i32', add),
  phaddsw: horizontal('i16', (a, b) => clampI16(a + b)),
  phsubw: horizontal('i16', subtract), phsubd: horizontal('i32', subtract),
  phsubsw: horizontal('i16', (a, b) => clampI16(a - b)),
  pand: and, pandn: andn, por: or, pxor: xor,
  andps: and, andpd: and, andnps: andn, andnpd: andn, orps: or, orpd: or, xorps: xor, xorpd: xor,
}

export const arithmeticMeanings: Record<string, Meaning> = {
  ...Object.fromEntries(Object.entries(KERNELS).map(([name, kernel]) => [name, binary(kernel)])),
  pabsb: unary(each('i8', abs)), pabsw: unary(each('i16', abs)), pabsd: unary(each('i32', abs)),
  phminposuw: unary(phminposuw),
}
