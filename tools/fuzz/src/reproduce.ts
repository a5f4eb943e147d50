/** Runs single cases on the processor and on ours: to reduce what was found, and to keep it as a test. */
import type { Batch } from '@cofferdam/oracle'
import { createBox } from './box.ts'
import { endOf, identical, isForeign, same, type Leave } from './compare.ts'
import { caseBatch, type AvailableOracle, type Found } from './fuzz.ts'
import { formName } from './inside.ts'
import { leaveOf } from './open.ts'
import { reduce } from './reduce.ts'
import { caseText, type CaseText } from './text.ts'

/** Our answers to one case: with everything cold, compiled, and with all handlers in the dispatch function. */
export type Answers = Readonly<Record<'cold' | 'jit' | 'hot', Batch>>

/** Runs batches of one case each. */
export function runEach(batches: readonly Batch[]): Answers[] {
  const box = createBox({ hotForms: [], engine: 'jit' })
  const first = batches.map((batch) => {
    const [cold, jit] = [caseBatch(1), caseBatch(1)]
    box.load(batch)
    box.run(batch, cold, 0)
    box.compile(batch)
    box.run(batch, jit, 0)
    return { cold, jit }
  })
  const other = createBox({ hotForms: box.engine.forms.forms.map(formName), engine: 'interp' })
  return batches.map((batch, i) => {
    const hot = caseBatch(1)
    other.load(batch)
    other.run(batch, hot, 0)
    return { ...first[i], hot }
  })
}

export const runAlone = (batch: Batch): Answers => runEach([batch])[0]

/** Reduces what was found, and describes it as a case that a test can keep. */
export function reproducer(oracle: AvailableOracle, found: Found, exact: boolean): CaseText {
  const batch = caseBatch(1)
  batch.recordOf(0).set(found.record)
  const leave = leaveOf(found.used, exact)
  const first = difference(oracle, batch, found.what, leave)
  if (first !== null) reduce(batch, found.mode, (one) => difference(oracle, one, found.what, leave) === first)
  const name = found.used.map(({ line }) => line.name).join(', ')
  return caseText(name, found.mode, caseBatch(1), batch, oracle.run(batch), 0)
}

/**
 * How the engines, or the processors, end where they differ: reducing must not find another difference. Null: they
 * agree.
 */
function difference(oracle: AvailableOracle, batch: Batch, what: Found['what'], leave: Leave): string | null {
  const cold = caseBatch(1)
  try {
    const box = createBox({ hotForms: [], engine: what === 'jit' ? 'jit' : 'interp' })
    box.load(batch)
    box.run(batch, cold, 0)
    if (what === 'crash') return null
    if (what === 'processor') {
      const real = oracle.run(batch)
      return same(real, cold, 0, leave) || isForeign(real, cold, 0) ? null : `${kindOfEnd(real)} ${kindOfEnd(cold)}`
    }
    const again = what === 'hot' ? runAlone(batch).hot : caseBatch(1)
    if (what === 'jit') {
      box.compile(batch)
      box.run(batch, again, 0)
    }
    return identical(cold, again, 0) ? null : `${kindOfEnd(cold)} ${kindOfEnd(again)}`
  } catch (error) {
    return what === 'crash' ? (error as Error).message : null
  }
}

/** The fault, without its address. */
const kindOfEnd = (batch: Batch): string => endOf(batch, 0).replace(/ cr2 .*/, '')
