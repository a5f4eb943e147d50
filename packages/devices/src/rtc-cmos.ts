/**
 * Real-time clock and CMOS memory. Sources: Motorola MC146818A data sheet; Intel ICH9 data sheet (316972), section
 * 13.6, for the second bank. The time of day is the seed time plus virtual time.
 */
import type { IoHandlers } from '@cofferdam/memory'
import { byteHandlers } from './byte-ports.ts'
import { calendarOf, secondsOf } from './calendar.ts'
import type { Clock, IrqLine, Timer } from './clock.ts'
import { copyPlain, restorePlain } from './snapshot.ts'

/** Register numbers. */
export const RTC = {
  SECONDS: 0, SECONDS_ALARM: 1, MINUTES: 2, MINUTES_ALARM: 3, HOURS: 4, HOURS_ALARM: 5, WEEKDAY: 6, DAY: 7, MONTH: 8,
  YEAR: 9, A: 10, B: 11, C: 12, D: 13, CENTURY: 0x32,
} as const

const A = { UIP: 0x80, DIVIDER: 0x70, RATE: 0x0f, RUNNING: 0x20 } as const
const B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const
const C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const
const SECOND = 1e9
const DAY = 86_400
/** The update takes 1984 µs with UIP set, and UIP rises 244 µs before it. */
const UPDATE_WINDOW = 244_000

/** Options of {@link createRtcCmos}. */
export interface RtcOptions {
  readonly clock: Clock
  /** IRQ 8. */
  readonly irq: IrqLine
  /** Time at power-on in seconds since 1970 (UTC). Default 2024-01-01 00:00:00. */
  readonly seedTime?: number
  /** Contents of CMOS registers above 0Dh, as firmware leaves them: pairs of index (0–255) and value. */
  readonly contents?: readonly (readonly [index: number, value: number])[]
}

const initialState = (seedTime: number) => ({
  index: 0, bank2Index: 0,
  /** Seconds since 1970 at nanosecond `origin` of virtual time. */
  base: seedTime, origin: 0,
  a: 0x26, b: B.HOURS_24 as number, c: 0,
  alarm: [0, 0, 0],
  /** Time registers as written while SET holds the clock: second, minute, hour, weekday, day, month, year, century. */
  held: [0, 0, 0, 0, 0, 0, 0, 0],
  /** Updates and periodic events that register C has taken note of. */
  seenSecond: 0, seenPeriod: 0,
  memory: Array.from({ length: 256 }, () => 0),
})

/** State of the clock chip. */
export type RtcSnapshot = ReturnType<typeof initialState>

/** The clock chip. */
export interface RtcCmos {
  /** Ports 70h–73h: index and data of both banks. */
  readonly handlers: IoHandlers
  /** Seconds since 1970 that the chip shows now. */
  time(): number
  snapshot(): RtcSnapshot
  restore(saved: RtcSnapshot): void
}

const TIME_FIELDS: readonly number[] =
  [RTC.SECONDS, RTC.MINUTES, RTC.HOURS, RTC.WEEKDAY, RTC.DAY, RTC.MONTH, RTC.YEAR, RTC.CENTURY]
const HOUR_FIELD = 2
const ALARM_FIELDS: readonly number[] = [RTC.SECONDS_ALARM, RTC.MINUTES_ALARM, RTC.HOURS_ALARM]

/** Creates the chip, running, in 24-hour BCD mode as firmware leaves it. */
export function createRtcCmos(options: RtcOptions): RtcCmos {
  const { clock, irq } = options
  const state = initialState(options.seedTime ?? 1_704_067_200)
  for (const [index, value] of options.contents ?? []) state.memory[index & 0xff] = value & 0xff
  let timer: Timer | undefined

  const stopped = (): boolean => (state.b & B.SET) !== 0 || (state.a & A.DIVIDER) !== A.RUNNING
  const elapsedSeconds = (): number => Math.floor((clock.now() - state.origin) / SECOND)
  const time = (): number => state.base + (stopped() ? 0 : elapsedSeconds())

  /** Nanoseconds between periodic events, 0 when off (table 5: 2^(rate−1) / 32768 s; 1 and 2 are as 8 and 9). */
  const period = (): number => {
    const rate = state.a & A.RATE
    if (rate === 0 || (state.a & A.DIVIDER) !== A.RUNNING) return 0
    return 2 ** ((rate < 3 ? rate + 7 : rate) - 1) * SECOND / 32_768
  }
  const periods = (): number => (period() === 0 ? 0 : Math.floor((clock.now() - state.origin) / period()))

  /** A value as the chip shows it in its present mode. */
  const encode = (value: number, isHour: boolean): number => {
    let n = value
    let pm = 0
    if (isHour && (state.b & B.HOURS_24) === 0) {
      pm = value >= 12 ? 0x80 : 0
      n = (value + 11) % 12 + 1
    }
    return pm | ((state.b & B.BINARY) !== 0 ? n : Math.floor(n / 10) << 4 | n % 10)
  }
  const decode = (value: number, isHour: boolean): number => {
    const half = isHour && (state.b & B.HOURS_24) === 0
    const raw = half ? value & 0x7f : value
    const n = (state.b & B.BINARY) !== 0 ? raw : (raw >> 4) * 10 + (raw & 15)
    return half ? n % 12 + ((value & 0x80) !== 0 ? 12 : 0) : n
  }

  const fieldsNow = (): number[] => {
    const c = calendarOf(time())
    return [c.second, c.minute, c.hour, c.weekday, c.day, c.month, c.year % 100, Math.floor(c.year / 100)]
  }

  const setTime = (fields: readonly number[]): void => {
    const [second, minute, hour, , day, month, year, century] = fields
    state.base = secondsOf({ second, minute, hour, day, month, year: century * 100 + year })
    restartCounting()
  }

  /** The divider chain starts over: the next update is a second away. */
  const restartCounting = (): void => {
    state.origin = clock.now()
    state.seenSecond = 0
    state.seenPeriod = 0
  }

  /** Whether the alarm matches the time of day `second`; codes with both top bits set match anything. */
  const alarmMatches = (second: number): boolean => {
    const tod = ((second % DAY) + DAY) % DAY
    const now = [tod % 60, Math.floor(tod / 60) % 60, Math.floor(tod / 3600)]
    return state.alarm.every((value, i) => value >= 0xc0 || decode(value, i === HOUR_FIELD) === now[i])
  }

  /** Sets the flags of register C for everything that has happened since the last look. */
  const settle = (): void => {
    if (!stopped()) {
      const seconds = elapsedSeconds()
      if (seconds > state.seenSecond) {
        state.c |= C.UF
        // All moments of a day come up within a day; more need not be looked at.
        const from = Math.max(state.seenSecond + 1, seconds - DAY + 1)
        for (let s = from; s <= seconds && (state.c & C.AF) === 0; s++) {
          if (alarmMatches(state.base + s)) state.c |= C.AF
        }
        state.seenSecond = seconds
      }
    }
    const count = periods()
    if (count > state.seenPeriod) state.c |= C.PF
    state.seenPeriod = count
  }

  const update = (): void => {
    const active = (state.c & state.b & (C.PF | C.AF | C.UF)) !== 0
    state.c = active ? state.c | C.IRQF : state.c & ~C.IRQF
    irq.set(active)
  }

  /** Waits for the next event that an enabled interrupt could come from. */
  const arm = (): void => {
    timer?.cancel()
    timer = undefined
    const now = clock.now()
    let next = Infinity
    if (!stopped() && (state.b & (B.AIE | B.UIE)) !== 0) next = state.origin + (elapsedSeconds() + 1) * SECOND
    // A flag that nobody has read yet cannot be set again: the line is up already.
    if ((state.b & B.PIE) !== 0 && period() > 0 && (state.c & C.PF) === 0) {
      next = Math.min(next, Math.ceil(state.origin + (periods() + 1) * period()))
    }
    if (next === Infinity) return
    timer = clock.at(Math.max(next, now + 1), () => {
      settle()
      update()
      arm()
    })
  }

  const readA = (): number => {
    const inSecond = (clock.now() - state.origin) % SECOND
    const updating = !stopped() && inSecond >= SECOND - UPDATE_WINDOW
    return state.a | (updating ? A.UIP : 0)
  }

  const writeB = (value: number): void => {
    const wasStopped = stopped()
    if ((value & B.SET) !== 0 && (state.b & B.SET) === 0) state.held = fieldsNow()
    const resume = (value & B.SET) === 0 && (state.b & B.SET) !== 0
    if (!wasStopped && (value & B.SET) !== 0) {
      state.base = time()
      restartCounting()
    }
    // Data sheet: setting SET clears UIE.
    state.b = (value & B.SET) !== 0 ? value & ~B.UIE : value
    if (resume) setTime(state.held)
  }

  const read = (index: number): number => {
    const field = TIME_FIELDS.indexOf(index)
    if (field >= 0) {
      const fields = (state.b & B.SET) !== 0 ? state.held : fieldsNow()
      return encode(fields[field], field === HOUR_FIELD)
    }
    const alarm = ALARM_FIELDS.indexOf(index)
    if (alarm >= 0) return state.alarm[alarm]
    switch (index) {
      case RTC.A: return readA()
      case RTC.B: return state.b
      case RTC.C: {
        settle()
        update()
        const value = state.c
        state.c = 0
        update()
        arm()
        return value
      }
      case RTC.D: return 0x80 // the battery is good
      default: return state.memory[index]
    }
  }

  const write = (index: number, value: number): void => {
    settle()
    const field = TIME_FIELDS.indexOf(index)
    const alarm = ALARM_FIELDS.indexOf(index)
    if (field >= 0) {
      const fields = (state.b & B.SET) !== 0 ? state.held : fieldsNow()
      fields[field] = decode(value, field === HOUR_FIELD)
      if ((state.b & B.SET) === 0) setTime(fields)
    } else if (alarm >= 0) state.alarm[alarm] = value
    else if (index === RTC.A) {
      const base = time()
      state.a = value & ~A.UIP
      state.base = base
      restartCounting()
    } else if (index === RTC.B) writeB(value)
    else if (index !== RTC.C && index !== RTC.D) state.memory[index] = value
    update()
    arm()
  }

  return {
    handlers: byteHandlers({
      read(offset) {
        switch (offset & 3) {
          case 1: return read(state.index)
          case 2: return state.bank2Index
          case 3: return state.memory[0x80 | state.bank2Index]
          default: return 0xff // the index is write-only
        }
      },
      write(offset, value) {
        switch (offset & 3) {
          case 0: state.index = value & 0x7f; break // bit 7 gates NMIs, of which there are none here
          case 1: write(state.index, value); break
          case 2: state.bank2Index = value & 0x7f; break
          default: state.memory[0x80 | state.bank2Index] = value
        }
      },
    }),
    time,
    snapshot: () => copyPlain(state),
    restore(saved) {
      restorePlain('rtc-cmos', state, saved)
      arm()
    },
  }
}
