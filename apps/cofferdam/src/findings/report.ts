import { writeFileSync } from 'node:fs'
import {
  describeFinding, jsonReport, junitReport, sarifReport, type Finding, type Findings, type ReportInput, type Rule,
} from '@cofferdam/findings'
import { inputError, plainReason } from '../errors.ts'
import { createPaint, type Surroundings } from '../surroundings.ts'
import { RULES } from './rules.ts'

/** What all machines of a session found: a reset makes a new machine. */
export interface SessionFindings extends Pick<ReportInput, 'findings' | 'counts' | 'dropped'> {
  /** Occurrences, those of repeated findings included. */
  readonly total: number
}

/** Puts the findings of one machine after the other together, numbered anew. */
export const collectFindings = (machines: readonly Findings[]): SessionFindings => {
  const counts: Record<string, number> = {}
  for (const machine of machines) {
    for (const [rule, count] of Object.entries(machine.counts())) counts[rule] = (counts[rule] ?? 0) + count
  }
  return {
    findings: machines.flatMap((machine) => machine.list()).map((finding, i) => ({ ...finding, id: `F${i + 1}` })),
    counts,
    dropped: machines.reduce((sum, { dropped }) => sum + dropped, 0),
    total: Object.values(counts).reduce((sum, count) => sum + count, 0),
  }
}

/** How a report is written: by the file's extension. */
export type ReportFormat = 'json' | 'junit' | 'sarif'

const formats: Readonly<Record<string, ReportFormat>> = { json: 'json', xml: 'junit', sarif: 'sarif' }

/** The format that a report file's extension stands for. */
export const reportFormat = (path: string): ReportFormat | undefined => formats[/\.([a-z]+)$/.exec(path)?.[1] ?? '']

const writers: Readonly<Record<ReportFormat, (input: ReportInput) => string>> = {
  json: jsonReport, junit: junitReport, sarif: sarifReport,
}

/**
 * Writes a `--report` file.
 * @throws an input error when the file can't be written
 */
export const writeReport = (path: string, input: ReportInput): void => {
  const text = writers[reportFormat(path) ?? 'json'](input)
  try {
    writeFileSync(path, text)
  } catch (error) {
    throw inputError(`report ${path}`, plainReason(error), 'a file that can be written')
  }
}

// More than a screenful helps nobody: the report has them all.
const shownInFull = 10

const ruleOf = ({ rule }: Finding): Rule | undefined => RULES.find(({ id }) => id === rule)

/**
 * Prints findings in plain language; silent when there are none.
 * @param attacked the guest's host was hostile and has done something
 */
export const printFindings = (
  { findings, dropped }: SessionFindings, { stderr }: Pick<Surroundings, 'stderr'>, attacked = false,
): void => {
  if (findings.length === 0) return
  const paint = createPaint(stderr)
  const many = findings.length === 1 ? '1 finding' : `${findings.length} findings`
  stderr.write(`${paint('bold', 'cofferdam:')} ${paint('red', many)}\n`)
  if (attacked) stderr.write('The host was hostile: what its guest broke after the attack may come of it.\n')
  for (const finding of findings.slice(0, shownInFull)) {
    const rule = ruleOf(finding)
    const [head = '', ...rest] = rule ? describeFinding(finding, rule) : [
      `${finding.id} ${finding.rule}: ${finding.what}`,
    ]
    stderr.write(`\n${paint('bold', head)}\n${rest.map((line) => `${line}\n`).join('')}`)
  }
  const more = findings.length - shownInFull
  stderr.write('\n')
  if (more > 0) stderr.write(`${more} more; --report FILE.json has them all.\n`)
  if (dropped > 0) stderr.write(`${dropped} more occurrences were counted and not kept.\n`)
  stderr.write('cofferdam rules ID explains a rule.\n')
}
