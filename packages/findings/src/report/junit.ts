/** The report as JUnit XML, for continuous integration: a test case for each rule, which fails where it was broken. */
import { describeFinding } from '../text.ts'
import type { ReportInput } from './input.ts'

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** Text for XML 1.0: markup as entities; characters that XML cannot carry at all are shown as `\xNN`. */
const escape = (text: string): string => text
  .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ud800-\udfff\ufffe\uffff]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
  .replaceAll(/[&<>"]/g, (c) => ENTITIES[c])
  .replaceAll(/[\n\r\t]/g, (c) => `&#${c.charCodeAt(0)};`)

/** Text between tags, where line ends stay. */
const escapeBody = (text: string): string => text.split('\n').map(escape).join('\n')

/** The report as JUnit XML. */
export function junitReport({ tool, run, rules, findings }: ReportInput): string {
  const cases = rules.map((rule) => {
    const broken = findings.filter((f) => f.rule === rule.id)
    const failures = broken.map((f) =>
      `      <failure message="${escape(f.what)}" type="${escape(rule.id)}">`
      + `${escapeBody(describeFinding(f, rule).join('\n'))}</failure>`)
    const head = `    <testcase name="${escape(rule.title)}" classname="${escape(`${tool.name}.${rule.id}`)}" time="0"`
    return failures.length === 0 ? `${head}/>` : [`${head}>`, ...failures, '    </testcase>'].join('\n')
  })
  const failed = rules.filter((rule) => findings.some((f) => f.rule === rule.id)).length
  const totals = `tests="${rules.length}" failures="${failed}" errors="0" time="0"`
  const properties = [['kernel', run.kernel], ['commandLine', run.commandLine], ['seed', String(run.seed)],
    ['vcpus', String(run.vcpus)], ['memoryBytes', String(run.memoryBytes)], ['outcome', run.outcome]]
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="${escape(tool.name)}" ${totals}>`,
    `  <testsuite name="rules of the architecture" ${totals} skipped="0">`,
    '    <properties>',
    ...properties.map(([name, value]) => `      <property name="${name}" value="${escape(value)}"/>`),
    '    </properties>',
    ...cases,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n')
}
