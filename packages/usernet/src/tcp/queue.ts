/** Bytes that wait, first in first out, up to a limit. */

export interface ByteQueue {
  readonly limit: number
  length(): number
  /** Takes as many bytes as there is room for; answers how many. */
  push(bytes: Uint8Array): number
  /** A copy of up to `length` bytes from place `at` on. */
  peek(at: number, length: number): Uint8Array
  /** Forgets the first `count` bytes. */
  drop(count: number): void
}

const FIRST_SIZE = 2048

/** Creates an empty queue, a ring that grows as needed. */
export function createByteQueue(limit: number): ByteQueue {
  let ring = new Uint8Array(0)
  let start = 0
  let length = 0

  const peek = (at: number, wanted: number): Uint8Array => {
    const bytes = new Uint8Array(Math.max(0, Math.min(wanted, length - at)))
    const from = (start + at) % Math.max(1, ring.length)
    const first = ring.subarray(from, from + bytes.length)
    bytes.set(first)
    bytes.set(ring.subarray(0, bytes.length - first.length), first.length)
    return bytes
  }
  const grow = (needed: number): void => {
    const bytes = peek(0, length)
    ring = new Uint8Array(Math.min(limit, Math.max(needed, FIRST_SIZE, 2 * ring.length)))
    ring.set(bytes)
    start = 0
  }

  return {
    limit,
    length: () => length,
    push(bytes) {
      const taken = bytes.subarray(0, limit - length)
      if (length + taken.length > ring.length) grow(length + taken.length)
      const to = (start + length) % Math.max(1, ring.length)
      const first = taken.subarray(0, ring.length - to)
      ring.set(first, to)
      ring.set(taken.subarray(first.length), 0)
      length += taken.length
      return taken.length
    },
    peek,
    drop(count) {
      const gone = Math.min(count, length)
      length -= gone
      start = length === 0 ? 0 : (start + gone) % ring.length
      if (length === 0 && ring.length > FIRST_SIZE) ring = new Uint8Array(0)
    },
  }
}
