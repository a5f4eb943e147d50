/** When a hostile host strikes: after so many instructions, or when the guest has sent a text on its serial port. */
import { ATTACKS } from '@cofferdam/host'
import type { HostilePlan } from '@cofferdam/host'
import { VC_PAGE_NOT_VALIDATED } from '@cofferdam/spec'
import type { MachineEvent } from '../events.ts'
import { MachineError } from '../options.ts'
import type { HostileOption } from '../options.ts'
import { StateMisfit } from '../snapshot/state.ts'

export interface HostileMoments {
  readonly plans: readonly HostilePlan[]
  /** The guest sent a byte. */
  see(byte: number): void
  /** A processor raised an exception. */
  raised(name: string, data: MachineEvent['data']): void
  /**
   * #VC for pages that the guest had not validated, or that it has no longer: what the host changed, it notices by
   * them.
   */
  unvalidated(): number
  snapshot(): HostileMomentsState
  /** @throws StateMisfit for a state of other texts */
  restore(saved: HostileMomentsState): void
}

/** What a snapshot keeps: of each text, the bytes that may be its beginning. */
export interface HostileMomentsState {
  readonly texts: readonly { readonly last: Uint8Array, readonly count: number, readonly seen: boolean }[]
  readonly unvalidated: number
}

/** Longest text that is looked for. */
const LONGEST = 256

const misfit = (): StateMisfit =>
  new StateMisfit({ path: 'snp.moments.texts', expected: 'the texts that begin attacks' })

/** Looks for a text in bytes that come one by one. */
function createTextWatch(text: string) {
  const wanted = new TextEncoder().encode(text)
  const last = new Uint8Array(wanted.length)
  let count = 0
  let seen = false
  return {
    seen: () => seen,
    see(byte: number) {
      if (seen) return
      last.copyWithin(0, 1)
      last[last.length - 1] = byte
      count++
      seen = count >= wanted.length && wanted.every((value, i) => value === last[i])
    },
    snapshot: () => ({ last: last.slice(), count, seen }),
    restore(saved: HostileMomentsState['texts'][number]) {
      if (saved.last.length !== last.length) throw misfit()
      last.set(saved.last)
      ;({ count, seen } = saved)
    },
  }
}

/** Prepares attacks. @throws MachineError for one that there is not, or a moment that cannot be */
export function hostileMoments(options: readonly HostileOption[]): HostileMoments {
  const watches: ReturnType<typeof createTextWatch>[] = []
  const plans = options.map(({ mode, at }): HostilePlan => {
    if (!Object.hasOwn(ATTACKS, mode)) {
      throw new MachineError('hostile', 'mode', `${mode}; expected one of ${Object.keys(ATTACKS).join(', ')}`)
    }
    if (at === undefined) return { mode }
    if (typeof at === 'number') {
      if (!Number.isSafeInteger(at) || at < 0) {
        throw new MachineError('hostile', 'moment', `${at}; expected instructions or a text`)
      }
      return { mode, at }
    }
    const { length } = new TextEncoder().encode(at)
    if (length === 0 || length > LONGEST) {
      throw new MachineError('hostile', 'moment', `a text of ${length} bytes; expected 1 to ${LONGEST}`)
    }
    const watch = createTextWatch(at)
    watches.push(watch)
    return { mode, at: watch.seen }
  })
  let unvalidated = 0
  return {
    plans,
    see(byte) { for (const watch of watches) watch.see(byte) },
    raised(name, data) { if (name === '#VC' && data?.errorCode === VC_PAGE_NOT_VALIDATED) unvalidated++ },
    unvalidated: () => unvalidated,
    snapshot: () => ({ texts: watches.map((watch) => watch.snapshot()), unvalidated }),
    restore(saved) {
      if (saved.texts.length !== watches.length) throw misfit()
      for (const [i, watch] of watches.entries()) watch.restore(saved.texts[i])
      ;({ unvalidated } = saved)
    },
  }
}
