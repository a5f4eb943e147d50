/** One figure of one contestant. */
export interface Figure {
  readonly values: readonly number[]
  readonly median: number | undefined
}

/** A row of the table. */
export interface ReportRow {
  readonly name: string
  readonly about: string
  readonly unit: 's' | 'bytes'
  readonly ours: Figure
  readonly peer: Figure
  /** Ours divided by the peer's, of the medians: below 1 is better. */
  readonly ratio: number | undefined
}

/** The middle value, or the mean of the two in the middle. */
export const median = (values: readonly number[]): number | undefined => {
  const sorted = [...values].sort((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? undefined : (low + high) / 2
}

/** Makes a row of the values of all rounds. */
export const reportRow = (
  { name, about, unit }: Pick<ReportRow, 'name' | 'about' | 'unit'>,
  ours: readonly number[],
  peer: readonly number[],
): ReportRow => {
  const [our, their] = [median(ours), median(peer)]
  const ratio = our === undefined || their === undefined ? undefined : our / their
  return { name, about, unit, ours: { values: ours, median: our }, peer: { values: peer, median: their }, ratio }
}

const show = (value: number | undefined, unit: ReportRow['unit']): string => {
  if (value === undefined) return '–'
  return unit === 's' ? `${value.toFixed(2)} s` : `${(value / 2 ** 20).toFixed(0)} MiB`
}

/** The rows as a table in Markdown. */
export const table = (rows: readonly ReportRow[], oursName: string, peerName: string): string => {
  const cells = rows.map(({ about, unit, ours, peer, ratio }) => [
    about, show(ours.median, unit), show(peer.median, unit), ratio === undefined ? '–' : `${ratio.toFixed(2)} ×`,
  ])
  const head = ['', oursName, peerName, 'ratio']
  const widths = head.map((_, column) => Math.max(...[head, ...cells].map((row) => row[column]?.length ?? 0)))
  const padded = (row: readonly string[]): string[] => row.map((cell, column) => {
    const width = widths[column] ?? 0
    return column === 0 ? cell.padEnd(width) : cell.padStart(width)
  })
  const line = (row: readonly string[]): string => `| ${padded(row).join(' | ')} |`
  const rule = widths.map((width, column) => column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)
  return [line(head), line(rule), ...cells.map(line)].join('\n')
}
