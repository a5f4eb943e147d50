/**
 * The local APIC's timer. Source: Intel SDM vol. 3A, §11.5.4. Nothing counts: the state is the time at which the count
 * reaches zero. The time-stamp counter, and the timer's input clock before the divider, tick once per nanosecond.
 */
import { TIMER } from './registers.ts'

/** State of the timer. */
export interface ApicTimer {
  mode: number
  /** Divide configuration register, bits 3, 1, 0. */
  divide: number
  initial: number
  /** When it fires next, in ticks since power-on; −1 when it does not run. */
  expires: number
  /** IA32_TSC_DEADLINE, two halves; 0 when disarmed. */
  deadlineLow: number
  deadlineHigh: number
}

export const createApicTimer = (): ApicTimer =>
  ({ mode: TIMER.ONE_SHOT, divide: 0, initial: 0, expires: -1, deadlineLow: 0, deadlineHigh: 0 })

/** Ticks of the input clock per count: 2, 4 … 128, and 1 for the code 111b. */
const divisor = (timer: ApicTimer): number => 1 << (((timer.divide & 3 | timer.divide >> 1 & 4) + 1) & 7)

/** Writes the initial count: starts, or stops with 0. Ignored in TSC-deadline mode. */
export function setInitialCount(timer: ApicTimer, count: number, now: number): void {
  if (timer.mode === TIMER.DEADLINE) return
  timer.initial = count
  timer.expires = count === 0 ? -1 : now + count * divisor(timer)
}

/** The current count: what is left, rounded up to whole counts. */
export function currentCount(timer: ApicTimer, now: number): number {
  if (timer.mode === TIMER.DEADLINE || timer.expires < 0) return 0
  return Math.max(0, Math.ceil((timer.expires - now) / divisor(timer)))
}

/** Changes the divider; a running count goes on from where it is at the new speed. */
export function setDivide(timer: ApicTimer, value: number, now: number): void {
  const left = currentCount(timer, now)
  timer.divide = value & 0xb
  if (left > 0) timer.expires = now + left * divisor(timer)
}

/** Changes the mode: entering or leaving TSC-deadline mode disarms the timer (§11.5.4.1). */
export function setTimerMode(timer: ApicTimer, mode: number): void {
  if (mode !== timer.mode && (mode === TIMER.DEADLINE || timer.mode === TIMER.DEADLINE)) {
    timer.initial = 0
    timer.expires = -1
    timer.deadlineLow = 0
    timer.deadlineHigh = 0
  }
  timer.mode = mode
}

/** Writes IA32_TSC_DEADLINE; `tsc` is the guest's counter at `now`. Ignored in the other modes. */
export function setDeadline(timer: ApicTimer, deadline: bigint, tsc: bigint, now: number): void {
  if (timer.mode !== TIMER.DEADLINE) return
  timer.deadlineLow = Number(deadline & 0xffff_ffffn)
  timer.deadlineHigh = Number(deadline >> 32n)
  if (deadline === 0n) timer.expires = -1
  else if (deadline <= tsc) timer.expires = now
  else {
    const expires = now + Number(deadline - tsc)
    // Beyond 2^53 ns (104 days) there is no time: it never fires, though the MSR reads back.
    timer.expires = expires <= Number.MAX_SAFE_INTEGER ? expires : -1
  }
}

/** IA32_TSC_DEADLINE as read. */
export const deadlineOf = (timer: ApicTimer): bigint => BigInt(timer.deadlineHigh) << 32n | BigInt(timer.deadlineLow)

/** Whether the timer has fired by `now`; a periodic one is set for its next period, missed periods count as one. */
export function timerFired(timer: ApicTimer, now: number): boolean {
  if (timer.expires < 0 || timer.expires > now) return false
  if (timer.mode === TIMER.PERIODIC) {
    const period = timer.initial * divisor(timer)
    timer.expires += period * (Math.floor((now - timer.expires) / period) + 1)
  } else {
    timer.expires = -1
    timer.deadlineLow = 0
    timer.deadlineHigh = 0
  }
  return true
}
