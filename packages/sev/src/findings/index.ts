export type {
  CpuidFact, DeniedFact, EarlyReferenceFact, GhcbExposedFact, GhcbFact, MsrRequestFact, PscFact, PvalidateFact, SevFact,
  StuckFact, TakenFact, TableWriteFact, UnevictedFact,
} from './facts.ts'
export type { SevRule } from './rule.ts'
export { createPageHistory } from './history.ts'
export type { PageHistory, PageHistoryState } from './history.ts'
export { createAccessRepeats, REPEATS } from './repeats.ts'
export type { AccessPlace, AccessRepeats, AccessRepeatsState } from './repeats.ts'
export { createSevJudge } from './judge.ts'
export type { SevJudge } from './judge.ts'
export { SEV_RULES } from './rules/index.ts'
export { entryOf } from './table-entry.ts'
