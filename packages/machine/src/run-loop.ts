/**
 * Who runs when. Virtual time is retired instructions of all processors together, one nanosecond each: processors take
 * turns, never two at one instant, so that time as one of them reads it is never behind what another has read. While
 * several are ready, each gets a slice whose length the seed decides; PAUSE gives the rest of a slice away. Every slice
 * ends in time for the next timer.
 */
import type { VirtualClock } from '@cofferdam/devices'
import type { LocalApic, Processor } from '@cofferdam/x86'

/** Longest slice of a processor that is ready alone, and range of the others'. In instructions. */
const LONG_SLICE = 4_000_000
const SHORT_SLICE = 4_000
const SLICE_SPREAD = 12_000

/** Somebody who gets turns: a processor with its APIC, or a guest's processor under a host. */
export interface Seat {
  readonly processor: Pick<
    Processor, 'stopped' | 'halted' | 'wakes' | 'run' | 'setTime' | 'progress' | 'charge' | 'stop'
  > & Partial<Pick<Processor, 'stepOne' | 'trapped'>> & { readonly counts: { readonly pauses: number } }
  readonly apic: Pick<LocalApic, 'nextDeadline' | 'advance'>
}

export interface RunLoopOptions {
  /** The processors; the list may be filled after the loop is made. */
  readonly seats: readonly Seat[]
  readonly clock: VirtualClock
  /** A seeded random number in 0 … 2^32 − 1. */
  readonly random32: () => number
  /** Called after each slice, when no processor is in the middle of anything. */
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
   * @returns the time of the next timer (`Infinity` without) when none is ready, or undefined
   */
  run(instructions: number, done: () => boolean): number | undefined
  /** The processor whose slice a debugger's watch ended in the last `run`, or −1. */
  watchHit(): number
  /** A debugger's step: one instruction of a processor, while what is pending waits. Timers that become due are served. */
  step(index: number): void
  /** Number of the processor that runs or ran last. */
  current(): number
}

const canRun = ({ processor }: Seat): boolean =>
  processor.stopped === '' && (!processor.halted || processor.wakes())

export function createRunLoop(options: RunLoopOptions): RunLoop {
  const { seats, clock, random32, between, onIdle } = options
  /** Virtual time at the start of the slice. */
  let time = 0
  let running: Seat | null = null
  /** What instructions of this slice took beside their one nanosecond. */
  let charged = 0
  let sliceEnd = 0
  let alone = true
  let last = -1
  let retired = 0
  /** Slices in a row that PAUSE ended. */
  let pauses = 0
  const idleSince: number[] = []
  /** The processor where a debugger's watch was hit, or −1. */
  let hit = -1

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

  /** Runs one slice of at most `most` nanoseconds; answers how many instructions were retired. */
  const runSlice = (index: number, most: number, single = false): number => {
    const seat = seats[index]
    const { processor } = seat
    if (processor.halted) onIdle?.(index, idleSince[index] ?? 0, time)
    // When all wait for something that none of them brings about, each gets a full slice now and then.
    const yields = !alone && pauses < seats.length
    const wanted = alone ? LONG_SLICE : SHORT_SLICE + random32() % SLICE_SPREAD
    const length = Math.max(1, Math.min(most, wanted))
    const before = processor.counts.pauses
    last = index
    running = seat
    charged = 0
    sliceEnd = time + length
    processor.setTime(time)
    try {
      const done = single && processor.stepOne !== undefined ? processor.stepOne() : processor.run(length, yields)
      retired += done
      pauses = processor.counts.pauses === before ? 0 : pauses + 1
      if (processor.halted) idleSince[index] = time + done + charged
      if ((processor.trapped ?? null) !== null && !single) hit = index
      return done
    } finally {
      running = null
    }
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
      if (now() >= sliceEnd) running.processor.stop()
    },
    earlier(at) { if (at < sliceEnd) running?.processor.stop() },
    changed(seat) {
      if (running === null) return
      // Another one woke up: it need not wait for the end of a long slice.
      const cut = seat === running ? seat.apic.nextDeadline() < sliceEnd : alone && canRun(seat)
      if (cut) running.processor.stop()
    },
    watchHit: () => hit,
    step(index) {
      if (!canRun(seats[index])) return
      const retiredNow = runSlice(index, 1, true)
      advance(time + retiredNow + charged)
    },
    run(instructions, done) {
      let left = instructions
      if (pick() < 0) {
        const next = nextTimer()
        if (next !== Infinity) advance(next)
      }
      hit = -1
      while (left > 0 && hit < 0 && !done()) {
        const index = pick()
        const next = nextTimer()
        if (index < 0) return next
        const retiredNow = runSlice(index, Math.min(left, next - time))
        left -= retiredNow
        advance(time + retiredNow + charged)
        between()
      }
      return undefined
    },
  }
}
