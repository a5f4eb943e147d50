/** Answers that others have published: FIPS 197, FIPS 180-4, RFC 3720, Intel's white papers. */
import { describe, expect, it } from 'vitest'
import { IMM, MEM, REG, XMM_REG } from '../../src/insn.ts'
import { CR0, CR4, GPR, XMM } from '../../src/state.ts'
import { vectorMeanings } from '../../src/vector/index.ts'
import { createFakeCpu, insn, run, type FakeCpu } from '../fake-cpu.ts'

function ready(): FakeCpu {
  const cpu = createFakeCpu()
  cpu.views.u32[CR0 >> 2] = 0x8000_0021
  cpu.views.u32[CR4 >> 2] = 0x200
  return cpu
}

const bytes = (hex: string): number[] => (hex.match(/../g) ?? []).map(pair => parseInt(pair, 16))
const load = (cpu: FakeCpu, n: number, hex: string): void => { cpu.views.u8.set(bytes(hex), XMM + 16 * n) }
const read = (cpu: FakeCpu, n: number): string =>
  [...cpu.views.u8.subarray(XMM + 16 * n, XMM + 16 * n + 16)].map(b => b.toString(16).padStart(2, '0')).join('')

/** Register notation, highest byte first, in memory order. */
const backwards = (hex: string): string => (hex.match(/../g) ?? []).reverse().join('')

/** op xmm0, xmm1[, imm]. */
const apply = (cpu: FakeCpu, name: string, imm = 0): void => {
  const fields = { size: 16, kind0: XMM_REG, kind1: XMM_REG, reg1: 1, kind2: IMM, immLo: imm }
  expect(run(cpu, vectorMeanings[name], insn(fields))).toBeUndefined()
}

describe('AES', () => {
  it('expands the key and encrypts as FIPS 197, appendix B', () => {
    const cpu = ready()
    load(cpu, 1, '2b7e151628aed2a6abf7158809cf4f3c')
    apply(cpu, 'aeskeygenassist', 1)
    expect(read(cpu, 0).slice(24)).toBe('8b84eb01') // temp of word 4 after Rcon, appendix A.1
    // Round 1: the state after AddRoundKey of the input, with the first round key.
    load(cpu, 0, '193de3bea0f4e22b9ac68d2ae9f84808')
    load(cpu, 1, 'a0fafe1788542cb123a339392a6c7605')
    apply(cpu, 'aesenc')
    expect(read(cpu, 0)).toBe('a49c7ff2689f352b6b5bea43026a5049')
  })
  it('decrypts what it encrypts', () => {
    const cpu = ready()
    load(cpu, 0, '00112233445566778899aabbccddeeff')
    load(cpu, 1, '00000000000000000000000000000000')
    apply(cpu, 'aesenclast')
    apply(cpu, 'aesdeclast')
    expect(read(cpu, 0)).toBe('00112233445566778899aabbccddeeff')
  })
})

describe('SHA-256', () => {
  it('runs two rounds on the initial hash as FIPS 180-4 does', () => {
    const cpu = ready()
    const H = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]
    const { u32 } = cpu.views
    const at = XMM >> 2
    u32.set([0x428a2f98 + 0x61626380, 0x71374491], at) // "abc", first two words with their constants
    u32.set([H[7], H[6], H[3], H[2]], at + 4)
    u32.set([H[5], H[4], H[1], H[0]], at + 8)
    run(cpu, vectorMeanings.sha256rnds2, insn({ size: 16, kind0: XMM_REG, reg0: 1, kind1: XMM_REG, reg1: 2 }))
    // f, e, b, a after t = 1 in NIST's worked example for "abc".
    expect([...u32.subarray(at + 4, at + 8)]).toEqual([0xfa2a4622, 0x78ce7989, 0x5d6aebcd, 0x5a6ad9ad])
  })
})

describe('CRC32', () => {
  it('gives the check value of CRC-32C for "123456789" (RFC 3720, appendix B.4, in the catalogue of Williams)', () => {
    const cpu = ready()
    const crc = (size2: number, kind1: number, at: number): void => {
      expect(run(cpu, vectorMeanings.crc32, insn({ size: 4, size2, kind0: REG, kind1, disp: at }))).toBeUndefined()
    }
    for (let i = 0; i < 9; i++) cpu.memory.setUint8(0x1000 + i, 0x31 + i)
    cpu.views.u64[GPR >> 3] = 0xffff_ffffn
    crc(8, MEM, 0x1000)
    crc(1, MEM, 0x1008)
    expect(~cpu.views.u32[GPR >> 2] >>> 0).toBe(0xe306_9283)
  })
})

describe('PCLMULQDQ', () => {
  it.each([
    [0x00, '1d4d84c85c3440c0929633d5d36f0451'], [0x10, '1bd17c8d556ab5a17fa540ac2a281315'],
    [0x01, '1a2bf6db3a30862fbabf262df4b7d5c9'], [0x11, '1d1e1f2c592e7c45d66ee03e410fd4ed'],
  ])('imm8 %i multiplies the quadwords that it names (Intel 323640)', (imm, product) => {
    const cpu = ready()
    load(cpu, 0, backwards('7b5b54657374566563746f725d53475d'))
    load(cpu, 1, backwards('48692853686179295b477565726f6e5d'))
    apply(cpu, 'pclmulqdq', imm)
    expect(read(cpu, 0)).toBe(backwards(product))
  })
})
