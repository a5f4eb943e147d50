/**
 * Where an SNP guest's time goes: accepting memory, exits, and the rest, which is what a plain boot of the same kernel
 * takes too. A guest's own code counts as well: what it runs for an exit or to accept memory, it would not run without
 * SNP.
 *
 * - *Exits*: from a #VC to the IRET that ends its handler; and any other exit, with the host's work for it.
 * - *Acceptance*: PVALIDATE, page state changes (by the GHCB or its MSR) with the host's work for them, and the guest's
 *   code from one to the next, where no more than {@link ACCEPTANCE_GAP} instructions lie between them.
 */

import { StateMisfit } from '../snapshot/state.ts'

/** Longest way from one step of acceptance to the next: a full GHCB of 253 entries is written in less. Instructions. */
export const ACCEPTANCE_GAP = 20_000

/** What time is spent on. */
export type TimeUse = 'acceptance' | 'exits' | 'rest'

/** How much of it. */
export interface TimeSpent {
  instructions: number
  virtualSeconds: number
  /** 0 without a clock (`MachineListeners.wallClock`). */
  wallSeconds: number
}

/** The three clocks that are read together. */
export interface Clocks {
  /** Instructions retired by all processors. */
  readonly retired: () => number
  /** Virtual time in nanoseconds. */
  readonly now: () => number
  /** Wall time in milliseconds. */
  readonly wall: () => number
}

export interface TimeAccount {
  /** Whose turn it is from now on. */
  turn(cpu: number): void
  /** The running processor's guest is about to enter its #VC handler. */
  handlerBegins(stackPointer: bigint): void
  /** It is about to return from some handler, to this stack, and to user code or not. */
  handlerReturns(stackPointer: bigint, toUser: boolean): void
  /** Whether the running processor's guest is in a #VC handler: `handlerReturns` wants to know of IRETs. */
  inHandler(): boolean
  /** The running processor's guest left for the host, which goes on with `name` when it knows what for. */
  exitBegins(): void
  exitIs(name: string): void
  /** It is about to be entered again. */
  exitEnds(): void
  /** It changes the state of memory by itself (PVALIDATE). */
  accepts(): void
  /** What was spent up to now. */
  spent(): Readonly<Record<TimeUse, Readonly<TimeSpent>>>
  snapshot(): TimeAccountState
  /** Takes that back; wall time counts from now on. @throws StateMisfit */
  restore(saved: TimeAccountState): void
}

/** What a snapshot keeps of a time, since wall time is of no machine's. */
type Kept = readonly [instructions: number, nanoseconds: number]

/** What a snapshot keeps. */
export interface TimeAccountState {
  /** The processor whose turn it is; −1 before the first. */
  readonly turn: number
  /** Instructions and virtual nanoseconds up to which time is booked. */
  readonly booked: readonly [retired: number, now: number]
  readonly total: Readonly<Record<TimeUse, Kept>>
  readonly lanes: readonly {
    readonly handlers: readonly bigint[]
    readonly exit: string | null
    readonly since: Kept | null
  }[]
}

/** What one processor is at. */
interface Lane {
  /** Stack pointers to which the #VC handlers that are open return, the innermost last. */
  readonly handlers: bigint[]
  /** What the exit that is served is for; null inside the guest. */
  exit: TimeUse | null
  /** Time since the last step of acceptance, which is acceptance only if another step follows soon; null without. */
  since: Time | null
}

/** Instructions, virtual nanoseconds and wall milliseconds: the first two add up exactly, however often asked for. */
interface Time {
  instructions: number
  now: number
  wall: number
}

/** Exits that change the state of pages. */
const ACCEPTING: ReadonlySet<string> = new Set(['page-state-change', 'msr:page-state'])
/** Handlers nest no deeper than IST stacks allow; more are handlers that never returned. */
const MOST_HANDLERS = 8

const USES = ['acceptance', 'exits', 'rest'] as const satisfies readonly TimeUse[]

const keep = ({ instructions, now }: Time): Kept => [instructions, now]
const timeAgain = ([instructions, now]: Kept): Time => ({ instructions, now, wall: 0 })

const nothing = (): Time => ({ instructions: 0, now: 0, wall: 0 })

const add = (to: Time, what: Time): void => {
  to.instructions += what.instructions
  to.now += what.now
  to.wall += what.wall
}

const shown = ({ instructions, now, wall }: Time): TimeSpent =>
  ({ instructions, virtualSeconds: now / 1e9, wallSeconds: wall / 1000 })

/** An account of `count` processors, from the first turn on. */
export function createTimeAccount(count: number, clocks: Clocks): TimeAccount {
  const total: Record<TimeUse, Time> = { acceptance: nothing(), exits: nothing(), rest: nothing() }
  const lanes = Array.from({ length: count }, (): Lane => ({ handlers: [], exit: null, since: null }))
  let [lane] = lanes
  let started = false
  let retired = 0
  let now = 0
  let wall = 0

  /** What the guest's own code is for, outside of acceptance. */
  const ownUse = (): TimeUse => (lane.handlers.length > 0 ? 'exits' : 'rest')

  /** Books the time since the last call. */
  const settle = (): void => {
    const before = { retired, now, wall }
    retired = clocks.retired()
    now = clocks.now()
    wall = clocks.wall()
    if (!started) return
    const spent: Time = { instructions: retired - before.retired, now: now - before.now, wall: wall - before.wall }
    const use = lane.exit ?? ownUse()
    if (use !== 'rest' || lane.since === null) {
      add(total[use], spent)
      return
    }
    add(lane.since, spent)
    if (lane.since.instructions > ACCEPTANCE_GAP) giveUp(lane)
  }

  /** No step of acceptance came: the time was the guest's own. */
  const giveUp = (of: Lane): void => {
    if (of.since !== null) add(total.rest, of.since)
    of.since = null
  }

  /** A step of acceptance: what led to it from the last one belongs to it. */
  const step = (): void => {
    if (lane.since !== null) add(total.acceptance, lane.since)
    lane.since = nothing()
  }

  const stateOf = (): TimeAccountState => ({
    turn: started ? lanes.indexOf(lane) : -1, booked: [retired, now],
    total: { acceptance: keep(total.acceptance), exits: keep(total.exits), rest: keep(total.rest) },
    lanes: lanes.map(({ handlers, exit, since }) => ({ handlers: [...handlers], exit, since: since && keep(since) })),
  })

  return {
    turn(cpu) {
      if (started && lane === lanes[cpu]) return
      settle()
      started = true
      lane = lanes[cpu]
    },
    handlerBegins(stackPointer) {
      settle()
      if (lane.handlers.length === MOST_HANDLERS) lane.handlers.shift()
      lane.handlers.push(stackPointer)
    },
    handlerReturns(stackPointer, toUser) {
      const at = lane.handlers.lastIndexOf(stackPointer)
      if (at < 0 && !toUser) return
      settle()
      lane.handlers.length = toUser ? 0 : at
    },
    inHandler: () => lane.handlers.length > 0,
    exitBegins() {
      settle()
      lane.exit = 'exits'
    },
    exitIs(name) { if (ACCEPTING.has(name) && lane.exit !== null) lane.exit = 'acceptance' },
    exitEnds() {
      settle()
      if (lane.exit === 'acceptance') step()
      lane.exit = null
    },
    accepts() {
      // A program at VMPL0 does it for the guest.
      if (lane.exit !== null) lane.exit = 'acceptance'
      settle()
      step()
    },
    spent() {
      settle()
      const rest = { ...total.rest }
      for (const { since } of lanes) if (since !== null) add(rest, since)
      return { acceptance: shown(total.acceptance), exits: shown(total.exits), rest: shown(rest) }
    },
    snapshot() {
      // So that it is the same however often somebody asked what was spent.
      settle()
      return stateOf()
    },
    restore(saved) {
      const { turn } = saved
      const isUse = (use: string | null): use is TimeUse | null => use === null || USES.some((one) => one === use)
      const counted = saved.lanes.length === count && turn >= -1 && turn < count
      const fits = counted && saved.lanes.every(({ handlers, exit }) =>
        handlers.length <= MOST_HANDLERS && isUse(exit))
      if (!fits) throw new StateMisfit({ path: 'snp.time', expected: `the account of ${count} processors` })
      for (const use of USES) total[use] = timeAgain(saved.total[use])
      for (const [i, { handlers, exit, since }] of saved.lanes.entries()) {
        lanes[i] = { handlers: [...handlers], exit: isUse(exit) ? exit : null, since: since && timeAgain(since) }
      }
      started = turn >= 0
      lane = lanes[Math.max(0, turn)]
      ;[retired, now] = saved.booked
      wall = clocks.wall()
    },
  }
}
