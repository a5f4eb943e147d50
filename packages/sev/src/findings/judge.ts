/** Holds facts against the rules. */
import type { Violation } from '@cofferdam/findings'
import type { SevFact } from './facts.ts'
import { createPageHistory } from './history.ts'
import type { PageHistory } from './history.ts'
import { SEV_RULES } from './rules/index.ts'

/** Judges the facts about one guest, in their order. */
export interface SevJudge {
  judge(fact: SevFact): readonly Violation[]
  /** What it remembers of facts. */
  readonly history: PageHistory
}

const NONE: readonly Violation[] = []

/** A judge for one guest: it is told what happens, and answers with the rules that this breaks. */
export function createSevJudge(): SevJudge {
  const history = createPageHistory()
  return {
    history,
    judge(fact) {
      let found: Violation[] | undefined
      for (const rule of SEV_RULES) {
        const broken = rule.judge(fact, history)
        if (broken !== null) (found ??= []).push({ rule, ...broken })
      }
      history.note(fact)
      return found ?? NONE
    },
  }
}
