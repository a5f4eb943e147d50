/** Cases and results as text. */
import { STATE, IN, type Batch } from '@cofferdam/oracle'
import iced from 'iced-x86'
import { codeOf } from './compare.ts'
import type { Mode } from './encode.ts'
import type { FuzzResult } from './fuzz.ts'
import { missingMeanings } from './lines.ts'

/** Intel syntax, one instruction after the other. */
export function disassemble(batch: Batch, index: number, mode: Mode): string {
  const bytes = codeOf(batch, index)
  const decoder = new iced.Decoder(mode, bytes, iced.DecoderOptions.None)
  decoder.ip = 0n
  const formatter = new iced.Formatter(iced.FormatterSyntax.Intel)
  const parts: string[] = []
  while (decoder.canDecode) {
    const instruction = decoder.decode()
    parts.push(formatter.format(instruction))
    instruction.free()
  }
  formatter.free()
  decoder.free()
  return `${[...bytes].map((b) => b.toString(16).padStart(2, '0')).join('')}  ${parts.join('; ')}`
}

/** Where a case starts from, in one line. */
export function stateText(batch: Batch, index: number): string {
  const at = batch.at(index)
  const gpr = Array.from({ length: 16 }, (_, r) => `${r}:${batch.u64[((at + STATE.GPR) >> 3) + r].toString(16)}`)
  const selectors = Array.from({ length: 6 }, (_, s) => batch.u16[((at + STATE.SELECTORS) >> 1) + s].toString(16))
  return `at ${batch.u32[(at + IN.AT) >> 2].toString(16)} flags ${batch.u32[(at + STATE.RFLAGS) >> 2].toString(16)}`
    + `${(batch.u32[(at + IN.FLAGS) >> 2] & 1) !== 0 ? ' stepped' : ''} segments ${selectors.join(' ')}`
    + ` fs ${batch.u64[(at + STATE.FS_BASE) >> 3].toString(16)} gs ${batch.u64[(at + STATE.GS_BASE) >> 3].toString(16)}`
    + ` mxcsr ${batch.u32[(at + STATE.MXCSR) >> 2].toString(16)} fcw ${batch.u16[(at + STATE.FCW) >> 1].toString(16)}`
    + ` registers ${gpr.join(' ')}`
}

/** The table by group and the differences. */
export function report(result: FuzzResult): string {
  const cells = [['group', 'forms claimed', 'exercised', 'uses', 'differences']]
  for (const [group, row] of [...result.coverage.rows()].sort(([a], [b]) => (a < b ? -1 : 1))) {
    cells.push([group, row.claimed, row.exercised, row.cases, row.differences].map(String))
  }
  const widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)))
  const line = (row: string[]): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  const { runs } = result
  return [
    ...result.found.map(({ text }) => text), '',
    ...cells.map(line), '',
    `not implemented: ${missingMeanings().join(' ') || 'none'}`,
    `not taken back by the decoder: ${[...result.rejected].map(([text, n]) => `${text} (${n})`).join('; ') || 'none'}`,
    `runs: ${runs.cold} interpreter (cold functions), ${runs.hot} interpreter (dispatch function), `
    + `${runs.jit} compiled`,
    `${result.ran} cases, ${result.different} differ`,
  ].join('\n')
}
