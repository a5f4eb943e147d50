/** AES, carry-less multiplication, SHA, CRC32. Sources: FIPS 197, FIPS 180-4, SDM vol. 2. */
import type { Meaning } from '../cpu.ts'
import { checkVector } from '../fp/checks.ts'
import { binary, unary, type Kernel } from './forms.ts'
import { readGpr32, readOperand, readXmm, writeGpr32, writeXmm } from './operands.ts'
import { A, B, C, R, type Vec } from './vec.ts'

/** Doubles in GF(2^8) modulo x^8+x^4+x^3+x+1 (FIPS 197 §4.2.1). */
const double = (x: number): number => (x << 1) ^ (x & 0x80 ? 0x11b : 0)

/** The S-box and its inverse, from the inverses in the field and the affine map of FIPS 197 §5.1.1. */
function createSboxes(): { sbox: Uint8Array, inverse: Uint8Array } {
  const sbox = new Uint8Array(256)
  const inverse = new Uint8Array(256)
  const exp = new Uint8Array(256)
  const log = new Uint8Array(256)
  for (let i = 0, x = 1; i < 255; i++) {
    exp[i] = x
    log[x] = i
    x ^= double(x) // 3 generates the multiplicative group
  }
  for (let i = 0; i < 256; i++) {
    const b = i ? exp[(255 - log[i]) % 255] : 0
    const spread = b | b << 8
    const s = (b ^ spread >> 7 ^ spread >> 6 ^ spread >> 5 ^ spread >> 4 ^ 0x63) & 0xff
    sbox[i] = s
    inverse[s] = i
  }
  return { sbox, inverse }
}

const { sbox, inverse } = createSboxes()

/** SubBytes and ShiftRows, or their inverses: they commute. */
function substitute(from: Uint8Array, to: Uint8Array, box: Uint8Array, direction: 1 | -1): void {
  for (let i = 0; i < 16; i++) to[i] = box[from[(i + direction * 4 * (i & 3)) & 15]]
}

function mixColumns(s: Uint8Array): void {
  for (let c = 0; c < 16; c += 4) {
    const [s0, s1, s2, s3] = [s[c], s[c + 1], s[c + 2], s[c + 3]]
    const all = s0 ^ s1 ^ s2 ^ s3
    s[c] = s0 ^ all ^ double(s0 ^ s1)
    s[c + 1] = s1 ^ all ^ double(s1 ^ s2)
    s[c + 2] = s2 ^ all ^ double(s2 ^ s3)
    s[c + 3] = s3 ^ all ^ double(s3 ^ s0)
  }
}

/** The inverse is the map itself after one more step: 14 9 13 11 = (2 3 1 1) · (5 0 4 0). */
function inverseMixColumns(s: Uint8Array): void {
  for (let c = 0; c < 16; c += 4) {
    const even = double(double(s[c] ^ s[c + 2]))
    const odd = double(double(s[c + 1] ^ s[c + 3]))
    s[c] ^= even
    s[c + 1] ^= odd
    s[c + 2] ^= even
    s[c + 3] ^= odd
  }
  mixColumns(s)
}

function aesRound(decrypt: boolean, last: boolean): Kernel {
  return (a, b, r) => {
    substitute(a.u8, r.u8, decrypt ? inverse : sbox, decrypt ? -1 : 1)
    if (!last) (decrypt ? inverseMixColumns : mixColumns)(r.u8)
    for (let i = 0; i < 4; i++) r.u32[i] ^= b.u32[i]
  }
}

const aesimc: Kernel = (_, b, r) => {
  r.u8.set(b.first[16])
  inverseMixColumns(r.u8)
}

const subWord = (x: number): number =>
  sbox[x & 0xff] | sbox[x >>> 8 & 0xff] << 8 | sbox[x >>> 16 & 0xff] << 16 | sbox[x >>> 24] << 24

const rotateRight = (x: number, by: number): number => x >>> by | x << (32 - by)

const aeskeygenassist: Kernel = (_, b, r, _bytes, imm) => {
  for (const [lane, from] of [[0, 1], [2, 3]] as const) {
    const word = subWord(b.u32[from])
    r.u32[lane] = word
    r.u32[lane + 1] = rotateRight(word, 8) ^ (imm & 0xff)
  }
}

/** Adds (XOR) the carry-less product of two 32-bit words to words `at` and `at + 1` of r. */
function multiplyWords(x: number, y: number, r: Uint32Array, at: number): void {
  let low = 0
  let high = 0
  for (let i = 0; i < 32; i++) {
    if ((y >>> i & 1) === 0) continue
    low ^= x << i
    if (i) high ^= x >>> (32 - i)
  }
  r[at] ^= low
  r[at + 1] ^= high
}

const pclmulqdq: Kernel = (a, b, r, _bytes, imm) => {
  const x = 2 * (imm & 1)
  const y = 2 * (imm >> 4 & 1)
  r.u32.fill(0, 0, 4)
  multiplyWords(a.u32[x], b.u32[y], r.u32, 0)
  multiplyWords(a.u32[x + 1], b.u32[y], r.u32, 1)
  multiplyWords(a.u32[x], b.u32[y + 1], r.u32, 1)
  multiplyWords(a.u32[x + 1], b.u32[y + 1], r.u32, 2)
}

// SHA-1: registers hold A (or the newest word) in the highest lane.
const sha1nexte: Kernel = (a, b, r) => {
  r.u8.set(b.first[16])
  r.u32[3] += rotateRight(a.u32[3], 2)
}

const sha1msg1: Kernel = (a, b, r) => {
  r.u32[3] = a.u32[3] ^ a.u32[1]
  r.u32[2] = a.u32[2] ^ a.u32[0]
  r.u32[1] = a.u32[1] ^ b.u32[3]
  r.u32[0] = a.u32[0] ^ b.u32[2]
}

const sha1msg2: Kernel = (a, b, r) => {
  r.u32[3] = rotateRight(a.u32[3] ^ b.u32[2], 31)
  r.u32[2] = rotateRight(a.u32[2] ^ b.u32[1], 31)
  r.u32[1] = rotateRight(a.u32[1] ^ b.u32[0], 31)
  r.u32[0] = rotateRight(a.u32[0] ^ r.u32[3], 31)
}

const choose = (b: number, c: number, d: number): number => b & c ^ ~b & d
const majority = (b: number, c: number, d: number): number => b & c ^ b & d ^ c & d
const parity = (b: number, c: number, d: number): number => b ^ c ^ d
const SHA1_F = [choose, parity, majority, parity]
const SHA1_K = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6]

const sha1rnds4: Kernel = (state, words, r, _bytes, imm) => {
  const f = SHA1_F[imm & 3]
  let [a, b, c, d, e] = [state.u32[3], state.u32[2], state.u32[1], state.u32[0], 0]
  for (let i = 3; i >= 0; i--) {
    const next = f(b, c, d) + rotateRight(a, 27) + words.u32[i] + e + SHA1_K[imm & 3] | 0
    e = d
    d = c
    c = rotateRight(b, 2)
    b = a
    a = next
  }
  r.u32[3] = a
  r.u32[2] = b
  r.u32[1] = c
  r.u32[0] = d
}

const sigma0 = (x: number): number => rotateRight(x, 7) ^ rotateRight(x, 18) ^ x >>> 3
const sigma1 = (x: number): number => rotateRight(x, 17) ^ rotateRight(x, 19) ^ x >>> 10

const sha256msg1: Kernel = (a, b, r) => {
  for (let i = 0; i < 4; i++) r.u32[i] = a.u32[i] + sigma0(i < 3 ? a.u32[i + 1] : b.u32[0])
}

const sha256msg2: Kernel = (a, b, r) => {
  r.u32[0] = a.u32[0] + sigma1(b.u32[2])
  r.u32[1] = a.u32[1] + sigma1(b.u32[3])
  r.u32[2] = a.u32[2] + sigma1(r.u32[0])
  r.u32[3] = a.u32[3] + sigma1(r.u32[1])
}

/**
 * Two rounds: the destination holds C D G H (H lowest), the source A B E F, XMM0 two words with their constants
 * added.
 */
function sha256rnds2(old: Vec, newer: Vec, words: Vec, r: Vec): void {
  let [a, b, e, f] = [newer.u32[3], newer.u32[2], newer.u32[1], newer.u32[0]]
  let [c, d, g, h] = [old.u32[3], old.u32[2], old.u32[1], old.u32[0]]
  for (let i = 0; i < 2; i++) {
    const s1 = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25)
    const t1 = choose(e, f, g) + s1 + words.u32[i] + h | 0
    const s0 = rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22)
    const t2 = majority(a, b, c) + s0 | 0
    h = g
    g = f
    f = e
    e = t1 + d | 0
    d = c
    c = b
    b = a
    a = t1 + t2 | 0
  }
  r.u32[3] = a
  r.u32[2] = b
  r.u32[1] = e
  r.u32[0] = f
}

const sha256rnds2Meaning: Meaning = (cpu, insn) => {
  checkVector(cpu, insn)
  readOperand(cpu, insn, 1, 16, B)
  readXmm(cpu, insn.reg0, 16, A)
  readXmm(cpu, 0, 16, C)
  sha256rnds2(A, B, C, R)
  writeXmm(cpu, insn, insn.reg0, 16, R)
}

/** Reflected table of the Castagnoli polynomial 11EDC6F41 (SDM vol. 2, CRC32). */
const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? n >>> 1 ^ 0x82f63b78 : n >>> 1
  return n
})

/** CRC32 r32/r64, r/m: `size2` is the width of the source. */
const crc32: Meaning = (cpu, insn) => {
  readOperand(cpu, insn, 1, insn.size2, B, false)
  let crc = readGpr32(cpu, insn.reg0)
  for (let i = 0; i < insn.size2; i++) crc = crc >>> 8 ^ CRC[(crc ^ B.u8[i]) & 0xff]
  writeGpr32(cpu, insn.reg0, crc)
}

export const cryptoMeanings: Record<string, Meaning> = {
  aesenc: binary(aesRound(false, false)), aesenclast: binary(aesRound(false, true)),
  aesdec: binary(aesRound(true, false)), aesdeclast: binary(aesRound(true, true)),
  aesimc: unary(aesimc), aeskeygenassist: unary(aeskeygenassist), pclmulqdq: binary(pclmulqdq),
  sha1nexte: binary(sha1nexte), sha1msg1: binary(sha1msg1), sha1msg2: binary(sha1msg2), sha1rnds4: binary(sha1rnds4),
  sha256msg1: binary(sha256msg1), sha256msg2: binary(sha256msg2), sha256rnds2: sha256rnds2Meaning,
  crc32,
}
