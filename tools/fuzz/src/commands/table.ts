/** `fuzz table FOLDER`: what runs with `--results FOLDER` found, as a table for the README. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readOptions, UsageError } from '../options.ts'
import { addUp, type RunResult } from '../results.ts'

const grouped = (n: number): string => n.toLocaleString('en-US')

export function runTable(args: string[]): number {
  const { rest: [folder] } = readOptions(args, {})
  if (folder === undefined || !existsSync(folder)) throw new UsageError('table: a folder with results is wanted')
  const results = readdirSync(folder).filter((name) => /^cpu-\d+\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as RunResult)
    .sort((a, b) => a.seed - b.seed)
  if (results.length === 0) throw new UsageError(`table: there are no results in ${folder}`)
  console.log(tableOf(results))
  return results.some(({ different }) => different > 0) ? 1 : 0
}

/** Markdown. */
export function tableOf(results: readonly RunResult[]): string {
  const sum = (value: (result: RunResult) => number): number => results.reduce((total, result) => total + value(result), 0)
  const lines = ['| group | forms claimed | exercised | uses | unexplained differences |', '|---|---:|---:|---:|---:|']
  const total = { claimed: 0, exercised: 0, cases: 0, differences: 0 }
  for (const [group, row] of [...addUp(results)].sort(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(`| ${group} | ${[row.claimed, row.exercised, row.cases, row.differences].map(grouped).join(' | ')} |`)
    for (const key of ['claimed', 'exercised', 'cases', 'differences'] as const) total[key] += row[key]
  }
  lines.push(`| all | ${[total.claimed, total.exercised, total.cases, total.differences].map(grouped).join(' | ')} |`)
  const days = [...new Set(results.map(({ date }) => date))].sort()
  return [
    `${grouped(sum(({ cases }) => cases))} cases, ${grouped(sum(({ different }) => different))} unexplained differences; runs: `
    + `${grouped(sum(({ runs }) => runs.cold))} cold, ${grouped(sum(({ runs }) => runs.hot))} hot, ${grouped(sum(({ runs }) => runs.jit))} compiled.`,
    `Seeds ${results.map(({ seed }) => seed).join(', ')}; ${days.join(', ')}; ${[...new Set(results.map(({ processor }) => processor))].join(', ')}.`,
    '', ...lines,
  ].join('\n')
}
