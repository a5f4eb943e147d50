/** The 9P transport. Sources: Linux include/uapi/linux/virtio_9p.h, net/9p/trans_virtio.c for what drivers send. */
import { describe, expect, it } from 'vitest'
import { createVirtio9p, type P9Service, type VirtioTransportSnapshot } from '../src/index.ts'
import { ask, createDriver } from './virtio-driver.ts'

/** Answers each request by its bytes backwards, and keeps what it was asked. */
const createService = () => {
  const asked: { readonly request: readonly number[]; readonly room: number }[] = []
  let resets = 0
  const service: P9Service = {
    serve(request, room) {
      asked.push({ request: [...request], room })
      return room < 11 ? new Uint8Array() : Uint8Array.from([...request].reverse()).subarray(0, room)
    },
    reset() { resets += 1 },
    snapshot: () => ({ asked: asked.length }),
    restore(saved) {
      if (typeof (saved as { asked: unknown }).asked !== 'number') throw new Error('asked: expected a number')
      return ['/lost']
    },
  }
  return { service, asked, resets: () => resets }
}

const start = (tag = 'share') => {
  const { service, ...rest } = createService()
  const lost: string[] = []
  const driver = createDriver(createVirtio9p({ tag, service, onLost: (paths) => lost.push(...paths) }))
  driver.start()
  return { driver, lost, ...rest }
}

describe('virtio-9p', () => {
  it('offers VIRTIO_9P_MOUNT_TAG and has the tag in its configuration space, with a 16-bit length', () => {
    const device = createVirtio9p({ tag: 'share', service: createService().service })
    const config = Array.from({ length: device.configSize + 2 }, (_, i) => device.readConfig(i))
    const tag = Array.from('share', (char) => char.charCodeAt(0))
    expect([device.type, device.features, config]).toEqual([9, 1n, [5, 0, ...tag, 0, 0]])
  })

  it.each(['', 'x'.repeat(32), 'a b', 'ä'])('refuses the tag %j', (tag) => {
    expect(() => createVirtio9p({ tag, service: createService().service })).toThrow(RangeError)
  })

  it('joins the buffers of a request, and spreads the reply over the buffers to write', () => {
    const { driver, asked } = start()
    const used = ask(driver, 0, [Uint8Array.of(9, 0, 0, 0, 5), Uint8Array.of(6, 7, 8, 9)], [4, 30])
    expect(asked).toEqual([{ request: [9, 0, 0, 0, 5, 6, 7, 8, 9], room: 34 }])
    expect([used?.written, [...used?.bytes.subarray(0, 9) ?? []]]).toEqual([9, [9, 8, 7, 6, 5, 0, 0, 0, 9]])
  })

  it('serves as many bytes as the message says that it has', () => {
    const { driver, asked } = start()
    ask(driver, 0, [Uint8Array.of(5, 0, 0, 0, 1, 2, 3)], [20])
    ask(driver, 0, [Uint8Array.of(200, 0, 0, 0, 1)], [20])
    ask(driver, 0, [Uint8Array.of(1)], [20])
    expect(asked.map(({ request }) => request)).toEqual([[5, 0, 0, 0, 1], [200, 0, 0, 0, 1], [1]])
  })

  it('serves many requests that wait, in their order', () => {
    const { driver } = start()
    const heads = Array.from({ length: 40 }, (_, i) => driver.add(0, [Uint8Array.of(5, 0, 0, 0, i)], [16]))
    driver.kick(0)
    expect(driver.finished(0).map(({ head, bytes }) => [head, bytes[0]])).toEqual(heads.map((head, i) => [head, i]))
  })

  it('is broken by a request that not even an error can be written to', () => {
    const { driver } = start()
    expect(ask(driver, 0, [Uint8Array.of(7, 0, 0, 0, 1, 2, 3)], [10])).toBeUndefined()
    expect(driver.broken).toEqual(['a 9P request leaves no room for a reply'])
  })

  it('forgets its client when the driver resets it', () => {
    const { driver, resets } = start()
    const before = resets()
    driver.transport.setStatus(0)
    expect(resets()).toBe(before + 1)
  })

  it('brings the service back from a snapshot, and says what is lost', () => {
    const { driver, lost } = start()
    const saved = JSON.parse(JSON.stringify(driver.transport.snapshot())) as VirtioTransportSnapshot
    driver.transport.restore(saved)
    expect(lost).toEqual(['/lost'])
    expect(() => { driver.transport.restore({ ...saved, device: { asked: 'x' } }) }).toThrow(/virtio-9p.*asked/)
  })
})
