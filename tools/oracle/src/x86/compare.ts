/** Runs meanings and the real processor on the same random cases and reports where they differ. */
import { createBatch, type Batch } from '../batch.ts'
import { DATA_END, OUT, STATE } from '../layout.ts'
import type { Oracle } from '../oracle.ts'
import { awkwardF80, awkwardInt, createRandom, fillAwkward, type Random } from '../random.ts'
import type { Insn, Meaning } from './inside.ts'
import { createFlatCpu } from './flat-cpu.ts'
import { decodeAs, type Encoding } from './encodings.ts'

export interface CompareOptions {
  encodings: readonly Encoding[]
  meanings: Readonly<Record<string, Meaning>>
  /** Cases per encoding. */
  cases: number
  seed: number
  /** EFLAGS bits to compare. */
  flags?: number
  /** Prepares a record further. */
  prepare?(random: Random, batch: Batch, index: number, encoding: Encoding): void
  /** Makes differences that are allowed equal, in place (both records at the same index). */
  forgive?(real: Batch, ours: Batch, index: number, encoding: Encoding): void
}

/** One case: which encoding it has, and what the decoder makes of its bytes. */
interface Planned { encoding: Encoding, insn: Insn }

/** Differences, one line each, and how many cases ran. */
export interface Comparison { ran: number, differences: string[] }

function planCases(options: CompareOptions): { batch: Batch, plan: Planned[] } {
  const random = createRandom(options.seed)
  const batch = createBatch(options.encodings.length * options.cases)
  const plan: Planned[] = []
  for (const encoding of options.encodings) {
    for (let k = 0; k < options.cases; k++) plan.push(prepareCase(random, batch, plan.length, encoding, options))
  }
  return { batch, plan }
}

function meaningOf(options: CompareOptions, encoding: Encoding): Meaning {
  const meaning = options.meanings[encoding.name] as Meaning | undefined
  if (!meaning) throw new Error(`no meaning: ${encoding.line}`)
  return meaning
}

/** Runs every case both ways. At most `limit` differences are reported, two for an encoding. */
export function compare(oracle: Oracle & { available: true }, options: CompareOptions, limit = 20): Comparison {
  const { batch, plan } = planCases(options)
  const real = oracle.run(batch)
  const ours = createBatch(batch.count)
  const cpu = createFlatCpu()
  const differences: string[] = []
  const seen = new Map<string, number>()
  for (let i = 0; i < batch.count && differences.length < limit; i++) {
    const { encoding, insn } = plan[i]
    cpu.runRecord(meaningOf(options, encoding), insn, batch, i, ours)
    // Which signal the kernel made of an exception says less than the vector.
    real.u32[(real.at(i) + OUT.SIGNAL) >> 2] = real.u32[(real.at(i) + OUT.SIGNAL) >> 2] ? 11 : 0
    options.forgive?.(real, ours, i, encoding)
    const text = difference(batch, real, ours, i, options.flags ?? 0x8d5)
    if (text && (seen.get(encoding.line) ?? 0) < 2) {
      seen.set(encoding.line, (seen.get(encoding.line) ?? 0) + 1)
      differences.push(`${encoding.line} ${insn.vex ? `vex.${insn.size}` : ''}${encoding.memory ? ' m' : ''}: ${text}`)
    }
  }
  return { ran: batch.count, differences }
}

/** A hash (FNV-1a) of all that the meanings leave behind in the same cases: for machines without such a processor. */
export function fingerprint(options: CompareOptions): string {
  const { batch, plan } = planCases(options)
  const ours = createBatch(batch.count)
  const cpu = createFlatCpu()
  let hash = 0x811c9dc5
  plan.forEach(({ encoding, insn }, i) => {
    cpu.runRecord(meaningOf(options, encoding), insn, batch, i, ours)
    for (const byte of ours.recordOf(i)) hash = Math.imul(hash ^ byte, 0x01000193)
  })
  return (hash >>> 0).toString(16).padStart(8, '0')
}

function prepareCase(random: Random, batch: Batch, index: number, encoding: Encoding,
  options: CompareOptions): Planned {
  const at = batch.at(index)
  const vsib = encoding.line.includes(' vsib')
  for (let r = 0; r < 16; r++) {
    if (r !== 3 && r !== 4) batch.u64[(at + STATE.GPR) / 8 + r] = awkwardInt(random)
    fillAwkward(random, batch.u8.subarray(at + STATE.YMM + 32 * r, at + STATE.YMM + 32 * r + 32))
  }
  const choice = random.below(16)
  const size = 32
  // Mostly aligned; sometimes not, sometimes over the end of memory.
  const place = choice === 0 ? batch.window - random.below(40) : choice < 4 ? random.below(64) : size * random.below(3)
  const disp = random.below(100) - 50
  batch.u64[(at + STATE.GPR) / 8 + 3] = BigInt(batch.windowAt + place - disp)
  batch.u64[(at + STATE.RFLAGS) / 8] = BigInt(random.u32() & 0x8d5 | 0x202)
  batch.u32[(at + STATE.MXCSR) / 4] = awkwardMxcsr(random)
  fillAwkward(random, batch.windowOf(index))
  fillX87(random, batch, at)
  const reg = random.below(16)
  let rm = random.below(16)
  let vvvv = random.below(16)
  if (vsib) {
    rm = (reg + 1 + random.below(15)) & 15
    if (rm === 4) rm = 5 === reg ? 6 : 5
    do vvvv = random.below(16); while (vvvv === reg || vvvv === rm)
    for (let i = 0; i < 32; i++) batch.u8[at + STATE.YMM + 32 * rm + i] = i % (random.below(2) ? 4 : 8) ? 0
      : random.below(12)
    if (random.below(2)) {
      for (let i = 0; i < 4; i++) batch.u64[(at + STATE.YMM + 32 * rm) / 8 + i] = BigInt(random.below(12))
    }
  }
  const imm = random.below(3) ? random.below(256) : random.below(40)
  const bytes = encoding.bytes(reg, rm, vvvv, imm, disp)
  const insn = decodeAs(encoding.name, bytes)
  if (!insn) throw new Error(`does not decode: ${encoding.line} ${bytes.map(b => b.toString(16)).join(' ')}`)
  batch.setCode(index, bytes)
  options.prepare?.(random, batch, index, encoding)
  return { encoding, insn }
}

/** Mostly all masked; any rounding; DAZ and FTZ at times; flags set before at times. */
function awkwardMxcsr(random: Random): number {
  const masks = random.below(6) ? 0x1f80 : random.u32() & 0x1f80
  const flags = random.below(3) ? 0 : random.u32() & 0x3f
  const flush = random.below(4) ? 0 : random.u32() & 0x8040
  return masks | flags | flush | (random.below(2) ? 0 : random.u32() & 0x6000)
}

function fillX87(random: Random, batch: Batch, at: number): void {
  const full = random.below(4)
  const control = random.below(3) ? 0x37f : random.u32() & 0xf3f | 0x40 | (random.below(3) ? 0x3f : 0)
  const pending = random.u32() & 0x4700 | (random.below(3) ? 0 : random.u32() & 0x7f & control)
  const top = random.below(8)
  batch.u16[(at + STATE.FCW) / 2] = control
  batch.u16[(at + STATE.FSW) / 2] = top << 11 | pending
  batch.u16[(at + STATE.FTW) / 2] = full === 0 ? 0 : full === 1 ? random.below(256) : 0xff
  for (let i = 0; i < 8; i++) {
    const { exponent, significand } = awkwardF80(random)
    batch.u64[(at + STATE.ST) / 8 + 2 * i] = significand
    batch.u16[(at + STATE.ST) / 2 + 8 * i + 4] = exponent
  }
}

const FIELDS: [string, number, number][] = [['signal', OUT.SIGNAL, 4], ['vector', OUT.VECTOR, 4]]
for (let i = 0; i < 16; i++) FIELDS.push([`r${i}`, STATE.GPR + 8 * i, 8])
FIELDS.push(['mxcsr', STATE.MXCSR, 4], ['fcw', STATE.FCW, 2], ['fsw', STATE.FSW, 2], ['ftw', STATE.FTW, 2],
  ['fop', STATE.FOP, 2], ['fip', STATE.FIP, 8], ['fdp', STATE.FDP, 8])
for (let i = 0; i < 8; i++) FIELDS.push([`st${i}`, STATE.ST + 16 * i, 10])
for (let i = 0; i < 16; i++) FIELDS.push([`ymm${i}`, STATE.YMM + 32 * i, 32])

const hex = (bytes: Uint8Array): string => [...bytes].reverse().map(b => b.toString(16).padStart(2, '0')).join('')

function difference(before: Batch, real: Batch, ours: Batch, index: number, flagMask: number): string {
  const at = real.at(index)
  const parts: string[] = []
  for (const [name, offset, size] of FIELDS) {
    const is = (batch: Batch): string => hex(batch.u8.subarray(at + offset, at + offset + size))
    const was = offset < 64 ? '' : ` (was ${is(before)})`
    if (is(real) !== is(ours)) parts.push(`${name} is ${is(ours)} not ${is(real)}${was}`)
  }
  const flags = (batch: Batch): number => batch.u32[(at + STATE.RFLAGS) >> 2] & flagMask
  if (flags(real) !== flags(ours)) parts.push(`flags are ${flags(ours).toString(16)} not ${flags(real).toString(16)}`)
  const [w, v] = [hex(real.windowOf(index)), hex(ours.windowOf(index))]
  if (w !== v) parts.push(`window is ${v} not ${w}`)
  if (!parts.length) return ''
  const code = [...before.u8.subarray(at + 16, at + 16 + before.u32[at >> 2])].map(b => b.toString(16).padStart(2,
    '0')).join('')
  return `${code}: ${parts.join('; ')}${process.env.VERBOSE ? describeState(before, index) : ''}`
}

/** The vector and x87 state of a case, for a closer look. */
function describeState(batch: Batch, index: number): string {
  const at = batch.at(index)
  const bytes = (from: number, size: number): string => hex(batch.u8.subarray(from, from + size))
  const registers = (from: number, count: number, step: number, size: number): string =>
    Array.from({ length: count }, (_, i) => `${i}:${bytes(from + step * i, size)}`).join(' ')
  const mxcsr = batch.u32[(at + STATE.MXCSR) >> 2].toString(16)
  const fcw = batch.u16[(at + STATE.FCW) >> 1].toString(16)
  const rbx = batch.u64[(at + STATE.GPR) / 8 + 3] - BigInt(DATA_END)
  return ` [mxcsr ${mxcsr} fcw ${fcw} st ${registers(at + STATE.ST, 8, 16, 10)}`
    + ` ymm ${registers(at + STATE.YMM, 16, 32, 32)} window ${hex(batch.windowOf(index))} rbx end${rbx}]`
}
