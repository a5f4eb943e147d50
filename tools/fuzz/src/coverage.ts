/** Which forms there are and which were run: a form is a line of the tables in one mode, width and kind of operand. */
import { operandSizes, type Mode } from './encode.ts'
import type { Used } from './generate.ts'
import { AXIS, FORM, OPERAND, type Line } from './inside.ts'
import { fuzzLines, type Group } from './lines.ts'

export interface Row {
  claimed: number
  exercised: number
  cases: number
  differences: number
}

export interface Coverage {
  note(used: readonly Used[], different: boolean): void
  rows(): Map<Group, Row>
  /** Forms that were run, as numbers of the list of all; for merging results. */
  readonly seen: Set<number>
  readonly counts: Map<Group, { cases: number; differences: number }>
}

const hasModrm = (line: Line): boolean => (line.flags & FORM.MODRM) !== 0

const kindsOf = (line: Line): boolean[] => {
  if (line.operands.includes(OPERAND.O)) return [true]
  if (!hasModrm(line)) return [false]
  return [1, 2].filter((bit) => (line.accept[AXIS.MOD] & bit) !== 0).map((bit) => bit === 1)
}

const sizesOf = (line: Line, mode: Mode): number[] => {
  if (line.space >= 4) return [0, 1].filter((l) => (line.accept[AXIS.L] >> l & 1) !== 0)
  const sizes = operandSizes(line, mode)
  // REX.W that chooses the line is its width.
  const w = line.accept[AXIS.W]
  return w === 3 ? sizes : w === 2 ? [8] : sizes.filter((size) => size !== 8)
}

const keyOf = (line: Line, mode: Mode, memory: boolean, size: number): string =>
  `${mode} ${size} ${memory ? 'm' : 'r'} ${line.text}`

const MODES: readonly Mode[] = [64, 32, 16]
const numbers = new Map<string, number>()
const groups: Group[] = []
for (const mode of MODES) {
  for (const { line, group } of fuzzLines(mode)) {
    for (const memory of kindsOf(line)) {
      for (const size of sizesOf(line, mode)) {
        numbers.set(keyOf(line, mode, memory, size), groups.length)
        groups.push(group)
      }
    }
  }
}

export function createCoverage(): Coverage {
  const seen = new Set<number>()
  const counts: Coverage['counts'] = new Map()
  const known = new Map<Line, number[]>()
  return {
    seen, counts,
    note(used, different) {
      for (const { line, group, mode, memory, size } of used) {
        const slot = mode * 32 + size * 2 + (memory ? 1 : 0)
        let list = known.get(line)
        if (list === undefined) known.set(line, list = [])
        const number = list[slot] ??= numbers.get(keyOf(line, mode, memory, size))
          ?? numbers.get(keyOf(line, mode, memory, 4)) ?? numbers.get(keyOf(line, mode, memory, 8)) ?? -1
        if (number >= 0) seen.add(number)
        let count = counts.get(group)
        if (count === undefined) counts.set(group, count = { cases: 0, differences: 0 })
        count.cases++
        if (different) count.differences++
      }
    },
    rows() {
      const rows = new Map<Group, Row>()
      groups.forEach((group, number) => {
        let row = rows.get(group)
        if (row === undefined) {
          const { cases, differences } = counts.get(group) ?? { cases: 0, differences: 0 }
          rows.set(group, row = { claimed: 0, exercised: 0, cases, differences })
        }
        row.claimed++
        if (seen.has(number)) row.exercised++
      })
      return rows
    },
  }
}

export const formCount = (): number => groups.length
