/** Counts by name of what a guest does: it has a say in some of the names, and must not make them grow without end. */

/** The name under which everything counts that comes once there are as many names as are kept. */
export const TALLY_OTHERS = 'others'

export interface Tally {
  add(name: string): void
  /** Counts by name, in the order of the names. */
  counts(): Readonly<Record<string, number>>
  /** In the order in which names came. */
  snapshot(): TallyState
  restore(saved: TallyState): void
}

/** What a snapshot keeps of a tally. */
export type TallyState = readonly (readonly [name: string, count: number])[]

/** An empty tally. @param limit names that are kept apart; what others there are counts as {@link TALLY_OTHERS} */
export function createTally(limit = 200): Tally {
  const counts = new Map<string, number>()
  return {
    add(name) {
      const key = counts.has(name) || counts.size < limit ? name : TALLY_OTHERS
      counts.set(key, (counts.get(key) ?? 0) + 1)
    },
    snapshot: () => [...counts],
    restore(saved) { for (const [name, count] of saved) counts.set(name, count) },
    counts: () => Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1))),
  }
}
