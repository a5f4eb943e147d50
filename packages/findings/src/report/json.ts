/**
 * The report as JSON, version 1. Addresses are hexadecimal texts (`0x…`), times nanoseconds of virtual time. A later
 * version with the same number may have more fields; one that takes fields away or changes them has another number.
 */
import type { Finding } from '../finding.ts'
import type { ReportInput } from './input.ts'

/** Name and version of the format: fields `format` and `version` of a report. */
export const REPORT_FORMAT = 'cofferdam-findings'
/** The version of that format: a reader may meet more fields than it knows, but none that changed. */
export const REPORT_VERSION = 1

const hex = (value: bigint): string => `0x${value.toString(16)}`
const orNull = (value: bigint | null): string | null => (value === null ? null : hex(value))

/** A finding as JSON carries it. */
export function findingJson(f: Finding): object {
  return {
    id: f.id, rule: f.rule, outcome: f.outcome, what: f.what, count: f.count, firstNs: f.first, lastNs: f.last,
    cpu: f.cpu, vmpl: f.vmpl < 0 ? null : f.vmpl, cpl: f.cpl, mode: f.mode,
    rip: hex(f.rip.address), symbol: f.rip.symbol, linkedRip: orNull(f.linked),
    noSymbols: f.noSymbols === '' ? null : f.noSymbols,
    backtrace: f.backtrace.map(({ address, symbol, certain }) => ({ address: hex(address), symbol, certain })),
    gva: orNull(f.gva), gpa: orNull(f.gpa), spa: orNull(f.spa), otherGpas: f.others.map(hex),
    entry: f.entry === null ? null : { table: f.entry.table, words: f.entry.words.map(hex), text: f.entry.text },
  }
}

/** The report as a JSON text. */
export function jsonReport(input: ReportInput): string {
  const { tool, run, rules, findings, counts, dropped } = input
  return `${JSON.stringify({
    format: REPORT_FORMAT, version: REPORT_VERSION, tool, run, findings: findings.map(findingJson), counts, dropped,
    rules: rules.map(({ id, title, outcome, hardware, sources }) => ({ id, title, outcome, hardware, sources })),
  }, null, 2)}\n`
}
