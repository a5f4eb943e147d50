/** Keeps findings: equal ones are one, and there are never more than so many. */
import { MAX_OTHERS } from './finding.ts'
import type { Finding, Scene } from './finding.ts'
import type { TableEntry, Violation } from './rule.ts'

/** Where and when a rule was broken, as far as it costs nothing to know. */
export interface Occurrence {
  /** Nanoseconds of virtual time. */
  readonly at: number
  readonly vmpl: number
  readonly rip: bigint
  /** The rest of the evidence; asked for once for each finding. */
  scene(): Scene
  /** The table entry of a system page; null where there is none. */
  entryAt(spa: bigint): TableEntry | null
}

/** How much is kept of what a guest does wrong, and who hears of it. */
export interface FindingsOptions {
  /** Findings that are kept; others are only counted. Default 200. */
  readonly limit?: number
  /** Hears of each new one. */
  readonly onFinding?: (finding: Finding) => void
}

/** The findings of a run. */
export interface Findings {
  add(violation: Violation, occurrence: Occurrence): void
  /** In the order of their first occurrence. */
  list(): readonly Finding[]
  /** Occurrences by rule, those of findings that were not kept included. */
  counts(): Readonly<Record<string, number>>
  /** Occurrences that belong to no finding of the list, because there were too many. */
  readonly dropped: number
  snapshot(): FindingsState
  /** Takes those of a snapshot, and tells nobody of them. */
  restore(saved: FindingsState): void
}

/** What a snapshot keeps of findings. */
export interface FindingsState {
  /** In the order of their first occurrence; by what later ones are the same. */
  readonly kept: readonly (readonly [key: string, finding: Finding])[]
  readonly counts: readonly (readonly [rule: string, count: number])[]
  readonly dropped: number
}

const DEFAULT_LIMIT = 200

/** Violations of one rule by one instruction at one VMPL are one finding. */
const keyOf = ({ rule }: Violation, { rip, vmpl }: Occurrence): string => `${rule.id} ${vmpl} ${rip.toString(16)}`

interface Kept {
  readonly finding: Finding
  count: number
  last: number
  readonly others: bigint[]
}

/** Collects findings: equal ones become one with a count, and memory stays within `limit`. */
export function createFindings({ limit = DEFAULT_LIMIT, onFinding }: FindingsOptions = {}): Findings {
  const kept = new Map<string, Kept>()
  const counts = new Map<string, number>()
  let dropped = 0

  const repeat = (known: Kept, { gpa }: Violation, at: number): void => {
    known.count++
    known.last = at
    if (gpa === undefined || gpa === known.finding.gpa || known.others.includes(gpa)) return
    if (known.others.length < MAX_OTHERS) known.others.push(gpa)
  }

  const current = ({ finding, count, last, others }: Kept): Finding =>
    ({ ...finding, count, last, others: [...others] })

  return {
    get dropped() { return dropped },
    add(violation, occurrence) {
      const { rule, what, gva, gpa, spa, entry } = violation
      counts.set(rule.id, (counts.get(rule.id) ?? 0) + 1)
      const key = keyOf(violation, occurrence)
      const known = kept.get(key)
      if (known !== undefined) {
        repeat(known, violation, occurrence.at)
        return
      }
      if (kept.size >= limit) {
        dropped++
        return
      }
      const { at } = occurrence
      const finding: Finding = {
        ...occurrence.scene(),
        id: `F${kept.size + 1}`, rule: rule.id, outcome: rule.outcome, what, gva: gva ?? null, gpa: gpa ?? null,
        spa: spa ?? null, entry: entry ?? (spa === undefined ? null : occurrence.entryAt(spa)), count: 1, first: at,
        last: at, others: [],
      }
      kept.set(key, { finding, count: 1, last: at, others: [] })
      onFinding?.(finding)
    },
    list: () => [...kept.values()].map(current),
    snapshot: () => ({
      kept: [...kept].map(([key, known]) => [key, current(known)]), counts: [...counts], dropped,
    }),
    restore(saved) {
      for (const [key, finding] of saved.kept) {
        const { count, last, others } = finding
        kept.set(key, { finding, count, last, others: [...others] })
      }
      for (const [rule, count] of saved.counts) counts.set(rule, count)
      ;({ dropped } = saved)
    },
    counts: () => Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1))),
  }
}
