/** Cases: one instruction, or a few of them, with registers, flags and memory that make their addresses meaningful. */
import { CASE, CODE_AT, CODE_MAX, DATA_END, DATA_PAGE, STATE, type Batch } from '@cofferdam/oracle'
import { createInsn, decode, DECODED, MODE64 } from '@cofferdam/x86'
import { encode, type Encoded, type EncodeOptions, type MemoryPlan } from './encode.ts'
import { OPERAND } from './inside.ts'
import type { FuzzLine, Group } from './lines.ts'
import type { Pool } from './pool.ts'

const RCX = 1
const RBX = 3
const RSP = 4
const RBP = 5
const RSI = 6
const RDI = 7
/** In sequences these hold addresses, and R14 a small index; nothing writes to them. */
const BASES = [RBX, 12, 13]
const INDEX = 14
const single: EncodeOptions = { bases: [], indexes: [], keep: new Set() }
const sequence: EncodeOptions = { bases: [...BASES, RSP], indexes: [INDEX], keep: new Set([...BASES, INDEX, RSP]) }

export interface Generator {
  /** Writes record `index` of `batch`; answers the lines it uses. */
  make(batch: Batch, index: number): FuzzLine[]
  /** Encodings that our decoder did not take back. */
  readonly rejected: Map<string, number>
}

export interface GeneratorOptions {
  readonly lines: readonly FuzzLine[]
  readonly pool: Pool
  /** Longest sequence. */
  readonly longest?: number
}

/** RET leaves the bytes; what follows a transcendental function would see that its last place is free. */
const ALONE = new Set('ret f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos'.split(' '))
/** Under TF, PUSHF shows TF and gathers may stop half-way (SDM vol. 2, VGATHERDPS). */
const steps = ({ line, group }: FuzzLine): boolean => line.name !== 'pushf' && group !== 'gather'

export function createGenerator({ lines, pool, longest = 6 }: GeneratorOptions): Generator {
  const { random } = pool
  const rejected = new Map<string, number>()
  const of = (...groups: Group[]): FuzzLine[] => lines.filter(({ group }) => groups.includes(group))
  const integer = of('integer', 'flags', 'bmi')
  const flags = lines.filter(({ line }) => line.name === 'jcc' || line.name === 'setcc' || line.name === 'cmovcc' || line.name === 'adc' || line.name === 'sbb')
  const straight = lines.filter(({ line }) => !ALONE.has(line.name))
  const insn = createInsn()
  const padded = new Uint8Array(32)

  const draw = (length: number): FuzzLine => {
    if (length === 1) return random.pick(lines)
    const choice = random.below(10)
    const from = choice < 5 && integer.length > 0 ? integer : choice < 8 && flags.length > 0 ? flags : straight
    return random.pick(from)
  }

  /** One instruction that our decoder takes for what it should be. */
  const instruction = (from: FuzzLine, options: EncodeOptions): Encoded | null => {
    for (let tries = 0; tries < 4; tries++) {
      const made = encode(random, from.line, options)
      padded.fill(0)
      if (made.bytes.length > 15) continue
      padded.set(made.bytes)
      decode(padded, 0, 32, MODE64, insn)
      if (insn.status === DECODED && insn.len === made.bytes.length) return made
      rejected.set(from.line.text, (rejected.get(from.line.text) ?? 0) + 1)
    }
    return null
  }

  const indirect = (made: Encoded): boolean =>
    made.line.name === 'ret' || ((made.line.name === 'jmp' || made.line.name === 'call') && made.relAt < 0)

  return {
    rejected,
    make(batch, index) {
      fillState(pool, batch, index)
      const wanted = longest === 1 || random.below(2) === 0 ? 1 : 2 + random.below(longest - 1)
      const used: FuzzLine[] = []
      const code: Encoded[] = []
      let length = 0
      while (code.length < wanted) {
        const from = draw(wanted)
        const made = instruction(from, wanted === 1 ? single : sequence)
        if (made === null) continue
        if (wanted > 1 && indirect(made)) continue
        if (length + made.bytes.length > CODE_MAX) break
        length += made.bytes.length
        code.push(made)
        used.push(from)
      }
      const step = wanted === 1 && (indirect(code[0]) || (steps(used[0]) && code[0].rep === 0 && random.below(16) === 0))
      place(pool, batch, index, code, wanted === 1)
      // Whether masked bytes fault is the processor's to choose (SDM vol. 2, MASKMOVDQU): none lie outside.
      if (used.some(({ line }) => line.name.includes('maskmov'))) {
        batch.u64[((batch.at(index) + STATE.GPR) >> 3) + RDI] = BigInt(batch.windowAt + random.below(batch.window - 15))
      }
      const bytes = link(pool, code, step)
      batch.setCode(index, bytes, step ? CASE.STEP : 0)
      return used
    },
  }
}

/** Fills registers and memory with awkward values; RSP, RSI and RDI point into the window. */
function fillState(pool: Pool, batch: Batch, index: number): void {
  const { random } = pool
  const at = batch.at(index)
  const gpr = (at + STATE.GPR) >> 3
  for (let r = 0; r < 16; r++) batch.u64[gpr + r] = pool.integer()
  const place = (): bigint => BigInt(batch.windowAt + random.below(batch.window - (random.below(8) === 0 ? 0 : 16)))
  batch.u64[gpr + RSP] = place() & (random.below(8) === 0 ? -1n : -8n)
  if (random.below(8) !== 0) {
    batch.u64[gpr + RSI] = place()
    batch.u64[gpr + RDI] = place()
    batch.u64[gpr + RBP] = place()
  }
  if (random.below(2) === 0) batch.u64[gpr + RCX] = BigInt(random.below(80))
  const df = random.below(8) === 0 ? 0x400 : 0
  batch.u64[(at + STATE.RFLAGS) >> 3] = BigInt(random.u32() & 0x8d5 | 0x202 | df)
  batch.u64[(at + STATE.FS_BASE) >> 3] = segmentBase(pool)
  batch.u64[(at + STATE.GS_BASE) >> 3] = segmentBase(pool)
  batch.u32[(at + STATE.MXCSR) >> 2] = 0x1f80
  batch.u16[(at + STATE.FCW) >> 1] = 0x37f
  batch.u16[(at + STATE.FSW) >> 1] = random.below(2) === 0 ? 0 : random.below(8) << 11
  batch.u16[(at + STATE.FTW) >> 1] = random.below(2) === 0 ? 0 : random.below(256)
  pool.fill(batch.u8.subarray(at + STATE.YMM, at + STATE.YMM + 512))
  for (let i = 0; i < 8; i++) pool.extended(batch.u8.subarray(at + STATE.ST + 16 * i, at + STATE.ST + 16 * i + 16))
  pool.fill(batch.windowOf(index))
}

/** FS and GS bases are canonical. */
function segmentBase({ random }: Pool): bigint {
  switch (random.below(4)) {
    case 0: return 0n
    case 1: return BigInt(random.below(0x2000_0000))
    case 2: return BigInt(DATA_PAGE + random.below(4096))
    default: return BigInt.asUintN(64, BigInt.asIntN(47, BigInt(random.u32()) << 16n) & 0x7fff_ffff_ffffn)
  }
}

/** Where a memory operand goes. */
function target(pool: Pool, batch: Batch): bigint {
  const { random } = pool
  const choice = random.below(100)
  if (choice < 55) return BigInt(batch.windowAt + random.below(batch.window / 32) * 32)
  if (choice < 85) return BigInt(batch.windowAt + random.below(batch.window - 31))
  if (choice < 93) return BigInt(DATA_END - 1 - random.below(34))
  if (choice < 96) return BigInt(DATA_PAGE - random.below(34))
  return pool.integer()
}

/** Gives registers and displacements values so that memory operands are where they should be. */
function place(pool: Pool, batch: Batch, index: number, code: readonly Encoded[], alone: boolean): void {
  const { random } = pool
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  if (!alone) {
    for (const r of BASES) batch.u64[gpr + r] = BigInt(batch.windowAt + (batch.window >> 1) + random.below(16) * (random.below(4) === 0 ? 1 : 8))
    batch.u64[gpr + INDEX] = BigInt(random.below(9) - 4)
  }
  for (const made of code) {
    const { memory } = made
    if (memory === null || memory.ripRelative) continue
    if (alone && memory.base >= 0) solveBase(pool, batch, index, made, memory)
    else if (made.dispAt >= 0) solveDisplacement(pool, batch, index, made, memory)
    if (made.line.text.includes(' vsib')) smallIndices(pool, batch, index, memory)
  }
}

const writeBytes = (made: Encoded, at: number, size: number, value: bigint): void => {
  for (let i = 0; i < size; i++) made.bytes[at + i] = Number(BigInt.asUintN(8, value >> BigInt(8 * i)))
}

const segmentOf = (batch: Batch, index: number, memory: MemoryPlan): bigint =>
  memory.segment < 0 ? 0n : batch.u64[(batch.at(index) + (memory.segment === 4 ? STATE.FS_BASE : STATE.GS_BASE)) >> 3]

const isVsib = (made: Encoded): boolean => made.line.text.includes(' vsib')

/** Chooses a displacement and sets the base register. */
function solveBase(pool: Pool, batch: Batch, index: number, made: Encoded, memory: MemoryPlan): void {
  const { random } = pool
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  const at = target(pool, batch) - segmentOf(batch, index, memory)
  let disp = 0n
  if (made.dispAt >= 0) {
    disp = made.dispSize === 1 ? BigInt(random.below(256) - 128) : BigInt(random.u32() | 0)
    writeBytes(made, made.dispAt, made.dispSize, disp)
  }
  const scaled = memory.index < 0 || isVsib(made) ? 0n : batch.u64[gpr + memory.index] << BigInt(memory.scale)
  if (memory.index === memory.base && !isVsib(made)) {
    batch.u64[gpr + memory.base] = BigInt.asUintN(64, (at - disp) / (1n + (1n << BigInt(memory.scale))))
    return
  }
  let value = BigInt.asUintN(64, at - disp - scaled)
  if (memory.addressSize === 4) value = BigInt.asUintN(32, value) | BigInt(random.u32()) << 32n
  batch.u64[gpr + memory.base] = value
}

/** Registers are what they are: the displacement brings the operand near the window if it can. */
function solveDisplacement(pool: Pool, batch: Batch, index: number, made: Encoded, memory: MemoryPlan): void {
  const { random } = pool
  const gpr = (batch.at(index) + STATE.GPR) >> 3
  const at = target(pool, batch) - segmentOf(batch, index, memory)
  if (memory.base < 0 && memory.index >= 0 && !isVsib(made) && made.dispSize === 4 && random.below(4) !== 0) {
    // [index+disp32]: the index can be anything when it is alone.
    const disp = BigInt(random.u32() | 0)
    writeBytes(made, made.dispAt, 4, disp)
    const rest = at - disp & ~((1n << BigInt(memory.scale)) - 1n)
    batch.u64[gpr + memory.index] = BigInt.asUintN(64, rest >> BigInt(memory.scale))
    return
  }
  const base = memory.base < 0 ? 0n : batch.u64[gpr + memory.base]
  const scaled = memory.index < 0 || isVsib(made) ? 0n : batch.u64[gpr + memory.index] << BigInt(memory.scale)
  const disp = made.dispSize === 1 ? BigInt(random.below(256) - 128) : at - base - scaled
  writeBytes(made, made.dispAt, made.dispSize, disp)
}

/** Gathers: the elements of the index register are small. */
function smallIndices({ random }: Pool, batch: Batch, index: number, memory: MemoryPlan): void {
  const at = (batch.at(index) + STATE.YMM + 32 * memory.index) >> 2
  const wide = random.below(2) === 0
  for (let i = 0; i < 8; i++) batch.u32[at + i] = wide && (i & 1) === 1 ? 0 : random.below(16)
}

/** RIP-relative displacements and branch distances need the instructions' places. */
function link(pool: Pool, code: readonly Encoded[], step: boolean): number[] {
  const { random } = pool
  const starts: number[] = []
  let length = 0
  for (const made of code) {
    starts.push(length)
    length += made.bytes.length
  }
  starts.push(length)
  code.forEach((made, i) => {
    if (made.memory?.ripRelative === true) {
      const to = DATA_END - 256 + random.below(random.below(8) === 0 ? 256 : 225)
      writeBytes(made, made.dispAt, 4, BigInt(to - CODE_AT - starts[i + 1]))
    }
    if (made.relAt < 0) return
    const distance = step ? random.u32() | 0 : starts[i + 1 + random.below(starts.length - i - 1)] - starts[i + 1]
    writeBytes(made, made.relAt, made.relSize, BigInt(distance))
  })
  return code.flatMap((made) => made.bytes)
}

/** Whether a line has immediates that select what it does; kept for reports. */
export const hasImmediate = (from: FuzzLine): boolean => from.line.operands.some((code) => code >= OPERAND.IB)
