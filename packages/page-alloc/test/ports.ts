/** An accept port for tests: remembers every page it accepted, and is strict about what may be asked of it. */
import type { AcceptMemory } from '../src/index.ts'

export interface TestPort extends AcceptMemory {
  /** Accepted ranges in the order of calls. */
  readonly calls: { start: number; end: number }[]
  /** Bytes accepted. */
  bytes(): number
  /** Called inside each accept, before it takes effect. */
  onAccept?: (start: number, end: number) => void
}

/** `unaccepted`: what firmware left unaccepted; `bad`: what can never be accepted. Unit of bookkeeping: 4 KiB. */
export function createTestPort(
  unaccepted: readonly { start: number; end: number }[], bad: readonly { start: number; end: number }[] = [],
): TestPort {
  const accepted: { start: number; end: number }[] = []
  const calls: { start: number; end: number }[] = []
  const overlaps = (a: { start: number; end: number }, b: { start: number; end: number }): boolean =>
    a.start < b.end && b.start < a.end
  const port: TestPort = {
    calls,
    bytes: () => accepted.reduce((n, r) => n + (r.end - r.start), 0),
    accept(start, end) {
      const range = { start, end }
      if (start % 4096 !== 0 || end % 4096 !== 0 || start >= end) throw new Error(`odd accept ${start}..${end}`)
      if (accepted.some((r) => overlaps(r, range))) throw new Error(`accepted twice: ${start}..${end}`)
      port.onAccept?.(start, end)
      calls.push(range)
      const hit = bad.find((b) => overlaps(b, range))
      if (hit !== undefined) return { reason: 'bad memory' }
      accepted.push(range)
      return undefined
    },
    isAccepted(start, end) {
      const range = { start, end }
      const done = accepted.filter((r) => overlaps(r, range)).sort((a, b) => a.start - b.start)
      return unaccepted.filter((u) => overlaps(u, range)).every((u) => {
        let at = Math.max(start, u.start)
        for (const r of done) if (r.start <= at && at < r.end) at = r.end
        return at >= Math.min(end, u.end)
      })
    },
  }
  return port
}

declare function structuredClone<T>(value: T): T

/** What a message to another realm would arrive as: proof that a snapshot is plain data. */
export const clone = <T>(value: T): T => structuredClone(value)

/** Where two pieces of plain data differ, or undefined; quick on typed arrays of millions of elements. */
export function difference(a: unknown, b: unknown, path = ''): string | undefined {
  if (Object.is(a, b)) return undefined
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return path
  const [x, y] = [a as ArrayLike<unknown> & Record<string, unknown>, b as ArrayLike<unknown> & Record<string, unknown>]
  if (ArrayBuffer.isView(a)) {
    if (x.length !== y.length) return `${path}.length`
    for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return `${path}[${i}]`
    return undefined
  }
  for (const key of new Set([...Object.keys(x), ...Object.keys(y)])) {
    const found = difference(x[key], y[key], `${path}.${key}`)
    if (found !== undefined) return found
  }
  return undefined
}
