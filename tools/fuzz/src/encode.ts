/** Bytes for one line of the decoder's tables, in any mode: any registers, prefixes, addressing mode and immediates. */
import type { Random } from '@cofferdam/oracle'
import { AXIS, FORM, OPERAND, type Line } from './inside.ts'

/** Width of the code segment. */
export type Mode = 16 | 32 | 64
export type AddressSize = 2 | 4 | 8

/** A memory operand: where it must point, once the instruction's place is known. Registers are numbers, −1: none. */
export interface MemoryPlan {
  base: number
  index: number
  scale: number
  /** The segment register used: in 64-bit mode only FS (4) and GS (5) matter. */
  segment: number
  ripRelative: boolean
  addressSize: AddressSize
}

export interface Encoded {
  bytes: number[]
  line: Line
  memory: MemoryPlan | null
  /** Where the displacement (or absolute offset) lies; −1 without one. */
  dispAt: number
  dispSize: number
  /** Where a branch distance lies; −1 without one. */
  relAt: number
  relSize: number
  /** Where the offset of a far pointer lies; −1 without one. The selector is behind it. */
  farAt: number
  operandSize: number
  addressSize: AddressSize
  /** VEX.L, or 0. */
  length: number
  lock: boolean
  rep: number
  /** The branch that closes a loop. */
  closes?: boolean
  /** The linear address of the memory operand, when it was chosen. */
  target?: number
}

export interface EncodeOptions {
  readonly mode: Mode
  /** Registers that memory operands may use as base; all when empty. */
  readonly bases: readonly number[]
  /** The same for the index. */
  readonly indexes: readonly number[]
  /** Registers that must not be written by a ModRM or opcode field. */
  readonly keep: ReadonlySet<number>
}

const PREFIX_BYTES = [0, 0x66, 0xf3, 0xf2]
const MAP_BYTES: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]]
const SEGMENT_BYTES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]
const [SS, DS, FS] = [2, 3, 4]

/** The values that a mask accepts, by mask. */
const BITS: readonly (readonly number[])[] = Array.from({ length: 256 }, (_, mask) =>
  Array.from({ length: 8 }, (_unused, i) => i).filter((i) => (mask >> i & 1) !== 0))
const bitsOf = (mask: number, ways: number): readonly number[] => BITS[mask & ((1 << ways) - 1)]

interface Choice {
  line: Line
  random: Random
  options: EncodeOptions
  mode: Mode
  /** General registers there are. */
  registers: 8 | 16
  prefix: number
  w: number
  l: number
  operandSize: number
  addressSize: AddressSize
  segment: number
}

/** What of a line's text matters here, found out once. */
interface Traits {
  /** Whether the operands depend on the operand size. */
  variable: boolean
  touches: boolean
  vector: boolean
  vectorRm: boolean
  eightRegs: boolean
  eightRm: boolean
}
const VARIABLE = /[A-Z][vz]\b|size=[vz]|\bA\b/
const traitsOf = new Map<Line, Traits>()
function traits(line: Line): Traits {
  let known = traitsOf.get(line)
  if (known === undefined) {
    const has = (...codes: number[]): boolean => codes.some((code) => line.operands.includes(code))
    known = {
      variable: VARIABLE.test(line.text),
      touches: has(OPERAND.O) || (line.flags & FORM.REP) !== 0 || line.name === 'xlat',
      vector: has(OPERAND.V), vectorRm: has(OPERAND.W),
      eightRegs: has(OPERAND.P), eightRm: has(OPERAND.Q, OPERAND.STI),
    }
    traitsOf.set(line, known)
  }
  return known
}

/** Operand sizes that a line has in a mode; only the middle one where it does not depend on them. */
export function operandSizes(line: Line, mode: Mode): number[] {
  if (!traits(line).variable) return [4]
  return mode === 64 ? [2, 4, 8] : [2, 4]
}

export function encode(random: Random, line: Line, options: EncodeOptions): Encoded {
  const { mode } = options
  const vex = line.space >= 4
  const { variable, touches } = traits(line)
  const prefix = random.pick(bitsOf(line.accept[AXIS.PREFIX], 4))
  const c: Choice = {
    line, random, options, mode, registers: mode === 64 ? 16 : 8, prefix,
    w: mode === 64 || vex ? random.pick(bitsOf(line.accept[AXIS.W], 2)) : 0,
    l: random.pick(bitsOf(line.accept[AXIS.L], 2)),
    operandSize: 4, addressSize: mode === 64 ? 8 : mode === 32 ? 4 : 2, segment: -1,
  }
  const memory = hasModrm(line) && random.pick(bitsOf(line.accept[AXIS.MOD], 2)) === 0
  const legacy: number[] = []
  if ((memory || touches || /^(loop|jcxz)/.test(line.name)) && random.below(mode === 64 ? 12 : 5) === 0) {
    legacy.push(0x67)
    c.addressSize = mode === 32 ? 2 : 4
  }
  if ((memory || touches) && random.below(3) === 0) {
    c.segment = mode === 64 ? random.pick([4, 5, 4, 5, random.below(4)]) : random.below(6)
    legacy.push(SEGMENT_BYTES[c.segment])
  }
  const out: Encoded = {
    bytes: [], line, memory: null, dispAt: -1, dispSize: 0, relAt: -1, relSize: 0, farAt: -1, operandSize: 4,
    addressSize: c.addressSize, length: vex ? c.l : 0, lock: false, rep: 0,
  }
  if ((line.flags & FORM.LOCK) !== 0 && memory && random.below(6) === 0) {
    legacy.push(0xf0)
    out.lock = true
  }
  if ((line.flags & FORM.REP) !== 0 && random.below(2) === 0) {
    out.rep = random.pick([0xf2, 0xf3])
    legacy.push(out.rep)
  }
  if (!vex) selectingPrefixes(c, legacy, variable)
  out.operandSize = c.operandSize
  const { modrm, tail, rexR, rexX, rexB, vvvv } = operands(c, out, memory)
  const opcode = chooseOpcode(c, rexB)
  if (vex) emitVex(c, out, legacy, opcode.byte, rexR, rexX, opcode.extension, vvvv)
  else emitLegacy(c, out, legacy, opcode.byte, rexR, rexX, opcode.extension)
  const before = out.bytes.length
  out.bytes.push(...modrm, ...tail)
  if (out.dispAt >= 0) out.dispAt += before
  for (const code of line.operands) immediate(c, out, code)
  return out
}

/** 66, F2 and F3, as far as they choose the instruction or the operand size. */
function selectingPrefixes(c: Choice, legacy: number[], variable: boolean): void {
  const { line, random, prefix, mode } = c
  if (line.accept[AXIS.PREFIX] !== 15) {
    if (prefix !== 0) legacy.push(PREFIX_BYTES[prefix])
    // CRC32, MOVBE, BSF and others take 66 as the operand size beside what selects them.
    const free = prefix === 0 ? (line.accept[AXIS.PREFIX] & 2) !== 0 : prefix !== 1
    if (free && variable && random.below(4) === 0) legacy.push(0x66)
  } else if (variable && random.below(4) === 0) legacy.push(0x66)
  const narrow = legacy.includes(0x66) !== (mode === 16)
  c.operandSize = c.w === 1 ? 8 : narrow ? 2 : 4
  shuffle(random, legacy)
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
function register(c: Choice): number {
  for (;;) {
    const r = c.random.below(c.registers)
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

function operands(c: Choice, out: Encoded, memory: boolean): Operands {
  const { line, random } = c
  const result: Operands = { modrm: [], tail: [], rexR: 0, rexX: 0, rexB: 0, vvvv: 0 }
  if ((line.flags & FORM.VVVV) !== 0) {
    result.vvvv = line.operands.includes(OPERAND.H) ? random.below(c.registers) : register(c)
  }
  if (!hasModrm(line)) {
    if (line.operands.includes(OPERAND.O)) {
      out.memory = {
        base: -1, index: -1, scale: 0, segment: c.segment < 0 ? DS : c.segment, ripRelative: false,
        addressSize: c.addressSize,
      }
      out.dispAt = 0
      out.dispSize = c.addressSize
      result.tail = new Array<number>(c.addressSize).fill(0)
    }
    return result
  }
  const { vector, vectorRm, eightRegs, eightRm } = traits(line)
  const fixedReg = line.accept[AXIS.REG] !== 255
  let reg = fixedReg ? random.pick(bitsOf(line.accept[AXIS.REG], 8)) : vector ? random.below(c.registers) : register(c)
  if (eightRegs) reg = random.below(8)
  if (!fixedReg) {
    result.rexR = reg >> 3
    reg &= 7
  }
  if (memory) {
    address(c, out, result, reg)
    return result
  }
  const rms = bitsOf(line.accept[AXIS.RM], 8)
  if (rms.length < 8) {
    result.modrm = [0xc0 | reg << 3 | random.pick(rms)]
    return result
  }
  const rm = eightRm ? random.below(8) : vectorRm ? random.below(c.registers) : register(c)
  result.rexB = rm >> 3
  result.modrm = [0xc0 | reg << 3 | rm & 7]
  return result
}

const RIP_RELATIVE = 0
const ABSOLUTE = 1
const BASE = 2
const BASE_INDEX = 3
const INDEX_ONLY = 4
const MODES = [RIP_RELATIVE, ABSOLUTE, BASE, BASE, BASE, BASE, BASE_INDEX, BASE_INDEX, BASE_INDEX, INDEX_ONLY]
const VSIB_MODES = [BASE_INDEX, BASE_INDEX, INDEX_ONLY]

/** ModRM, SIB and displacement. */
function address(c: Choice, out: Encoded, result: Operands, reg: number): void {
  const vsib = (c.line.flags & FORM.VSIB) !== 0
  if (vsib && c.addressSize === 2) {
    // There is no VSIB with 16-bit addresses: #UD.
    c.addressSize = out.addressSize = 4
  }
  const plan: MemoryPlan = {
    base: -1, index: -1, scale: 0, segment: DS, ripRelative: false, addressSize: c.addressSize,
  }
  out.memory = plan
  if (c.addressSize === 2) address16(c, out, result, reg, plan)
  else addressWide(c, out, result, reg, plan, vsib)
  const stack = plan.base === 4 || plan.base === 5
  plan.segment = c.segment >= 0 && (c.mode !== 64 || c.segment >= FS) ? c.segment : stack ? SS : DS
}

function displacement(out: Encoded, result: Operands, size: number): void {
  out.dispAt = result.modrm.length
  out.dispSize = size
  for (let i = 0; i < size; i++) result.tail.push(0)
}

/** Base and index by rm (SDM vol. 2, table 2-1). */
const BASES16 = [3, 3, 5, 5, 6, 7, 5, 3]
const INDEXES16 = [6, 7, 6, 7, -1, -1, -1, -1]

function address16(c: Choice, out: Encoded, result: Operands, reg: number, plan: MemoryPlan): void {
  const { random } = c
  const usable = [0, 1, 2, 3, 4, 5, 6, 7].filter((rm) => {
    const { bases, indexes } = c.options
    return bases.length === 0 || (bases.includes(BASES16[rm]) && (INDEXES16[rm] < 0 || indexes.includes(INDEXES16[rm])))
  })
  if (usable.length === 0 || random.below(8) === 0) {
    result.modrm = [reg << 3 | 6]
    displacement(out, result, 2)
    return
  }
  const rm = random.pick(usable)
  plan.base = BASES16[rm]
  plan.index = INDEXES16[rm]
  const mod = rm === 6 ? 1 + random.below(2) : random.below(3)
  result.modrm = [mod << 6 | reg << 3 | rm]
  if (mod !== 0) displacement(out, result, mod)
}

function addressWide(c: Choice, out: Encoded, result: Operands, reg: number, plan: MemoryPlan, vsib: boolean): void {
  const { random } = c
  const mode = random.pick(vsib ? VSIB_MODES : MODES)
  const field = reg << 3
  if (mode === RIP_RELATIVE) {
    plan.ripRelative = c.mode === 64
    result.modrm = [field | 5]
    displacement(out, result, 4)
    return
  }
  if (mode === ABSOLUTE) {
    result.modrm = [field | 4, 0x25 | random.below(4) << 6]
    displacement(out, result, 4)
    return
  }
  if (mode === INDEX_ONLY) {
    plan.index = indexRegister(c, vsib)
    plan.scale = random.below(4)
    result.rexX = plan.index >> 3
    result.modrm = [field | 4, plan.scale << 6 | (plan.index & 7) << 3 | 5]
    displacement(out, result, 4)
    return
  }
  plan.base = c.options.bases.length > 0 ? random.pick(c.options.bases) : random.below(c.registers)
  result.rexB = plan.base >> 3
  const low = plan.base & 7
  const size = random.pick([0, 1, 1, 4])
  const mod = low === 5 && size === 0 ? 1 : size === 0 ? 0 : size === 1 ? 1 : 2
  if (mode === BASE && low !== 4) result.modrm = [mod << 6 | field | low]
  else {
    plan.index = mode === BASE ? -1 : indexRegister(c, vsib)
    plan.scale = random.below(4)
    result.rexX = plan.index < 0 ? 0 : plan.index >> 3
    result.modrm = [mod << 6 | field | 4, plan.scale << 6 | (plan.index < 0 ? 4 : plan.index & 7) << 3 | low]
  }
  if (mod !== 0) displacement(out, result, mod === 1 ? 1 : 4)
}

function indexRegister(c: Choice, vsib: boolean): number {
  if (vsib) return c.random.below(c.registers)
  if (c.options.indexes.length > 0) return c.random.pick(c.options.indexes)
  for (;;) {
    const r = c.random.below(c.registers)
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
  const { random } = c
  if (c.mode === 64) {
    // A REX that another prefix follows says nothing.
    if (legacy.length > 0 && random.below(24) === 0) {
      legacy.splice(random.below(legacy.length), 0, 0x40 | random.below(16))
    }
    out.bytes.push(...legacy)
    const rex = c.w << 3 | r << 2 | x << 1 | b
    // A REX without bits turns AH … BH into SPL … DIL.
    if (rex !== 0 || random.below(6) === 0) out.bytes.push(0x40 | rex)
  } else out.bytes.push(...legacy)
  out.bytes.push(...MAP_BYTES[c.line.space], opcode)
}

function emitVex(
  c: Choice, out: Encoded, legacy: number[], opcode: number, r: number, x: number, b: number, vvvv: number,
): void {
  const { random } = c
  const map = c.line.space - 4
  out.bytes.push(...legacy)
  // Outside 64-bit mode B is ignored, and the top bit of vvvv where it names a register; C5 must have the latter set.
  const spare = c.mode === 64 || (c.line.flags & FORM.VVVV) === 0 || random.below(2) === 0 ? 0 : 8
  const last = ((vvvv ^ 15) & ~spare) << 3 | c.l << 2 | c.prefix
  const short = map === 1 && c.w === 0 && x === 0 && b === 0 && spare === 0 && random.below(2) === 0
  if (short) out.bytes.push(0xc5, (r ^ 1) << 7 | last)
  else {
    const extension = c.mode === 64 ? b ^ 1 : random.below(2)
    out.bytes.push(0xc4, (r ^ 1) << 7 | (x ^ 1) << 6 | extension << 5 | map, c.w << 7 | last)
  }
  out.bytes.push(opcode)
}

const SMALL = [0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 127, 128, 255]

function immediate(c: Choice, out: Encoded, code: number): void {
  const { random } = c
  const push = (n: number): void => {
    const small = random.below(3) === 0
    for (let i = 0; i < n; i++) {
      out.bytes.push(small ? (i === 0 ? random.pick(SMALL) : 0) : random.below(4) === 0 ? 0xff : random.below(256))
    }
  }
  const z = c.operandSize === 2 ? 2 : 4
  switch (code) {
    case OPERAND.IB: case OPERAND.UB: case OPERAND.I2: case OPERAND.L: push(1); return
    case OPERAND.IW: out.bytes.push(random.below(64), 0); return
    case OPERAND.IZ: push(z); return
    case OPERAND.IV: push(c.operandSize); return
    case OPERAND.JB: distance(out, 1); return
    case OPERAND.JZ: distance(out, c.mode === 64 ? 4 : z); return
    case OPERAND.A:
      out.farAt = out.bytes.length
      for (let i = 0; i < z + 2; i++) out.bytes.push(0)
      return
    default:
  }
}

function distance(out: Encoded, size: number): void {
  out.relAt = out.bytes.length
  out.relSize = size
  for (let i = 0; i < size; i++) out.bytes.push(0)
}

/** Little-endian bytes of a number below 2^53, signed or not. */
export function writeBytes(made: Encoded, at: number, size: number, value: number): void {
  let rest = value
  for (let i = 0; i < size; i++) {
    made.bytes[at + i] = ((rest % 256) + 256) % 256
    rest = Math.floor(rest / 256)
  }
}
