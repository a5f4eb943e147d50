/**
 * High-precision event timers: a 64-bit counter of 10 MHz and three comparators. Source: IA-PC HPET specification,
 * revision 1.0a, section 2.3; the routes are the PC's.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { merge, wordHandlers } from './byte-ports.ts'
import type { Clock, IrqLine, Timer } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** Nanoseconds per count; the capability register states it in femtoseconds. */
export const HPET_PERIOD = 100

const TIMERS = 3
/** Revision 1, three timers, 64-bit counter, legacy replacement, vendor 8086h. */
const CAPABILITIES = 0x8086_0000 | 1 << 15 | 1 << 13 | (TIMERS - 1) << 8 | 0x01
/** Inputs 2, 8 and 16–23 of the I/O APIC. */
const ROUTES = 0x00ff_0104
const CONFIG = { ENABLE: 1, LEGACY: 2 } as const
/** Timer configuration (§2.3.8). */
const TIMER = {
  LEVEL: 1 << 1, ENABLE: 1 << 2, PERIODIC: 1 << 3, CAPABLE: 1 << 4 | 1 << 5, SET_VALUE: 1 << 6, MODE_32: 1 << 8,
  ROUTE: 9, WRITABLE: 0x3f4e,
} as const

const MASK_64 = (1n << 64n) - 1n
const MASK_32 = 0xffff_ffffn

/** Options of {@link createHpet}. */
export interface HpetOptions {
  readonly clock: Clock
  /** Input 0–23 of the I/O APIC (and of the PIC below 16). */
  readonly line: (input: number) => IrqLine
  /**
   * Legacy replacement begins or ends: while it lasts, timers 0 and 1 take the place of the PIT on IRQ 0 and of the RTC
   * on IRQ 8. Both are switched by {@link Hpet.pit} and {@link Hpet.rtc}.
   */
  readonly pitOutput: IrqLine
  readonly rtcOutput: IrqLine
}

interface Comparator {
  config: number
  /** Comparator, accumulated period: two halves each. */
  value: [number, number]
  period: [number, number]
  /** The low half was just set under SET_VALUE: a 64-bit write comes as two halves, and this holds for both. */
  highFollows: boolean
}

const initialState = () => ({
  config: 0, status: 0,
  /** Counter at nanosecond `since`: two halves. */
  counter: [0, 0] as [number, number], since: 0,
  timers: Array.from({ length: TIMERS }, (): Comparator =>
    ({ config: 0, value: [0xffff_ffff, 0xffff_ffff], period: [0, 0], highFollows: false })),
  pitLevel: false, rtcLevel: false,
})

/** State of the timers. */
export type HpetSnapshot = ReturnType<typeof initialState>

/** The event timers. */
export interface Hpet {
  /** 1 KiB of registers. */
  readonly handlers: IoHandlers
  /** Where the PIT's output goes: through, unless legacy replacement is on. */
  readonly pit: IrqLine
  /** Where the RTC's interrupt goes. */
  readonly rtc: IrqLine
  snapshot(): HpetSnapshot
  restore(saved: HpetSnapshot): void
}

const join = (halves: readonly [number, number]): bigint => BigInt(halves[1]) << 32n | BigInt(halves[0])
const split = (value: bigint): [number, number] => [Number(value & MASK_32), Number(value >> 32n & MASK_32)]

/** Creates the timers, halted. */
export function createHpet(options: HpetOptions): Hpet {
  const { clock } = options
  const state = initialState()
  let timer: Timer | undefined

  const enabled = (): boolean => (state.config & CONFIG.ENABLE) !== 0
  const legacy = (): boolean => (state.config & CONFIG.LEGACY) !== 0
  const ticks = (): number => (enabled() ? Math.floor((clock.now() - state.since) / HPET_PERIOD) : 0)
  const counter = (): bigint => join(state.counter) + BigInt(ticks()) & MASK_64

  /** Counts at which the counter is rebased: never within the life of a machine, but exactness is bounded. */
  const rebase = (): void => {
    const count = ticks()
    state.counter = split(counter())
    state.since = enabled() ? state.since + count * HPET_PERIOD : clock.now()
  }

  const narrow = (t: Comparator): boolean => (t.config & TIMER.MODE_32) !== 0
  const mask = (t: Comparator): bigint => (narrow(t) ? MASK_32 : MASK_64)

  const output = (n: number): IrqLine => {
    if (legacy() && n === 0) return options.pitOutput
    if (legacy() && n === 1) return options.rtcOutput
    return options.line(state.timers[n].config >> TIMER.ROUTE & 31)
  }
  /** With legacy replacement timers 0 and 1 ignore their route; without, a route must be one of those offered. */
  const routed = (n: number): boolean =>
    (legacy() && n < 2) || (ROUTES >>> (state.timers[n].config >> TIMER.ROUTE & 31) & 1) !== 0

  const fire = (n: number): void => {
    const t = state.timers[n]
    if ((t.config & TIMER.LEVEL) !== 0) {
      // §2.3.5: the status bit is set whether or not the interrupt is enabled.
      state.status |= 1 << n
      if ((t.config & TIMER.ENABLE) !== 0 && routed(n)) output(n).set(true)
    } else if ((t.config & TIMER.ENABLE) !== 0 && routed(n)) {
      // An edge: the line stays up until the next one, so that the PIC does not take it for withdrawn.
      output(n).set(false)
      output(n).set(true)
    }
  }

  /** Counts until timer `n` matches next, 1 at least; after a match a one-shot comes again when the counter wraps. */
  const distance = (n: number): bigint => {
    const t = state.timers[n]
    const left = join(t.value) - counter() & mask(t)
    return left === 0n ? mask(t) + 1n : left
  }

  /** A periodic comparator that matched moves on by whole periods past the counter. */
  const advancePeriodic = (t: Comparator): void => {
    const period = join(t.period) & mask(t)
    if ((t.config & TIMER.PERIODIC) === 0 || period === 0n) return
    t.value = split(join(t.value) + period & mask(t))
  }

  const arm = (): void => {
    timer?.cancel()
    timer = undefined
    if (!enabled()) return
    let nearest = -1
    let least = 0n
    for (let n = 0; n < TIMERS; n++) {
      if ((state.timers[n].config & (TIMER.ENABLE | TIMER.LEVEL)) === 0) continue
      const d = distance(n)
      if (nearest < 0 || d < least) { nearest = n; least = d }
    }
    // Beyond 2^53 ns there is no time.
    if (nearest < 0 || least > 90_000_000_000_000n) return
    const match = counter() + least & MASK_64
    timer = clock.at(state.since + (ticks() + Number(least)) * HPET_PERIOD, () => {
      for (let n = 0; n < TIMERS; n++) {
        const t = state.timers[n]
        if ((join(t.value) & mask(t)) !== (match & mask(t))) continue
        fire(n)
        advancePeriodic(t)
      }
      arm()
    })
  }

  const writeConfig = (value: number): void => {
    rebase()
    const before = state.config
    state.config = value & (CONFIG.ENABLE | CONFIG.LEGACY)
    if (!enabled()) return
    if ((before & CONFIG.ENABLE) === 0) state.since = clock.now()
  }

  const setConfig = (value: number): void => {
    const wasLegacy = legacy()
    writeConfig(value)
    if (wasLegacy === legacy()) return
    // The outputs change hands; the new owner's level counts.
    options.pitOutput.set(!legacy() && state.pitLevel)
    options.rtcOutput.set(!legacy() && state.rtcLevel)
  }

  const writeTimerConfig = (n: number, value: number, writeMask: number): void => {
    const t = state.timers[n]
    const old = t.config
    if ((old & TIMER.ENABLE) !== 0 && routed(n)) output(n).set(false)
    t.config = merge(old, value, writeMask) & TIMER.WRITABLE
    if (narrow(t)) {
      t.value[1] = 0
      t.period[1] = 0
    }
    const pending = (state.status >> n & 1) !== 0 && (t.config & TIMER.LEVEL) !== 0 && (t.config & TIMER.ENABLE) !== 0
    if (pending && routed(n)) output(n).set(true)
  }

  /** §2.3.9.2.2: in periodic mode a write sets the period, and the comparator too only after SET_VALUE. */
  const writeComparator = (n: number, half: 0 | 1, value: number, writeMask: number): void => {
    const t = state.timers[n]
    if (half === 1 && narrow(t)) return
    const periodic = (t.config & TIMER.PERIODIC) !== 0
    const setsValue = (t.config & TIMER.SET_VALUE) !== 0 || (half === 1 && t.highFollows)
    if (!periodic || setsValue) t.value[half] = merge(t.value[half], value, writeMask)
    if (periodic) t.period[half] = merge(t.period[half], value, writeMask)
    t.config &= ~TIMER.SET_VALUE
    t.highFollows = half === 0 && setsValue
  }

  const readTimer = (n: number, register: number): number => {
    const t = state.timers[n]
    switch (register) {
      case 0x00: return t.config & ~TIMER.SET_VALUE | TIMER.CAPABLE
      case 0x04: return ROUTES
      case 0x08: return t.value[0]
      case 0x0c: return narrow(t) ? 0 : t.value[1]
      default: return 0
    }
  }

  const read = (offset: number): number => {
    if (offset >= 0x100 && offset < 0x100 + 0x20 * TIMERS) return readTimer(offset - 0x100 >> 5, offset & 0x1f)
    switch (offset) {
      case 0x00: return CAPABILITIES >>> 0
      case 0x04: return HPET_PERIOD * 1e6
      case 0x10: return state.config
      case 0x20: return state.status
      case 0xf0: return Number(counter() & MASK_32)
      case 0xf4: return Number(counter() >> 32n)
      default: return 0
    }
  }

  const write = (offset: number, value: number, writeMask: number): void => {
    if (offset >= 0x100 && offset < 0x100 + 0x20 * TIMERS) {
      const n = offset - 0x100 >> 5
      const register = offset & 0x1f
      if (register === 0) writeTimerConfig(n, value, writeMask)
      else if (register === 8 || register === 12) writeComparator(n, register === 8 ? 0 : 1, value, writeMask)
    } else if (offset === 0x10) setConfig(merge(state.config, value, writeMask))
    else if (offset === 0x20) {
      const cleared = value & writeMask & state.status
      state.status &= ~cleared
      for (let n = 0; n < TIMERS; n++) if ((cleared >> n & 1) !== 0 && routed(n)) output(n).set(false)
    } else if ((offset === 0xf0 || offset === 0xf4) && !enabled()) {
      // §2.3.7: the counter may be written only while it is halted.
      rebase()
      const half = offset === 0xf0 ? 0 : 1
      state.counter[half] = merge(state.counter[half], value, writeMask)
    }
    arm()
  }

  return {
    handlers: wordHandlers({ read, write }),
    pit: {
      set(level) {
        state.pitLevel = level
        if (!legacy()) options.pitOutput.set(level)
      },
    },
    rtc: {
      set(level) {
        state.rtcLevel = level
        if (!legacy()) options.rtcOutput.set(level)
      },
    },
    snapshot: () => copyPlain(state),
    restore(saved) {
      restorePlain('hpet', state, saved)
      arm()
    },
  }
}
