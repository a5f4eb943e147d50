import type { IrqLine } from '../src/index.ts'

/** A line that remembers its level and counts its rising edges. */
export function probe(): IrqLine & { level: boolean; edges: number } {
  const line = {
    level: false,
    edges: 0,
    set(level: boolean) {
      if (level && !line.level) line.edges += 1
      line.level = level
    },
  }
  return line
}
