/**
 * Fragments become packets again (RFC 791, section 3.2). Few packets are kept, for a while; fragments that overlap make
 * the whole packet void, as RFC 5722 has it for IPv6: no sender means that, and attackers do.
 */
import { fromBase64, toBase64 } from './base64.ts'
import type { Packet } from './ipv4.ts'

interface Piece {
  readonly offset: number
  readonly data: Uint8Array
}

interface Waiting {
  readonly key: string
  readonly expires: number
  readonly pieces: Piece[]
  /** Bytes of the whole; −1 while the last fragment is missing. */
  total: number
}

/** Packets that wait for fragments. */
export interface Fragments {
  /** Takes a fragment; answers the payload of the packet when it was the last one. */
  add(packet: Packet, now: number): Uint8Array | undefined
  clear(): void
  snapshot(): object[]
  /** Answers whether the data was of that form. */
  restore(saved: unknown): boolean
}

/** Packets that wait at once; the oldest goes first. */
const MOST_PACKETS = 8
/** Pieces of one: 64 KiB in pieces of 1480 bytes are 45. */
const MOST_PIECES = 64
/** RFC 791 suggests 15 seconds. */
const PATIENCE = 15e9
const LONGEST = 65_515

const isPiece = (piece: unknown): piece is { offset: number; data: string } =>
  typeof piece === 'object' && piece !== null && 'offset' in piece && Number.isSafeInteger(piece.offset)
  && 'data' in piece && fromBase64(piece.data) !== undefined

/** Creates an empty store. */
export function createFragments(): Fragments {
  const waiting = new Map<string, Waiting>()

  const whole = ({ pieces, total }: Waiting): Uint8Array | undefined => {
    if (total < 0 || pieces.reduce((sum, { data }) => sum + data.length, 0) !== total) return undefined
    const bytes = new Uint8Array(total)
    for (const { offset, data } of pieces) bytes.set(data, offset)
    return bytes
  }
  const fits = ({ pieces, total }: Waiting, start: number, end: number, isLast: boolean): boolean => {
    if (end > LONGEST || pieces.length >= MOST_PIECES) return false
    if (isLast ? total >= 0 && total !== end : total >= 0 && end > total) return false
    if (isLast && pieces.some(({ offset, data }) => offset + data.length > end)) return false
    return pieces.every(({ offset, data }) => end <= offset || start >= offset + data.length)
  }
  const open = (key: string, now: number): Waiting => {
    for (const [other, { expires }] of waiting) {
      if (expires <= now || (!waiting.has(key) && waiting.size >= MOST_PACKETS)) waiting.delete(other)
    }
    const entry = waiting.get(key) ?? { key, expires: now + PATIENCE, pieces: [], total: -1 }
    waiting.set(key, entry)
    return entry
  }

  return {
    add({ source, destination, protocol, identification, offset, more, payload }, now) {
      const key = [source, destination, protocol, identification].join(':')
      const entry = open(key, now)
      const end = offset + payload.length
      const isWrong = payload.length === 0 || (more && payload.length % 8 !== 0)
      if (isWrong || !fits(entry, offset, end, !more)) {
        waiting.delete(key)
        return undefined
      }
      if (!more) entry.total = end
      entry.pieces.push({ offset, data: payload.slice() })
      const bytes = whole(entry)
      if (bytes !== undefined) waiting.delete(key)
      return bytes
    },
    clear: () => waiting.clear(),
    snapshot: () => [...waiting.values()].map(({ key, expires, pieces, total }) => ({
      key, expires, total, pieces: pieces.map(({ offset, data }) => ({ offset, data: toBase64(data) })),
    })),
    restore(saved) {
      waiting.clear()
      if (!Array.isArray(saved) || saved.length > MOST_PACKETS) return false
      return saved.every((one: unknown) => {
        if (typeof one !== 'object' || one === null) return false
        const { key, expires, pieces, total } = one as Readonly<Record<string, unknown>>
        const isWrong = typeof key !== 'string' || !Number.isSafeInteger(expires) || !Number.isSafeInteger(total)
          || !Array.isArray(pieces) || pieces.length > MOST_PIECES || !pieces.every(isPiece)
        if (isWrong) return false
        const entry: Waiting = { key, expires: expires as number, pieces: [], total: total as number }
        for (const { offset, data } of pieces) {
          const bytes = fromBase64(data) ?? new Uint8Array()
          if (!fits(entry, offset, offset + bytes.length, offset + bytes.length === entry.total)) return false
          entry.pieces.push({ offset, data: bytes })
        }
        waiting.set(key, entry)
        return true
      })
    },
  }
}
