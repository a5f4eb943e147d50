/** Bytes for one line of the decoder's tables: any registers, prefixes, addressing mode and immediates. */
import type { Random } from '@cofferdam/oracle'
import { AXIS, FORM, OPERAND, type Line } from './inside.ts'

/** A memory operand: where it must point, once the instruction's place is known. */
export interface MemoryPlan {
  base: number
  index: number
  scale: number
  /** −1: none; 4 and 5: FS and GS. */
  segment: number
  ripRelative: boolean
  addressSize: 4 | 8
}

export interface Encoded {
  bytes: number[]
  line: Line
  memory: MemoryPlan | null
  /** Where a displacement of 4 (or 1, or 8) bytes lies; −1 without one. */
  dispAt: number
  dispSize: number
  /** Where a branch distance lies; −1 without one. */
  relAt: number
  relSize: number
  operandSize: number
  lock: boolean
  rep: number
}

export interface EncodeOptions {
  /** Registers that memory operands may use as base; all when empty. */
  readonly bases: readonly number[]
  /** The same for the index. */
  readonly indexes: readonly number[]
  /** Registers that must not be written by a ModRM or opcode field. */
  readonly keep: ReadonlySet<number>
}

const PREFIX_BYTES = [0, 0x66, 0xf3, 0xf2]
const MAP_BYTES: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]]

const bitsOf = (mask: number, ways: number): number[] => Array.from({ length: ways }, (_, i) => i).filter((i) => mask >> i & 1)

interface Choice {
  line: Line
  random: Random
  options: EncodeOptions
  prefix: number
  vex: boolean
  w: number
  l: number
  operandSize: number
  addressSize: 4 | 8
}

/** Whether the operands of a line depend on the operand size. */
const VARIABLE = /[A-Z][vz]\b|size=[vz]/

export function encode(random: Random, line: Line, options: EncodeOptions): Encoded {
  const vex = line.space >= 4
  const prefix = random.pick(bitsOf(line.accept[AXIS.PREFIX], 4))
  const selects = line.accept[AXIS.PREFIX] !== 15
  const w = random.pick(bitsOf(line.accept[AXIS.W], 2))
  const l = random.pick(bitsOf(line.accept[AXIS.L], 2))
  const out: Encoded = {
    bytes: [], line, memory: null, dispAt: -1, dispSize: 0, relAt: -1, relSize: 0, operandSize: 4, lock: false, rep: 0,
  }
  const addressSize = random.below(12) === 0 ? 4 : 8
  const c: Choice = { line, random, options, prefix, vex, w, l, operandSize: 4, addressSize }
  const memory = hasModrm(line) ? random.pick(bitsOf(line.accept[AXIS.MOD], 2)) === 0 : false
  const moffs = line.operands.includes(OPERAND.O)
  const touches = memory || moffs || (line.flags & FORM.REP) !== 0 || line.name === 'xlat'
  const segment = touches ? random.pick([-1, -1, -1, -1, 4, 5]) : -1
  const legacy: number[] = []
  if (addressSize === 4 && (touches || /^(loop|jcxz)/.test(line.name))) legacy.push(0x67)
  else c.addressSize = 8
  if (segment >= 0) legacy.push(segment === 4 ? 0x64 : 0x65)
  if ((line.flags & FORM.LOCK) !== 0 && memory && random.below(6) === 0) {
    legacy.push(0xf0)
    out.lock = true
  }
  if ((line.flags & FORM.REP) !== 0 && random.below(2) === 0) {
    out.rep = random.pick([0xf2, 0xf3])
    legacy.push(out.rep)
  }
  if (!vex) {
    const variable = VARIABLE.test(line.text)
    if (selects) {
      if (prefix !== 0) legacy.push(PREFIX_BYTES[prefix])
      // CRC32, MOVBE, BSF and others take 66 as the operand size beside what selects them.
      if (prefix !== 1 && variable && (prefix === 0 ? (line.accept[AXIS.PREFIX] & 2) !== 0 : true) && random.below(4) === 0) legacy.push(0x66)
    } else if (variable && random.below(4) === 0) legacy.push(0x66)
    c.operandSize = w === 1 ? 8 : legacy.includes(0x66) ? 2 : 4
    shuffle(random, legacy)
  }
  out.operandSize = c.operandSize
  const { modrm, tail, rexR, rexX, rexB, vvvv } = operands(c, out, memory, segment)
  const opcode = chooseOpcode(c, rexB)
  if (vex) emitVex(c, out, legacy, opcode.byte, rexR, rexX, opcode.extension, vvvv)
  else emitLegacy(c, out, legacy, opcode.byte, rexR, rexX, opcode.extension)
  const before = out.bytes.length
  out.bytes.push(...modrm, ...tail)
  if (out.dispAt >= 0) out.dispAt += before
  for (const code of line.operands) immediate(c, out, code)
  return out
}

const hasModrm = (line: Line): boolean => (line.flags & FORM.MODRM) !== 0

function shuffle(random: Random, list: number[]): void {
  for (let i = list.length - 1; i > 0; i--) {
    const k = random.below(i + 1)
    const t = list[i]
    list[i] = list[k]
    list[k] = t
  }
}

/** A register number that the case may overwrite. */
function register(c: Choice, ways = 16): number {
  for (;;) {
    const r = c.random.below(ways)
    if (!c.options.keep.has(r)) return r
  }
}

interface Operands {
  modrm: number[]
  tail: number[]
  rexR: number
  rexX: number
  rexB: number
  vvvv: number
}

const VECTOR_CODES = new Set<number>([OPERAND.V, OPERAND.W, OPERAND.H])
const isVectorReg = (line: Line): boolean => line.operands.includes(OPERAND.V)

function operands(c: Choice, out: Encoded, memory: boolean, segment: number): Operands {
  const { line, random } = c
  const result: Operands = { modrm: [], tail: [], rexR: 0, rexX: 0, rexB: 0, vvvv: 0 }
  if ((line.flags & FORM.VVVV) !== 0) result.vvvv = line.operands.includes(OPERAND.H) ? random.below(16) : register(c)
  if (!hasModrm(line)) {
    if (line.operands.includes(OPERAND.O)) {
      out.memory = { base: -1, index: -1, scale: 0, segment, ripRelative: false, addressSize: c.addressSize }
      out.dispAt = 0
      out.dispSize = c.addressSize
      result.tail = new Array<number>(c.addressSize).fill(0)
    }
    return result
  }
  const fixedReg = line.accept[AXIS.REG] !== 255
  let reg = fixedReg ? random.pick(bitsOf(line.accept[AXIS.REG], 8)) : isVectorReg(line) ? random.below(16) : register(c)
  if (line.operands.includes(OPERAND.P)) reg = random.below(8)
  if (!fixedReg) {
    result.rexR = reg >> 3
    reg &= 7
  }
  if (!memory) {
    const rms = bitsOf(line.accept[AXIS.RM], 8)
    if (rms.length < 8) result.modrm = [0xc0 | reg << 3 | random.pick(rms)]
    else {
      const vectorRm = line.operands.includes(OPERAND.W) && VECTOR_CODES.has(OPERAND.W)
      const rm = line.operands.includes(OPERAND.Q) || line.operands.includes(OPERAND.STI) ? random.below(8) : vectorRm ? random.below(16) : register(c)
      result.rexB = rm >> 3
      result.modrm = [0xc0 | reg << 3 | rm & 7]
    }
    return result
  }
  address(c, out, result, reg, segment)
  return result
}

const VSIB_MODES = [2, 3, 3, 4]

/** ModRM, SIB and displacement. Modes: 0 [rip], 1 [disp32], 2 [base], 3 [base+index], 4 [index+disp32]. */
function address(c: Choice, out: Encoded, result: Operands, reg: number, segment: number): void {
  const { random } = c
  const vsib = (c.line.flags & FORM.VSIB) !== 0
  const mode = vsib ? random.pick(VSIB_MODES.slice(1)) : random.pick([0, 1, 2, 2, 2, 2, 3, 3, 3, 4])
  const plan: MemoryPlan = { base: -1, index: -1, scale: 0, segment, ripRelative: mode === 0, addressSize: c.addressSize }
  out.memory = plan
  const field = reg << 3
  const disp = (size: number): void => {
    out.dispAt = result.modrm.length
    out.dispSize = size
    for (let i = 0; i < size; i++) result.tail.push(0)
  }
  if (mode === 0) {
    result.modrm = [field | 5]
    disp(4)
    return
  }
  if (mode === 1) {
    result.modrm = [field | 4, 0x25 | random.below(4) << 6]
    disp(4)
    return
  }
  if (mode === 4) {
    plan.index = indexRegister(c, vsib)
    plan.scale = random.below(4)
    result.rexX = plan.index >> 3
    result.modrm = [field | 4, plan.scale << 6 | (plan.index & 7) << 3 | 5]
    disp(4)
    return
  }
  plan.base = c.options.bases.length > 0 ? random.pick(c.options.bases) : random.below(16)
  result.rexB = plan.base >> 3
  const low = plan.base & 7
  const size = random.pick([0, 1, 1, 4])
  const mod = low === 5 && size === 0 ? 1 : size === 0 ? 0 : size === 1 ? 1 : 2
  if (mode === 2 && low !== 4) result.modrm = [mod << 6 | field | low]
  else {
    plan.index = mode === 2 ? -1 : indexRegister(c, vsib)
    plan.scale = random.below(4)
    result.rexX = plan.index < 0 ? 0 : plan.index >> 3
    result.modrm = [mod << 6 | field | 4, plan.scale << 6 | (plan.index < 0 ? 4 : plan.index & 7) << 3 | low]
  }
  if (mod !== 0) disp(mod === 1 ? 1 : 4)
}

function indexRegister(c: Choice, vsib: boolean): number {
  if (vsib) return c.random.below(16)
  if (c.options.indexes.length > 0) return c.random.pick(c.options.indexes)
  for (;;) {
    const r = c.random.below(16)
    if (r !== 4) return r
  }
}

function chooseOpcode(c: Choice, rexB: number): { byte: number; extension: number } {
  const { line } = c
  if (line.operands.includes(OPERAND.Z) || line.operands.includes(OPERAND.ZB)) {
    const r = register(c)
    return { byte: line.opcodes[r & 7], extension: r >> 3 }
  }
  return { byte: c.random.pick(line.opcodes), extension: rexB }
}

function emitLegacy(c: Choice, out: Encoded, legacy: number[], opcode: number, r: number, x: number, b: number): void {
  const rex = c.w << 3 | r << 2 | x << 1 | b
  out.bytes.push(...legacy)
  // A REX that says nothing turns AH … BH into SPL … DIL.
  if (rex !== 0 || c.random.below(6) === 0) out.bytes.push(0x40 | rex)
  out.bytes.push(...MAP_BYTES[c.line.space], opcode)
}

function emitVex(c: Choice, out: Encoded, legacy: number[], opcode: number, r: number, x: number, b: number, vvvv: number): void {
  const pp = c.prefix
  const map = c.line.space - 4
  out.bytes.push(...legacy)
  const vl = (vvvv ^ 15) << 3 | c.l << 2 | pp
  if (map === 1 && c.w === 0 && x === 0 && b === 0 && c.random.below(2) === 0) out.bytes.push(0xc5, (r ^ 1) << 7 | vl)
  else out.bytes.push(0xc4, (r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | map, c.w << 7 | vl)
  out.bytes.push(opcode)
}

const SMALL = [0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 127, 128, 255]

function immediate(c: Choice, out: Encoded, code: number): void {
  const { random } = c
  const push = (n: number): void => {
    const small = random.below(3) === 0
    for (let i = 0; i < n; i++) out.bytes.push(small ? (i === 0 ? random.pick(SMALL) : 0) : random.below(4) === 0 ? 0xff : random.below(256))
  }
  const z = c.operandSize === 2 && (c.line.flags & FORM.F64) === 0 ? 2 : 4
  switch (code) {
    case OPERAND.IB: case OPERAND.UB: case OPERAND.I2: case OPERAND.L: push(1); return
    case OPERAND.IW: out.bytes.push(random.below(64), 0); return
    case OPERAND.IZ: push(z); return
    case OPERAND.IV: push(c.operandSize); return
    case OPERAND.JB:
      out.relAt = out.bytes.length
      out.relSize = 1
      out.bytes.push(0)
      return
    case OPERAND.JZ:
      out.relAt = out.bytes.length
      out.relSize = 4
      out.bytes.push(0, 0, 0, 0)
      return
    default:
  }
}
