/** Virtual time. One unit is one nanosecond of virtual time; fractions never occur. */
export interface Clock {
  /** Nanoseconds since the machine was powered on. */
  now(): number
  /** Calls `fire` once when `now()` reaches `time` (at once, but not re-entrantly, when it is past). */
  at(time: number, fire: () => void): Timer
}

/** A scheduled call. */
export interface Timer {
  readonly time: number
  cancel(): void
}

/** An interrupt line: `set(true)` raises, `set(false)` lowers. Setting the same level twice is harmless. */
export interface IrqLine {
  set(level: boolean): void
}
