/** IPv4 packets (RFC 791), ICMP (RFC 792) and UDP (RFC 768). */
import { viewOf } from './addresses.ts'
import { checksum, foldSum, pseudoHeaderSum, sumBytes } from './checksum.ts'
import { MTU } from './ethernet.ts'

export const PROTOCOL = { ICMP: 1, TCP: 6, UDP: 17 } as const

export const IPV4_HEADER = 20

/** A packet or a fragment of one, taken apart. */
export interface Packet {
  readonly source: number
  readonly destination: number
  readonly protocol: number
  readonly identification: number
  /** Where the payload lies in the whole, bytes. */
  readonly offset: number
  /** More fragments follow. */
  readonly more: boolean
  readonly payload: Uint8Array
  /** The header and what follows, as it came: ICMP errors quote it. */
  readonly bytes: Uint8Array
}

/** Takes a packet apart; undefined when lengths or the checksum are wrong. Options are passed over and not obeyed. */
export function parsePacket(bytes: Uint8Array): Packet | undefined {
  if (bytes.length < IPV4_HEADER || bytes[0] >>> 4 !== 4) return undefined
  const view = viewOf(bytes)
  const header = (bytes[0] & 15) * 4
  const length = view.getUint16(2)
  if (header < IPV4_HEADER || length < header || length > bytes.length) return undefined
  if (checksum(bytes.subarray(0, header)) !== 0) return undefined
  const fragment = view.getUint16(6)
  return {
    source: view.getUint32(12), destination: view.getUint32(16), protocol: bytes[9], identification: view.getUint16(4),
    offset: (fragment & 0x1fff) * 8, more: (fragment & 0x2000) !== 0,
    payload: bytes.subarray(header, length), bytes: bytes.subarray(0, length),
  }
}

/** What a packet is made from. */
export interface PacketSpec {
  readonly source: number
  readonly destination: number
  readonly protocol: number
  readonly identification: number
  readonly payload: Uint8Array
}

const TIME_TO_LIVE = 64

function buildFragment(spec: PacketSpec, offset: number, more: boolean, part: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(IPV4_HEADER + part.length)
  const view = viewOf(bytes)
  bytes[0] = 0x45
  view.setUint16(2, bytes.length)
  view.setUint16(4, spec.identification)
  view.setUint16(6, (more ? 0x2000 : 0) | offset / 8)
  bytes[8] = TIME_TO_LIVE
  bytes[9] = spec.protocol
  view.setUint32(12, spec.source)
  view.setUint32(16, spec.destination)
  view.setUint16(10, checksum(bytes.subarray(0, IPV4_HEADER)))
  bytes.set(part, IPV4_HEADER)
  return bytes
}

/** Fragments carry a multiple of 8 bytes. */
const FRAGMENT = (MTU - IPV4_HEADER) & ~7

/** Puts a packet together, in fragments when it is longer than a frame. */
export function buildPackets(spec: PacketSpec): Uint8Array[] {
  const { payload } = spec
  if (payload.length <= MTU - IPV4_HEADER) return [buildFragment(spec, 0, false, payload)]
  const packets: Uint8Array[] = []
  for (let at = 0; at < payload.length; at += FRAGMENT) {
    packets.push(buildFragment(spec, at, at + FRAGMENT < payload.length, payload.subarray(at, at + FRAGMENT)))
  }
  return packets
}

export const ICMP = { ECHO_REPLY: 0, UNREACHABLE: 3, ECHO: 8 } as const
/** Codes of "unreachable". */
export const UNREACHABLE = { PROTOCOL: 2, PORT: 3, PROHIBITED: 13 } as const

/** An ICMP message: the type, the code, and what follows the checksum. */
export function buildIcmp(type: number, code: number, rest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + rest.length)
  bytes[0] = type
  bytes[1] = code
  bytes.set(rest, 4)
  viewOf(bytes).setUint16(2, checksum(bytes))
  return bytes
}

/** "Unreachable", with the header and 8 bytes of the packet that could not be delivered. */
export function buildUnreachable(code: number, { bytes, payload }: Packet): Uint8Array {
  const header = bytes.length - payload.length
  const rest = new Uint8Array(4 + Math.min(bytes.length, header + 8))
  rest.set(bytes.subarray(0, rest.length - 4), 4)
  return buildIcmp(ICMP.UNREACHABLE, code, rest)
}

/** A UDP datagram, taken apart. */
export interface Datagram {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly data: Uint8Array
}

export const UDP_HEADER = 8

/** Takes a datagram apart; undefined when its length or its checksum, if it has one, is wrong. */
export function parseUdp(source: number, destination: number, bytes: Uint8Array): Datagram | undefined {
  if (bytes.length < UDP_HEADER) return undefined
  const view = viewOf(bytes)
  const length = view.getUint16(4)
  if (length < UDP_HEADER || length > bytes.length) return undefined
  const datagram = bytes.subarray(0, length)
  if (view.getUint16(6) !== 0) {
    const sum = sumBytes(datagram, pseudoHeaderSum(source, destination, PROTOCOL.UDP, length))
    if (foldSum(sum) !== 0) return undefined
  }
  return { sourcePort: view.getUint16(0), destinationPort: view.getUint16(2), data: datagram.subarray(UDP_HEADER) }
}

/** Puts a datagram together. */
export function buildUdp(source: number, destination: number, datagram: Datagram): Uint8Array {
  const bytes = new Uint8Array(UDP_HEADER + datagram.data.length)
  const view = viewOf(bytes)
  view.setUint16(0, datagram.sourcePort)
  view.setUint16(2, datagram.destinationPort)
  view.setUint16(4, bytes.length)
  bytes.set(datagram.data, UDP_HEADER)
  const sum = foldSum(sumBytes(bytes, pseudoHeaderSum(source, destination, PROTOCOL.UDP, bytes.length)))
  // 0 would say that there is no checksum
  view.setUint16(6, sum === 0 ? 0xffff : sum)
  return bytes
}
