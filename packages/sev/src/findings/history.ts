/** What facts have told of the guest's pages: only what an honest guest never brings up, so that it stays small. */
import { RmpCheck } from '../rmp/check.ts'
import type { RmpFields } from '../rmp/entry.ts'
import type { SevFact } from './facts.ts'

/** Pages that are remembered at most, of each kind; the oldest are forgotten first. */
const MOST = 4096
const PAGE = 4096n
/** Pages of 4 KiB in one of 2 MiB. */
const LARGE = 512

export interface PageHistory {
  /** The guest asked for this page's change, and was told that it failed or was not reached. */
  unanswered(guestPage: number): 'failed' | 'left' | undefined
  /** The host took this page while it was validated: its entry before. */
  taken(guestPage: number): RmpFields | undefined
  /** The host has said that this page is private now: if it is not, that is the host's lie. */
  promised(guestPage: number): boolean
  /**
   * That a guest physical address is not validated is the guest's own doing: no host has taken the page (#VC is what
   * the guest should get then), and it does not follow from a mistake that was seen before.
   */
  isOwnDoing(gpa: bigint): boolean
  /** Takes a fact in, after the rules have seen it. */
  note(fact: SevFact): void
  snapshot(): PageHistoryState
  restore(saved: PageHistoryState): void
}

/** What a snapshot keeps, by guest page, the oldest first. */
export interface PageHistoryState {
  /** Whether the change failed, or was not reached. */
  readonly unanswered: readonly (readonly [page: number, failed: boolean])[]
  readonly mistaken: readonly number[]
  readonly promised: readonly (readonly [page: number, large: boolean])[]
  readonly taken: readonly (readonly [page: number, large: boolean, entry: RmpFields])[]
}

/** A map that forgets its oldest entries. */
function boundedMap<T>() {
  const map = new Map<number, T>()
  return {
    map,
    set(key: number, value: T): void {
      map.delete(key)
      map.set(key, value)
      if (map.size > MOST) for (const oldest of map.keys()) {
        map.delete(oldest)
        break
      }
    },
  }
}

export function createPageHistory(): PageHistory {
  const unanswered = boundedMap<'failed' | 'left'>()
  /** Pages that were touched as private ones while they were shared. */
  const mistaken = boundedMap<true>()
  /** Page changes to private that were answered as done; true for 2 MiB. */
  const promised = boundedMap<boolean>()
  const taken = boundedMap<{ readonly entry: RmpFields, readonly large: boolean }>()

  /** The entry for a page, or for the 2 MiB that it lies in. */
  const takenAt = (page: number): RmpFields | undefined => {
    const own = taken.map.get(page)
    if (own !== undefined) return own.entry
    const region = taken.map.get(page - page % LARGE)
    return region?.large === true ? region.entry : undefined
  }

  const forget = (first: number, pages: number): void => {
    for (const known of [unanswered.map, taken.map, mistaken.map]) {
      if (known.size === 0) continue
      for (let page = first; page < first + pages; page++) known.delete(page)
    }
  }

  /** The guest has given pages away again, perhaps out of a larger one. */
  const breakPromise = (first: number, pages: number): void => {
    promised.map.delete(first - first % LARGE)
    for (let page = first; page < first + pages; page++) promised.map.delete(page)
  }

  return {
    unanswered: (page) => unanswered.map.get(page),
    taken: takenAt,
    isOwnDoing(gpa) {
      const page = Number(gpa / PAGE)
      return takenAt(page) === undefined && !mistaken.map.has(page)
    },
    promised: (page) => promised.map.has(page) || promised.map.get(page - page % LARGE) === true,
    note(fact) {
      if (fact.kind === 'denied') {
        if (fact.verdict === RmpCheck.REVERSE_MAP && fact.encrypted) mistaken.set(Number(fact.gpa / PAGE), true)
      } else if (fact.kind === 'taken') taken.set(fact.guestPage, { entry: fact.entry, large: fact.large })
      else if (fact.kind === 'psc') {
        if (fact.answer === 'done') {
          forget(fact.guestPage, fact.pages)
          if (fact.operation === 'private') promised.set(fact.guestPage, fact.pages > 1)
          else breakPromise(fact.guestPage, fact.pages)
        } else unanswered.set(fact.guestPage, fact.answer)
      } else if (fact.kind === 'pvalidate' && fact.result !== 'refused') {
        // What the guest has done with the page decides from now on.
        forget(fact.guestPage, fact.large ? LARGE : 1)
      }
    },
    snapshot: () => ({
      unanswered: [...unanswered.map].map(([page, answer]) => [page, answer === 'failed']),
      mistaken: [...mistaken.map.keys()], promised: [...promised.map],
      taken: [...taken.map].map(([page, { large, entry }]) => [page, large, { ...entry }]),
    }),
    restore(saved) {
      for (const [page, failed] of saved.unanswered) unanswered.set(page, failed ? 'failed' : 'left')
      for (const page of saved.mistaken) mistaken.set(page, true)
      for (const [page, large] of saved.promised) promised.set(page, large)
      for (const [page, large, entry] of saved.taken) taken.set(page, { large, entry: { ...entry } })
    },
  }
}
