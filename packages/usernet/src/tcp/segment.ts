/** TCP segments and arithmetic of sequence numbers (RFC 9293, sections 3.1 and 3.4). */
import { viewOf } from '../addresses.ts'
import { foldSum, pseudoHeaderSum, sumBytes } from '../checksum.ts'
import { PROTOCOL } from '../ipv4.ts'

export const FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const

export const TCP_HEADER = 20

/** Options that are understood; others are passed over. */
const OPTION = { END: 0, NOP: 1, MSS: 2 } as const

/** A segment. Urgent data is read as any other. */
export interface Segment {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly seq: number
  readonly ack: number
  readonly flags: number
  readonly window: number
  /** Maximum segment size, in a SYN. */
  readonly mss?: number | undefined
  readonly data: Uint8Array
}

/** `a` is before `b`, modulo 2^32. */
export const before = (a: number, b: number): boolean => (a - b | 0) < 0
/** `a` is `b` or before it. */
export const upTo = (a: number, b: number): boolean => (a - b | 0) <= 0
/** From `b` to `a`: how much `a` is ahead. */
export const distance = (a: number, b: number): number => a - b | 0
export const plus = (a: number, count: number): number => a + count >>> 0
/** The later of two sequence numbers. */
export const later = (a: number, b: number): number => (before(a, b) ? b : a)

/** The MSS option; undefined without it. */
function mssOf(options: Uint8Array): number | undefined {
  for (let at = 0; at < options.length;) {
    const kind = options[at]
    if (kind === OPTION.END) return undefined
    const length = kind === OPTION.NOP ? 1 : options.at(at + 1) ?? 0
    if (length < 1 || (kind !== OPTION.NOP && length < 2) || at + length > options.length) return undefined
    if (kind === OPTION.MSS && length === 4) return options[at + 2] << 8 | options[at + 3]
    at += length
  }
  return undefined
}

/** Takes a segment apart; undefined when its lengths or its checksum are wrong. */
export function parseSegment(source: number, destination: number, bytes: Uint8Array): Segment | undefined {
  if (bytes.length < TCP_HEADER) return undefined
  const header = (bytes[12] >>> 4) * 4
  if (header < TCP_HEADER || header > bytes.length) return undefined
  if (foldSum(sumBytes(bytes, pseudoHeaderSum(source, destination, PROTOCOL.TCP, bytes.length))) !== 0) return undefined
  const view = viewOf(bytes)
  return {
    sourcePort: view.getUint16(0), destinationPort: view.getUint16(2), seq: view.getUint32(4), ack: view.getUint32(8),
    flags: bytes[13] & 0x1f, window: view.getUint16(14), mss: mssOf(bytes.subarray(TCP_HEADER, header)),
    data: bytes.subarray(header),
  }
}

/** Puts a segment together. */
export function buildSegment(source: number, destination: number, segment: Segment): Uint8Array {
  const { mss, data } = segment
  const header = TCP_HEADER + (mss === undefined ? 0 : 4)
  const bytes = new Uint8Array(header + data.length)
  const view = viewOf(bytes)
  view.setUint16(0, segment.sourcePort)
  view.setUint16(2, segment.destinationPort)
  view.setUint32(4, segment.seq)
  view.setUint32(8, segment.ack)
  bytes[12] = header << 2
  bytes[13] = segment.flags
  view.setUint16(14, segment.window)
  if (mss !== undefined) bytes.set([OPTION.MSS, 4, mss >>> 8, mss & 0xff], TCP_HEADER)
  bytes.set(data, header)
  view.setUint16(16, foldSum(sumBytes(bytes, pseudoHeaderSum(source, destination, PROTOCOL.TCP, bytes.length))))
  return bytes
}
