/** TDMRs as a table for people. */
import type { TdmrPlan } from './build.ts'
import { GiB, MiB, total } from './ranges.ts'

const hex = (x: number): string => `0x${x.toString(16)}`
const mib = (bytes: number): string => `${(bytes / MiB).toFixed(bytes % MiB === 0 ? 0 : 1)} MiB`

/** One line for each TDMR, and the sum. */
export function formatTdmrs(plan: TdmrPlan): string {
  const head = ['tdmr', 'base', 'end', 'GiB', 'node', 'reserved', 'bytes', 'PAMT at', 'PAMT']
  const rows = plan.tdmrs.map((t, i) => [
    `${i}`, hex(t.start), hex(t.end), `${(t.end - t.start) / GiB}`, `${t.node}`, `${t.reserved.length}`,
    mib(total(t.reserved)), hex(t.pamt.start), mib(t.pamt.end - t.pamt.start),
  ])
  const width = head.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i].length)))
  const lines = [head, ...rows].map((r) => r.map((x, i) => x.padStart(width[i])).join('  '))
  const sum = `PAMTs: ${mib(plan.pamtBytes)} for ${mib(plan.memoryBytes)} of memory, ` +
    `1/${(1 / plan.overhead).toFixed(0)} (${(plan.overhead * 100).toFixed(2)} %)`
  return [...lines, sum].join('\n')
}
