/** Runs single cases on the processor and on ours: to reduce what was found, and to keep it as a test. */
import type { Batch } from '@cofferdam/oracle'
import { createBox } from './box.ts'
import { identical, isForeign, same, type Leave } from './compare.ts'
import { caseBatch, type AvailableOracle, type Found } from './fuzz.ts'
import { formName } from './inside.ts'
import { leaveOf } from './open.ts'
import { reduce } from './reduce.ts'
import { caseText, type CaseText } from './text.ts'

/** Our answer with everything cold, and whether the other engines give the same. */
export function runAlone(batch: Batch): { cold: Batch; jit: Batch; hot: Batch } {
  const [cold, jit, hot] = [caseBatch(1), caseBatch(1), caseBatch(1)]
  const box = createBox({ hotForms: [], engine: 'jit' })
  box.load(batch)
  box.run(batch, cold, 0)
  box.compile(batch)
  box.run(batch, jit, 0)
  const other = createBox({ hotForms: box.engine.forms.forms.map(formName), engine: 'interp' })
  other.load(batch)
  other.run(batch, hot, 0)
  return { cold, jit, hot }
}

/** Reduces what was found, and describes it as a case that a test can keep. */
export function reproducer(oracle: AvailableOracle, found: Found, exact: boolean): CaseText {
  const batch = caseBatch(1)
  batch.recordOf(0).set(found.record)
  const leave = leaveOf(found.used, exact)
  reduce(batch, found.mode, (one) => differs(oracle, one, found.what, leave))
  const name = found.used.map(({ line }) => line.name).join(', ')
  return caseText(name, found.mode, caseBatch(1), batch, oracle.run(batch), 0)
}

function differs(oracle: AvailableOracle, batch: Batch, what: Found['what'], leave: Leave): boolean {
  const box = createBox({ hotForms: [], engine: what === 'jit' ? 'jit' : 'interp' })
  const cold = caseBatch(1)
  try {
    box.load(batch)
    box.run(batch, cold, 0)
    if (what === 'crash') return false
    if (what === 'processor') return !same(oracle.run(batch), cold, 0, leave) && !isForeign(cold, 0)
    if (what === 'hot') return !identical(cold, runAlone(batch).hot, 0)
    const again = caseBatch(1)
    box.compile(batch)
    box.run(batch, again, 0)
    return !identical(cold, again, 0)
  } catch {
    return what === 'crash'
  }
}
