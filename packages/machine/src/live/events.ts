/** A machine's events as an async iterator. */
import type { MachineEvent } from '../events.ts'

/** Stands where events were given up because nobody took them. */
export interface DroppedEvents {
  readonly kind: 'dropped'
  readonly count: number
  /** Virtual times of the first and the last one. */
  readonly at: number
  readonly to: number
}

/** Events of a machine as an async iterator. */
export interface EventStream extends AsyncIterable<MachineEvent | DroppedEvents> {
  /** For the machine's options. */
  readonly onEvent: (event: MachineEvent) => void
  /** No more will come: who iterates gets what is left. */
  close(): void
}

/** Which events are kept, and how many. */
export interface EventStreamOptions {
  /** Events that are kept while nobody takes them. Default 65536. */
  readonly limit?: number
  /** Which events are of interest; the others are no part of the stream. */
  readonly filter?: (event: MachineEvent) => boolean
}

/**
 * Makes the stream of one machine. Each event goes to one iterator. When more events come than are kept, the newer ones
 * are counted instead, and one `dropped` stands for them.
 */
export function createEventStream({ limit = 65_536, filter }: EventStreamOptions = {}): EventStream {
  let kept: (MachineEvent | DroppedEvents)[] = []
  /** Those of `kept` that were taken already. */
  let taken = 0
  let dropped: DroppedEvents | undefined
  let closed = false
  let waiting: (() => void)[] = []
  const wake = (): void => {
    const all = waiting
    waiting = []
    for (const one of all) one()
  }
  const take = (): MachineEvent | DroppedEvents | undefined => {
    if (taken < kept.length) return kept[taken++]
    kept = []
    taken = 0
    const gap = dropped
    dropped = undefined
    return gap
  }
  return {
    onEvent(event) {
      if (closed || filter?.(event) === false) return
      // Once events are missing, later ones wait until those before were taken: the order stays.
      if (dropped === undefined && kept.length - taken < limit) kept.push(event)
      else dropped = { kind: 'dropped', count: (dropped?.count ?? 0) + 1, at: dropped?.at ?? event.at, to: event.at }
      if (waiting.length > 0) wake()
    },
    close() {
      closed = true
      wake()
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const next = take()
        if (next !== undefined) yield next
        else if (closed) return
        else await new Promise<void>((resolve) => { waiting.push(resolve) })
      }
    },
  }
}
