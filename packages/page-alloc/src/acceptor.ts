/**
 * Who accepts memory, and what is still unaccepted (Linux: drivers/firmware/efi/unaccepted_memory.c).
 * Several processors may accept at once: each acceptance is a job that claims its units, guard included, before its
 * first step and holds nothing while it waits, so that no unit is accepted twice and no two jobs wait for each other.
 */
import { createBits } from './bits.ts'
import type { UnacceptedTable } from './unaccepted-table.ts'
import { alignUp, PAGE_SIZE, type Range } from './units.ts'

/** Why memory could not be accepted; `reason` is the port's words. */
export interface AcceptFailure {
  readonly reason: string
}

/** The port: how memory is accepted. SNP and TDX implement it; its costs are its own. Bytes, page aligned. */
export interface AcceptMemory {
  /** Accepts `[start, end)`; on failure some of it may have been accepted, which `isAccepted` tells. */
  accept(start: number, end: number): AcceptFailure | undefined
  /** Whether every page of `[start, end)` can be used. */
  isAccepted(start: number, end: number): boolean
}

/** Memory that could not be accepted. */
export interface FailedRange extends Range {
  readonly reason: string
}

/** What came of an acceptance. */
export type AcceptResult =
  | { readonly status: 'ok' }
  /** These ranges, in what was asked for or right after it, stay unusable. */
  | { readonly status: 'failed'; readonly ranges: readonly FailedRange[] }
  /** Another job is at work on some of these units, and nothing was done. */
  | { readonly status: 'busy' }

/** What a job wants done next. */
export type AcceptStep =
  /** Accept these bytes, then call `complete`. */
  | { readonly kind: 'accept'; readonly start: number; readonly end: number }
  /** Another job holds some of the units: ask again later. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'done'; readonly result: AcceptResult }

/** One acceptance in steps, for callers that run on several processors. */
export interface AcceptJob {
  /** The next step; the same one again until `complete` is called. */
  next(): AcceptStep
  /** Reports that the accept step is over, and how. */
  complete(failure?: AcceptFailure): void
  /** Gives the claim up. */
  cancel(): void
}

/** State of an {@link Acceptor}, to save and to restore. */
export interface AcceptorSnapshot {
  readonly unitSize: number
  readonly physBase: number
  readonly bitmap: Uint8Array
  readonly failed: readonly FailedRange[]
}

/** Tracks unaccepted memory. */
export interface Acceptor {
  readonly unitSize: number
  readonly physBase: number
  /** The table as it is now; its bitmap is a copy. */
  table(): UnacceptedTable
  /** Units that are unaccepted. */
  pending(): number
  /**
   * Records `[start, end)` as unaccepted. What is no whole unit of the table is accepted now; what of that fails is
   * returned (and kept in `failed()`).
   */
  mark(start: number, end: number): readonly FailedRange[]
  /** Whether `[start, end)`, or the unit after it, holds anything unaccepted. */
  contains(start: number, end: number): boolean
  /** Whether a job is at work on a unit of `[start, end)` or its guard. */
  isBusy(start: number, end: number): boolean
  /** Whether pages of `[start, end)` can be handed out: accepted, and so is the page after each. */
  isUsable(start: number, end: number): boolean
  /** Accepts `[start, end)` and the unit after it, by the port. */
  accept(start: number, end: number): AcceptResult
  /** The same in steps. */
  start(start: number, end: number): AcceptJob
  /** All memory that could not be accepted. */
  failed(): readonly FailedRange[]
  /** @throws nothing; jobs at work are not saved: see `PageAllocator.snapshot`. */
  snapshot(): AcceptorSnapshot
  /** Jobs that hold units. */
  active(): number
}

/** Options of {@link createAcceptor}. */
export interface AcceptorOptions {
  readonly table: UnacceptedTable
  readonly port: AcceptMemory
  /** Longest range that one accept step covers, bytes; 1 GiB when left out. */
  readonly maxStep?: number
  readonly failed?: readonly FailedRange[]
}

const OK: AcceptResult = { status: 'ok' }
const BUSY: AcceptResult = { status: 'busy' }
const WAIT: AcceptStep = { kind: 'wait' }

/** Creates an acceptor; the table is copied. */
export function createAcceptor(options: AcceptorOptions): Acceptor {
  const { port } = options
  const { unitSize, physBase } = options.table
  const bits = createBits(options.table.bitmap.slice())
  const tableEnd = physBase + bits.length * unitSize
  const maxUnits = Math.max(1, Math.floor((options.maxStep ?? 2 ** 30) / unitSize))
  const failed: FailedRange[] = [...(options.failed ?? [])]
  const claims: Range[] = []

  /**
   * Units of a range and its guard. load_unaligned_zeropad() may read past the end of any page in use, and a read of
   * unaccepted memory cannot be recovered from; so one whole unit after the last one touched is accepted as well.
   */
  const unitsOf = (start: number, end: number): Range => {
    const first = Math.floor((Math.max(start, physBase) - physBase) / unitSize)
    const last = Math.ceil((Math.min(end, tableEnd) - physBase) / unitSize) + 1
    // A range that ends below the table's first page needs nothing: no page of it is followed by a unit.
    if (end < physBase || start >= tableEnd) return { start: 0, end: 0 }
    return { start: Math.min(first, bits.length), end: Math.min(Math.max(last, 0), bits.length) }
  }

  const overlaps = (u: Range): boolean => claims.some((c) => c.start < u.end && u.start < c.end)

  /** What failed inside a range, or right after it where a read past its last page would go. */
  const failedIn = (start: number, end: number): FailedRange[] => {
    const reach = alignUp(end, PAGE_SIZE) + PAGE_SIZE
    return failed.filter((f) => f.start < reach && start < f.end)
  }

  const start = (from: number, to: number): AcceptJob => {
    const units = unitsOf(from, to)
    let state: 'waiting' | 'active' | 'over' = 'waiting'
    let at = units.start
    let step: (AcceptStep & { kind: 'accept' }) | undefined
    /** Units below this one belong to a range that failed: they are tried one by one. */
    let singly = 0
    let done: AcceptStep | undefined

    const release = (): void => {
      if (state === 'active') claims.splice(claims.indexOf(units), 1)
      state = 'over'
    }

    const finish = (): AcceptStep => {
      release()
      const ranges = failedIn(from, to)
      done = { kind: 'done', result: ranges.length === 0 ? OK : { status: 'failed', ranges } }
      return done
    }

    return {
      next() {
        if (done !== undefined) return done
        if (step !== undefined) return step
        if (state === 'waiting') {
          if (overlaps(units)) return WAIT
          state = 'active'
          claims.push(units)
        }
        const first = bits.nextSet(at, units.end)
        if (first < 0) return finish()
        const last = first < singly ? first + 1 : bits.nextClear(first, Math.min(units.end, first + maxUnits))
        step = { kind: 'accept', start: physBase + first * unitSize, end: physBase + last * unitSize }
        return step
      },
      complete(failure) {
        if (step === undefined) return
        const first = (step.start - physBase) / unitSize
        const last = (step.end - physBase) / unitSize
        step = undefined
        if (failure === undefined) {
          bits.clear(first, last)
          at = last
        } else if (last - first > 1) {
          // Which units are to blame? Those that did get accepted are done; the others get one more try, alone.
          for (let u = first; u < last; u++) {
            if (port.isAccepted(physBase + u * unitSize, physBase + (u + 1) * unitSize)) bits.clear(u, u + 1)
          }
          singly = last
          at = first
        } else {
          bits.clear(first, last)
          failed.push({ start: physBase + first * unitSize, end: physBase + last * unitSize, reason: failure.reason })
          at = last
        }
      },
      cancel() {
        release()
        done ??= { kind: 'done', result: BUSY }
      },
    }
  }

  const accept = (from: number, to: number): AcceptResult => {
    const units = unitsOf(from, to)
    if (bits.nextSet(units.start, units.end) < 0 && failed.length === 0) return OK
    const job = start(from, to)
    for (;;) {
      const step = job.next()
      if (step.kind === 'done') return step.result
      if (step.kind === 'wait') {
        job.cancel()
        return BUSY
      }
      job.complete(port.accept(step.start, step.end))
    }
  }

  /** Accepts at once what the bitmap cannot express. */
  const acceptNow = (from: number, to: number, out: FailedRange[]): void => {
    if (from >= to) return
    const failure = port.accept(from, to)
    if (failure === undefined) return
    const range = { start: from, end: to, reason: failure.reason }
    failed.push(range)
    out.push(range)
  }

  return {
    unitSize,
    physBase,
    table: () => ({ unitSize, physBase, bitmap: bits.bytes.slice() }),
    pending: () => bits.count(),
    mark(from, to) {
      const out: FailedRange[] = []
      const first = from <= physBase ? physBase : physBase + alignUp(from - physBase, unitSize)
      const last = Math.min(physBase + Math.floor((to - physBase) / unitSize) * unitSize, tableEnd)
      if (first >= last) {
        acceptNow(from, to, out)
        return out
      }
      acceptNow(from, first, out)
      acceptNow(last, to, out)
      bits.set((first - physBase) / unitSize, (last - physBase) / unitSize)
      return out
    },
    contains(from, to) {
      const units = unitsOf(from, to)
      return bits.nextSet(units.start, units.end) >= 0
    },
    isBusy: (from, to) => overlaps(unitsOf(from, to)),
    isUsable(from, to) {
      if (failedIn(from, to).length > 0) return false
      const first = Math.max(0, Math.floor((from - physBase) / unitSize))
      const last = Math.min(bits.length, Math.ceil((to + PAGE_SIZE - physBase) / unitSize))
      return first >= last || bits.nextSet(first, last) < 0
    },
    accept,
    start,
    failed: () => failed,
    snapshot: () => ({ unitSize, physBase, bitmap: bits.bytes.slice(), failed: failed.map((f) => ({ ...f })) }),
    active: () => claims.length,
  }
}

/** An acceptor as it was when the snapshot was taken. */
export const restoreAcceptor = (from: AcceptorSnapshot, port: AcceptMemory): Acceptor =>
  createAcceptor({ table: from, port, failed: from.failed })
