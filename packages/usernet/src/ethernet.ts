/** Ethernet II frames (RFC 894) and ARP (RFC 826). */
import { formatMac, parseMac, viewOf } from './addresses.ts'

/** What a frame carries. */
export const ETHERTYPE = { IPV4: 0x0800, ARP: 0x0806 } as const

/** Bytes of addresses and type. */
export const ETHERNET_HEADER = 14
/** Most bytes that a frame carries. */
export const MTU = 1500

export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff'

/** A frame, taken apart. */
export interface Frame {
  readonly destination: string
  readonly source: string
  readonly type: number
  readonly payload: Uint8Array
}

/** Whether the lowest bit of the first byte says "to many". */
export const isGroupMac = (mac: string): boolean => (parseInt(mac.slice(0, 2), 16) & 1) === 1

/** Takes a frame apart; undefined when it is too short, too long, or comes from a group. */
export function parseFrame(bytes: Uint8Array): Frame | undefined {
  if (bytes.length < ETHERNET_HEADER || bytes.length > ETHERNET_HEADER + MTU) return undefined
  const source = formatMac(bytes.subarray(6, 12))
  if (isGroupMac(source)) return undefined
  return {
    destination: formatMac(bytes), source, type: viewOf(bytes).getUint16(12), payload: bytes.subarray(ETHERNET_HEADER),
  }
}

/** Puts a frame together. */
export function buildFrame({ destination, source, type, payload }: Frame): Uint8Array {
  const bytes = new Uint8Array(ETHERNET_HEADER + payload.length)
  bytes.set(parseMac(destination) ?? [], 0)
  bytes.set(parseMac(source) ?? [], 6)
  viewOf(bytes).setUint16(12, type)
  bytes.set(payload, ETHERNET_HEADER)
  return bytes
}

/** An ARP packet for IPv4 over Ethernet. */
export interface Arp {
  /** 1 asks, 2 answers. */
  readonly operation: number
  readonly senderMac: string
  readonly senderAddress: number
  readonly targetMac: string
  readonly targetAddress: number
}

export const ARP = { REQUEST: 1, REPLY: 2, SIZE: 28 } as const

/** Takes an ARP packet apart; undefined for other kinds of addresses. Bytes behind it are padding. */
export function parseArp(bytes: Uint8Array): Arp | undefined {
  if (bytes.length < ARP.SIZE) return undefined
  const view = viewOf(bytes)
  const isOurs = view.getUint16(0) === 1 && view.getUint16(2) === ETHERTYPE.IPV4 && bytes[4] === 6 && bytes[5] === 4
  if (!isOurs) return undefined
  return {
    operation: view.getUint16(6),
    senderMac: formatMac(bytes.subarray(8)), senderAddress: view.getUint32(14),
    targetMac: formatMac(bytes.subarray(18)), targetAddress: view.getUint32(24),
  }
}

/** Puts an ARP packet together. */
export function buildArp({ operation, senderMac, senderAddress, targetMac, targetAddress }: Arp): Uint8Array {
  const bytes = new Uint8Array(ARP.SIZE)
  const view = viewOf(bytes)
  view.setUint16(0, 1)
  view.setUint16(2, ETHERTYPE.IPV4)
  bytes.set([6, 4], 4)
  view.setUint16(6, operation)
  bytes.set(parseMac(senderMac) ?? [], 8)
  view.setUint32(14, senderAddress)
  bytes.set(parseMac(targetMac) ?? [], 18)
  view.setUint32(24, targetAddress)
  return bytes
}
