/**
 * What a device sees of the machine: ports and memory-mapped registers, claimed as ranges.
 * All values are unsigned JavaScript numbers; 8-byte accesses are split into two of 4 bytes, low half first.
 */

/** Width of one bus access in bytes. */
export type AccessSize = 1 | 2 | 4

/** Handlers for a claimed range. `offset` is relative to the start of the range. */
export interface IoHandlers {
  read(offset: number, size: AccessSize): number
  write(offset: number, size: AccessSize, value: number): void
}

/** One claimed range of ports or of physical addresses. */
export interface IoRange {
  /** Who claimed it; shown in conflicts. */
  readonly name: string
  readonly start: number
  readonly length: number
  readonly handlers: IoHandlers
}

/** The answer of a bus to a range that collides with another. */
export class RangeConflict extends Error {
  readonly ranges: readonly [IoRange, IoRange]

  constructor(a: IoRange, b: IoRange) {
    const show = (r: IoRange) => `${r.name} [0x${r.start.toString(16)}, 0x${(r.start + r.length).toString(16)})`
    super(`two devices claim one range: ${show(a)} and ${show(b)}`)
    this.name = 'RangeConflict'
    this.ranges = [a, b]
  }
}

/** Routes accesses to the device that claimed them. */
export interface IoBus {
  /** Claims `[start, start + length)`. @throws RangeConflict when any of it is taken. */
  attach(range: IoRange): void
  /** Releases a claimed range (a PCI BAR that moves). */
  detach(range: IoRange): void
  /** The range that holds `address`, or undefined. */
  find(address: number): IoRange | undefined
  /** Reads; an address that nobody claimed reads as all ones. */
  read(address: number, size: AccessSize): number
  /** Writes; an address that nobody claimed swallows the value. */
  write(address: number, size: AccessSize, value: number): void
  /** All claims, by start. */
  ranges(): readonly IoRange[]
}

/** Creates an empty bus over addresses below `limit` (ports: 0x10000). */
export function createIoBus(limit: number): IoBus {
  let claimed: IoRange[] = []
  let last: IoRange | undefined

  /** Index of the first claim that ends above `address`. */
  const lowerBound = (address: number): number => {
    let lo = 0
    let hi = claimed.length
    while (lo < hi) {
      const mid = (lo + hi) >>> 1
      const r = claimed[mid]
      if (r.start + r.length <= address) lo = mid + 1
      else hi = mid
    }
    return lo
  }

  const find = (address: number): IoRange | undefined => {
    if (last !== undefined && address >= last.start && address < last.start + last.length) return last
    const r = claimed[lowerBound(address)] as IoRange | undefined
    if (r === undefined || address < r.start) return undefined
    last = r
    return r
  }

  const allOnes = (size: AccessSize): number => (size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff)

  return {
    attach(range) {
      if (range.length <= 0 || range.start < 0 || range.start + range.length > limit) {
        throw new RangeError(`${range.name}: range outside the bus`)
      }
      const at = lowerBound(range.start)
      const next = claimed[at] as IoRange | undefined
      if (next !== undefined && next.start < range.start + range.length) throw new RangeConflict(next, range)
      claimed.splice(at, 0, range)
    },
    detach(range) {
      claimed = claimed.filter((r) => r !== range)
      last = undefined
    },
    find,
    read(address, size) {
      const r = find(address)
      // An access that runs over the end of its range reaches nobody whole: open bus.
      if (r === undefined || address + size > r.start + r.length) return allOnes(size)
      return r.handlers.read(address - r.start, size) >>> 0
    },
    write(address, size, value) {
      const r = find(address)
      if (r === undefined || address + size > r.start + r.length) return
      r.handlers.write(address - r.start, size, value >>> 0)
    },
    ranges: () => claimed,
  }
}
