/**
 * What the silicon and the host tell of a guest, for rules to judge: facts, and no opinion of them. They come up where
 * something faults, leaves the guest or is asked of the host anyway; nothing is looked for that a processor would not
 * do.
 */
import type { RmpVerdict } from '../rmp/check.ts'
import type { RmpFields } from '../rmp/entry.ts'

/** An access that failed a check of the RMP, and the guest took the #VC or left for it. */
export interface DeniedFact {
  readonly kind: 'denied'
  readonly verdict: RmpVerdict
  /** ACCESS_ bits. */
  readonly access: number
  readonly gva: bigint
  readonly gpa: bigint
  /** The effective C-bit. */
  readonly encrypted: boolean
  /** The processor read or changed an entry of the guest's own page tables. */
  readonly table: boolean
  /** Bytes of the same access that lie on the page before, where the guest may be; 0 when it began on this page. */
  readonly before: number
}

/** PVALIDATE was executed. */
export interface PvalidateFact {
  readonly kind: 'pvalidate'
  readonly gva: bigint
  readonly vmpl: number
  /** The state that was asked for. */
  readonly validate: boolean
  readonly large: boolean
  /**
   * `done` and `unchanged` (CF): with the page; `refused`: the VMPL may not use the instruction (#GP). A code of
   * `RmpStatus` in EAX, and faults, are no facts: the guest is told.
   */
  readonly result: 'done' | 'unchanged' | 'refused'
  /** Guest page and system page; −1 when refused. */
  readonly guestPage: number
  readonly page: number
}

/** The host gave a page another state in the RMP while the guest held it validated. */
export interface TakenFact {
  readonly kind: 'taken'
  readonly guestPage: number
  readonly page: number
  readonly large: boolean
  /** The entry as it was. */
  readonly entry: RmpFields
}

/** A request of the MSR protocol that the code does not define in all its bits, or at all. */
export interface MsrRequestFact {
  readonly kind: 'msr-request'
  readonly value: bigint
  /** Bits 11:0. */
  readonly code: number
  /** Whether the protocol has the code. */
  readonly known: boolean
  readonly undefinedBits: bigint
}

/** A request through a GHCB page that the host could not serve as asked. */
export interface GhcbFact {
  readonly kind: 'ghcb'
  /**
   * `private`: no shared page is there; `unregistered`: another page, or none, was registered; `malformed`: its
   * fields.
   */
  readonly problem: 'private' | 'unregistered' | 'malformed'
  readonly gpa: bigint
  /** In words. */
  readonly text: string
}

/** A request through a GHCB page that shows the host registers which the exit has no use for. */
export interface GhcbExposedFact {
  readonly kind: 'ghcb-exposed'
  readonly gpa: bigint
  /** As the document names the exit. */
  readonly exit: string
  /** Registers that are marked as valid, are not zero, and are no input of the exit; or bits of one that are none. */
  readonly registers: readonly string[]
}

/** Code outside of the kernel's own mapping used an address inside, where nothing is mapped yet. */
export interface EarlyReferenceFact {
  readonly kind: 'early-reference'
  readonly gva: bigint
  readonly fetch: boolean
}

/** Something the guest asked its host to do to pages, and what the host says that it did. */
export interface PscFact {
  readonly kind: 'psc'
  readonly operation: 'private' | 'shared'
  readonly guestPage: number
  readonly pages: number
  /** `left`: the host stopped before this one, without an error. */
  readonly answer: 'done' | 'failed' | 'left'
}

/** The guest asked its host for CPUID. */
export interface CpuidFact {
  readonly kind: 'cpuid'
  readonly leaf: number
  readonly subleaf: number
  /** The CPUID page that the firmware has checked holds the leaf. */
  readonly inTable: boolean
}

/** A page that was validated is used before its old lines were evicted, on a processor where software has to. */
export interface UnevictedFact {
  readonly kind: 'unevicted'
  readonly gpa: bigint
  /** System page. */
  readonly page: number
  /** RIP of the PVALIDATE. */
  readonly validatedAt: bigint
}

/** The guest wrote into the table of unaccepted memory, and did more than to clear bits of its bitmap. */
export interface TableWriteFact {
  readonly kind: 'table-write'
  readonly gpa: bigint
  /** Bits of the bitmap that were clear and are set now. */
  readonly bits: number
  /** What comes before the bitmap was changed. */
  readonly header: boolean
}

/** The same access faults again and again, whatever host and guest do. */
export interface StuckFact {
  readonly kind: 'stuck'
  readonly gpa: bigint
  /** In words. */
  readonly text: string
}

/** A fact about a guest with SEV-SNP. */
export type SevFact =
  | DeniedFact | PvalidateFact | TakenFact | MsrRequestFact | GhcbFact | GhcbExposedFact | EarlyReferenceFact | PscFact
  | CpuidFact | UnevictedFact | TableWriteFact | StuckFact
