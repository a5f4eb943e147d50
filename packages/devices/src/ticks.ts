/**
 * The PC's timers run from one crystal of 315/22 MHz (14.31818 MHz). Its divisors give rational ticks per nanosecond,
 * so conversions are exact at every time below 2^53 ns and never drift.
 */

/** A clock of `numerator / denominator` ticks per nanosecond. */
export interface TickRate {
  readonly numerator: number
  readonly denominator: number
}

/** 8254: crystal / 12 = 1.193182 MHz. */
export const PIT_RATE: TickRate = { numerator: 21, denominator: 17_600 }
/** ACPI power-management timer: crystal / 4 = 3.579545 MHz. */
export const PM_TIMER_RATE: TickRate = { numerator: 63, denominator: 17_600 }

/** Whole ticks since time zero at `time` nanoseconds. */
export function ticksAt(rate: TickRate, time: number): number {
  const whole = Math.floor(time / rate.denominator)
  const rest = time - whole * rate.denominator
  return whole * rate.numerator + Math.floor((rest * rate.numerator) / rate.denominator)
}

/** The first nanosecond at which `ticksAt` is `tick`. */
export function timeOfTick(rate: TickRate, tick: number): number {
  const whole = Math.floor(tick / rate.numerator)
  const rest = tick - whole * rate.numerator
  return whole * rate.denominator + Math.ceil((rest * rate.denominator) / rate.numerator)
}
