/** Runs cases on both processors and collects what differs. */
import { createBatch, IN, STATE, type Batch, type Oracle } from '@cofferdam/oracle'
import iced from 'iced-x86'
import { createBox, type Box } from './box.ts'
import { codeOf, differences, same, type Leave } from './compare.ts'
import { createGenerator } from './generate.ts'
import { fuzzLines, type FuzzLine, type Group } from './lines.ts'
import { createPool } from './pool.ts'

export interface FuzzOptions {
  readonly cases: number
  readonly seed: number
  readonly only?: RegExp
  readonly longest?: number
  /** Differences to describe. */
  readonly shown?: number
}

export interface FuzzResult {
  ran: number
  different: number
  readonly groups: Map<Group, { cases: number; different: number; forms: Set<string> }>
  readonly described: string[]
  readonly missing: readonly string[]
  readonly rejected: ReadonlyMap<string, number>
}

type Available = Oracle & { available: true }
const BATCH = 4000
const WINDOW = 256

export function fuzz(oracle: Available, options: FuzzOptions): FuzzResult {
  const { lines, missing } = fuzzLines()
  const chosen = options.only === undefined ? lines : lines.filter(({ line }) => options.only?.test(line.name) === true)
  const generator = createGenerator({ lines: chosen, pool: createPool(options.seed), longest: options.longest })
  const result: FuzzResult = { ran: 0, different: 0, groups: new Map(), described: [], missing, rejected: generator.rejected }
  const batch = createBatch(BATCH, WINDOW)
  const ours = createBatch(BATCH, WINDOW)
  let box = createBox({ hotForms: [] })
  const perForm = new Map<string, number>()
  while (result.ran < options.cases) {
    const used: FuzzLine[][] = []
    for (let i = 0; i < BATCH; i++) used.push(generator.make(batch, i))
    const real = oracle.run(batch)
    for (let i = 0; i < BATCH; i++) {
      box = runOurs(box, batch, ours, i)
      const equal = same(real, ours, i, leaveOf(used[i]))
      note(result, used[i], equal)
      if (equal) continue
      result.different++
      const key = used[i].map(({ line }) => line.text).join('+')
      const seen = perForm.get(key) ?? 0
      perForm.set(key, seen + 1)
      if (seen < 2 && result.described.length < (options.shown ?? 40)) {
        result.described.push(`${disassemble(batch, i)}\n    ${differences(batch, real, ours, i).join('\n    ')}\n    ${state(batch, i)}`)
      }
    }
    result.ran += BATCH
  }
  return result
}

/**
 * Instructions that touch many places or only some of their bytes: the SDM does not say which byte of the page that
 * faults CR2 names, and microcode is free in its order.
 */
const VAGUE_ADDRESS = new Set(`frstor fnsave fnstenv fldenv maskmovq maskmovdqu vmaskmovps vmaskmovpd vpmaskmovd vpmaskmovq
  ldmxcsr stmxcsr`.split(/\s+/))

/**
 * Transcendental functions: within one unit in the last place (SDM vol. 1, §8.3.10), and what sums then say is open.
 */
const TRANSCENDENTAL = new Set('f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos'.split(' '))

const leaveOf = (used: readonly FuzzLine[]): Leave => ({
  vagueAddress: used.some(({ line }) => VAGUE_ADDRESS.has(line.name)),
  lastPlace: used.some(({ line }) => TRANSCENDENTAL.has(line.name)),
})

const FORMS_MOST = 15_000
function runOurs(box: Box, batch: Batch, ours: Batch, i: number): Box {
  const use = box.engine.forms.forms.length > FORMS_MOST ? createBox({ hotForms: [] }) : box
  try {
    use.run(batch, ours, i)
  } catch (error) {
    console.error(`${disassemble(batch, i)}: ${(error as Error).stack ?? ''}`)
    ours.u32.fill(0xdead, ours.at(i) >> 2, (ours.at(i) + 64) >> 2)
    return createBox({ hotForms: [] })
  }
  return use
}

function note(result: FuzzResult, used: readonly FuzzLine[], equal: boolean): void {
  for (const { group, line } of used) {
    let entry = result.groups.get(group)
    if (entry === undefined) result.groups.set(group, entry = { cases: 0, different: 0, forms: new Set() })
    entry.cases++
    entry.forms.add(line.text)
    if (!equal && used.length === 1) entry.different++
  }
}

/** Intel syntax, one instruction after the other. */
export function disassemble(batch: Batch, index: number): string {
  const bytes = codeOf(batch, index)
  const decoder = new iced.Decoder(64, bytes, iced.DecoderOptions.None)
  decoder.ip = 0n
  const formatter = new iced.Formatter(iced.FormatterSyntax.Intel)
  const parts: string[] = []
  while (decoder.canDecode) {
    const instruction = decoder.decode()
    parts.push(formatter.format(instruction))
    instruction.free()
  }
  formatter.free()
  decoder.free()
  return `${[...bytes].map((b) => b.toString(16).padStart(2, '0')).join('')}  ${parts.join('; ')}`
}

function state(batch: Batch, index: number): string {
  const at = batch.at(index)
  const gpr = Array.from({ length: 16 }, (_, r) => `${r}:${batch.u64[((at + STATE.GPR) >> 3) + r].toString(16)}`)
  return `flags ${batch.u32[(at + STATE.RFLAGS) >> 2].toString(16)} ${batch.u32[(at + IN.FLAGS) >> 2] !== 0 ? 'stepped ' : ''}registers ${gpr.join(' ')}`
}

/** The table and the differences as text. */
export function report(result: FuzzResult): string {
  const rows = [...result.groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([group, { cases, different, forms }]) =>
    `${group.padEnd(10)} ${String(forms.size).padStart(5)} forms ${String(cases).padStart(10)} uses ${String(different).padStart(8)} single cases differ`)
  return [
    ...result.described, '',
    ...rows, '',
    `not implemented: ${result.missing.join(' ')}`,
    `not taken back by the decoder: ${[...result.rejected].map(([text, n]) => `${text} (${n})`).join('; ') || 'none'}`,
    `${result.ran} cases, ${result.different} differ`,
  ].join('\n')
}
