import type { Clock, Timer } from './clock.ts'

/** State of a virtual clock. Timers are not in it: each device arms its own again when it is restored. */
export interface VirtualClockSnapshot {
  readonly now: number
}

/** The machine's clock: time stands still until the run loop moves it. */
export interface VirtualClock extends Clock {
  /** The time of the earliest timer, in nanoseconds; `Infinity` when none is armed. */
  next(): number
  /**
   * Moves time forward to `time` and fires every timer that is due, in order of time, then rank, then arming. While a
   * timer fires, `now()` is that timer's time. Timers armed by a firing timer fire in the same call when they are due.
   * A `time` in the past changes nothing. Called from inside a firing timer it is refused.
   * @throws Error when called re-entrantly (a bug of the caller).
   */
  advanceTo(time: number): void
  /**
   * The same clock for one device. Of timers due at one instant those of the lower rank fire first, whenever they were
   * armed, so that a restored machine, whose devices arm their timers in another order, goes on identically.
   * The clock itself has rank 0.
   */
  ranked(rank: number): Clock
  /** How many timers are armed. */
  pending(): number
  snapshot(): VirtualClockSnapshot
  /** Sets the time and forgets every timer. */
  restore(saved: VirtualClockSnapshot): void
}

/** Options of {@link createVirtualClock}. */
export interface VirtualClockOptions {
  /** First value of `now()`, default 0. */
  readonly start?: number
  /** Called when a timer is armed that is earlier than all others: a run loop in mid-slice may want to stop earlier. */
  readonly onEarlier?: (time: number) => void
}

interface Entry extends Timer {
  readonly rank: number
  readonly order: number
  readonly fire: () => void
  /** Place in the heap, −1 when fired or cancelled. */
  place: number
}

const before = (a: Entry, b: Entry): boolean =>
  a.time !== b.time ? a.time < b.time : a.rank !== b.rank ? a.rank < b.rank : a.order < b.order

/** A binary heap whose entries know their place, so that a cancelled timer leaves at once and nothing piles up. */
function createHeap() {
  const items: Entry[] = []

  const put = (entry: Entry, place: number): void => {
    items[place] = entry
    entry.place = place
  }
  const up = (entry: Entry, from: number): void => {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (!before(entry, items[parent])) break
      put(items[parent], place)
      place = parent
    }
    put(entry, place)
  }
  const down = (entry: Entry, from: number): void => {
    let place = from
    for (;;) {
      let child = 2 * place + 1
      if (child >= items.length) break
      if (child + 1 < items.length && before(items[child + 1], items[child])) child += 1
      if (!before(items[child], entry)) break
      put(items[child], place)
      place = child
    }
    put(entry, place)
  }

  return {
    items,
    push(entry: Entry): void {
      items.push(entry)
      up(entry, items.length - 1)
    },
    remove(entry: Entry): void {
      const place = entry.place
      if (place < 0) return
      entry.place = -1
      const last = items.pop()
      if (last === undefined || last === entry) return
      if (place > 0 && before(last, items[(place - 1) >> 1])) up(last, place)
      else down(last, place)
    },
    clear(): void {
      for (const entry of items) entry.place = -1
      items.length = 0
    },
  }
}

/** Creates a clock at time `start` with no timers. */
export function createVirtualClock(options: VirtualClockOptions = {}): VirtualClock {
  const heap = createHeap()
  let now = options.start ?? 0
  let order = 0
  let firing = false

  const at = (time: number, fire: () => void, rank: number): Timer => {
    const entry: Entry = { time, rank, order: order++, fire, place: -1, cancel: () => { heap.remove(entry) } }
    heap.push(entry)
    if (entry.place === 0 && !firing) options.onEarlier?.(time)
    return entry
  }

  return {
    now: () => now,
    at: (time, fire) => at(time, fire, 0),
    ranked: (rank) => ({ now: () => now, at: (time, fire) => at(time, fire, rank) }),
    next: () => (heap.items.length === 0 ? Infinity : heap.items[0].time),
    pending: () => heap.items.length,
    advanceTo(time) {
      if (firing) throw new Error('advanceTo called from inside a timer')
      if (time < now) return
      firing = true
      try {
        while (heap.items.length > 0 && heap.items[0].time <= time) {
          const entry = heap.items[0]
          heap.remove(entry)
          if (entry.time > now) now = entry.time
          entry.fire()
        }
      } finally {
        firing = false
      }
      now = time
    },
    snapshot: () => ({ now }),
    restore(saved) {
      heap.clear()
      now = saved.now
    },
  }
}
