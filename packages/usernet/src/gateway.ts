/**
 * The other end of a guest's network cable: a gateway that answers for itself and lets nothing through. It is a
 * function of the frames that come, of virtual time and of a seed; what a host connects through `connect` is the one
 * exception.
 */
import { formatIpv4, isNoHost, LIMITED_BROADCAST, parseIpv4 } from './addresses.ts'
import { checksum } from './checksum.ts'
import { createDhcpServer, DHCP_PORT } from './dhcp.ts'
import { answerDns, DNS_PORT } from './dns.ts'
import {
  ARP, BROADCAST_MAC, buildArp, buildFrame, ETHERTYPE, isGroupMac, MTU, parseArp, parseFrame, type Frame,
} from './ethernet.ts'
import { createFragments } from './fragments.ts'
import {
  buildIcmp, buildPackets, buildUdp, buildUnreachable, ICMP, parsePacket, parseUdp, PROTOCOL, UNREACHABLE, type Packet,
} from './ipv4.ts'
import { createNeighbours } from './neighbours.ts'
import { checkSnapshot, counters, GatewayError } from './saved.ts'
import { ECHO_PORT, echoService } from './services.ts'
import { createTcp, type TcpConnection, type TcpHandlers, type TcpService } from './tcp/stack.ts'

/** A timer that can be cancelled. */
export interface NetTimer {
  cancel(): void
}

/** Virtual time, nanoseconds. */
export interface NetClock {
  now(): number
  at(time: number, fire: () => void): NetTimer
}

/** Options of {@link createGateway}. */
export interface GatewayOptions {
  readonly clock: NetClock
  /** A safe integer, for initial sequence numbers. */
  readonly seed: number
  /** Takes a frame for the guest. It may be lost. */
  readonly transmit: (frame: Uint8Array) => void
  /** The gateway's address in a network of 256, default 10.0.2.2; guests get those from .15 on. */
  readonly address?: string
  /** More TCP services by port; port 7 is an echo. */
  readonly services?: ReadonlyMap<number, TcpService>
}

/** A gateway for one cable. */
export interface Gateway {
  /** A frame from the guest. Whatever it is, it is answered or dropped. Only looked at during the call. */
  receive(frame: Uint8Array): void
  /** Opens a connection to a port of the guest; undefined when there are too many. */
  connect(port: number, open: (connection: TcpConnection) => TcpHandlers): TcpConnection | undefined
  /** Counters for a person. */
  stats(): Readonly<Record<string, number>>
  /** The guest is gone: everything is forgotten, connections end as reset. */
  reset(): void
  /** Data that JSON can carry. */
  snapshot(): object
  /**
   * Restore the clock first.
   * @returns how many connections of the host are dropped; the guest learns it when it sends something
   * @throws GatewayError for data that is no snapshot
   */
  restore(saved: unknown): number
}

/** The hardware address: locally administered, with the IPv4 address in it. */
const macOf = (address: number): string =>
  `52:55:${[24, 16, 8, 0].map((shift) => (address >>> shift & 0xff).toString(16).padStart(2, '0')).join(':')}`

const NO_MAC = '00:00:00:00:00:00'
const MASK = 0xffff_ff00
const FIRST_GUEST = 15
const GUESTS = 16

/** The name by which guests know the gateway, and the domain that they search. */
export const GATEWAY_NAME = 'gateway.internal'
const DOMAIN = 'internal'

/** Longest payload of an echo request that is answered. */
const LONGEST_PING = 65_507

const checkAddress = (text: string): number => {
  const address = parseIpv4(text)
  const host = (address ?? 0) & 0xff
  const isRight = address !== undefined && !isNoHost(address) && host > 0 && host < FIRST_GUEST
  if (!isRight) throw new GatewayError('address', `an IPv4 address that ends in 1 to ${FIRST_GUEST - 1}; got ${text}`)
  return address
}

/** Creates a gateway. @throws GatewayError for an address that is none */
export function createGateway(options: GatewayOptions): Gateway {
  const { clock } = options
  const address = checkAddress(options.address ?? '10.0.2.2')
  const mac = macOf(address)
  const network = (address & MASK) >>> 0
  const subnetBroadcast = (network | ~MASK) >>> 0
  const names = new Map([[GATEWAY_NAME, address], ['gateway', address]])
  const dhcp = createDhcpServer({
    server: address, mask: MASK >>> 0, first: network + FIRST_GUEST, count: GUESTS, domain: DOMAIN, mtu: MTU,
  })
  const fragments = createFragments()
  const state = { random: options.seed >>> 0, identification: 1, counts: counters() }
  let timer: NetTimer | undefined
  let timerAt = Infinity

  /** Mulberry32 (Ettinger): any numbers do that differ from one connection to the next. */
  const random32 = (): number => {
    state.random = state.random + 0x6d2b_79f5 >>> 0
    let z = Math.imul(state.random ^ state.random >>> 15, state.random | 1)
    z ^= z + Math.imul(z ^ z >>> 7, z | 61)
    return (z ^ z >>> 14) >>> 0
  }
  const isNeighbour = (other: number): boolean =>
    (other & MASK) >>> 0 === network && other !== address && other !== network && other !== subnetBroadcast

  const sendFrame = (frame: Omit<Frame, 'source'>): void => {
    state.counts.framesOut += 1
    options.transmit(buildFrame({ ...frame, source: mac }))
  }
  const neighbours = createNeighbours({
    send: (destination, payload) => { sendFrame({ destination, type: ETHERTYPE.IPV4, payload }) },
    ask: (target) => {
      const question = {
        operation: ARP.REQUEST, senderMac: mac, senderAddress: address, targetMac: NO_MAC, targetAddress: target,
      }
      sendFrame({ destination: BROADCAST_MAC, type: ETHERTYPE.ARP, payload: buildArp(question) })
    },
  })
  const packetsOf = (destination: number, protocol: number, payload: Uint8Array): Uint8Array[] => {
    const identification = state.identification
    state.identification = identification % 0xffff + 1
    return buildPackets({ source: address, destination, protocol, identification, payload })
  }
  const send = (destination: number, protocol: number, payload: Uint8Array): void => {
    for (const packet of packetsOf(destination, protocol, payload)) neighbours.send(destination, packet)
  }

  const tcp = createTcp({
    address, random32,
    now: () => clock.now(),
    send: (destination, bytes) => { send(destination, PROTOCOL.TCP, bytes) },
    armed: () => { arm() },
    services: new Map([[ECHO_PORT, echoService], ...options.services ?? []]),
  })
  function arm(): void {
    const next = tcp.next()
    // one that is too early finds nothing due, and costs less than moving it each time
    if (next >= timerAt) return
    timer?.cancel()
    timerAt = next
    timer = clock.at(next, onTime)
  }
  function onTime(): void {
    timerAt = Infinity
    tcp.advance()
    arm()
  }

  const udpServices = new Map<number, (data: Uint8Array) => Uint8Array | undefined>([
    [DNS_PORT, (data) => answerDns(names, data)], [ECHO_PORT, (data) => data],
  ])

  const drop = (): void => { state.counts.dropped += 1 }

  const onArp = ({ payload }: Frame): void => {
    const arp = parseArp(payload)
    if (arp === undefined || isGroupMac(arp.senderMac)) return drop()
    if (isNeighbour(arp.senderAddress)) neighbours.learn(arp.senderAddress, arp.senderMac)
    if (arp.operation !== ARP.REQUEST || arp.targetAddress !== address) return
    const answer = {
      operation: ARP.REPLY, senderMac: mac, senderAddress: address,
      targetMac: arp.senderMac, targetAddress: arp.senderAddress,
    }
    sendFrame({ destination: arp.senderMac, type: ETHERTYPE.ARP, payload: buildArp(answer) })
  }

  const onIcmp = (packet: Packet): void => {
    const { payload, source } = packet
    const isEcho = payload.length >= 8 && payload[0] === ICMP.ECHO && payload[1] === 0
    if (!isEcho || payload.length > LONGEST_PING + 8 || checksum(payload) !== 0) return drop()
    send(source, PROTOCOL.ICMP, buildIcmp(ICMP.ECHO_REPLY, 0, payload.subarray(4)))
  }

  const onDhcp = (data: Uint8Array): void => {
    const reply = dhcp.serve(data)
    if (reply === undefined) return drop()
    const datagram = { sourcePort: DHCP_PORT.SERVER, destinationPort: DHCP_PORT.CLIENT, data: reply.data }
    const payload = buildUdp(address, reply.address, datagram)
    // straight to the hardware address: the client may not know its own address yet, and can't answer ARP
    for (const packet of packetsOf(reply.address, PROTOCOL.UDP, payload)) {
      sendFrame({ destination: reply.mac, type: ETHERTYPE.IPV4, payload: packet })
    }
  }

  const onUdp = (packet: Packet): void => {
    const { source, destination, payload } = packet
    const datagram = parseUdp(source, destination, payload)
    if (datagram === undefined) return drop()
    const { sourcePort, destinationPort, data } = datagram
    if (destinationPort === DHCP_PORT.SERVER) return onDhcp(data)
    if (destination !== address || source === 0) return drop()
    const service = udpServices.get(destinationPort)
    if (service === undefined) {
      send(source, PROTOCOL.ICMP, buildUnreachable(UNREACHABLE.PORT, packet))
      return
    }
    const answer = service(data)
    // two echoes could talk to each other for ever
    if (answer === undefined || sourcePort === ECHO_PORT) return drop()
    const reply = { sourcePort: destinationPort, destinationPort: sourcePort, data: answer }
    send(source, PROTOCOL.UDP, buildUdp(address, source, reply))
  }

  const onWhole = (packet: Packet): void => {
    if (packet.protocol === PROTOCOL.UDP) return onUdp(packet)
    if (packet.destination !== address) return drop()
    if (packet.protocol === PROTOCOL.TCP) tcp.input(packet.source, packet.payload)
    else if (packet.protocol === PROTOCOL.ICMP) onIcmp(packet)
    else send(packet.source, PROTOCOL.ICMP, buildUnreachable(UNREACHABLE.PROTOCOL, packet))
  }

  /** What is meant for somebody else. There is no way there, and the guest is told so. */
  const onForeign = (packet: Packet): void => {
    const isQuiet = isNoHost(packet.destination) || !isNeighbour(packet.source) || packet.offset > 0
      || isNeighbour(packet.destination) || (packet.protocol === PROTOCOL.ICMP && packet.payload.at(0) !== ICMP.ECHO)
    if (isQuiet) return drop()
    state.counts.prohibited += 1
    send(packet.source, PROTOCOL.ICMP, buildUnreachable(UNREACHABLE.PROHIBITED, packet))
  }

  const onIpv4 = (frame: Frame): void => {
    const packet = parsePacket(frame.payload)
    // a client without an address says 0.0.0.0; it has nothing to say but DHCP
    if (packet === undefined || (packet.source !== 0 && !isNeighbour(packet.source))) return drop()
    const toAll = packet.destination === LIMITED_BROADCAST || packet.destination === subnetBroadcast
    if (packet.source === 0 && packet.protocol !== PROTOCOL.UDP) return drop()
    if (packet.source !== 0) neighbours.learn(packet.source, frame.source)
    if (packet.destination !== address && !toAll) return onForeign(packet)
    if (!packet.more && packet.offset === 0) return onWhole(packet)
    const payload = fragments.add(packet, clock.now())
    if (payload !== undefined) onWhole({ ...packet, payload, more: false, offset: 0 })
  }

  return {
    receive(bytes) {
      state.counts.framesIn += 1
      const frame = parseFrame(bytes)
      if (frame === undefined || (frame.destination !== mac && !isGroupMac(frame.destination))) {
        drop()
        return
      }
      if (frame.type === ETHERTYPE.ARP) onArp(frame)
      else if (frame.type === ETHERTYPE.IPV4) onIpv4(frame)
      else drop()
    },
    connect: (port, open) => tcp.connect(network + FIRST_GUEST, port, open),
    stats: () => ({ ...state.counts, connections: tcp.count() }),
    reset() {
      tcp.clear()
      fragments.clear()
      neighbours.clear()
      dhcp.clear()
    },
    snapshot: () => ({
      address: formatIpv4(address), random: state.random, identification: state.identification,
      counts: { ...state.counts }, leases: dhcp.leases(), neighbours: neighbours.snapshot(),
      fragments: fragments.snapshot(), tcp: tcp.snapshot(), timerAt: timerAt === Infinity ? -1 : timerAt,
    }),
    restore(saved) {
      const { counts, random, identification, ...rest } = checkSnapshot(saved, formatIpv4(address))
      Object.assign(state, { random, identification, counts })
      if (!dhcp.restore(rest.leases)) throw new GatewayError('leases', 'hardware addresses')
      if (!neighbours.restore(rest.neighbours)) throw new GatewayError('neighbours', 'addresses and hardware addresses')
      if (!fragments.restore(rest.fragments)) throw new GatewayError('fragments', 'fragments of packets')
      const dropped = tcp.restore(rest.tcp)
      if (dropped === undefined) throw new GatewayError('tcp', 'connections')
      timer?.cancel()
      timer = undefined
      // at the same time as before, even if it is early: a run loop ends a slice for it
      timerAt = rest.timerAt < 0 ? Infinity : rest.timerAt
      if (timerAt !== Infinity) timer = clock.at(timerAt, onTime)
      arm()
      return dropped
    },
  }
}
