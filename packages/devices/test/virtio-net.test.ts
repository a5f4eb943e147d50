/** The network card. Source: VIRTIO 1.2, section 5.1. */
import { describe, expect, it } from 'vitest'
import { createVirtioNet, type VirtioTransportSnapshot } from '../src/index.ts'
import { createDriver } from './virtio-driver.ts'

const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3)
const frame = (length: number, fill = 1): Uint8Array => new Uint8Array(length).fill(fill)
const withHeader = (bytes: Uint8Array, ...header: number[]): Uint8Array => {
  const whole = new Uint8Array(12 + bytes.length)
  whole.set(header)
  whole.set(bytes, 12)
  return whole
}

const start = (echo = false) => {
  const received: Uint8Array[] = []
  const lost: number[] = []
  let transmit: (bytes: Uint8Array) => void = () => undefined
  let resets = 0
  const device = createVirtioNet({
    mac: MAC,
    onLost: (count) => lost.push(count),
    peer(send) {
      transmit = send
      return {
        receive(bytes) {
          received.push(bytes.slice())
          if (echo) send(bytes)
        },
        reset() { resets += 1 },
        snapshot: () => ({ received: received.length }),
        restore(saved) {
          const { received: count } = saved as { received: unknown }
          if (typeof count !== 'number') throw new Error('received: expected a number')
          return 3
        },
      }
    },
  })
  const driver = createDriver(device)
  driver.start()
  const time = (): void => driver.clock.advanceTo(driver.clock.now() + 10_000)
  const sendFrame = (bytes: Uint8Array): void => { transmit(bytes) }
  return { driver, device, received, lost, time, send: sendFrame, resets: () => resets }
}

describe('virtio-net', () => {
  it('offers its hardware address and the state of the link (5.1.3, 5.1.4)', () => {
    const { device } = start()
    const config = Array.from({ length: 8 }, (_, i) => device.readConfig(i))
    expect([device.features, config]).toEqual([1n << 5n | 1n << 16n, [...MAC, 1, 0]])
  })

  it('refuses an address of a group', () => {
    const peer = () => ({ receive: () => undefined, reset: () => undefined, snapshot: () => ({}), restore: () => 0 })
    for (const mac of [Uint8Array.of(1, 2, 3, 4, 5, 6), new Uint8Array(5)]) {
      expect(() => createVirtioNet({ mac, peer })).toThrow(RangeError)
    }
  })

  it('takes frames behind a header of 12 bytes, in one buffer or many', () => {
    const { driver, received } = start()
    driver.add(1, [withHeader(frame(60))])
    driver.add(1, [withHeader(new Uint8Array()), frame(1500, 2), frame(14, 3)])
    driver.kick(1)
    expect(received.map((bytes) => [bytes.length, bytes[0], bytes.at(-1)])).toEqual([[60, 1, 1], [1514, 2, 3]])
    expect(driver.finished(1).map(({ written }) => written)).toEqual([0, 0])
  })

  it('drops what is no frame, or wants an offload that was not offered (5.1.6.2.1); the buffer comes back', () => {
    const { driver, received } = start()
    const requests = [
      new Uint8Array(3), withHeader(frame(13)), withHeader(frame(1515)), withHeader(frame(60), 1),
      withHeader(frame(60), 0, 1),
    ]
    for (const request of requests) driver.add(1, [request])
    driver.kick(1)
    expect([received, driver.finished(1).length, driver.broken]).toEqual([[], requests.length, []])
  })

  it('gives frames behind a header that names one buffer (5.1.6.4)', () => {
    const { driver, send, time } = start()
    driver.add(0, [], [1526])
    driver.kick(0)
    expect(driver.finished(0)).toEqual([])
    send(frame(100, 7))
    time()
    const [used] = driver.finished(0)
    expect([used.written, [...used.bytes.subarray(0, 14)]]).toEqual([112, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 7, 7]])
    expect(driver.log).toEqual(['queue 0'])
  })

  it('keeps frames until there are buffers, in order, 256 at most', () => {
    const { driver, send, time } = start()
    for (let i = 0; i < 300; i++) send(frame(60, i & 255))
    time()
    const got: number[] = []
    for (let i = 0; i < 300; i++) {
      driver.add(0, [], [1526])
      driver.kick(0)
      for (const { bytes, written } of driver.finished(0)) if (written > 0) got.push(bytes[12])
    }
    expect(got).toEqual(Array.from({ length: 256 }, (_, i) => i & 255))
  })

  it('spends a buffer that is too small for the frame, and gives nothing in it', () => {
    const { driver, send, time } = start()
    driver.add(0, [], [50])
    driver.add(0, [], [1526])
    send(frame(60, 1))
    send(frame(60, 2))
    time()
    expect(driver.finished(0).map(({ written, bytes }) => [written, bytes[12]])).toEqual([[0, 0], [72, 2]])
  })

  it('answers in the same virtual time on every run', () => {
    const { driver, time } = start(true)
    driver.add(0, [], [1526])
    driver.add(1, [withHeader(frame(60, 9))])
    driver.kick(1)
    expect(driver.finished(0)).toEqual([])
    time()
    expect(driver.finished(0)[0].bytes[12]).toBe(9)
  })

  it('has no cable while no driver runs, and forgets what waited when it is reset', () => {
    const { driver, send, time, resets } = start()
    send(frame(60))
    const before = resets()
    driver.transport.setStatus(0)
    send(frame(60))
    driver.start()
    driver.add(0, [], [1526])
    driver.kick(0)
    time()
    expect([driver.finished(0), resets() > before]).toEqual([[], true])
  })

  it('brings waiting frames and the other end back from a snapshot, and says what is lost', () => {
    const { driver, send, lost } = start()
    send(frame(60, 5))
    const saved = JSON.parse(JSON.stringify(driver.transport.snapshot())) as VirtioTransportSnapshot
    const other = start()
    other.driver.clock.restore(driver.clock.snapshot())
    other.driver.transport.restore(saved)
    expect([other.driver.transport.snapshot(), other.lost, lost]).toEqual([saved, [3], []])
    for (const [device, field] of [
      [{}, 'device'], [{ waiting: ['zz'], peer: {} }, 'waiting'], [{ waiting: [], peer: { received: 'x' } }, 'peer'],
    ] as const) expect(() => { other.driver.transport.restore({ ...saved, device }) }).toThrow(`'${field}'`)
  })
})
