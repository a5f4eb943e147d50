import { writeFileSync } from 'node:fs'
import { ExitCode, inputError, plainReason } from '../errors.ts'
import type { SessionFindings } from '../findings/report.ts'
import type { Machine, ProcessorPlace } from '../machine-port.ts'
import type { Moment, PhaseStats } from '../run/phases.ts'
import type { Outcome } from '../run/session.ts'
import { createPaint, peakMemory, type Surroundings } from '../surroundings.ts'
import type { BootImages, BootOptions } from './boot-options.ts'

/** What is known about a session at its end. */
export interface BootReport {
  readonly options: BootOptions
  readonly images: BootImages
  readonly commandLine: string
  readonly outcome: Outcome
  readonly exitCode: number
  readonly consoleSha256: string
  readonly traceSha256: string | undefined
  readonly phases: readonly PhaseStats[]
  readonly end: Moment
  readonly machine: Machine | undefined
  readonly found: SessionFindings
}

/**
 * The exit code of an outcome (architecture.md, "Command line"). A guest that did not end as it should is the worse
 * news than what it broke; a test kernel's own status stands.
 */
export const exitCodeOf = (outcome: Outcome, findings: number): number => {
  if (outcome.kind === 'status') return outcome.status
  if (outcome.kind !== 'ok') return ExitCode.guest
  return findings > 0 ? ExitCode.findings : ExitCode.ok
}

/** Where a processor is: its address, and in a kernel whose symbols are found the function, and what called it. */
const placeLines = ({ cpu, rip, mode, symbol, stack = [] }: ProcessorPlace): string[] => {
  const name = symbol === undefined ? '' : ` ${symbol}`
  return [
    `cpu ${cpu}: RIP 0x${rip.toString(16).padStart(16, '0')}${name}, ${mode}`,
    ...stack.map((frame) => `         ? ${frame}`),
  ]
}

/** Says why a guest failed and where it was; silent after success. */
export const printOutcome = (outcome: Outcome, { stderr }: Pick<Surroundings, 'stderr'>): void => {
  if (outcome.kind !== 'guest') return
  const paint = createPaint(stderr)
  const { lastLines } = outcome
  const lines = [
    `${paint('bold', 'cofferdam:')} ${paint('red', outcome.why)}`,
    lastLines.length > 0 ? 'last lines of the console:' : 'the console stayed silent',
    ...lastLines.map((line) => paint('dim', `  ${line}`)),
    ...(outcome.state ?? []),
    ...outcome.places.flatMap(placeLines),
  ]
  stderr.write(`${lines.join('\n')}\n`)
  if (process.env.COFFERDAM_DEBUG && outcome.cause instanceof Error) stderr.write(`${outcome.cause.stack ?? ''}\n`)
}

/** The content of a `--stats` file. */
export const statsOf = (report: BootReport): object => {
  const { options, images, outcome, end } = report
  return {
    outcome: outcome.how,
    ...(outcome.kind === 'guest' && { why: outcome.why }),
    exitCode: report.exitCode,
    instructions: end.instructions,
    virtualSeconds: end.virtual / 1e9,
    wallSeconds: end.wall / 1000,
    peakMemoryBytes: peakMemory(),
    phases: report.phases,
    kernel: images.kernel?.name ?? null,
    firmware: images.firmware?.name ?? null,
    initrd: images.initrd?.name ?? null,
    commandLine: report.commandLine,
    memoryBytes: options.memory,
    vcpus: options.vcpus,
    seed: options.seed,
    engine: options.engine,
    consoleSha256: report.consoleSha256,
    traceSha256: report.traceSha256 ?? null,
    machine: report.machine?.stats() ?? null,
    findings: { kept: report.found.findings.length, occurrences: report.found.total, byRule: report.found.counts },
  }
}

const bigintAsText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value)

/** Writes a `--stats` file. */
export const writeStats = (path: string, report: BootReport): void => {
  try {
    writeFileSync(path, `${JSON.stringify(statsOf(report), bigintAsText, 2)}\n`)
  } catch (error) {
    throw inputError(`stats ${path}`, plainReason(error), 'a file that can be written')
  }
}
