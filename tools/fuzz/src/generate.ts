/** Cases: one instruction, or a few of them, with registers, flags and memory that make their addresses meaningful. */
import { CASE, CODE_MAX, EDGE, SELECTOR, STATE, type Batch } from '@cofferdam/oracle'
import { createInsn, decode, DECODED, MODE16, MODE32, MODE64, type CodeWidth } from '@cofferdam/x86'
import { encode, writeBytes, type Encoded, type EncodeOptions, type Mode } from './encode.ts'
import type { FuzzLine, Group } from './lines.ts'
import { placeOperands } from './operands.ts'
import { slotAt } from './places.ts'
import type { Pool } from './pool.ts'
import { prepareSpecial } from './special.ts'
import { COUNTER64, fillState, keptRegisters, REGISTER, SEGMENT, selectorOf } from './state.ts'

const single = (mode: Mode): EncodeOptions => ({ mode, bases: [], indexes: [], keep: new Set() })
const sequence = (mode: Mode): EncodeOptions => {
  const { bases, index } = keptRegisters(mode)
  const keep = new Set([...bases, index, REGISTER.RSP, ...(mode === 64 ? [COUNTER64] : [])])
  return { mode, bases: mode === 16 ? bases : [...bases, REGISTER.RSP], indexes: [index], keep }
}

export interface Generator {
  /** Writes record `index` of `batch`; answers what it uses. */
  make(batch: Batch, index: number): Used[]
  /** Encodings that our decoder did not take back. */
  readonly rejected: Map<string, number>
}

/** One instruction of a case, for the coverage table. */
export interface Used extends FuzzLine {
  readonly mode: Mode
  readonly memory: boolean
  /** Operand size in bytes, or with VEX the length bit. */
  readonly size: number
}

export interface GeneratorOptions {
  readonly mode: Mode
  readonly lines: readonly FuzzLine[]
  readonly pool: Pool
  /** Longest sequence. */
  readonly longest: number
  /** Lines that no sequence may have, besides those that none has. */
  readonly alone: (line: FuzzLine) => boolean
}

/**
 * Leave the bytes, change what later addresses depend on, or (transcendental functions, see compare.ts) leave a last
 * place free that a later instruction would see.
 */
const ALONE = new Set(`f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos popf maskmovq maskmovdqu enter leave popa
  wrfsbase wrgsbase`.split(/\s+/))
const ALONE_GROUPS = new Set<Group>(['far', 'segment', 'privileged', 'state'])
/**
 * Under TF, PUSHF shows TF, gathers may stop half-way (SDM vol. 2, VGATHERDPS), and a load of SS holds the trap off.
 */
const steps = ({ line, group }: FuzzLine): boolean => !line.name.startsWith('pushf') && group !== 'gather'
  && group !== 'string' && group !== 'segment' && line.name !== 'int1'

const WIDTHS: Readonly<Record<Mode, CodeWidth>> = { 16: MODE16, 32: MODE32, 64: MODE64 }

export function createGenerator({ mode, lines, pool, longest, alone: other }: GeneratorOptions): Generator {
  const { random } = pool
  const rejected = new Map<string, number>()
  const straight = lines.filter((from) => !ALONE.has(from.line.name) && !ALONE_GROUPS.has(from.group) && !other(from))
  const of = (...groups: Group[]): FuzzLine[] => straight.filter(({ group }) => groups.includes(group))
  const integer = of('integer', 'bmi')
  const flags = straight.filter(
    ({ line }) => ['jcc', 'setcc', 'cmovcc', 'adc', 'sbb', 'rcl', 'rcr'].includes(line.name)
  )
  const loops = lines.filter(({ line }) => line.name === 'jcc' && line.text.includes('Jb'))
  const counters = lines.filter(({ line }) => line.text.startsWith('ff /1'))
  const insn = createInsn()
  const padded = new Uint8Array(32)
  const [alone, kept] = [single(mode), sequence(mode)]
  /** Ends of pages that the batch has used. */
  let edges = 0

  const drawSequence = (): FuzzLine | null => {
    const choice = random.below(10)
    const from = choice < 4 && integer.length > 0 ? integer : choice < 7 && flags.length > 0 ? flags : straight
    return from.length === 0 ? null : random.pick(from)
  }

  /** One instruction that our decoder takes for what it should be. */
  const instruction = (from: FuzzLine, options: EncodeOptions): Encoded | null => {
    for (let tries = 0; tries < 4; tries++) {
      const made = encode(random, from.line, options)
      if (made.bytes.length > 15) continue
      padded.fill(0)
      padded.set(made.bytes)
      decode(padded, 0, 32, WIDTHS[mode], insn)
      if (insn.status === DECODED && insn.len === made.bytes.length) return made
      rejected.set(from.line.text, (rejected.get(from.line.text) ?? 0) + 1)
    }
    return null
  }

  const isIndirect = ({ line, relAt }: Encoded): boolean =>
    line.name === 'ret' || ((line.name === 'jmp' || line.name === 'call') && relAt < 0)

  const leavesCode = ({ relAt, operandSize }: Encoded): boolean => relAt >= 0 && operandSize === 2 && mode === 32

  const useOf = (from: FuzzLine, made: Encoded): Used =>
    ({ ...from, mode, memory: made.memory !== null, size: made.line.space >= 4 ? made.length : made.operandSize })

  /** Some instructions, one after the other; branches lead forward, but for a loop's. */
  const makeSequence = (): { code: Encoded[]; used: Used[] } | null => {
    const wanted = 2 + random.below(longest - 1)
    const code: Encoded[] = []
    const used: Used[] = []
    let length = 0
    const add = (from: FuzzLine | null): void => {
      if (from === null) return
      const made = instruction(from, kept)
      if (made === null || isIndirect(made) || leavesCode(made) || length + made.bytes.length > CODE_MAX) return
      length += made.bytes.length
      code.push(made)
      used.push(useOf(from, made))
    }
    for (let tries = 0; tries < 2 * wanted && code.length < wanted; tries++) add(drawSequence())
    return code.length === 0 ? null : { code, used }
  }

  /** DEC of the counter and a branch back to the first instruction that is not zero: up to four times. */
  const closeLoop = (batch: Batch, index: number, code: Encoded[], used: Used[]): void => {
    const total = code.reduce((sum, { bytes }) => sum + bytes.length, 0)
    if (mode !== 64 || counters.length === 0 || loops.length === 0 || total > CODE_MAX - 6 || random.below(8) !== 0) {
      return
    }
    if (code.some(({ line }) => line.name.startsWith('std') || line.name === 'loop')) return
    batch.u64[((batch.at(index) + STATE.GPR) >> 3) + COUNTER64] = BigInt(1 + random.below(4))
    const [decrement, branch] = [counters[0], loops[0]]
    code.push({ ...fixed(decrement, [0x49, 0xff, 0xcf]), operandSize: 8 })
    code.push({ ...fixed(branch, [0x75, -(total + 5) & 0xff]), closes: true })
    used.push({ ...decrement, mode, memory: false, size: 8 }, { ...branch, mode, memory: false, size: 4 })
  }

  const fixed = (from: FuzzLine, bytes: number[]): Encoded => ({
    bytes, line: from.line, memory: null, dispAt: -1, dispSize: 0, relAt: -1, relSize: 0, farAt: -1, operandSize: 4,
    addressSize: 8, length: 0, lock: false, rep: 0,
  })

  const makeOne = (batch: Batch, index: number, codeAt: number): Used[] => {
    for (;;) {
      const from = random.pick(lines)
      const made = instruction(from, alone)
      if (made === null) continue
      placeOperands(pool, batch, index, [made], { mode, alone: true })
      const special = prepareSpecial({ pool, batch, index, mode, made, codeAt })
      if (special === 'unfit') {
        fillState(pool, batch, index, mode, codeAt)
        continue
      }
      // Branches of 16 bits out of 32-bit code leave the bytes.
      const far = special === 'step' || isIndirect(made) || leavesCode(made)
      const step = far || (steps(from) && made.rep === 0 && random.below(32) === 0)
      const bytes = link(pool, [made], codeAt, step)
      const flag = step ? CASE.STEP : 0
      // An operand relative to RIP, and code segments that do not begin at 0, want their place.
      const flat = [SELECTOR.CODE32, SELECTOR.CODE64].some((one) => one === selectorOf(batch, index, SEGMENT.CS))
      const movable = flat && edges < EDGE.COUNT && made.memory?.ripRelative !== true && !far && made.relAt < 0
      if (!movable || random.below(48) !== 0) batch.setCode(index, bytes, flag, codeAt)
      else {
        // Ends where the page does; some are not even complete.
        if (random.below(3) === 0) bytes.length = random.below(bytes.length) + 1
        batch.setCode(index, bytes, flag | CASE.PAGE_END, EDGE.AT + edges++ * EDGE.STEP + 4096 - bytes.length)
      }
      return [useOf(from, made)]
    }
  }

  return {
    rejected,
    make(batch, index) {
      if (index === 0) edges = 0
      const codeAt = slotAt(index)
      fillState(pool, batch, index, mode, codeAt)
      const made = longest > 1 && random.below(2) === 0 ? makeSequence() : null
      if (made === null) return makeOne(batch, index, codeAt)
      const { code, used } = made
      closeLoop(batch, index, code, used)
      placeOperands(pool, batch, index, code, { mode, alone: false })
      batch.setCode(index, link(pool, code, codeAt, false), 0, codeAt)
      return used
    },
  }
}

/** RIP-relative displacements and branch distances need the instructions' places. */
function link(pool: Pool, code: readonly Encoded[], codeAt: number, step: boolean): number[] {
  const { random } = pool
  const starts: number[] = []
  let length = 0
  for (const { bytes } of code) {
    starts.push(length)
    length += bytes.length
  }
  starts.push(length)
  code.forEach((made, i) => {
    if (made.memory?.ripRelative === true && made.target !== undefined) {
      writeBytes(made, made.dispAt, 4, made.target - codeAt - starts[i + 1])
    }
    if (made.relAt < 0) return
    // Not past the DEC of a loop.
    const last = Math.max(i + 1, code[code.length - 1].closes === true ? code.length - 2 : code.length)
    const distance = step ? random.u32() | 0 : starts[i + 1 + random.below(last - i)] - starts[i + 1]
    writeBytes(made, made.relAt, made.relSize, distance)
  })
  return code.flatMap(({ bytes }) => bytes)
}
