/** `fuzz decode`: lengths, rejects, mnemonics and operands of our decoder against iced-x86, in all modes. */
import { MODE16, MODE32, MODE64 } from '@cofferdam/x86'
import { CASE_BYTES, compareDecoders, createDecoderRandom, nextCase } from '../inside.ts'
import { readOptions, wholeNumber } from '../options.ts'

const WIDTHS = [MODE64, MODE64, MODE32, MODE16] as const
/** Differences of one kind that are shown. */
const SHOWN = 3

export interface DecodeResult {
  /** Differences with a reason, counted by it. */
  readonly reasons: Map<string, number>
  /** Those without, some of each kind. */
  readonly unexplained: string[]
  differences: number
}

/** Compares random bytes, encodings from the tables, and mutated ones. */
export function compareDecoding(cases: number, seed: number): DecodeResult {
  const random = createDecoderRandom(seed)
  const bytes = new Uint8Array(CASE_BYTES)
  const result: DecodeResult = { reasons: new Map(), unexplained: [], differences: 0 }
  const kinds = new Map<string, number>()
  for (let i = 0; i < cases; i++) {
    nextCase(random, bytes)
    const { difference, reason } = compareDecoders(bytes, WIDTHS[i & 3])
    if (difference === null) continue
    if (reason !== null) {
      result.reasons.set(reason, (result.reasons.get(reason) ?? 0) + 1)
      continue
    }
    result.differences++
    const kind = difference.slice(difference.indexOf(': here')).replaceAll(/\(.*?\)|\d+/g, '')
    const seen = kinds.get(kind) ?? 0
    kinds.set(kind, seen + 1)
    if (seen < SHOWN) result.unexplained.push(difference)
  }
  return result
}

export function runDecode(args: string[]): number {
  const { values } = readOptions(args, { cases: '1000000', seed: '1' })
  const cases = wholeNumber('cases', values.cases)
  const { reasons, unexplained, differences } = compareDecoding(cases, wholeNumber('seed', values.seed))
  for (const [reason, count] of [...reasons].sort()) console.log(`${String(count).padStart(8)}  ${reason}`)
  for (const text of unexplained) console.log(text)
  console.log(`${cases} cases, ${differences} unexplained differences`)
  return differences === 0 ? 0 : 1
}
