/// <reference types="node" />
import { describe, expect, it } from 'vitest'
import { echoService } from '../src/services.ts'
import { FLAG } from '../src/tcp/segment.ts'
import { createTcp, type TcpConnection, type TcpService } from '../src/tcp/stack.ts'
import { buildIcmp, buildPackets, buildUdp, PROTOCOL } from '../src/ipv4.ts'
import { buildArp, buildFrame, ETHERTYPE } from '../src/ethernet.ts'
import { buildSegment } from '../src/tcp/segment.ts'
import { createGuest, createTestClock, GATEWAY, GUEST, GUEST_MAC, ip } from './guest.ts'

/** `FUZZ_CASES=1000000 vitest run packages/usernet/test/survival.test.ts` is the long run. */
const cases = Number(process.env.FUZZ_CASES ?? 20_000)

const createRandom = (seed: number): ((limit: number) => number) => {
  let state = seed | 1
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}
type Random = ReturnType<typeof createRandom>

describe('a link that loses, repeats and reorders', () => {
  /** Two stacks, one the client of the other's echo, over such a link. */
  const transfer = (seed: number, size: number) => {
    const random = createRandom(seed)
    const clock = createTestClock()
    const [A, B] = [1, 2]
    const post = (to: () => ReturnType<typeof createTcp>, from: number) => (_: number, bytes: Uint8Array): void => {
      if (random(10) === 0) return
      for (let copies = random(20) === 0 ? 2 : 1; copies > 0; copies--) {
        clock.at(clock.now() + 1000 + random(4) * 500_000, () => { to().input(from, bytes) })
      }
    }
    const make = (address: number, to: () => ReturnType<typeof createTcp>) => {
      let at = Infinity
      const arm = (): void => {
        const next = tcp.next()
        if (next >= at) return
        at = next
        clock.at(next, () => {
          at = Infinity
          tcp.advance()
          arm()
        })
      }
      const tcp = createTcp({
        address, now: clock.now, random32: () => random(2 ** 32), send: post(to, address), armed: arm,
        services: new Map([[7, echoService]]),
      })
      return tcp
    }
    const a = make(A, () => b)
    const b = make(B, () => a)
    let [sent, got, wrong] = [0, 0, 0]
    let time = 0
    const byteAt = (i: number): number => (i * 7 + (i >> 8)) & 0xff
    const open = (connection: TcpConnection) => {
      const pump = (): void => {
        const chunk = connection.read(99_999)
        for (const byte of chunk) if (byte !== byteAt(got++)) wrong += 1
        while (sent < size && connection.room() > 0) {
          const length = Math.min(5000, size - sent, connection.room())
          sent += connection.write(Uint8Array.from({ length }, (_, i) => byteAt(sent + i)))
        }
        if (sent === size) connection.end()
        if (connection.ended()) time = clock.now()
      }
      return { onOpen: pump, onReadable: pump, onWritable: pump }
    }
    a.connect(B, 7, open)
    clock.advance(7200e9)
    return { wrong, got, time: time / 1e9, left: a.count() + b.count() }
  }

  it('brings every byte, once and in order, and both sides close', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const result = transfer(seed, 150_000)
      expect([seed, result.got, result.wrong, result.left]).toEqual([seed, 150_000, 0, 0])
      expect(result.time).toBeGreaterThan(0)
    }
  })
})

/** A frame that makes sense in places. */
const randomFrame = (random: Random): Uint8Array => {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]
  const addresses = [GATEWAY, GUEST, ip('10.0.2.16'), ip('10.0.2.255'), ip('8.8.8.8'), 0xffff_ffff, 0, ip('224.0.0.1')]
  const source = random(3) > 0 ? GUEST : pick(addresses)
  const destination = random(3) > 0 ? GATEWAY : pick(addresses)
  const data = Uint8Array.from({ length: pick([0, 1, 3, 8, 240, 260, 1400, 3000]) }, () => random(256))
  const port = pick([7, 53, 67, 68, 9, 5000, 5001])
  const segment = {
    sourcePort: 5000 + random(4), destinationPort: pick([7, 7, 7, 9, 80]),
    seq: 1000 + random(4) * pick([1, 1000, 2 ** 29]) >>> 0, ack: pick([0, 1, random(2 ** 32)]),
    flags: random(32), window: pick([0, 1, 1000, 65_535]), data: data.subarray(0, 1400),
    ...(random(2) === 0 && { mss: random(65_536) }),
  }
  const payload = (): readonly [number, Uint8Array] => {
    const kind = random(4)
    const datagram = { sourcePort: port, destinationPort: pick([7, 53, 67, 99]), data }
    if (kind === 0) return [PROTOCOL.UDP, buildUdp(source, destination, datagram)]
    if (kind === 1) return [PROTOCOL.ICMP, buildIcmp(pick([8, 8, 0, 3]), random(2), data)]
    if (kind === 2) return [PROTOCOL.TCP, buildSegment(source, destination, segment)]
    return [random(256), data]
  }
  const arp = {
    operation: random(3), senderMac: GUEST_MAC, senderAddress: source, targetMac: GUEST_MAC, targetAddress: destination,
  }
  const [protocol, body] = payload()
  const spec = { source, destination, protocol, identification: random(3), payload: body }
  const packet = random(12) === 0 ? buildArp(arp) : pick(buildPackets(spec))
  const type = packet.length === 28 ? ETHERTYPE.ARP : ETHERTYPE.IPV4
  const to = pick(['52:55:0a:00:02:02', '52:55:0a:00:02:02', 'ff:ff:ff:ff:ff:ff'])
  const frame = buildFrame({ destination: to, source: GUEST_MAC, type, payload: packet })
  if (random(3) > 0) return frame
  const mutated = random(3) === 0 ? frame.slice(0, random(frame.length + 1)) : frame
  for (let i = random(5); i > 0 && mutated.length > 0; i--) mutated[random(mutated.length)] = random(256)
  return mutated
}

describe('hostile frames', () => {
  it('raise no exception, are answered by few frames each, and leave bounded state', () => {
    const random = createRandom(20_261_123)
    const guest = createGuest()
    let most = 0
    for (let i = 0; i < cases; i++) {
      guest.gateway.receive(randomFrame(random))
      if (random(8) === 0) guest.clock.advance(random(3) * 1e8)
      most = Math.max(most, guest.take().length)
      if (random(2000) === 0) guest.gateway.reset()
    }
    // a window of small segments for the peer that asks for them, and what a timer brings for many connections
    expect(most).toBeLessThan(1500)
    expect(guest.gateway.stats().connections).toBeLessThanOrEqual(128)
    expect(guest.clock.pending()).toBeLessThanOrEqual(1)
    expect(JSON.stringify(guest.gateway.snapshot()).length).toBeLessThan(128 * 300_000)
  }, 600_000)

  it('of nothing but noise do nothing', () => {
    const random = createRandom(3)
    const guest = createGuest()
    for (let i = 0; i < 3000; i++) guest.gateway.receive(Uint8Array.from({ length: random(1600) }, () => random(256)))
    expect(guest.take()).toEqual([])
  })
})

describe('a snapshot', () => {
  it('goes on exactly as without', () => {
    for (let seed = 1; seed <= 15; seed++) {
      const random = createRandom(seed)
      const one = createGuest()
      for (let i = 0; i < 400; i++) {
        one.gateway.receive(randomFrame(random))
        one.clock.advance(random(4) * 1e7)
      }
      one.take()
      const saved = JSON.parse(JSON.stringify(one.gateway.snapshot())) as unknown
      const clock = createTestClock()
      clock.set(one.clock.now())
      const two = createGuest({}, clock)
      two.gateway.restore(saved)
      expect(two.gateway.snapshot()).toEqual(saved)
      for (let i = 0; i < 200; i++) {
        const frame = randomFrame(random)
        const time = random(4) * 1e8
        for (const guest of [one, two]) {
          guest.gateway.receive(frame)
          guest.clock.advance(time)
        }
        expect(two.take()).toEqual(one.take())
      }
    }
  })

  it('drops connections of the host and says how many; the guest is reset when it sends something', () => {
    const quiet: TcpService = { open: () => ({ onReadable: () => undefined, onWritable: () => undefined }) }
    const services = new Map([[9, quiet]])
    const one = createGuest({ services })
    const [synAck] = one.sendSegment({ flags: FLAG.SYN, seq: 1, destinationPort: 9 })
    one.sendSegment({ flags: FLAG.ACK, seq: 2, ack: synAck.seq + 1 >>> 0, destinationPort: 9 })
    one.gateway.connect(22, () => ({ onReadable: () => undefined, onWritable: () => undefined }))
    const two = createGuest({ services })
    expect(two.gateway.restore(one.gateway.snapshot())).toBe(2)
    const [reset] = two.sendSegment({ flags: FLAG.ACK, seq: 2, ack: synAck.seq + 1 >>> 0, destinationPort: 9 })
    expect(reset.flags).toBe(FLAG.RST)
  })

  it('that is none is refused by the name of its field', () => {
    const { gateway } = createGuest()
    const good = gateway.snapshot() as Record<string, unknown>
    for (const [field, value] of [
      ['address', '10.0.3.2'], ['random', -1], ['counts', null], ['leases', ['x']], ['neighbours', [[1, 2]]],
      ['fragments', [{}]], ['tcp', { connections: [{}] }], ['timerAt', 'x'],
    ] as const) expect(() => gateway.restore({ ...good, [field]: value })).toThrow(`gateway: ${field}:`)
    expect(() => gateway.restore(null)).toThrow('gateway: snapshot:')
  })
})
