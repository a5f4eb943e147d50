/** A guest for tests: frames by hand, in virtual time. */
import { createGateway, formatIpv4, parseIpv4, type Gateway, type GatewayOptions } from '../src/index.ts'
import { ARP, BROADCAST_MAC, buildArp, buildFrame, ETHERTYPE, parseArp, parseFrame } from '../src/ethernet.ts'
import { buildPackets, buildUdp, parsePacket, parseUdp, PROTOCOL, type Packet } from '../src/ipv4.ts'
import { buildSegment, FLAG, parseSegment, type Segment } from '../src/tcp/segment.ts'

export const GUEST_MAC = '52:54:00:12:34:56'
export const ip = (text: string): number => parseIpv4(text)!
export const GATEWAY = ip('10.0.2.2')
export const GUEST = ip('10.0.2.15')

/** A clock with timers. */
export const createTestClock = () => {
  let now = 0
  let order = 0
  let timers: { time: number; order: number; fire: () => void }[] = []
  return {
    now: () => now,
    at(time: number, fire: () => void) {
      const timer = { time, order: order++, fire }
      timers.push(timer)
      return { cancel: () => { timers = timers.filter((one) => one !== timer) } }
    },
    pending: () => timers.length,
    /** Moves time on, timer by timer. */
    advance(by: number) {
      const end = now + by
      for (;;) {
        timers.sort((a, b) => a.time - b.time || a.order - b.order)
        const next = timers[0]
        if (next === undefined || next.time > end) break
        timers.shift()
        now = Math.max(now, next.time)
        next.fire()
      }
      now = end
    },
    set(time: number) { now = time },
  }
}

export type TestClock = ReturnType<typeof createTestClock>

/** A gateway with a guest on its cable, who keeps what comes. */
export const createGuest = (options: Partial<GatewayOptions> = {}, clock = createTestClock()) => {
  let frames: Uint8Array[] = []
  const gateway: Gateway = createGateway({ clock, seed: 1, transmit: (frame) => { frames.push(frame) }, ...options })
  const gatewayMac = '52:55:0a:00:02:02'

  const sendFrame = (type: number, payload: Uint8Array, destination = gatewayMac): void =>
    gateway.receive(buildFrame({ destination, source: GUEST_MAC, type, payload }))
  const sendIp = (protocol: number, payload: Uint8Array, { source = GUEST, destination = GATEWAY } = {}): void => {
    for (const packet of buildPackets({ source, destination, protocol, identification: 7, payload })) {
      sendFrame(ETHERTYPE.IPV4, packet)
    }
  }
  /** What has come since the last call. */
  const take = (): Uint8Array[] => {
    const taken = frames
    frames = []
    return taken
  }
  const packets = (): Packet[] => take().flatMap((bytes) => {
    const frame = parseFrame(bytes)
    const packet = frame?.type === ETHERTYPE.IPV4 ? parsePacket(frame.payload) : undefined
    return packet === undefined ? [] : [packet]
  })
  const udp = (port: number, data: Uint8Array, { source = GUEST, destination = GATEWAY, sourcePort = 4000 } = {}) => {
    take()
    const datagram = { sourcePort, destinationPort: port, data }
    sendIp(PROTOCOL.UDP, buildUdp(source, destination, datagram), { source, destination })
    return packets().map((packet) => {
      return { ...packet, datagram: parseUdp(packet.source, packet.destination, packet.payload) }
    })
  }
  const arp = (target: number) => {
    take()
    const question = {
      operation: ARP.REQUEST, senderMac: GUEST_MAC, senderAddress: GUEST,
      targetMac: '00:00:00:00:00:00', targetAddress: target,
    }
    sendFrame(ETHERTYPE.ARP, buildArp(question), BROADCAST_MAC)
    return take().map((bytes) => parseArp(parseFrame(bytes)!.payload))
  }
  /** Segments that have come since the last call, in words. */
  const segments = (): Segment[] => packets().flatMap((packet) => {
    if (packet.protocol !== PROTOCOL.TCP) return []
    const segment = parseSegment(packet.source, packet.destination, packet.payload)
    return segment === undefined ? [] : [segment]
  })
  const sendSegment = (segment: Partial<Segment> & { readonly flags: number }): Segment[] => {
    const full = {
      sourcePort: 5000, destinationPort: 7, seq: 0, ack: 0, window: 65_535, data: new Uint8Array(), ...segment,
    }
    sendIp(PROTOCOL.TCP, buildSegment(GUEST, GATEWAY, full))
    return segments()
  }
  return { gateway, clock, sendFrame, sendIp, take, packets, udp, arp, segments, sendSegment, gatewayMac }
}

/** A segment in words: `SYN ACK seq+0 ack+1 len 5`. */
export const words = (segment: Segment, base: { readonly seq: number; readonly ack: number }): string => {
  const flags = Object.entries(FLAG).filter(([, bit]) => (segment.flags & bit) !== 0).map(([name]) => name)
  const relative = (value: number, from: number): string => `${(value - from) | 0}`
  const ack = (segment.flags & FLAG.ACK) === 0 ? '' : ` ack ${relative(segment.ack, base.ack)}`
  const length = segment.data.length > 0 ? ` len ${segment.data.length}` : ''
  return `${flags.join(' ')} seq ${relative(segment.seq, base.seq)}${ack}${length}`
}

export const text = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes)
export const bytes = (string: string): Uint8Array => Uint8Array.from(string, (char) => char.charCodeAt(0))
export { formatIpv4 }
