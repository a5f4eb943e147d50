/**
 * Accesses that an SNP guest tries for ever: each ends in #VC because the page is not validated, and whatever its
 * handler does leads back to the same instruction. The host learns nothing of it: no exit, no message, one processor
 * that is busy for good.
 */
import { RmpCheck } from '../rmp/check.ts'
import type { DeniedFact, StuckFact } from './facts.ts'
import { accessName, hex } from './rule.ts'

/**
 * How often the same instruction, with the same stack pointer, takes #VC for the same address until nobody believes
 * that it will get past it: at a dozen instructions each, or at some ten thousand where the handler tries to log it.
 */
export const REPEATS = 10_000

/** Accesses of one round of such a loop that are told apart; a handler can take #VC for more than one page. */
const SITES = 16

/** Where a processor was when an access was refused. */
export interface AccessPlace {
  readonly cpu: number
  readonly rip: bigint
  readonly rsp: bigint
}

export interface AccessRepeats {
  /** An access was refused; what it comes to, once, when it has been one time too often. */
  denied(fact: DeniedFact, place: AccessPlace): StuckFact | null
  /** A processor's guest asked its host for something, so that a round of its loop is not without effect. */
  asked(cpu: number): void
  /** PVALIDATE has changed a guest page: what was refused there is another matter now. */
  validated(guestPage: number, pages: number): void
  snapshot(): AccessRepeatsState
  restore(saved: AccessRepeatsState): void
}

/** What a snapshot keeps, by processor and place. */
export type AccessRepeatsState = readonly (readonly [
  cpu: number, sites: readonly (readonly [place: string, guestPage: number, count: number])[],
])[]

interface Site {
  readonly page: number
  count: number
}

export function createAccessRepeats(): AccessRepeats {
  const processors = new Map<number, Map<string, Site>>()

  const sitesOf = (cpu: number): Map<string, Site> => {
    const known = processors.get(cpu)
    if (known !== undefined) return known
    const sites = new Map<string, Site>()
    processors.set(cpu, sites)
    return sites
  }

  return {
    denied(fact, { cpu, rip, rsp }) {
      if (fact.verdict !== RmpCheck.NOT_VALIDATED) return null
      const sites = sitesOf(cpu)
      const key = `${rip.toString(16)} ${rsp.toString(16)} ${fact.gpa.toString(16)}`
      let site = sites.get(key)
      if (site === undefined) {
        // Something new: the guest is not at the end of its ways yet.
        if (sites.size >= SITES) sites.clear()
        site = { page: Number(fact.gpa >> 12n), count: 0 }
        sites.set(key, site)
      }
      if (++site.count !== REPEATS) return null
      const text = `${accessName(fact.access)} of ${hex(fact.gpa)} by the instruction at ${hex(rip)} was #VC `
        + `${REPEATS} times, because the page is not validated; what the guest does then leads back to it`
      return { kind: 'stuck', gpa: fact.gpa, text }
    },
    asked(cpu) { processors.get(cpu)?.clear() },
    snapshot: () =>
      [...processors].map(([cpu, sites]) => [cpu, [...sites].map(([key, { page, count }]) => [key, page, count])]),
    restore(saved) {
      for (const [cpu, sites] of saved) {
        processors.set(cpu, new Map(sites.map(([key, page, count]) => [key, { page, count }])))
      }
    },
    validated(guestPage, pages) {
      for (const sites of processors.values()) {
        for (const [key, { page }] of sites) if (page >= guestPage && page < guestPage + pages) sites.delete(key)
      }
    },
  }
}
