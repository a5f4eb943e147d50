import type { Milestone } from './console-watch.ts'

/** A part of the boot with what it took. */
export interface PhaseStats {
  readonly name: string
  readonly wallSeconds: number
  readonly virtualSeconds: number
  readonly instructions: number
}

/** A moment in a session. */
export interface Moment {
  /** Wall milliseconds since the process started. */
  readonly wall: number
  /** Virtual nanoseconds. */
  readonly virtual: number
  readonly instructions: number
}

/** Parts a session at its milestones. */
export interface Phases {
  reach(milestone: Milestone | 'machine' | 'restored', moment: Moment): void
  /** The phases up to now; the last one ends at `end`. */
  list(end: Moment): { readonly stats: PhaseStats; readonly from: Moment; readonly to: Moment }[]
}

// what comes after a milestone
const nameAfter = {
  machine: 'decompress', restored: 'restored', kernel: 'kernel', init: 'init', shell: 'shell',
} as const

/** Makes a list of phases that starts with `load` at the start of the process. */
export const createPhases = (): Phases => {
  const starts: { name: string; moment: Moment }[] = [
    { name: 'load', moment: { wall: 0, virtual: 0, instructions: 0 } },
  ]
  return {
    reach: (milestone, moment) => {
      starts.push({ name: nameAfter[milestone], moment })
    },
    list: (end) =>
      starts.map(({ name, moment: from }, index) => {
        const to = starts[index + 1]?.moment ?? end
        const stats = {
          name,
          wallSeconds: (to.wall - from.wall) / 1000,
          virtualSeconds: (to.virtual - from.virtual) / 1e9,
          instructions: to.instructions - from.instructions,
        }
        return { stats, from, to }
      }),
  }
}
