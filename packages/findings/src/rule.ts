/** Rules as data: what must hold, who says so, what real hardware makes of it when it does not. */

/** What a broken rule comes to on real hardware. */
export type Outcome =
  /** The guest takes an exception that it has no answer to. */
  | 'fault'
  /** The same access is tried for ever. */
  | 'hang'
  /** Something wrong is read or kept, and nobody is told. */
  | 'corruption'
  /** Something private reaches the host. */
  | 'leak'
  /** It works, as long as the host is honest or the memory happens to be so. */
  | 'luck'

/** Where a rule comes from. */
export interface RuleSource {
  /** Document and section, or a commit of Linux with its subject. */
  readonly text: string
  readonly url?: string
}

/** A rule of the architecture. */
export interface Rule {
  /** Lower case and dashes; it never changes. */
  readonly id: string
  /** What must hold, in one sentence. */
  readonly title: string
  readonly sources: readonly RuleSource[]
  /** Why it must hold, and what goes wrong otherwise. */
  readonly why: string
  readonly outcome: Outcome
  /** What hardware does, in a sentence. */
  readonly hardware: string
  /** What a developer should look at. */
  readonly advice: string
}

/** A rule was broken: what a rule's function says of it. */
export interface Violation {
  readonly rule: Rule
  /** What happened this time, in a sentence. */
  readonly what: string
  /** Guest linear, guest physical and system physical address. */
  readonly gva?: bigint
  readonly gpa?: bigint
  readonly spa?: bigint
  /** The table entry that decided, where the one at `spa` is not that any more. */
  readonly entry?: TableEntry
}

/** An entry of a table that decides who may touch a page. */
export interface TableEntry {
  readonly table: 'RMP'
  /** Its words in memory, and what they say. */
  readonly words: readonly bigint[]
  readonly text: string
}
