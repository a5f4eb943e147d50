/** TCP of the gateway. Sources: RFC 9293 by section; RFC 5961, RFC 6298, RFC 5681. The guest starts at number 1000. */
import { describe, expect, it } from 'vitest'
import type { TcpConnection, TcpService } from '../src/index.ts'
import { createByteQueue } from '../src/tcp/queue.ts'
import { createGaps } from '../src/tcp/gaps.ts'
import { FLAG, type Segment } from '../src/tcp/segment.ts'
import { bytes, createGuest, GUEST, text, words } from './guest.ts'

const { SYN, ACK, FIN, RST, PSH } = FLAG
const ISS = 1000
const SECOND = 1e9

/** A service that does what a test says. */
const createManual = () => {
  const log: string[] = []
  let connection: TcpConnection | undefined
  const service: TcpService = {
    open(opened) {
      connection = opened
      return {
        onOpen: () => log.push('open'), onReadable: () => log.push('readable'), onWritable: () => log.push('writable'),
        onClosed: (reason) => log.push(reason),
      }
    },
  }
  return { service, log, connection: () => connection! }
}

/** A guest with an open connection to port 9 (manual) or 7 (echo). */
const connected = (port = 9, { window = 65_535, mss = 1460 }: { window?: number; mss?: number | null } = {}) => {
  const manual = createManual()
  const guest = createGuest({ services: new Map([[9, manual.service]]) })
  const [synAck] = guest.sendSegment({
    flags: SYN, seq: ISS, destinationPort: port, window, ...(mss !== null && { mss }),
  })
  const base = { seq: synAck.seq, ack: ISS }
  const ackAll = synAck.seq + 1 >>> 0
  const opening = guest.sendSegment({ flags: ACK, seq: ISS + 1, ack: ackAll, destinationPort: port, window })
  /** Sends a segment relative to the start of both sides; answers what comes back, in words. */
  const send = (flags: number, seq: number, ack: number, data = '', more: Partial<Segment> = {}): string[] =>
    guest.sendSegment({
      flags, seq: ISS + seq >>> 0, ack: base.seq + ack >>> 0, destinationPort: port, window, data: bytes(data), ...more,
    }).map((segment) => words(segment, base))
  const later = (time: number): string[] => {
    guest.clock.advance(time)
    return guest.segments().map((segment) => words(segment, base))
  }
  return { ...guest, ...manual, send, later, opening, base, synAck }
}

describe('opening (3.5)', () => {
  it('SYN is answered by SYN and ACK with a maximum segment size, and ACK opens the connection', () => {
    const { synAck, opening, log, base } = connected()
    expect([words(synAck, base), synAck.mss, synAck.window]).toEqual(['SYN ACK seq 0 ack 1', 1460, 65_535])
    expect([opening, log]).toEqual([[], ['open', 'writable']])
  })

  it('SYN and ACK are sent again until they are acknowledged, ever later, then given up', () => {
    const guest = createGuest()
    const [first] = guest.sendSegment({ flags: SYN, seq: ISS })
    const times: number[] = []
    for (let second = 1; second <= 200; second++) {
      guest.clock.advance(SECOND)
      for (const segment of guest.segments()) times.push(second * ((segment.flags & RST) === 0 ? 1 : -1))
    }
    expect(times).toEqual([1, 3, 7, 15, 31, 63, -123])
    expect(guest.gateway.stats().connections).toBe(0)
    expect(first.flags).toBe(SYN | ACK)
  })

  it('a SYN that comes twice gets the same answer', () => {
    const guest = createGuest()
    const [first] = guest.sendSegment({ flags: SYN, seq: ISS })
    expect(guest.sendSegment({ flags: SYN, seq: ISS })[0]).toEqual(first)
    expect(guest.gateway.stats().connections).toBe(1)
  })

  it('an ACK of what was never sent is answered by RST with its number (3.10.7.4)', () => {
    const guest = createGuest()
    guest.sendSegment({ flags: SYN, seq: ISS })
    const [reset] = guest.sendSegment({ flags: ACK, seq: ISS + 1, ack: 99 })
    expect([reset.flags, reset.seq]).toEqual([RST, 99])
  })

  it('a port where nobody listens answers RST (3.10.7.1)', () => {
    const guest = createGuest()
    const [one] = guest.sendSegment({ flags: SYN, seq: ISS, destinationPort: 80 })
    expect([one.flags, one.seq, one.ack]).toEqual([RST | ACK, 0, ISS + 1])
    const [two] = guest.sendSegment({ flags: ACK, seq: ISS, ack: 77, destinationPort: 80 })
    expect([two.flags, two.seq]).toEqual([RST, 77])
    expect(guest.sendSegment({ flags: RST, destinationPort: 80 })).toEqual([])
  })

  it('initial numbers differ between connections, and follow from the seed', () => {
    const first = (seed: number, sourcePort: number) =>
      createGuest({ seed }).sendSegment({ flags: SYN, sourcePort })[0].seq
    const guest = createGuest({ seed: 5 })
    const two = [1, 2].map((sourcePort) => guest.sendSegment({ flags: SYN, sourcePort })[0].seq)
    expect(two[0]).not.toBe(two[1])
    expect([first(5, 1), first(6, 1)]).toEqual([two[0], expect.not.objectContaining(two)])
  })
})

describe('receiving (3.10.7.4)', () => {
  it('data in order is acknowledged and read', () => {
    const c = connected()
    expect(c.send(ACK | PSH, 1, 1, 'hello')).toEqual(['ACK seq 1 ack 6'])
    expect([text(c.connection().read(99)), c.log.at(-1)]).toEqual(['hello', 'readable'])
  })

  it('data behind a gap is kept, and acknowledged when the gap is filled', () => {
    const c = connected()
    expect(c.send(ACK, 4, 1, 'def')).toEqual(['ACK seq 1 ack 1'])
    expect(c.send(ACK, 10, 1, 'jkl')).toEqual(['ACK seq 1 ack 1'])
    expect(c.send(ACK, 1, 1, 'abc')).toEqual(['ACK seq 1 ack 7'])
    expect(c.send(ACK, 7, 1, 'ghi')).toEqual(['ACK seq 1 ack 13'])
    expect(text(c.connection().read(99))).toBe('abcdefghijkl')
  })

  it('what overlaps is taken once, and what is old is acknowledged again', () => {
    const c = connected()
    c.send(ACK, 1, 1, 'abcdef')
    expect(c.send(ACK, 1, 1, 'abc')).toEqual(['ACK seq 1 ack 7'])
    expect(c.send(ACK, 4, 1, 'DEFghi')).toEqual(['ACK seq 1 ack 10'])
    expect(text(c.connection().read(99))).toBe('abcdefghi')
  })

  it('what lies outside of the window is answered by ACK and dropped', () => {
    const c = connected()
    expect(c.send(ACK, 1 + 65_535, 1, 'x')).toEqual(['ACK seq 1 ack 1'])
    expect(c.send(ACK, -500, 1, 'x')).toEqual(['ACK seq 1 ack 1'])
    expect(c.connection().readable()).toBe(0)
  })

  it('the window shrinks by what is not read, closes, and opens when it is', () => {
    const c = connected()
    let at = 1
    for (; at + 1024 <= 65_536; at += 1024) c.send(ACK, at, 1, 'x'.repeat(1024))
    c.send(ACK, at, 1, 'x'.repeat(1023))
    expect(c.connection().readable()).toBe(65_535)
    const extra = { flags: ACK, seq: ISS + 65_536, ack: c.base.seq + 1, destinationPort: 9, data: bytes('y') }
    const [full] = c.sendSegment(extra)
    expect([full.window, full.ack]).toEqual([0, ISS + 65_536])
    c.connection().read(10_000)
    expect(c.segments()).toEqual([])
    c.connection().read(30_000)
    const [update] = c.segments()
    expect([update.window, update.ack]).toEqual([40_000, ISS + 65_536])
  })

  it('RST with the next number ends the connection; another in the window is challenged (RFC 5961, 3.2)', () => {
    const c = connected()
    expect(c.send(RST, 2, 0)).toEqual(['ACK seq 1 ack 1'])
    expect(c.send(RST, -1, 0)).toEqual([])
    expect(c.send(RST, 1, 0)).toEqual([])
    expect([c.log.at(-1), c.gateway.stats().connections]).toEqual(['reset', 0])
  })

  it('SYN in the window is challenged (RFC 5961, 4.2), and so is an ACK of what was never sent (5.2)', () => {
    const c = connected()
    expect(c.send(SYN, 5, 0)).toEqual(['ACK seq 1 ack 1'])
    expect(c.send(ACK, 1, 50)).toEqual(['ACK seq 1 ack 1'])
    expect(c.gateway.stats().connections).toBe(1)
  })

  it('sequence numbers go over 2^32', () => {
    const guest = createGuest()
    const seq = 2 ** 32 - 3
    const [synAck] = guest.sendSegment({ flags: SYN, seq })
    const ack = synAck.seq + 1 >>> 0
    guest.sendSegment({ flags: ACK, seq: seq + 1, ack })
    const [echo] = guest.sendSegment({ flags: ACK | PSH, seq: seq + 1, ack, data: bytes('hello') })
    expect([text(echo.data), echo.ack]).toEqual(['hello', 3])
  })
})

describe('sending (3.8)', () => {
  it('cuts data into segments as long as the other side takes; the last one pushes', () => {
    const c = connected(9, { mss: 1000 })
    expect(c.connection().write(new Uint8Array(2500))).toBe(2500)
    expect(c.segments().map((s) => words(s, c.base)))
      .toEqual(['ACK seq 1 ack 1 len 1000', 'ACK seq 1001 ack 1 len 1000', 'PSH ACK seq 2001 ack 1 len 500'])
  })

  it('takes 536 bytes when no size was named, and at least 64', () => {
    const sizes = ([null, 1] as const).map((mss) => {
      const c = connected(9, { mss })
      c.connection().write(new Uint8Array(2000))
      return c.segments()[0]?.data.length
    })
    expect(sizes).toEqual([536, 64])
  })

  it('keeps to the window, and goes on when it moves', () => {
    const c = connected(9, { window: 1500 })
    c.connection().write(new Uint8Array(3000))
    expect(c.segments().map((s) => words(s, c.base))).toEqual(['ACK seq 1 ack 1 len 1460'])
    expect(c.send(ACK, 1, 1461)).toEqual(['ACK seq 1461 ack 1 len 1460'])
    expect(c.send(ACK, 1, 2921)).toEqual(['PSH ACK seq 2921 ack 1 len 80'])
  })

  it('probes a closed window, ever later, and goes on at once when it opens (3.8.6.1)', () => {
    const c = connected(9, { window: 0 })
    c.connection().write(bytes('hello'))
    expect(c.segments()).toEqual([])
    const probe = 'ACK seq 1 ack 1 len 1'
    expect([c.later(0.2 * SECOND), c.later(0.39 * SECOND), c.later(0.01 * SECOND)]).toEqual([[probe], [], [probe]])
    expect(c.send(ACK, 1, 1, '', { window: 100 })).toEqual(['PSH ACK seq 1 ack 1 len 5'])
    expect(c.send(ACK, 1, 6, '', { window: 100 })).toEqual([])
    expect(c.later(100 * SECOND)).toEqual([])
  })

  it('sends again what is not acknowledged, from the first byte, ever later (RFC 6298, 5)', () => {
    const c = connected()
    c.connection().write(new Uint8Array(3000))
    expect(c.segments().length).toBe(3)
    const first = 'ACK seq 1 ack 1 len 1460'
    expect([c.later(0.19 * SECOND), c.later(0.02 * SECOND), c.later(0.38 * SECOND), c.later(0.02 * SECOND)])
      .toEqual([[], [first], [], [first]])
    expect(c.send(ACK, 1, 1461)).toEqual(['ACK seq 1461 ack 1 len 1460', 'PSH ACK seq 2921 ack 1 len 80'])
    expect(c.send(ACK, 1, 3001)).toEqual([])
    expect(c.later(100 * SECOND)).toEqual([])
  })

  it('sends a segment again at the third duplicate acknowledgement, without waiting (RFC 5681, 3.2)', () => {
    const c = connected()
    c.connection().write(new Uint8Array(7300))
    expect(c.segments().length).toBe(5)
    expect([c.send(ACK, 1, 1), c.send(ACK, 1, 1)]).toEqual([[], []])
    expect(c.send(ACK, 1, 1)).toEqual(['ACK seq 1 ack 1 len 1460'])
    expect(c.send(ACK, 1, 7301)).toEqual([])
  })

  it('gives up after many attempts, and says so by RST', () => {
    const c = connected()
    c.connection().write(bytes('x'))
    const all = c.later(3600 * SECOND)
    expect([all.length, all.at(-1)?.startsWith('RST'), c.log.at(-1)]).toEqual([17, true, 'timeout'])
  })

  it('takes no more than there is room for, and says when there is room again', () => {
    const c = connected(9, { window: 1000 })
    expect([c.connection().write(new Uint8Array(100_000)), c.connection().room()]).toEqual([65_536, 0])
    c.log.length = 0
    c.send(ACK, 1, 1001)
    expect([c.connection().room(), c.log]).toEqual([1000, ['writable']])
  })
})

describe('closing (3.6)', () => {
  it('the guest closes first: FIN, ACK, data may still go, FIN, ACK', () => {
    const c = connected()
    expect(c.send(FIN | ACK, 1, 1, 'bye')).toEqual(['ACK seq 1 ack 5'])
    expect(c.connection().ended()).toBe(false)
    c.connection().read(9)
    expect(c.connection().ended()).toBe(true)
    c.connection().write(bytes('later'))
    c.connection().end()
    expect(c.segments().map((s) => words(s, c.base))).toEqual(['PSH ACK seq 1 ack 5 len 5', 'FIN ACK seq 6 ack 5'])
    expect(c.send(ACK, 5, 7)).toEqual([])
    expect([c.log.at(-1), c.gateway.stats().connections]).toEqual(['closed', 0])
  })

  it('the gateway closes first: it still receives, and waits a minute at the end', () => {
    const c = connected()
    c.connection().end()
    expect(c.segments().map((s) => words(s, c.base))).toEqual(['FIN ACK seq 1 ack 1'])
    expect(c.send(ACK, 1, 2, 'more')).toEqual(['ACK seq 2 ack 5'])
    expect(text(c.connection().read(9))).toBe('more')
    expect(c.send(FIN | ACK, 5, 2)).toEqual(['ACK seq 2 ack 6'])
    expect(c.send(FIN | ACK, 5, 2)).toEqual(['ACK seq 2 ack 6'])
    c.later(59 * SECOND)
    expect(c.gateway.stats().connections).toBe(1)
    c.later(2 * SECOND)
    expect([c.gateway.stats().connections, c.clock.pending()]).toEqual([0, 0])
  })

  it('both close at once', () => {
    const c = connected()
    c.connection().end()
    c.segments()
    expect(c.send(FIN | ACK, 1, 1)).toEqual(['ACK seq 2 ack 2'])
    expect(c.send(ACK, 2, 2)).toEqual([])
    c.later(61 * SECOND)
    expect(c.gateway.stats().connections).toBe(0)
  })

  it('FIN behind a gap waits for what is missing', () => {
    const c = connected()
    expect(c.send(FIN | ACK, 4, 1, 'def')).toEqual(['ACK seq 1 ack 1'])
    expect(c.send(ACK, 1, 1, 'abc')).toEqual(['ACK seq 1 ack 8'])
    expect([text(c.connection().read(9)), c.connection().ended()]).toEqual(['abcdef', true])
  })

  it('FIN is sent again when it is lost', () => {
    const c = connected()
    c.connection().end()
    c.segments()
    expect(c.later(0.25 * SECOND)).toEqual(['FIN ACK seq 1 ack 1'])
  })

  it('abort sends RST', () => {
    const c = connected()
    c.connection().abort()
    expect(c.segments().map((s) => words(s, c.base))).toEqual(['RST ACK seq 1 ack 1'])
    expect([c.log.at(-1), c.connection().write(bytes('x')), c.connection().room()]).toEqual(['reset', 0, 0])
  })

  it('a connection that waits at its end gives way to a new SYN with a later number (3.6.1)', () => {
    const c = connected()
    c.connection().end()
    c.send(ACK, 1, 2)
    c.send(FIN | ACK, 1, 2)
    expect(c.send(SYN, 100, 0)[0]).toMatch(/^SYN ACK/)
  })
})

describe('opening from the host', () => {
  const dial = () => {
    const guest = createGuest()
    const log: string[] = []
    guest.arp(guest.gateway.stats().connections)
    const connection = guest.gateway.connect(22, () => ({
      onOpen: () => log.push('open'), onReadable: () => log.push('readable'), onWritable: () => undefined,
      onClosed: (reason) => log.push(reason),
    }))!
    const [syn] = guest.segments()
    const answer = (flags: number, more: Partial<Segment> = {}) => guest.sendSegment({
      flags, sourcePort: 22, destinationPort: syn.sourcePort, seq: ISS, ack: syn.seq + 1 >>> 0, ...more,
    })
    return { ...guest, log, connection, syn, answer }
  }

  it('asks for the hardware address, then sends SYN and what waited', () => {
    const c = dial()
    expect([c.syn.flags, c.syn.mss, c.syn.destinationPort, c.connection.remote]).toEqual([SYN, 1460, 22, GUEST])
    c.connection.write(bytes('hi'))
    const [data] = c.answer(SYN | ACK)
    expect([data.flags, text(data.data), data.ack, c.log]).toEqual([ACK | PSH, 'hi', ISS + 1, ['open']])
  })

  it('is refused by RST, and only by one that acknowledges the SYN', () => {
    const c = dial()
    c.answer(RST | ACK, { ack: c.syn.seq })
    expect(c.log).toEqual([])
    c.answer(RST | ACK)
    expect(c.log).toEqual(['reset'])
  })

  it('opens when both sides do at once (3.5)', () => {
    const c = dial()
    const [synAck] = c.answer(SYN, { ack: 0 })
    expect([synAck.flags, synAck.ack]).toEqual([SYN | ACK, ISS + 1])
    c.answer(ACK, { seq: ISS + 1 })
    expect(c.log).toEqual(['open'])
  })

  it('ends when nobody answers', () => {
    const c = dial()
    c.clock.advance(200 * SECOND)
    expect([c.log, c.gateway.stats().connections]).toEqual([['timeout'], 0])
  })
})

describe('the echo at port 7', () => {
  it('gives back what it gets, and closes when the guest does', () => {
    const c = connected(7)
    expect(c.send(ACK | PSH, 1, 1, 'hello')).toEqual(['PSH ACK seq 1 ack 6 len 5'])
    expect(c.send(FIN | ACK, 6, 6)).toEqual(['FIN ACK seq 6 ack 7'])
    expect(c.send(ACK, 7, 7)).toEqual([])
    expect(c.gateway.stats().connections).toBe(0)
  })

  it('takes no more from a guest that does not read than its buffers hold', () => {
    const c = connected(7, { window: 0 })
    let window = 65_535
    let seq = 1
    for (let i = 0; i < 400; i++) {
      const length = Math.min(1000, window)
      const [last] = c.sendSegment({
        flags: ACK, seq: ISS + seq, ack: c.base.seq + 1, destinationPort: 7, window: 0, data: new Uint8Array(length),
      }).slice(-1)
      if (last === undefined) break
      seq = last.ack - ISS
      window = last.window
      if (window === 0) break
    }
    expect([window, seq - 1]).toEqual([0, 65_536 + 65_535])
  })
})

describe('many connections', () => {
  it('of a flood of SYNs, the oldest give way; memory is bounded and open ones stay', () => {
    const c = connected(7)
    for (let i = 0; i < 3000; i++) c.sendSegment({ flags: SYN, seq: i, sourcePort: 6000 + i })
    expect(c.gateway.stats().connections).toBe(128)
    expect(c.send(ACK | PSH, 1, 1, 'x')).toEqual(['PSH ACK seq 1 ack 2 len 1'])
  })

  it('that are all open, a further one is refused', () => {
    const guest = createGuest()
    for (let sourcePort = 1; sourcePort <= 128; sourcePort++) {
      const [synAck] = guest.sendSegment({ flags: SYN, seq: ISS, sourcePort })
      guest.sendSegment({ flags: ACK, seq: ISS + 1, ack: synAck.seq + 1 >>> 0, sourcePort })
    }
    expect(guest.sendSegment({ flags: SYN, sourcePort: 999 })[0]?.flags).toBe(RST | ACK)
    expect(guest.gateway.connect(1, () => expect.fail('no room'))).toBeUndefined()
  })
})

describe('buffers', () => {
  it('a queue keeps order over its end, up to its limit', () => {
    const queue = createByteQueue(10)
    expect([queue.push(bytes('abcdefgh')), queue.push(bytes('ijklm'))]).toEqual([8, 2])
    queue.drop(6)
    expect([queue.push(bytes('KLMN')), text(queue.peek(0, 99)), text(queue.peek(2, 3)), queue.length()])
      .toEqual([4, 'ghijKLMN', 'ijK', 8])
    queue.drop(99)
    expect([queue.length(), queue.peek(0, 5).length, queue.peek(3, 5).length]).toEqual([0, 0, 0])
  })

  it('gaps keep what came first, in order, and not too many pieces', () => {
    const gaps = createGaps()
    gaps.add(10, bytes('kl'))
    gaps.add(14, bytes('op'))
    gaps.add(8, bytes('IJKLMNOPQR'))
    expect([text(gaps.take(8)!), gaps.take(9)]).toEqual(['IJ', undefined])
    expect(['kl', 'MN', 'op', 'QR']).toEqual([10, 12, 14, 16].map((seq) => text(gaps.take(seq)!)))
    for (let i = 0; i < 500; i++) gaps.add(2 * i, bytes('x'))
    expect(gaps.pieces.length).toBe(64)
  })
})
