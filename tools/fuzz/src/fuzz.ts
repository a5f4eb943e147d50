/** Runs cases on the processor and on ours in every engine, and collects what differs. */
import { createBatch, type Batch, type Oracle } from '@cofferdam/oracle'
import { createBox, type Box } from './box.ts'
import { differences, identical, isForeign, same } from './compare.ts'
import { createCoverage, type Coverage } from './coverage.ts'
import { disassemble, stateText } from './describe.ts'
import type { Mode } from './encode.ts'
import { createGenerator, type Used } from './generate.ts'
import { formName } from './inside.ts'
import { fuzzLines, type FuzzLine } from './lines.ts'
import { leaveOf, leavesFlagsOpen } from './open.ts'
import { PIECES, SLOTS, TABLE } from './places.ts'
import { createPool, type Pool } from './pool.ts'

/** How a case can run on our side. */
export type Engine = 'cold' | 'jit' | 'hot'

export interface FuzzOptions {
  readonly cases: number
  readonly seed: number
  /** Mnemonics. */
  readonly only?: RegExp | undefined
  readonly longest?: number
  readonly modes?: readonly Mode[]
  readonly engines?: readonly Engine[]
  /** One of so many cases is compiled, others for other seeds: compiling takes the most time. 1: all. */
  readonly share?: number
  /** Differences to describe. */
  readonly shown?: number
  /** Cases of one batch (at most 8192), and batches with the same choice of instructions. */
  readonly batch?: number
  readonly batches?: number
  /** Whether flags that the manuals leave undefined are compared: on the kind of processor that ours follows. */
  readonly exact?: boolean
  /** Asked after every batch whether to stop. */
  readonly until?: () => boolean
  /** Told after every batch. */
  readonly onBatch?: ((result: FuzzResult) => void) | undefined
}

export interface Found {
  readonly what: 'processor' | 'jit' | 'hot' | 'crash'
  readonly mode: Mode
  readonly text: string
  /** The record, to make it smaller and to keep it. */
  readonly record: Uint8Array
  readonly used: readonly Used[]
}

export interface FuzzResult {
  ran: number
  /** Cases whose answers differ from the processor's, and between our engines. */
  different: number
  /** Runs by engine. */
  readonly runs: Record<Engine, number>
  readonly found: Found[]
  readonly coverage: Coverage
  readonly rejected: Map<string, number>
}

export type AvailableOracle = Oracle & { available: true }

/** Batches of cases for a choice of instructions; compiling what they need is shared by them. */
const MODE_CYCLE: readonly Mode[] = [64, 32, 64, 16, 64]
/** Lines of one choice, besides those that look at flags. */
const CHOSEN = 120
const FORMS_MOST = 7000
/** Handlers that a dispatch function may have here: it is written by a recursion that is as deep. */
const HOT_MOST = 1500

export const caseBatch = (count: number): Batch => createBatch(count, { pieces: PIECES, table: TABLE })

interface Session {
  readonly oracle: AvailableOracle
  readonly options: FuzzOptions
  readonly result: FuzzResult
  readonly pool: Pool
  readonly batch: Batch
  readonly real: Batch
  readonly ours: Batch
  readonly again: Batch
  /** Runs cold and compiled code. */
  cold: Box
  readonly described: Map<string, number>
}

export function fuzz(oracle: AvailableOracle, options: FuzzOptions): FuzzResult {
  const count = Math.min(options.batch ?? 4096, SLOTS)
  const result: FuzzResult = {
    ran: 0, different: 0, runs: { cold: 0, jit: 0, hot: 0 }, found: [], coverage: createCoverage(), rejected: new Map(),
  }
  const session: Session = {
    oracle, options, result, pool: createPool(options.seed),
    batch: caseBatch(count), real: caseBatch(count), ours: caseBatch(count), again: caseBatch(count),
    cold: newBox([]), described: new Map(),
  }
  const modes = options.modes ?? MODE_CYCLE
  const ended = (): boolean => result.ran >= options.cases || options.until?.() === true
  for (let epoch = 0; !ended(); epoch++) runEpoch(session, modes[epoch % modes.length])
  return result
}

const newBox = (hotForms: readonly string[]): Box =>
  createBox({ hotForms, engine: hotForms.length === 0 ? 'jit' : 'interp' })

/** Some of the lines, and all that look at flags. */
function choose({ pool: { random }, options }: Session, mode: Mode): FuzzLine[] {
  const { only } = options
  const lines = fuzzLines(mode).filter(({ line }) => only === undefined || only.test(line.name))
  if (lines.length <= CHOSEN) return lines
  const chosen = new Set(lines.filter(({ line }) => ['jcc', 'setcc', 'cmovcc'].includes(line.name)))
  while (chosen.size < CHOSEN) chosen.add(random.pick(lines))
  return [...chosen]
}

function runEpoch(session: Session, mode: Mode): void {
  const { options, result, pool, batch } = session
  const engines = options.engines ?? ['cold', 'jit', 'hot']
  const exact = options.exact ?? true
  const chosen = choose(session, mode)
  if (chosen.length === 0) {
    result.ran = options.cases
    return
  }
  const generator = createGenerator({
    mode, lines: chosen, pool, longest: options.longest ?? 6,
    // Where undefined flags are not ours, nothing behind may show them.
    alone: exact ? () => false : leavesFlagsOpen,
  })
  let hot: Box | null = null
  for (let n = 0; n < (options.batches ?? 4) && result.ran < options.cases && options.until?.() !== true; n++) {
    const used: Used[][] = []
    for (let i = 0; i < batch.count; i++) used.push(generator.make(batch, i))
    session.oracle.run(batch, session.real)
    runCold(session, mode, used, engines.includes('jit') && mode === 64)
    if (engines.includes('hot')) {
      hot ??= newBox(session.cold.engine.forms.forms.slice(-HOT_MOST).map(formName))
      runHot(session, hot, mode, used)
    }
    compareAll(session, mode, used, exact)
    result.ran += batch.count
    options.onBatch?.(result)
  }
  for (const [text, n] of generator.rejected) result.rejected.set(text, (result.rejected.get(text) ?? 0) + n)
}

function runCold(session: Session, mode: Mode, used: readonly Used[][], compiled: boolean): void {
  const { batch, ours, again, result, pool: { random } } = session
  if (session.cold.engine.forms.forms.length > FORMS_MOST) session.cold = newBox([])
  session.cold.load(batch)
  for (let i = 0; i < batch.count; i++) runOne(session, session.cold, ours, i, mode, used[i])
  result.runs.cold += batch.count
  if (!compiled) return
  const { seed, share = 1 } = session.options
  const wanted = (i: number): boolean => (i + seed) % share === 0
  session.cold.compile(batch, wanted)
  for (let i = 0; i < batch.count; i++) {
    if (!wanted(i)) continue
    result.runs.jit++
    // Compiled code leaves for the interpreter where the TLB has no entry.
    if (random.below(8) === 0) session.cold.forgetData()
    runOne(session, session.cold, again, i, mode, used[i])
    if (!identical(ours, again, i)) note(session, 'jit', mode, used[i], i, again, ours)
  }
}

function runHot(session: Session, hot: Box, mode: Mode, used: readonly Used[][]): void {
  const { batch, ours, again, result } = session
  hot.load(batch)
  for (let i = 0; i < batch.count; i++) {
    runOne(session, hot, again, i, mode, used[i])
    if (!identical(ours, again, i)) note(session, 'hot', mode, used[i], i, again, ours)
  }
  result.runs.hot += batch.count
}

function runOne(session: Session, box: Box, to: Batch, i: number, mode: Mode, used: readonly Used[]): void {
  try {
    box.run(session.batch, to, i)
  } catch (error) {
    keep(session, { what: 'crash', mode, used, record: session.batch.recordOf(i).slice(),
      text: `${disassemble(session.batch, i, mode)}\n    ${(error as Error).stack ?? ''}` })
    session.cold = newBox([])
  }
}

function compareAll(session: Session, mode: Mode, used: readonly Used[][], exact: boolean): void {
  const { real, ours, batch, result } = session
  for (let i = 0; i < batch.count; i++) {
    const equal = same(real, ours, i, leaveOf(used[i], exact)) || isForeign(real, ours, i)
    result.coverage.note(used[i], !equal)
    if (!equal) note(session, 'processor', mode, used[i], i, ours, real)
  }
}

function note(
  session: Session, what: Found['what'], mode: Mode, used: readonly Used[], i: number, ours: Batch, right: Batch,
): void {
  const { batch } = session
  const text = [
    `${what} ${mode}-bit: ${disassemble(batch, i, mode)}`, ...differences(batch, right, ours, i), stateText(batch, i),
  ].join('\n    ')
  keep(session, { what, mode, used, text, record: batch.recordOf(i).slice() })
}

/** Of each kind of difference two are described. */
function keep({ options, result, described }: Session, found: Found): void {
  result.different++
  const key = `${found.what} ${found.mode} ${found.used.map(({ line }) => line.text).join('+')}`
  const seen = described.get(key) ?? 0
  described.set(key, seen + 1)
  if (seen < 2 && result.found.length < (options.shown ?? 40)) result.found.push(found)
}
