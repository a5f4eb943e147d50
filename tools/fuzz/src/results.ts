/** Results of runs, kept by seed, and the table that they make together. */
import { createCoverage, formCount, type Row } from './coverage.ts'
import type { AvailableOracle, FuzzResult } from './fuzz.ts'
import type { Group } from './lines.ts'

export interface RunResult {
  readonly seed: number
  /** Day of the run, as ISO 8601 has it. */
  readonly date: string
  readonly processor: string
  readonly cases: number
  readonly different: number
  readonly runs: FuzzResult['runs']
  /** How many forms there were: results of other tables can't be added. */
  readonly forms: number
  readonly seen: readonly number[]
  readonly groups: Readonly<Record<string, { readonly cases: number; readonly differences: number }>>
}

export function resultOf(seed: number, oracle: AvailableOracle, result: FuzzResult): RunResult {
  const { coverage, runs } = result
  return {
    seed, date: new Date(Date.now()).toISOString().slice(0, 10), processor: oracle.model, cases: result.ran,
    different: result.different,
    runs, forms: formCount(), seen: [...coverage.seen].sort((a, b) => a - b),
    groups: Object.fromEntries(coverage.counts),
  }
}

/** Adds results up; those of other versions of the tables count cases only. */
export function addUp(results: readonly RunResult[]): Map<Group, Row> {
  const coverage = createCoverage()
  for (const { forms, seen, groups } of results) {
    if (forms === formCount()) for (const number of seen) coverage.seen.add(number)
    const counts = Object.entries(groups) as [Group, { cases: number; differences: number }][]
    for (const [group, { cases, differences }] of counts) {
      const count = coverage.counts.get(group) ?? { cases: 0, differences: 0 }
      coverage.counts.set(group, { cases: count.cases + cases, differences: count.differences + differences })
    }
  }
  return coverage.rows()
}
