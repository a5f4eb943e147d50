/** Control instructions: environment, status, initialisation. They don't touch FIP and FDP, and most don't wait. */
import { type Cpu, type Meaning } from '../cpu.ts'
import { MEM, type Insn } from '../insn.ts'
import { CR0, FCS, FCW, FDP, FDS, FIP, FOP, FPR, FSW, FTW, GPR } from '../state.ts'
import { beginArea } from '../system/effective.ts'
import { keepsSelectors } from '../system/fpu-checks.ts'
import { loadArea, storeArea } from '../system/parts.ts'
import { checkWait, checkX87 } from './checks.ts'
import { F80, NORMAL, unpack, ZERO } from './softfloat.ts'
import { physical, updateSummary } from './x87-state.ts'

/** Bits of FCW that can be written, and the one that always reads as set. */
export const FCW_MASK = 0x1f3f
export const FCW_ONES = 0x40

const fninit: Meaning = (cpu) => {
  checkX87(cpu, false)
  initialise(cpu)
}

function initialise(cpu: Cpu): void {
  const { u32, u64 } = cpu.views
  u32[FCW >> 2] = 0x37f
  u32[FSW >> 2] = u32[FTW >> 2] = u32[FOP >> 2] = u32[FCS >> 2] = u32[FDS >> 2] = 0
  u64[FIP >> 3] = u64[FDP >> 3] = 0n
}

const fnclex: Meaning = (cpu) => {
  checkX87(cpu, false)
  cpu.views.u32[FSW >> 2] &= 0x7f00
}

const fldcw: Meaning = (cpu, insn) => {
  checkX87(cpu, true)
  const value = cpu.load(cpu.operandAddress(insn, 2, false), 2)
  cpu.views.u32[FCW >> 2] = value & FCW_MASK | FCW_ONES
  updateSummary(cpu)
}

const fnstcw: Meaning = (cpu, insn) => {
  checkX87(cpu, false)
  cpu.store(cpu.operandAddress(insn, 2, true), 2, cpu.views.u32[FCW >> 2])
}

const fnstsw: Meaning = (cpu, insn) => {
  checkX87(cpu, false)
  const status = cpu.views.u32[FSW >> 2]
  if (insn.kind0 === MEM) cpu.store(cpu.operandAddress(insn, 2, true), 2, status)
  else cpu.views.u16[GPR >> 1] = status
}

/** The full tag word: 0 valid, 1 zero, 2 special, 3 empty, by physical register (SDM vol. 1, §8.1.7). */
function tagWord(cpu: Cpu): number {
  const { u16, u32, u64 } = cpu.views
  let tags = 0
  for (let n = 0; n < 8; n++) {
    const at = FPR + 16 * n
    const { kind } = unpack(F80, BigInt(u16[(at + 8) >> 1]) << 64n | u64[at >> 3])
    const tag = !(u32[FTW >> 2] >> n & 1) ? 3 : kind === ZERO ? 1 : kind === NORMAL ? 0 : 2
    tags |= tag << 2 * n
  }
  return tags
}

function setTagWord(cpu: Cpu, tags: number): void {
  let valid = 0
  for (let n = 0; n < 8; n++) if ((tags >> 2 * n & 3) !== 3) valid |= 1 << n
  cpu.views.u32[FTW >> 2] = valid
}

const realMode = (cpu: Cpu): boolean => !(cpu.views.u32[CR0 >> 2] & 1) || (cpu.getFlags() & 0x2_0000) !== 0

/** The environment in the layout of SDM vol. 1, figures 8-9 to 8-12: seven fields of `size` (2 or 4) bytes. */
function saveEnvironment(cpu: Cpu, size: number): Uint8Array {
  const { u32, u64 } = cpu.views
  const [ip, dp] = [Number(u64[FIP >> 3] & 0xffff_ffffn), Number(u64[FDP >> 3] & 0xffff_ffffn)]
  const opcode = u32[FOP >> 2] & 0x7ff
  const fill = size === 4 ? 0xffff_0000 : 0
  const fields = [fill | u32[FCW >> 2], fill | u32[FSW >> 2], fill | tagWord(cpu)]
  if (!realMode(cpu)) {
    fields.push(ip, size === 4 ? u32[FCS >> 2] & 0xffff | opcode << 16 : u32[FCS >> 2], dp, fill | u32[FDS >> 2])
  } else {
    // Real mode stores linear addresses in two parts; the opcode shares a field with the upper part of FIP.
    const linear = u32[FCS >> 2] * 16 + ip
    const data = u32[FDS >> 2] * 16 + dp
    if (size === 4) fields.push(fill | linear & 0xffff, (linear >>> 16) << 12 | opcode, fill | data & 0xffff,
      (data >>> 16) << 12)
    else fields.push(linear, linear >>> 4 & 0xf000 | opcode, data, data >>> 4 & 0xf000)
  }
  const bytes = new Uint8Array(7 * size)
  const view = new DataView(bytes.buffer)
  fields.forEach((value, i) => size === 4 ? view.setUint32(4 * i, value, true) : view.setUint16(2 * i, value, true))
  return bytes
}

function loadEnvironment(cpu: Cpu, bytes: Uint8Array, size: number): void {
  const { u32, u64 } = cpu.views
  const view = new DataView(bytes.buffer)
  const field = (i: number): number => size === 4 ? view.getUint32(4 * i, true) : view.getUint16(2 * i, true)
  u32[FCW >> 2] = field(0) & FCW_MASK | FCW_ONES
  u32[FSW >> 2] = field(1) & 0xffff
  setTagWord(cpu, field(2))
  if (!realMode(cpu)) {
    u64[FIP >> 3] = BigInt(field(3))
    u32[FCS >> 2] = keepsSelectors(cpu) ? field(4) & 0xffff : 0
    // The format of 16 bits has no opcode.
    u32[FOP >> 2] = size === 4 ? field(4) >>> 16 & 0x7ff : 0
    u64[FDP >> 3] = BigInt(field(5))
    u32[FDS >> 2] = keepsSelectors(cpu) ? field(6) & 0xffff : 0
  } else {
    const upper = (value: number): number => size === 4 ? (value >>> 12 & 0xffff) << 16 : (value & 0xf000) << 4
    u64[FIP >> 3] = BigInt(((field(3) & 0xffff) | upper(field(4))) >>> 0)
    u32[FOP >> 2] = field(4) & 0x7ff
    u64[FDP >> 3] = BigInt(((field(5) & 0xffff) | upper(field(6))) >>> 0)
    u32[FCS >> 2] = u32[FDS >> 2] = 0
  }
  updateSummary(cpu)
}

/** Parts of an environment and of a whole state: fields as wide as the operand size, then registers. */
const ENVIRONMENT = { 2: new Array<number>(7).fill(2), 4: new Array<number>(7).fill(4) }
const REGISTERS = new Array<number[]>(8).fill([8, 2]).flat()
const environmentParts = (insn: Insn): number[] => ENVIRONMENT[insn.size as 2 | 4]
const stateParts = (insn: Insn): number[] => [...environmentParts(insn), ...REGISTERS]

function load(cpu: Cpu, insn: Insn, into: Uint8Array, parts: number[], loaded?: (end: number) => void): void {
  beginArea(cpu, insn, insn.size, false)
  loadArea(cpu, insn, into, parts, loaded)
}

function store(cpu: Cpu, insn: Insn, bytes: Uint8Array, parts: number[]): void {
  beginArea(cpu, insn, insn.size, true)
  storeArea(cpu, insn, bytes, parts)
}

/** FNSTENV: also masks all exceptions. */
const fnstenv: Meaning = (cpu, insn) => {
  checkX87(cpu, false)
  store(cpu, insn, saveEnvironment(cpu, insn.size), environmentParts(insn))
  cpu.views.u32[FCW >> 2] |= 0x3f
  updateSummary(cpu)
}

/**
 * FLDENV. Where its offsets wrap, the status and the tag word are taken as they are read: they stay when a later field
 * faults (observed on Intel's processors).
 */
const fldenv: Meaning = (cpu, insn) => {
  checkX87(cpu, true)
  const { size } = insn
  const bytes = new Uint8Array(7 * size)
  const view = new DataView(bytes.buffer)
  load(cpu, insn, bytes, environmentParts(insn), (end) => {
    if (end === 2 * size) {
      cpu.views.u32[FSW >> 2] = view.getUint16(size, true)
      updateSummary(cpu)
    } else if (end === 3 * size) setTagWord(cpu, view.getUint16(2 * size, true))
  })
  loadEnvironment(cpu, bytes, size)
}

/** FNSAVE: the environment, then ST(0)–ST(7) of ten bytes each, then FNINIT. */
const fnsave: Meaning = (cpu, insn) => {
  checkX87(cpu, false)
  const start = 7 * insn.size
  const bytes = new Uint8Array(start + 80)
  bytes.set(saveEnvironment(cpu, insn.size))
  for (let i = 0; i < 8; i++) {
    const at = FPR + 16 * physical(cpu, i)
    bytes.set(cpu.views.u8.subarray(at, at + 10), start + 10 * i)
  }
  store(cpu, insn, bytes, stateParts(insn))
  initialise(cpu)
}

const frstor: Meaning = (cpu, insn) => {
  checkX87(cpu, true)
  const start = 7 * insn.size
  const bytes = new Uint8Array(start + 80)
  load(cpu, insn, bytes, stateParts(insn))
  loadEnvironment(cpu, bytes.slice(0, start), insn.size)
  for (let i = 0; i < 8; i++) cpu.views.u8.set(bytes.subarray(start + 10 * i, start + 10 * i + 10),
    FPR + 16 * physical(cpu, i))
}

const fwait: Meaning = (cpu: Cpu, _insn: Insn) => checkWait(cpu)

export const x87ControlMeanings: Record<string, Meaning> = {
  fninit, fnclex, fldcw, fnstcw, fnstsw, fnstenv, fldenv, fnsave, frstor, fwait,
}
