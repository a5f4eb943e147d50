/** The report as SARIF 2.1.0 (OASIS), for code scanning services and editors. */
import type { Finding, Frame } from '../finding.ts'
import type { Rule } from '../rule.ts'
import { OUTCOMES } from '../text.ts'
import type { ReportInput } from './input.ts'
import { findingJson } from './json.ts'

const SCHEMA = 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json'
const hex = (value: bigint): string => `0x${value.toString(16)}`

/** A name for code: its symbol, or its address. */
const nameOf = ({ address, symbol }: { readonly address: bigint, readonly symbol: string | null }): string =>
  symbol ?? hex(address)

const ruleOf = ({ id, title, why, hardware, advice, outcome, sources }: Rule): object => ({
  id, name: id.replaceAll(/(?:^|-)([a-z\d])/g, (_, c: string) => c.toUpperCase()),
  shortDescription: { text: title },
  fullDescription: { text: why },
  help: {
    text: `On real hardware: ${OUTCOMES[outcome]}. ${hardware} ${advice} `
      + `Source: ${sources.map((s) => s.text).join('; ')}.`,
  },
  ...(sources[0]?.url !== undefined && { helpUri: sources[0].url }),
  defaultConfiguration: { level: 'error' },
})

const frame = (f: Frame): object => ({
  location: {
    message: { text: f.certain ? 'return address' : 'a word of the stack that looks like a return address' },
    logicalLocations: [{ fullyQualifiedName: nameOf(f), kind: 'function' }],
  },
})

function resultOf(finding: Finding, index: number, kernel: string): object {
  const { rule, what, rip, backtrace, count, vmpl } = finding
  return {
    ruleId: rule, ruleIndex: index, level: 'error', message: { text: what }, occurrenceCount: count,
    locations: [{
      physicalLocation: { artifactLocation: { uri: kernel } },
      logicalLocations: [{ fullyQualifiedName: nameOf(rip), kind: 'function' }],
    }],
    ...(backtrace.length > 0 && {
      stacks: [{ message: { text: 'from the guest\'s stack' }, frames: backtrace.map(frame) }],
    }),
    partialFingerprints: { 'ruleAndPlace/v1': `${rule} VMPL${vmpl} ${(finding.linked ?? rip.address).toString(16)}` },
    properties: findingJson(finding),
  }
}

/** The report as a SARIF text. */
export function sarifReport({ tool, run, rules, findings }: ReportInput): string {
  const kernel = encodeURIComponent(run.kernel)
  return `${JSON.stringify({
    $schema: SCHEMA, version: '2.1.0',
    runs: [{
      tool: {
        driver: { name: tool.name, version: tool.version, rules: rules.map(ruleOf) },
      },
      artifacts: [{ location: { uri: kernel }, description: { text: 'the guest\'s kernel' } }],
      results: findings.map((f) => resultOf(f, rules.findIndex(({ id }) => id === f.rule), kernel)),
      columnKind: 'utf16CodeUnits',
      properties: {
        commandLine: run.commandLine, seed: run.seed, vcpus: run.vcpus, memoryBytes: run.memoryBytes,
        outcome: run.outcome,
      },
    }],
  }, null, 2)}\n`
}
