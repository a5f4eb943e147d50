/**
 * What the fuzzer found, and what the processor answered: every engine must answer the same, on any machine.
 *
 * To record the answers again (of all cases, also ones added by hand with an empty `after`), on an Intel processor:
 * FUZZ_RECORD=1 npx vitest run tools/fuzz/test/found.test.ts
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createOracle } from '@cofferdam/oracle'
import { describe, expect, it } from 'vitest'
import { differences, same } from '../src/compare.ts'
import { caseBatch } from '../src/fuzz.ts'
import { runEach } from '../src/reproduce.ts'
import { caseText, placeAnswer, placeText, type CaseText } from '../src/text.ts'

const file = new URL('found.json', import.meta.url)
const recorded = JSON.parse(readFileSync(file, 'utf8')) as CaseText[]
/**
 * Nothing is left open: these cases are about details. But stores of several parts may be done in part (flag
 * `partial`).
 */
const exactly = {
  vagueAddress: false, lastPlace: false, partial: false, anyFault: false, partialState: false, mayFault: false,
  processorNumber: false, flags: 0,
}

const isPartial = (text: CaseText): boolean => text.flags?.includes('partial') === true

function record(text: CaseText): CaseText {
  const oracle = createOracle()
  if (!oracle.available) throw new Error(oracle.reason)
  const batch = caseBatch(1)
  placeText(text, batch, 0)
  const made = caseText(text.name, text.mode, caseBatch(1), batch, oracle.run(batch), 0)
  return isPartial(text) ? { ...made, flags: [...made.flags ?? [], 'partial'] } : made
}

const cases = process.env.FUZZ_RECORD === undefined ? recorded : recorded.map(record)
if (cases !== recorded) writeFileSync(file, `[\n${cases.map((text) => ` ${JSON.stringify(text)}`).join(',\n')}\n]\n`)

const befores = cases.map((text) => {
  const before = caseBatch(1)
  placeText(text, before, 0)
  return before
})

describe('what the processor does', () => {
  const answers = runEach(befores)
  it.each(cases.map((text, i) => [text.name, i] as const))('%s', (_name: string, i: number) => {
    const real = caseBatch(1)
    placeAnswer(cases[i], befores[i], real, 0)
    for (const [engine, ours] of Object.entries(answers[i])) {
      const equal = same(real, ours, 0, { ...exactly, partial: isPartial(cases[i]) })
      expect([engine, equal ? [] : differences(befores[i], real, ours, 0)]).toEqual([engine, []])
    }
  })
})
