/**
 * Who runs when. Virtual time is retired instructions of all processors together, one nanosecond each: processors take
 * turns, never two at one instant, so that time as one of them reads it is never behind what another has read. While
 * several are ready, each gets a slice whose length the seed decides; PAUSE gives the rest of a slice away. Every slice
 * ends in time for the next timer. How many instructions the caller asks for at a time changes nothing: a slice that it
 * interrupts goes on when it comes back.
 */
import type { VirtualClock } from '@cofferdam/devices'
import type { LocalApic, Processor } from '@cofferdam/x86'

/** Longest slice of a processor that is ready alone, and range of the others'. In instructions. */
const LONG_SLICE = 4_000_000
const SHORT_SLICE = 4_000
const SLICE_SPREAD = 12_000
/**
 * Instructions after which the caller is asked whether it has something better to do: well below a second, but for code
 * that must be decoded again and again, where processors ask themselves.
 */
const ASK_AFTER = 2 ** 18

/** Somebody who gets turns: a processor with its APIC, or a guest's processor under a host. */
export interface Seat {
  readonly processor: Pick<
    Processor, 'stopped' | 'halted' | 'wakes' | 'run' | 'setTime' | 'progress' | 'charge' | 'stop' | 'wasStopped'
  > & Partial<Pick<Processor, 'stepOne' | 'trapped'>> & { readonly counts: { readonly pauses: number } }
  readonly apic: Pick<LocalApic, 'nextDeadline' | 'advance'>
}

export interface RunLoopOptions {
  /** The processors; the list may be filled after the loop is made. */
  readonly seats: readonly Seat[]
  readonly clock: VirtualClock
  /** A seeded random number in 0 … 2^32 − 1. */
  readonly random32: () => number
  /** Called after each whole slice, when no processor is in the middle of anything. */
  readonly between: () => void
  /** A processor waited, from one time to another. */
  readonly onIdle?: (cpu: number, from: number, to: number) => void
}

export interface RunLoop {
  /** Virtual time; exact inside a slice. */
  now(): number
  /** Instructions retired by all processors. */
  retired(): number
  /** A processor's timer or pending events changed. */
  changed(seat: Seat): void
  /** The running processor's instruction takes `time` longer than others. */
  charge(time: number): void
  /** A timer was armed that is due before all others. */
  earlier(time: number): void
  /** Ends the running slice at the next instruction boundary. */
  stop(): void
  /**
   * Runs processors in turn until about `instructions` are retired, `done` says so, or none is ready. When none is
   * ready at the start, time first goes on to the next timer.
   * @param interrupted asked now and then whether to come back early, with `left` more than 0. What runs in all is the
   * same as without when the next call asks for what was left.
   * @returns the time of the next timer (`Infinity` without) when none is ready, or undefined
   */
  run(instructions: number, done: () => boolean, interrupted?: () => boolean): number | undefined
  /** Instructions that the last `run` was asked for and left when it was interrupted; 0 when it was not. */
  left(): number
  /** Whether the slice that runs shall end, because the caller has something better to do; it goes on later. */
  interrupted(): boolean
  /** The processor whose slice a debugger's watch ended in the last `run`, or −1. */
  watchHit(): number
  /**
   * A debugger's step: one instruction of a processor, while what is pending waits. Timers that become due are
   * served.
   */
  step(index: number): void
  /** Number of the processor that runs or ran last. */
  current(): number
  snapshot(): RunLoopSnapshot
  restore(saved: RunLoopSnapshot): void
}

/** A turn of one processor. */
interface Slice {
  readonly index: number
  /** Virtual time at which it ends, unless something ends it before. */
  end: number
  /** Whether PAUSE gives the rest away. */
  readonly yields: boolean
  /** How often PAUSE had given slices of this processor away before. */
  readonly pauses: number
}

/** The loop between two instructions. */
export interface RunLoopSnapshot {
  readonly time: number
  readonly alone: boolean
  readonly last: number
  readonly retired: number
  readonly pauses: number
  readonly slice: Slice | null
  readonly idleSince: readonly number[]
}

const canRun = ({ processor }: Pick<Seat, 'processor'>): boolean =>
  processor.stopped === '' && (!processor.halted || processor.wakes())

export function createRunLoop(options: RunLoopOptions): RunLoop {
  const { seats, clock, random32, between, onIdle } = options
  /** Virtual time at the start of the slice, or of what is left of it. */
  let time = 0
  let running: Seat | null = null
  /** What instructions since `time` took beside their one nanosecond. */
  let charged = 0
  /** The slice that runs, or that a caller's budget interrupted. */
  let slice: Slice | null = null
  let alone = true
  let last = -1
  let retired = 0
  /** Slices in a row that PAUSE ended. */
  let pauses = 0
  const idleSince: number[] = []
  /** The processor where a debugger's watch was hit, or −1. */
  let hit = -1
  let unfinished = 0
  let asking = (): boolean => false

  const now = (): number => (running === null ? time : time + charged + running.processor.progress())

  const nextTimer = (): number => {
    let next = clock.next()
    for (const { apic } of seats) next = Math.min(next, apic.nextDeadline())
    return next
  }

  const advance = (to: number): void => {
    if (to > time) time = to
    clock.advanceTo(time)
    for (const { apic } of seats) if (apic.nextDeadline() <= time) apic.advance(time)
  }

  /** The next processor in turn that is ready, −1 when none is. */
  const pick = (): number => {
    let found = -1
    alone = true
    for (let i = 1; i <= seats.length; i++) {
      const index = (last + i) % seats.length
      if (!canRun(seats[index])) continue
      if (found >= 0) {
        alone = false
        break
      }
      found = index
    }
    return found
  }

  /** Begins the slice of the next processor in turn; null when none is ready. */
  const begin = (): Slice | null => {
    const index = pick()
    if (index < 0) return null
    const { processor } = seats[index]
    if (processor.halted) onIdle?.(index, idleSince[index] ?? 0, time)
    last = index
    return {
      index, end: time + (alone ? LONG_SLICE : SHORT_SLICE + random32() % SLICE_SPREAD),
      pauses: processor.counts.pauses,
      // When all wait for something that none of them brings about, each gets a full slice now and then.
      yields: !alone && pauses < seats.length,
    }
  }

  /** Runs at most `most` instructions of the slice, to the next timer at most; answers how many were retired. */
  const runSlice = (current: Slice, most: number): number => {
    const seat = seats[current.index]
    const { processor } = seat
    current.end = Math.max(time + 1, Math.min(current.end, nextTimer()))
    running = seat
    charged = 0
    processor.setTime(time)
    try {
      const done = processor.run(Math.min(most, current.end - time), current.yields, most < current.end - time)
      retired += done
      const at = time + done + charged
      const watched = (processor.trapped ?? null) !== null
      if (watched) hit = current.index
      // Otherwise it is the caller's budget that ended, or a debugger looks, and the slice goes on.
      if (isOver(current, processor, watched) || at >= current.end) finish(current, at)
      return done
    } finally {
      running = null
    }
  }

  const isOver = ({ pauses: before }: Slice, processor: Seat['processor'], watched: boolean): boolean =>
    watched ? !canRun({ processor }) || processor.counts.pauses !== before : processor.wasStopped()

  /** The slice is over: another processor's turn is next. */
  const finish = (ended: Slice, at: number): void => {
    const { processor } = seats[ended.index]
    slice = null
    pauses = processor.counts.pauses === ended.pauses ? 0 : pauses + 1
    if (processor.halted) idleSince[ended.index] = at
  }

  return {
    now,
    retired: () => retired + (running?.processor.progress() ?? 0),
    current: () => Math.max(0, last),
    stop: () => { running?.processor.stop() },
    charge(by) {
      if (running === null) return
      charged += by
      running.processor.charge(by)
    },
    earlier(at) { if (slice !== null && at < slice.end) running?.processor.stop() },
    changed(seat) {
      if (slice === null) return
      // Another one woke up: it need not wait for the end of a long slice.
      const own = seat === seats[slice.index]
      const cut = own ? seat.apic.nextDeadline() < slice.end : alone && canRun(seat)
      if (!cut) return
      if (!own) slice.end = Math.min(slice.end, now())
      if (running !== null) running.processor.stop()
      else if (!own) finish(slice, time)
    },
    watchHit: () => hit,
    step(index) {
      const seat = seats[index]
      const { processor } = seat
      if (!canRun(seat) || processor.stepOne === undefined) return
      if (processor.halted) onIdle?.(index, idleSince[index] ?? 0, time)
      if (slice === null) last = index
      running = seat
      charged = 0
      processor.setTime(time)
      let done = 0
      try {
        done = processor.stepOne()
      } finally {
        running = null
      }
      retired += done
      if (processor.halted) idleSince[index] = time + done + charged
      if (slice?.index === index && !canRun(seat)) slice = null
      advance(time + done + charged)
    },
    left: () => unfinished,
    interrupted: () => asking(),
    run(instructions, done, interrupted) {
      let left = instructions
      unfinished = 0
      asking = interrupted ?? (() => false)
      if (slice === null && pick() < 0) {
        const next = nextTimer()
        if (next !== Infinity) advance(next)
      }
      hit = -1
      while (left > 0 && hit < 0 && !done()) {
        slice ??= begin()
        if (slice === null) return nextTimer()
        // Inside a slice only: a run that begins between two goes over idle time.
        if (left < instructions && asking()) {
          unfinished = left
          return undefined
        }
        const retiredNow = runSlice(slice, Math.min(left, ASK_AFTER))
        left -= retiredNow
        advance(time + retiredNow + charged)
        if (slice === null) between()
      }
      return undefined
    },
    snapshot: () => ({
      time, alone, last, retired, pauses, slice: slice === null ? null : { ...slice },
      idleSince: seats.map((_, index) => idleSince[index] ?? 0),
    }),
    restore(saved) {
      ({ time, alone, last, retired, pauses } = saved)
      slice = saved.slice === null ? null : { ...saved.slice }
      idleSince.splice(0, Infinity, ...saved.idleSince)
    },
  }
}
