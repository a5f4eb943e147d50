/** What a report is made from. */
import type { Finding } from '../finding.ts'
import type { Rule } from '../rule.ts'

/** What reports of all formats are made from. */
export interface ReportInput {
  readonly tool: { readonly name: string, readonly version: string }
  /** What was run: the guest's image, its options; for whoever reads the report without having run it. */
  readonly run: {
    readonly kernel: string
    readonly commandLine: string
    readonly seed: number
    readonly vcpus: number
    readonly memoryBytes: number
    /** How the run ended, in a word. */
    readonly outcome: string
  }
  /** Every rule that was held against the run, broken or not. */
  readonly rules: readonly Rule[]
  readonly findings: readonly Finding[]
  /** Occurrences by rule. */
  readonly counts: Readonly<Record<string, number>>
  /** Occurrences that are in no finding. */
  readonly dropped: number
}
