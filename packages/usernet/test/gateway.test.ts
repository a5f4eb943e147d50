/** What the gateway answers. Sources: RFC 826, 791, 792, 768, 862, 1035, 2131, by section. */
import { describe, expect, it } from 'vitest'
import { createGateway, GatewayError } from '../src/index.ts'
import { checksum } from '../src/checksum.ts'
import { buildFrame, ETHERTYPE, parseFrame } from '../src/ethernet.ts'
import { buildIcmp, buildPackets, parsePacket, PROTOCOL } from '../src/ipv4.ts'
import { bytes, createGuest, formatIpv4, GATEWAY, GUEST, GUEST_MAC, ip, text } from './guest.ts'

const hex = (string: string): Uint8Array => Uint8Array.from(string.trim().split(/\s+/), (byte) => parseInt(byte, 16))

describe('the Internet checksum (RFC 1071)', () => {
  it('is that of the example of section 3', () => {
    expect(checksum(hex('00 01 f2 03 f4 f5 f6 f7'))).toBe(0xffff - 0xddf2)
  })
  it('takes a last odd byte for the upper half of a word', () => {
    expect(checksum(hex('01'))).toBe(0xfeff)
  })
})

describe('ARP (RFC 826)', () => {
  it('gives the hardware address of the gateway, and of nobody else', () => {
    const { arp } = createGuest()
    expect(arp(GATEWAY)).toEqual([expect.objectContaining({
      operation: 2, senderMac: '52:55:0a:00:02:02', senderAddress: GATEWAY, targetMac: GUEST_MAC, targetAddress: GUEST,
    })])
    expect([arp(ip('10.0.2.3')), arp(GUEST)]).toEqual([[], []])
  })
})

const packetsToGateway = (protocol: number, payload: Uint8Array): Uint8Array[] =>
  buildPackets({ source: GUEST, destination: GATEWAY, protocol, identification: 1, payload })

const ping = (payload: string): Uint8Array => buildIcmp(8, 0, Uint8Array.from([0x12, 0x34, 0, 1, ...bytes(payload)]))

describe('ICMP echo (RFC 792)', () => {
  it('is answered with the same identifier, number and data', () => {
    const { sendIp, packets } = createGuest()
    sendIp(PROTOCOL.ICMP, ping('abcdefgh'))
    const [reply] = packets()
    expect([formatIpv4(reply.source), formatIpv4(reply.destination)]).toEqual(['10.0.2.2', '10.0.2.15'])
    expect(reply.payload).toEqual(buildIcmp(0, 0, ping('abcdefgh').subarray(4)))
  })

  it('is answered when it comes in fragments, in any order, and the answer goes in fragments', () => {
    const { sendFrame, packets, clock } = createGuest()
    const whole = ping('x'.repeat(4000))
    const parts = buildPackets({ source: GUEST, destination: GATEWAY, protocol: 1, identification: 5, payload: whole })
    expect(parts.length).toBe(3)
    for (const part of [parts[2], parts[0]]) sendFrame(ETHERTYPE.IPV4, part)
    clock.advance(14e9)
    expect(packets()).toEqual([])
    sendFrame(ETHERTYPE.IPV4, parts[1])
    const replies = packets()
    expect(replies.map(({ offset, more }) => [offset, more])).toEqual([[0, true], [1480, true], [2960, false]])
    const payload = Uint8Array.from(replies.flatMap((reply) => [...reply.payload]))
    expect(payload).toEqual(buildIcmp(0, 0, whole.subarray(4)))
  })

  it('is not answered with a wrong checksum, to a broadcast, or from outside of the network', () => {
    const { sendIp, packets } = createGuest()
    const wrong = ping('x')
    wrong[8] ^= 1
    sendIp(PROTOCOL.ICMP, wrong)
    sendIp(PROTOCOL.ICMP, ping('x'), { destination: ip('10.0.2.255') })
    sendIp(PROTOCOL.ICMP, ping('x'), { source: ip('192.168.1.1') })
    sendIp(PROTOCOL.ICMP, ping('x'), { source: GATEWAY })
    expect(packets()).toEqual([])
  })
})

describe('fragments (RFC 791, 3.2)', () => {
  const parts = (identification: number) => buildPackets({
    source: GUEST, destination: GATEWAY, protocol: 1, identification, payload: ping('y'.repeat(3000)),
  })

  it('that overlap make the packet void (RFC 5722)', () => {
    const { sendFrame, packets } = createGuest()
    const [one, two, three] = parts(1)
    for (const part of [one, one, two, three]) sendFrame(ETHERTYPE.IPV4, part)
    expect(packets()).toEqual([])
  })

  it('are kept for 15 seconds, and for 8 packets at most', () => {
    const late = createGuest()
    const [one, two, three] = parts(1)
    late.sendFrame(ETHERTYPE.IPV4, one)
    late.clock.advance(16e9)
    for (const part of [two, three]) late.sendFrame(ETHERTYPE.IPV4, part)
    expect(late.packets()).toEqual([])
    const many = createGuest()
    for (let id = 1; id <= 9; id++) many.sendFrame(ETHERTYPE.IPV4, parts(id)[0])
    for (const id of [9, 2, 1]) for (const part of parts(id).slice(1)) many.sendFrame(ETHERTYPE.IPV4, part)
    expect(many.packets().filter(({ more }) => !more).length).toBe(2)
  })
})

describe('UDP', () => {
  it('echo (RFC 862) gives back what it gets, even with an empty checksum', () => {
    const { udp, sendFrame, packets } = createGuest()
    expect(text(udp(7, bytes('hello'))[0]?.datagram?.data ?? bytes('none'))).toBe('hello')
    const datagram = hex('10 00 00 07 00 0a 00 00 68 69')
    for (const packet of packetsToGateway(17, datagram)) {
      sendFrame(ETHERTYPE.IPV4, packet)
    }
    expect(packets().length).toBe(1)
  })

  it('echo does not answer an echo', () => {
    expect(createGuest().udp(7, bytes('x'), { sourcePort: 7 })).toEqual([])
  })

  it('to a port where nobody listens is answered by "port unreachable", with the start of the packet', () => {
    const { udp } = createGuest()
    const [reply] = udp(9999, bytes('some data'))
    expect([reply.protocol, reply.payload[0], reply.payload[1], checksum(reply.payload)]).toEqual([1, 3, 3, 0])
    expect([reply.payload.length, reply.payload[8] >>> 4, reply.payload.subarray(28, 32)])
      .toEqual([8 + 28, 4, hex('0f a0 27 0f')])
  })
})

describe('what is meant for others', () => {
  it('does not get there: "communication administratively prohibited"', () => {
    const { sendIp, packets, gateway } = createGuest()
    for (const destination of ['8.8.8.8', '192.168.0.1', '10.0.3.2'].map(ip)) {
      for (const protocol of [PROTOCOL.ICMP, PROTOCOL.TCP, PROTOCOL.UDP]) {
        sendIp(protocol, protocol === PROTOCOL.ICMP ? ping('x') : new Uint8Array(20), { destination })
        expect(packets().map(({ payload }) => [payload[0], payload[1]])).toEqual([[3, 13]])
      }
    }
    expect(gateway.stats().prohibited).toBe(9)
  })

  it('is not answered when it goes to many, to the loopback, to a neighbour, or is an error itself', () => {
    const { sendIp, packets } = createGuest()
    const nowhere = ['224.0.0.1', '127.0.0.1', '255.255.255.255', '10.0.2.255', '10.0.2.77', '10.0.2.15'].map(ip)
    for (const destination of nowhere) sendIp(PROTOCOL.TCP, new Uint8Array(20), { destination })
    sendIp(PROTOCOL.ICMP, buildIcmp(3, 1, new Uint8Array(36)), { destination: ip('8.8.8.8') })
    expect(packets()).toEqual([])
  })

  it('does not get there by source routing: options of packets are not obeyed', () => {
    const { sendFrame, packets } = createGuest()
    const [plain] = packetsToGateway(1, ping('x'))
    // loose source route through 8.8.8.8
    const routed = Uint8Array.from([...plain.subarray(0, 20), 131, 7, 4, 8, 8, 8, 8, 0, ...plain.subarray(20)])
    routed[0] = 0x47
    routed[3] += 8
    routed.set([0, 0], 10)
    const sum = checksum(routed.subarray(0, 28))
    routed.set([sum >>> 8, sum & 0xff], 10)
    sendFrame(ETHERTYPE.IPV4, routed)
    expect(packets().map(({ source, destination }) => [source, destination])).toEqual([[GATEWAY, GUEST]])
  })
})

/** A DNS query for a name. */
const query = (name: string, type = 1, { flags = 0x0100, count = 1, id = 0x4711 } = {}): Uint8Array => {
  const labels = name.split('.').flatMap((label) => [label.length, ...bytes(label)])
  const header = [id >>> 8, id & 255, flags >>> 8, flags & 255, 0, count, 0, 0, 0, 0, 0, 0]
  return Uint8Array.from([...header, ...labels, 0, type >>> 8, type & 255, 0, 1])
}

describe('DNS (RFC 1035)', () => {
  const ask = (message: Uint8Array): Uint8Array | undefined => createGuest().udp(53, message)[0]?.datagram?.data

  it('gives the address of the gateway, by either name, whatever the case', () => {
    for (const name of ['gateway.internal', 'GateWay.Internal', 'gateway']) {
      const reply = ask(query(name))!
      expect([...reply.subarray(0, 12)]).toEqual([...hex('47 11 85 00 00 01 00 01 00 00 00 00')])
      expect([...reply.subarray(-16)]).toEqual([...hex('c0 0c 00 01 00 01 00 00 00 3c 00 04 0a 00 02 02')])
      expect(reply.length).toBe(query(name).length + 16)
    }
  })

  it('says that there is no IPv6 address, and gives the name of the address', () => {
    expect([...ask(query('gateway.internal', 28))!.subarray(2, 8)]).toEqual([...hex('85 00 00 01 00 00')])
    const reply = ask(query('2.2.0.10.in-addr.arpa', 12))!
    expect(text(reply.subarray(-18))).toBe('\x07gateway\x08internal\0')
  })

  it('refuses all other names', () => {
    for (const name of ['example.org', 'internal', 'x.gateway.internal', '8.8.8.8.in-addr.arpa', 'localhost']) {
      expect([...ask(query(name))!.subarray(2, 8)]).toEqual([...hex('81 05 00 01 00 00')])
    }
  })

  it('answers what it does not understand by the reason, and what is no query not at all', () => {
    const rcode = (message: Uint8Array): number | undefined => ask(message)?.[3]
    expect(rcode(query('gateway', 1, { flags: 0x2800 }))).toBe(4)
    expect([rcode(query('gateway', 1, { count: 2 })), rcode(query('gateway').subarray(0, 20))]).toEqual([1, 1])
    // a name that points to itself, and one that never ends
    expect(rcode(Uint8Array.from([...query('x').subarray(0, 12), 0xc0, 0x0c, 0, 1, 0, 1]))).toBe(1)
    const endless = Array.from({ length: 200 }, () => [1, 97]).flat()
    expect(rcode(Uint8Array.from([...query('x').subarray(0, 12), ...endless, 0, 0, 1, 0, 1]))).toBe(1)
    expect([ask(query('gateway', 1, { flags: 0x8100 })), ask(new Uint8Array(11))]).toEqual([undefined, undefined])
  })
})

/** A DHCP message of a client. */
const dhcp = (
  type: number, options: number[] = [], { mac = GUEST_MAC, flags = 0, clientAddress = 0 } = {},
): Uint8Array => {
  const message = new Uint8Array(240 + 3 + options.length + 1)
  const view = new DataView(message.buffer)
  message.set([1, 1, 6])
  view.setUint32(4, 0xdead_beef)
  view.setUint16(10, flags)
  view.setUint32(12, clientAddress)
  message.set(mac.split(':').map((part) => parseInt(part, 16)), 28)
  view.setUint32(236, 0x6382_5363)
  message.set([53, 1, type, ...options, 255], 240)
  return message
}

describe('DHCP (RFC 2131)', () => {
  const start = () => {
    const guest = createGuest()
    const send = (message: Uint8Array, source = 0) => {
      guest.take()
      const replies = guest.udp(67, message, { source, destination: 0xffff_ffff, sourcePort: 68 })
      return replies.map(({ destination, datagram }) => {
        const data = datagram!.data
        const view = new DataView(data.buffer, data.byteOffset)
        const options = new Map<number, number[]>()
        for (let at = 240; data[at] !== 255; at += 2 + data[at + 1]) {
          options.set(data[at], [...data.subarray(at + 2, at + 2 + data[at + 1])])
        }
        return {
          to: formatIpv4(destination), port: datagram!.destinationPort, type: options.get(53)?.[0],
          yours: formatIpv4(view.getUint32(16)), transaction: view.getUint32(4), options,
        }
      })
    }
    return { ...guest, send }
  }
  const wanted = (address: string): number[] => [50, 4, ...address.split('.').map(Number)]

  it('offers an address and acknowledges it, with mask, router, DNS, domain, MTU and lease time', () => {
    const { send } = start()
    const [offer] = send(dhcp(1))
    expect(offer).toMatchObject({ to: '10.0.2.15', port: 68, type: 2, yours: '10.0.2.15', transaction: 0xdead_beef })
    const [ack] = send(dhcp(3, [...wanted('10.0.2.15'), 54, 4, 10, 0, 2, 2]))
    expect(ack).toMatchObject({ type: 5, yours: '10.0.2.15' })
    expect(Object.fromEntries(ack.options)).toEqual({
      1: [255, 255, 255, 0], 3: [10, 0, 2, 2], 6: [10, 0, 2, 2], 15: [...bytes('internal')], 26: [5, 220],
      28: [10, 0, 2, 255], 51: [0, 1, 81, 128], 53: [5], 54: [10, 0, 2, 2],
    })
  })

  it('answers to all when the client asks for that, or is told no', () => {
    const { send } = start()
    expect(send(dhcp(1, [], { flags: 0x8000 }))[0].to).toBe('255.255.255.255')
    expect(send(dhcp(3, wanted('192.168.1.5')))[0]).toMatchObject({ to: '255.255.255.255', type: 6, yours: '0.0.0.0' })
  })

  it('renews an address (4.4.5), and informs (4.4.3)', () => {
    const { send } = start()
    send(dhcp(1))
    expect(send(dhcp(3, [], { clientAddress: GUEST }), GUEST)[0]).toMatchObject({ to: '10.0.2.15', type: 5 })
    const [inform] = send(dhcp(8, [], { clientAddress: GUEST }), GUEST)
    expect([inform.type, inform.yours, inform.options.has(51)]).toEqual([5, '0.0.0.0', false])
  })

  it('is silent towards requests for another server, releases and declines', () => {
    const { send } = start()
    const other = dhcp(3, [...wanted('10.0.2.15'), 54, 4, 10, 0, 2, 9])
    expect([send(other), send(dhcp(7)), send(dhcp(4))]).toEqual([[], [], []])
  })

  it('has an address for each of 16 clients, always the same one', () => {
    const { send } = start()
    const macOf = (i: number): string => `52:54:00:00:00:${(i + 10).toString(16).padStart(2, '0')}`
    const offers = Array.from({ length: 20 }, (_, i) => send(dhcp(1, [], { mac: macOf(i) }))[0]?.yours)
    expect([offers[0], offers[15], offers[16], offers.filter(Boolean).length])
      .toEqual(['10.0.2.15', '10.0.2.30', undefined, 16])
    expect(send(dhcp(1, [], { mac: '52:54:00:00:00:0b' }))[0].yours).toBe('10.0.2.16')
  })

  it('does not answer messages that are cut off or run over their end', () => {
    const { send } = start()
    const whole = dhcp(1, [61, 3, 1, 2, 3])
    for (const length of [0, 1, 239, 240, 242]) expect(send(whole.subarray(0, length))).toEqual([])
    expect(send(dhcp(1, [61, 200]))).toEqual([])
  })
})

describe('frames', () => {
  it('for another station are none of ours', () => {
    const { sendFrame, take } = createGuest()
    const [packet] = packetsToGateway(1, ping('x'))
    sendFrame(ETHERTYPE.IPV4, packet, '52:54:00:99:99:99')
    expect(take()).toEqual([])
  })

  it('may be padded behind the packet', () => {
    const { gateway, packets } = createGuest()
    const [packet] = packetsToGateway(1, ping('x'))
    const destination = '52:55:0a:00:02:02'
    const frame = buildFrame({ destination, source: GUEST_MAC, type: ETHERTYPE.IPV4, payload: packet })
    gateway.receive(Uint8Array.from([...frame, ...new Uint8Array(20)]))
    expect(packets().length).toBe(1)
  })

  it('with wrong versions, lengths or header checksums are dropped', () => {
    const { sendFrame, take, gateway } = createGuest()
    const [good] = packetsToGateway(1, ping('x'))
    for (const [at, value] of [[0, 0x65], [0, 0x44], [0, 0x4f], [2, 0xff], [3, 0], [10, good[10] ^ 1]]) {
      const bad = good.slice()
      bad[at] = value
      sendFrame(ETHERTYPE.IPV4, bad)
    }
    sendFrame(ETHERTYPE.IPV4, good.subarray(0, 19))
    sendFrame(0x86dd, new Uint8Array(60))
    expect([take(), gateway.stats().dropped]).toEqual([[], 8])
  })

  it('that go out are whole and their packets are right', () => {
    const { take, sendIp } = createGuest()
    sendIp(PROTOCOL.ICMP, ping('x'))
    const [frame] = take()
    expect(parseFrame(frame)).toMatchObject({ destination: GUEST_MAC, source: '52:55:0a:00:02:02' })
    expect(parsePacket(frame.subarray(14))?.payload.length).toBe(9)
  })
})

it('an address that can be no gateway is refused', () => {
  for (const address of ['10.0.2.15', '10.0.2.0', '224.0.0.1', '127.0.0.1', 'x', '10.0.2']) {
    const clock = { now: () => 0, at: () => ({ cancel: () => undefined }) }
    expect(() => createGateway({ address, seed: 1, transmit: () => undefined, clock })).toThrow(GatewayError)
  }
})
