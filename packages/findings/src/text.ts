/** Findings and rules in plain language, for a terminal. */
import type { Finding } from './finding.ts'
import type { Outcome, Rule } from './rule.ts'

const hex = (value: bigint): string => `0x${value.toString(16)}`

/** Outcomes in a word or two. */
export const OUTCOMES: Readonly<Record<Outcome, string>> = {
  fault: 'a fault', hang: 'a hang', corruption: 'silent corruption', leak: 'a leak', luck: 'nothing, by luck',
}

/** Text that came from a guest, or from a file: what is not printable ASCII is shown as `\xNN`, and it has an end. */
export function printable(text: string, most = 200): string {
  const shown = [...text.slice(0, most)].map((c) => {
    const code = c.charCodeAt(0)
    return code >= 0x20 && code < 0x7f ? c : `\\x${code.toString(16).padStart(2, '0')}`
  }).join('')
  return text.length > most ? `${shown}…` : shown
}

/** Milliseconds of virtual time with three digits: `12.345 ms`. */
const moment = (nanoseconds: number): string => `${(nanoseconds / 1e6).toFixed(3)} ms`

/** Breaks a text into lines of about `width` characters. */
export function wrap(text: string, indent: string, width = 110): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width - indent.length) {
      lines.push(indent + line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, indent + line]
}

function placeLines({ cpu, vmpl, cpl, mode, rip, linked, noSymbols, backtrace }: Finding): string[] {
  const level = vmpl < 0 ? '' : `VMPL${vmpl}, `
  const where = rip.symbol === null ? '' : ` ${rip.symbol}`
  const undone = linked === null || linked === rip.address ? '' : ` (linked at ${hex(linked)})`
  return [
    `  by     cpu ${cpu}, ${level}${mode}, CPL ${cpl}: RIP ${hex(rip.address)}${where}${undone}`,
    ...(noSymbols === '' ? [] : [`         no symbols: ${noSymbols}`]),
    ...backtrace.map((f, i) =>
      `${i === 0 ? '  stack  ' : '         '}${f.certain ? '' : '? '}${f.symbol ?? hex(f.address)}`),
  ]
}

function addressLines({ gva, gpa, spa, entry, others }: Finding): string[] {
  const parts = [
    ...(gva === null ? [] : [`gva ${hex(gva)}`]), ...(gpa === null ? [] : [`gpa ${hex(gpa)}`]),
    ...(spa === null ? [] : [`spa ${hex(spa)}`]),
  ]
  return [
    ...(parts.length === 0 ? [] : [`  at     ${parts.join(', ')}`]),
    ...(entry === null ? [] : [`  ${entry.table.padEnd(6)} ${entry.text}`]),
    ...(others.length === 0 ? [] : [`         also at gpa ${others.map(hex).join(', ')}`]),
  ]
}

/** A finding in lines: which rule, what, when, by whom, the evidence, what hardware does, what to look at. */
export function describeFinding(finding: Finding, rule: Rule): string[] {
  const { id, what, count, first, last } = finding
  const often = count === 1 ? '' : `, ${count} times, last at ${moment(last)}`
  return [
    `${id} ${rule.id}: ${rule.title}`,
    ...wrap(what, '  '),
    `  when   ${moment(first)} of virtual time${often}`,
    ...placeLines(finding),
    ...addressLines(finding),
    ...label('  real   ', `${OUTCOMES[rule.outcome]}: ${rule.hardware}`),
    ...label('  look   ', rule.advice),
    ...rule.sources.slice(0, 1).map(({ text }) => `  rule   ${text}`),
  ]
}

/** A paragraph after a word. */
function label(head: string, text: string): string[] {
  const [first = '', ...rest] = wrap(text, ' '.repeat(head.length))
  return [head + first.trimStart(), ...rest]
}

/** A rule in lines, to learn it from. */
export function describeRule(rule: Rule): string[] {
  return [
    `${rule.id}: ${rule.title}`,
    '',
    ...wrap(rule.why, '  '),
    '',
    ...label('  On real hardware: ', `${OUTCOMES[rule.outcome]}. ${rule.hardware}`),
    ...label('  What to look at:  ', rule.advice),
    '',
    ...rule.sources.map(({ text, url }) => `  ${text}${url === undefined ? '' : ` <${url}>`}`),
  ]
}
