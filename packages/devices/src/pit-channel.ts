/**
 * One channel of the 8254 as a function of its clock: nothing runs; counts and outputs follow from the tick at which
 * counting began. Source: Intel 8254 data sheet (231164-005), "Mode definitions".
 */

/** A channel. Ticks are numbers of the input clock since power-on. */
export interface Channel {
  mode: number
  bcd: boolean
  /** Which bytes are transferred: 1 low, 2 high, 3 low then high. */
  access: number
  /** The count in use, 1–65536; 0 before the first. */
  count: number
  /** The count that takes over when the period ends (modes 2 and 3), 0 when none. */
  nextCount: number
  /** Tick at which `count` entered the counting element; −1 while it waits for a trigger or a count. */
  start: number
  /** Ticks already counted when the gate stopped modes 0 and 4; −1 while it runs. */
  held: number
  gate: boolean
  /** Low byte already written (access 3), −1 when none. */
  lowByte: number
  /** The next read gives the high byte. */
  readHigh: boolean
  /** Latched count, −1 when none. */
  latched: number
  /** Latched status, −1 when none. */
  latchedStatus: number
}

/** A channel that was never programmed. */
export const initialChannel = (): Channel => ({
  mode: 0, bcd: false, access: 3, count: 0, nextCount: 0, start: -1, held: -1, gate: true, lowByte: -1, readHigh: false,
  latched: -1, latchedStatus: -1,
})

const periodic = (channel: Channel): boolean => channel.mode === 2 || channel.mode === 3
const triggered = (channel: Channel): boolean => channel.mode === 1 || channel.mode === 5

const toBcd = (value: number): number => {
  const n = value % 10_000
  return (Math.floor(n / 1000) << 12) | (Math.floor(n / 100) % 10 << 8) | (Math.floor(n / 10) % 10 << 4) | n % 10
}
const fromBcd = (value: number): number =>
  (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15)

/** Ticks that were counted by `tick`; negative while the count is not loaded yet. */
const elapsed = (channel: Channel, tick: number): number =>
  channel.held >= 0 ? channel.held : channel.start < 0 ? -1 : tick - channel.start

/** Lets a count that was written during a period take over at the period's end. */
export function settle(channel: Channel, tick: number): void {
  if (channel.nextCount === 0 || channel.start < 0 || !periodic(channel)) return
  const passed = tick - channel.start
  if (passed < channel.count) return
  // Only one period was left to the old count.
  channel.start += channel.count
  channel.count = channel.nextCount
  channel.nextCount = 0
}

/** Control word: the mode is set, OUT goes to its initial state, counting waits for a count. */
export function setMode(channel: Channel, control: number): void {
  const mode = control >> 1 & 7
  channel.mode = mode > 5 ? mode & 3 : mode
  channel.bcd = (control & 1) !== 0
  channel.access = control >> 4 & 3
  channel.count = 0
  channel.nextCount = 0
  channel.start = -1
  channel.held = -1
  channel.lowByte = -1
  channel.readHigh = false
  channel.latched = -1
  channel.latchedStatus = -1
}

/** A byte written to the channel's port: the whole count when it is complete, else −1. */
export function writeChannel(channel: Channel, byte: number): number {
  switch (channel.access) {
    case 1: return byte
    case 2: return byte << 8
    default: {
      if (channel.lowByte < 0) {
        channel.lowByte = byte
        // Mode 0: the first byte stops counting and sets OUT low.
        if (channel.mode === 0) {
          channel.start = -1
          channel.held = -1
        }
        return -1
      }
      const count = channel.lowByte | byte << 8
      channel.lowByte = -1
      return count
    }
  }
}

/** A whole count was written at `tick`; it is loaded by the next clock pulse. */
export function loadCount(channel: Channel, raw: number, tick: number): void {
  const value = channel.bcd ? fromBcd(raw) : raw
  let count = value === 0 ? (channel.bcd ? 10_000 : 0x1_0000) : value
  // A count of 1 is illegal in modes 2 and 3; the shortest legal period stands in for it.
  if (periodic(channel) && count === 1) count = 2
  if (periodic(channel) && channel.start >= 0) {
    channel.nextCount = count
    return
  }
  if (triggered(channel)) {
    // A pulse under way keeps its length; the next trigger uses the new count.
    if (channel.start < 0) channel.count = count
    else channel.nextCount = count
    return
  }
  channel.count = count
  if (channel.gate) {
    channel.start = tick + 1
    channel.held = -1
  } else if (periodic(channel)) channel.start = -1
  else {
    channel.start = -1
    channel.held = 0
  }
}

/** The gate input changes. Data sheet, figure 21 "Gate pin operations summary". */
export function setGate(channel: Channel, level: boolean, tick: number): void {
  settle(channel, tick)
  if (channel.gate === level) return
  channel.gate = level
  if (triggered(channel)) {
    if (level && channel.count > 0) {
      if (channel.nextCount > 0) channel.count = channel.nextCount
      channel.nextCount = 0
      channel.start = tick + 1
    }
  } else if (periodic(channel)) {
    // Low stops counting with OUT high; a rising edge starts a new period.
    if (channel.nextCount > 0) channel.count = channel.nextCount
    channel.nextCount = 0
    channel.start = level && channel.count > 0 ? tick + 1 : -1
  } else if (!level) {
    if (channel.start >= 0) channel.held = Math.max(0, tick - channel.start)
  } else if (channel.held >= 0) {
    channel.start = tick - channel.held
    channel.held = -1
  }
}

/** The counting element at `tick`, as the port would show it. */
export function countAt(channel: Channel, tick: number): number {
  const { count } = channel
  const passed = elapsed(channel, tick)
  let value: number
  if (count === 0 || passed < 0) value = count
  else if (channel.mode === 2) value = count - passed % count
  else if (channel.mode === 3) {
    const high = (count + 1) >> 1
    const k = passed % count
    const first = count & ~1
    value = first - 2 * (k < high ? k : k - high)
  } else {
    // The other modes wrap around and count on.
    const range = channel.bcd ? 10_000 : 0x1_0000
    value = (count - passed % range + range) % range
  }
  return channel.bcd ? toBcd(value) : value & 0xffff
}

/** OUT at `tick`. */
export function outAt(channel: Channel, tick: number): boolean {
  const passed = elapsed(channel, tick)
  const running = channel.count > 0 && passed >= 0
  switch (channel.mode) {
    case 0: return running && passed >= channel.count
    case 1: return !running || passed >= channel.count
    case 2: return !running || passed % channel.count !== channel.count - 1
    case 3: return !running || passed % channel.count < (channel.count + 1) >> 1
    default: return !running || passed !== channel.count
  }
}

/** The tick after `tick` at which OUT rises next, −1 when it will not without a new event. */
export function nextRise(channel: Channel, tick: number): number {
  settle(channel, tick)
  if (channel.count === 0 || channel.start < 0 || channel.held >= 0) return -1
  const { start, count } = channel
  switch (channel.mode) {
    case 0:
    case 1: return tick < start + count ? start + count : -1
    case 2:
    case 3: return tick < start ? start + count : start + (Math.floor((tick - start) / count) + 1) * count
    default: return tick < start + count + 1 ? start + count + 1 : -1
  }
}

/** Latches the count; a second latch before it is read changes nothing. */
export function latch(channel: Channel, tick: number): void {
  settle(channel, tick)
  if (channel.latched < 0) {
    channel.latched = countAt(channel, tick)
    channel.readHigh = false
  }
}

/** Latches the status byte: OUT, null count, access, mode, BCD (data sheet, figure 12). */
export function latchStatus(channel: Channel, tick: number): void {
  settle(channel, tick)
  if (channel.latchedStatus >= 0) return
  const nullCount = channel.count === 0 || channel.nextCount > 0 || (channel.start > tick && channel.held < 0)
  channel.latchedStatus = (outAt(channel, tick) ? 0x80 : 0) | (nullCount ? 0x40 : 0) | channel.access << 4 |
    channel.mode << 1 | (channel.bcd ? 1 : 0)
}

/** A read of the channel's port: status, then latched count, then the live count. */
export function readChannel(channel: Channel, tick: number): number {
  settle(channel, tick)
  if (channel.latchedStatus >= 0) {
    const status = channel.latchedStatus
    channel.latchedStatus = -1
    return status
  }
  const value = channel.latched >= 0 ? channel.latched : countAt(channel, tick)
  if (channel.access !== 3) {
    channel.latched = -1
    return channel.access === 1 ? value & 0xff : value >> 8
  }
  const high = channel.readHigh
  channel.readHigh = !high
  if (high) channel.latched = -1
  return high ? value >> 8 : value & 0xff
}
