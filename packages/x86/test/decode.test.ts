import { describe, expect, it } from 'vitest'
import {
  createInsn, decode, DECODED, IMM, INVALID, MEM, MODE16, MODE32, MODE64, OP, OPS, REG, REG_HIGH, REL, SEG_REG, ST_REG,
  TOO_LONG, TRUNCATED, XMM_REG, type CodeWidth, type Insn,
} from '../src/index.ts'
import { CASE_BYTES, createRandom, encodeLine, lines, nextCase } from './cases.ts'
import { compare } from './oracle.ts'

/** Decodes hexadecimal bytes, with nothing readable behind them. */
function decoded(hex: string, width: CodeWidth = MODE64): Insn & { name: string } {
  const bytes = Uint8Array.from(hex.replaceAll(' ', '').match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))
  const insn = createInsn()
  decode(bytes, 0, bytes.length, width, insn)
  return { ...insn, name: OPS[insn.op] }
}

describe('prefixes', () => {
  it('REX counts only directly before the opcode', () => {
    expect(decoded('48 01 c8')).toMatchObject({ name: 'add', size: 8, len: 3 })
    expect(decoded('48 66 01 c8')).toMatchObject({ name: 'add', size: 2, len: 4 })
    expect(decoded('4f 41 01 c8')).toMatchObject({ name: 'add', size: 4, reg0: 8, reg1: 1 })
  })
  it('REX.W goes before the operand-size prefix', () => {
    expect(decoded('66 48 01 c8')).toMatchObject({ size: 8 })
  })
  it('F2 and F3 go before 66 where they select the instruction, the later one wins', () => {
    expect(decoded('66 f3 0f 58 c1')).toMatchObject({ name: 'addss' })
    expect(decoded('f3 f2 66 0f 58 c1')).toMatchObject({ name: 'addsd' })
    expect(decoded('f2 0f 54 c1')).toMatchObject({ status: INVALID })
  })
  it('F2 and F3 are repeat prefixes of string instructions only', () => {
    expect(decoded('f3 a4')).toMatchObject({ name: 'movs', rep: 0xf3, size: 1 })
    expect(decoded('f2 ae')).toMatchObject({ name: 'scas', rep: 0xf2 })
    expect(decoded('f3 c3')).toMatchObject({ name: 'ret', rep: 0 })
  })
  it('LOCK stands only before memory destinations that allow it', () => {
    expect(decoded('f0 01 08')).toMatchObject({ status: DECODED, lock: 1 })
    expect(decoded('f0 01 c8')).toMatchObject({ status: INVALID })
    expect(decoded('f0 03 08')).toMatchObject({ status: INVALID })
    expect(decoded('f0 39 08')).toMatchObject({ status: INVALID })
    expect(decoded('f0 0f ba 28 01')).toMatchObject({ name: 'bts', status: DECODED })
    expect(decoded('f0 0f 20 c0', MODE32)).toMatchObject({ status: INVALID })
  })
  it('in 64-bit mode ES, CS, SS and DS do nothing, not even undo FS', () => {
    expect(decoded('3e 8b 45 00')).toMatchObject({ seg: 2, segOverride: -1 })
    expect(decoded('64 2e 8b 00')).toMatchObject({ seg: 4, segOverride: 4 })
    expect(decoded('64 2e 8b 00', MODE32)).toMatchObject({ seg: 1, segOverride: 1 })
  })
})

describe('length', () => {
  it('15 bytes are an instruction, 16 are #GP', () => {
    expect(decoded('66 '.repeat(13) + '01 c8')).toMatchObject({ status: DECODED, len: 15 })
    expect(decoded('66 '.repeat(14) + '01 c8')).toMatchObject({ status: TOO_LONG })
    expect(decoded('66 '.repeat(20))).toMatchObject({ status: TOO_LONG })
  })
  it('bytes that end inside an instruction are truncated wherever they end', () => {
    const whole = '66 67 49 81 84 c8 11 22 33 44 55 66 77 08'
    for (let length = 0; length < 14; length++) {
      expect(decoded(whole.slice(0, length * 3))).toMatchObject({ status: TRUNCATED, len: length })
    }
    expect(decoded(whole)).toMatchObject({ status: DECODED, len: 14 })
  })
  it('is found out before #UD, as the processor does', () => {
    expect(decoded('3e '.repeat(9) + '0f 38 ff 84 05 00 00')).toMatchObject({ status: TOO_LONG })
    expect(decoded('3e '.repeat(9) + '0f 0a 84 05 00 00 00')).toMatchObject({ status: INVALID })
    expect(decoded('66 c5 f8 58 84 05 00 00')).toMatchObject({ status: TRUNCATED })
    expect(decoded('66 c5 f8 58 84 05 00 00 00 00')).toMatchObject({ status: INVALID, len: 10 })
    expect(decoded('f0 81 f8 00 00 00')).toMatchObject({ status: TRUNCATED })
  })
  it('does not depend on bytes behind the instruction, and any shorter piece is truncated', () => {
    const random = createRandom(3)
    const bytes = new Uint8Array(CASE_BYTES)
    const [whole, piece] = [createInsn(), createInsn()]
    for (let i = 0; i < 20_000; i++) {
      nextCase(random, bytes)
      decode(bytes, 0, bytes.length, MODE64, whole)
      if (whole.status === TOO_LONG) continue
      decode(bytes.slice(0, whole.len), 0, whole.len, MODE64, piece)
      expect(piece).toEqual(whole)
      decode(bytes, 0, random(whole.len), MODE64, piece)
      expect(piece.status).toBe(TRUNCATED)
    }
  })
  it('bytes behind the end are not looked at', () => {
    const insn = createInsn()
    decode(Uint8Array.of(0x0f, 0x0b, 0x0b), 0, 1, MODE64, insn)
    expect(insn.status).toBe(TRUNCATED)
  })
})

describe('operands', () => {
  it('AH to BH exist without REX only', () => {
    expect(decoded('88 e0')).toMatchObject({ kind0: REG, reg0: 0, kind1: REG_HIGH, reg1: 0 })
    expect(decoded('40 88 e0')).toMatchObject({ kind0: REG, reg0: 0, kind1: REG, reg1: 4 })
  })
  it('memory has base, index, scale, displacement and its default segment', () => {
    expect(decoded('8b 84 8d 00 ff ff ff'))
      .toMatchObject({ kind1: MEM, base: 5, index: 1, scale: 2, disp: -256, seg: 2 })
    expect(decoded('41 8b 45 08')).toMatchObject({ base: 13, index: -1, disp: 8, seg: 3 })
    expect(decoded('8b 05 f8 ff ff ff')).toMatchObject({ base: -1, ripRelative: 1, disp: -8 })
    expect(decoded('67 8b 05 00 00 00 00')).toMatchObject({ ripRelative: 1, addrSize: 4 })
    expect(decoded('8b 04 25 78 56 34 12')).toMatchObject({ base: -1, index: -1, ripRelative: 0, disp: 0x12345678 })
    expect(decoded('8b 05 00 00 00 80', MODE32)).toMatchObject({ base: -1, ripRelative: 0, disp: -0x80000000 })
    expect(decoded('8b 42 fe', MODE16)).toMatchObject({ base: 5, index: 6, disp: -2, seg: 2, addrSize: 2, size: 2 })
    expect(decoded('8b 0e 34 12', MODE16)).toMatchObject({ base: -1, index: -1, disp: 0x1234, seg: 3 })
  })
  it('MOV moffs has an offset as wide as addresses', () => {
    expect(decoded('48 a1 f0 de bc 9a 78 56 34 12'))
      .toMatchObject({ absolute64: 1, disp: 0x9abcdef0, dispHi: 0x12345678 })
    expect(decoded('67 a1 00 10 00 00')).toMatchObject({ absolute64: 0, disp: 0x1000, len: 6 })
  })
  it('immediates are extended as the instruction uses them', () => {
    expect(decoded('48 83 c0 ff')).toMatchObject({ kind1: IMM, immLo: -1, immHi: -1 })
    expect(decoded('48 c1 e0 ff')).toMatchObject({ name: 'shl', immLo: 255, immHi: 0 })
    expect(decoded('48 b8 01 00 00 00 ff ff ff ff')).toMatchObject({ immLo: 1, immHi: -1 })
    expect(decoded('d1 e8')).toMatchObject({ name: 'shr', kind1: IMM, immLo: 1 })
    expect(decoded('d3 f8')).toMatchObject({ name: 'sar', kind1: REG, reg1: 1 })
  })
  it('branches are relative to the next instruction; 66 does not shorten them in 64-bit mode', () => {
    expect(decoded('75 fe')).toMatchObject({ name: 'jcc', cc: 5, kind0: REL, rel: -2 })
    expect(decoded('66 e8 00 00 00 80')).toMatchObject({ name: 'call', len: 6, size: 8, rel: -0x80000000 })
    expect(decoded('66 e8 00 80', MODE32)).toMatchObject({ name: 'call', size: 2, rel: -0x8000 })
  })
  it('stack operations are 64 bits wide in 64-bit mode, 16 with 66', () => {
    expect(decoded('50')).toMatchObject({ name: 'push', size: 8 })
    expect(decoded('66 50')).toMatchObject({ name: 'push', size: 2 })
    expect(decoded('66 68 00 80')).toMatchObject({ name: 'push', size: 2, immLo: -32768 })
  })
  it('scalar SSE says 16 and the width in memory', () => {
    expect(decoded('f2 0f 58 00')).toMatchObject({ name: 'addsd', size: 16, size2: 8 })
    expect(decoded('c5 fa 10 00')).toMatchObject({ name: 'movss', size: 16, size2: 4, vex: 1 })
    expect(decoded('66 48 0f 6e c0')).toMatchObject({ name: 'movd', size: 8, size2: 0, kind0: XMM_REG, kind1: REG })
  })
  it('MOVZX, MOVSX and MOVSXD have the width of the source', () => {
    expect(decoded('0f b6 c4')).toMatchObject({ name: 'movzx', size: 4, size2: 1, kind1: REG_HIGH })
    expect(decoded('48 63 c8')).toMatchObject({ name: 'movsx', size: 8, size2: 4 })
  })
  it('x87 names ST(i)', () => {
    expect(decoded('dc c1')).toMatchObject({ name: 'fadd', kind0: ST_REG, reg0: 1, kind1: ST_REG, reg1: 0 })
    expect(decoded('db 28')).toMatchObject({ name: 'fld', kind0: MEM, size: 10 })
  })
})

describe('encodings that are not defined', () => {
  const invalid = ([
    ['MOV to CS', '8e c8', MODE64], ['MOV from segment register 6', '8c f0', MODE64], ['CR1', '0f 20 c8', MODE64],
    ['DR8', '44 0f 21 c0', MODE64], ['PUSH CS in 64-bit mode', '0e', MODE64], ['AAM in 64-bit mode', 'd4 0a', MODE64],
    ['82 in 64-bit mode', '82 c0 01', MODE64], ['EVEX', '62 f1 7c 48 58 c1', MODE64],
    ['XOP', '8f e8 78 c0 c1 01', MODE64],
    ['LEA of a register', '8d c0', MODE64], ['CMPXCHG8B of a register', '0f c7 c8', MODE64],
    ['XBEGIN', 'c7 f8 00 00 00 00', MODE64],
    ['66 before VEX', '66 c5 f8 58 c1', MODE64], ['REX before VEX', '48 c5 f8 58 c1', MODE64],
    ['LOCK before VEX', 'f0 c5 f8 58 c1', MODE64],
    ['VEX map 4', 'c4 e4 78 58 c1', MODE64], ['VEX.vvvv that is not used', 'c5 f0 51 c1', MODE64],
    ['VEX.L of VMOVD', 'c5 fd 6e c0', MODE64],
    ['a gather that names a register twice', 'c4 e2 79 90 04 00', MODE64],
    ['a gather without SIB', 'c4 e2 71 90 03', MODE64],
    ['PUSH ES behind REX', '40 06', MODE64],
  ] as const)
  for (const [what, hex, width] of invalid) it(what, () => expect(decoded(hex, width))
    .toMatchObject({ status: INVALID, op: 0 }))
})

describe('encodings that depend on the mode', () => {
  it('C4 and C5 are LES and LDS with memory outside 64-bit mode', () => {
    expect(decoded('c5 00', MODE32)).toMatchObject({ name: 'lds' })
    expect(decoded('c4 06 00 10', MODE16)).toMatchObject({ name: 'les', len: 4 })
    expect(decoded('c5 f8 58 c1', MODE32)).toMatchObject({ name: 'addps', vex: 1 })
  })
  it('62 and 63 are BOUND and ARPL outside 64-bit mode', () => {
    expect(decoded('62 00', MODE32)).toMatchObject({ name: 'bound' })
    expect(decoded('63 c8', MODE32)).toMatchObject({ name: 'arpl' })
  })
  it('90 is NOP, XCHG with REX.B, PAUSE with F3', () => {
    expect(decoded('90')).toMatchObject({ name: 'nop' })
    expect(decoded('49 90')).toMatchObject({ name: 'xchg', reg0: 8, reg1: 0, kind1: REG })
    expect(decoded('f3 49 90')).toMatchObject({ name: 'pause' })
  })
  it('PUSH ES names the segment register', () => {
    expect(decoded('06', MODE16)).toMatchObject({ name: 'push', kind0: SEG_REG, reg0: 0, size: 2 })
  })
})

describe('confidential-computing instructions', () => {
  const known = ([
    ['pvalidate', 'f2 0f 01 ff'], ['rmpadjust', 'f3 0f 01 fe'], ['rmpupdate', 'f2 0f 01 fe'], ['psmash', 'f3 0f 01 ff'],
    ['rmpquery', 'f3 0f 01 fd'], ['rmpread', 'f2 0f 01 fd'], ['vmgexit', 'f3 0f 01 d9'], ['vmgexit', 'f2 0f 01 d9'],
    ['vmmcall', '0f 01 d9'],
    ['tdcall', '66 0f 01 cc'], ['seamret', '66 0f 01 cd'], ['seamops', '66 0f 01 ce'], ['seamcall', '66 0f 01 cf'],
  ] as const)
  for (const [name, hex] of known) it(`${hex} is ${name.toUpperCase()}`, () => expect(decoded(hex))
    .toMatchObject({ name }))
})

describe('the tables', () => {
  it('number the mnemonics densely, each once', () => {
    expect(new Set(OPS).size).toBe(OPS.length)
    expect(OPS.every((name, number) => (OP as Record<string, number>)[name] === number)).toBe(true)
  })
  it('have no line that cannot be reached', () => {
    const random = createRandom(11)
    const bytes = new Uint8Array(CASE_BYTES)
    const insn = createInsn()
    const dead = lines.filter((line) => {
      for (let tries = 0; tries < 400; tries++) {
        encodeLine(random, line, bytes)
        decode(bytes, 0, bytes.length, tries & 1 ? MODE64 : MODE32, insn)
        if (insn.status === DECODED && OPS[insn.op] === line.name) return false
      }
      return true
    })
    expect(dead.map((line) => line.text)).toEqual([])
  })
})

describe('against iced-x86', () => {
  for (const width of [MODE16, MODE32, MODE64] as const) {
    it(`${width * 8}-bit code has the same lengths, rejects, mnemonics and operands`, () => {
      const random = createRandom(width)
      const bytes = new Uint8Array(CASE_BYTES)
      const unexplained: string[] = []
      for (let i = 0; i < 40_000; i++) {
        nextCase(random, bytes)
        const { difference, reason } = compare(bytes, width)
        if (difference !== null && reason === null) unexplained.push(difference)
      }
      expect(unexplained).toEqual([])
    })
  }
})
