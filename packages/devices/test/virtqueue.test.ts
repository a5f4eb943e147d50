/** The split virtqueue. Source: VIRTIO 1.2, section 2.7. */
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { createVirtqueue, type DescriptorChain, type VirtqueueCore } from '../src/index.ts'
import { INDIRECT_LIMIT, passedEvent } from '../src/virtio/virtqueue.ts'
import { createRam, RAM_SIZE, ringsOf } from './virtio-driver.ts'

const SIZE = 8
const { descriptors, driver, device, indirect } = ringsOf(0)
const NEXT = 1
const WRITE = 2
const INDIRECT = 4

let ram: ReturnType<typeof createRam>
let queue: VirtqueueCore
let broken: string[]
let interrupts: number
let features: { eventIndex: boolean, indirect: boolean }

const put = (table: number, index: number, address: number, length: number, flags: number, next = 0): void => {
  ram.view.setBigUint64(table + 16 * index, BigInt(address), true)
  ram.view.setUint32(table + 16 * index + 8, length, true)
  ram.view.setUint16(table + 16 * index + 12, flags, true)
  ram.view.setUint16(table + 16 * index + 14, next, true)
}
const offer = (...heads: number[]): void => {
  for (const head of heads) {
    const index = ram.view.getUint16(driver + 2, true)
    ram.view.setUint16(driver + 4 + 2 * (index % SIZE), head, true)
    ram.view.setUint16(driver + 2, index + 1 & 0xffff, true)
  }
}
const take = (): DescriptorChain => {
  const chain = queue.pop()
  if (chain === undefined) throw new Error(`no request: ${broken.join()}`)
  return chain
}
const usedIndex = (): number => ram.view.getUint16(device + 2, true)

beforeEach(() => {
  ram = createRam()
  broken = []
  interrupts = 0
  features = { eventIndex: false, indirect: true }
  queue = createVirtqueue({
    index: 0, maxSize: SIZE, memory: ram.memory,
    eventIndex: () => features.eventIndex, indirect: () => features.indirect,
    onBroken: (reason) => { broken.push(reason) },
    interrupt: () => { interrupts += 1 },
  })
  Object.assign(queue.state, { descriptors: [descriptors, 0], driver: [driver, 0], device: [device, 0], enabled: true })
  queue.refill()
})

describe('a descriptor chain', () => {
  it('is the buffers to read, then the buffers to write, in the order of the links', () => {
    ram.bytes.set([1, 2, 3, 4, 5], 0x10_0000)
    put(descriptors, 3, 0x10_0000, 2, NEXT, 1)
    put(descriptors, 1, 0x10_0002, 3, NEXT, 6)
    put(descriptors, 6, 0x10_1000, 2, NEXT | WRITE, 0)
    put(descriptors, 0, 0x10_2000, 4, WRITE)
    offer(3)
    const chain = take()
    const target = new Uint8Array(9)
    expect([chain.head, chain.readable, chain.writable, chain.read(target)]).toEqual([3, 5, 6, 5])
    expect([...target]).toEqual([1, 2, 3, 4, 5, 0, 0, 0, 0])
    expect(chain.write(Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2), 1)).toBe(5)
    expect([...ram.bytes.subarray(0x10_1000, 0x10_1002), ...ram.bytes.subarray(0x10_2000, 0x10_2004)])
      .toEqual([0, 9, 8, 7, 6, 5])
  })

  it('may go on in an indirect table (2.7.5.3), whose own write flag means nothing', () => {
    put(indirect, 0, 0x10_0000, 7, NEXT, 2)
    put(indirect, 2, 0x10_1000, 8, WRITE)
    put(descriptors, 0, 0x10_0100, 1, NEXT, 5)
    put(descriptors, 5, indirect, 48, INDIRECT | WRITE)
    offer(0)
    const chain = take()
    expect([chain.readable, chain.writable, broken]).toEqual([8, 8, []])
  })

  it('is read once: what the driver changes after it was taken changes nothing', () => {
    put(descriptors, 0, 0x10_0000, 4, 0)
    offer(0)
    const chain = take()
    put(descriptors, 0, 0x10_0000, 0xffff_ffff, WRITE)
    expect([chain.readable, chain.read(new Uint8Array(100))]).toEqual([4, 4])
  })
})

describe('a ring that breaks a rule', () => {
  const cases: Record<string, [expected: RegExp, setUp: () => void]> = {
    'a head out of range': [/descriptor 8 of 8/, () => { offer(SIZE) }],
    'a link out of range': [/descriptor 9 of 8/, () => { put(descriptors, 0, 0x10_0000, 1, NEXT, 9); offer(0) }],
    'a loop': [/loop/, () => {
      put(descriptors, 0, 0x10_0000, 1, NEXT, 1)
      put(descriptors, 1, 0x10_0000, 1, NEXT, 0)
      offer(0)
    }],
    'more requests than entries': [/9 requests in a ring of 8/, () => { ram.view.setUint16(driver + 2, 9, true) }],
    'a buffer to read after one to write (2.7.4.2)': [/after one to write/, () => {
      put(descriptors, 0, 0x10_0000, 1, WRITE | NEXT, 1)
      put(descriptors, 1, 0x10_0000, 1, 0)
      offer(0)
    }],
    'more than 4 GiB': [/4 GiB/, () => {
      put(descriptors, 0, 0, 0xffff_ffff, NEXT, 1)
      put(descriptors, 1, 0, 2, 0)
      offer(0)
    }],
    'an indirect table that was not negotiated': [/not negotiated/, () => {
      features.indirect = false
      put(descriptors, 0, indirect, 16, INDIRECT)
      offer(0)
    }],
    'an indirect table with a next descriptor': [/next/, () => {
      put(descriptors, 0, indirect, 16, INDIRECT | NEXT, 1); offer(0)
    }],
    'an indirect table of no descriptors': [/0 bytes/, () => { put(descriptors, 0, indirect, 0, INDIRECT); offer(0) }],
    'an indirect table of half a descriptor': [/24 bytes/, () => {
      put(descriptors, 0, indirect, 24, INDIRECT)
      offer(0)
    }],
    'an indirect table that is too long': [/table of 1025/, () => {
      put(descriptors, 0, indirect, 16 * (INDIRECT_LIMIT + 1), INDIRECT)
      offer(0)
    }],
    'an indirect table in an indirect table': [/within another/, () => {
      put(indirect, 0, indirect, 16, INDIRECT)
      put(descriptors, 0, indirect, 16, INDIRECT)
      offer(0)
    }],
    'a loop in an indirect table': [/loop/, () => {
      put(indirect, 0, 0x10_0000, 1, NEXT, 0)
      put(descriptors, 0, indirect, 16, INDIRECT)
      offer(0)
    }],
    'a link out of an indirect table': [/descriptor 1 of 1/, () => {
      put(indirect, 0, 0x10_0000, 1, NEXT, 1)
      put(descriptors, 0, indirect, 16, INDIRECT)
      offer(0)
    }],
    'an indirect table outside of memory': [/not in memory/, () => {
      put(descriptors, 0, RAM_SIZE, 16, INDIRECT)
      offer(0)
    }],
    'an available ring outside of memory': [/available ring/, () => { queue.state.driver = [0, 0xffff_ffff] }],
    'descriptors outside of memory': [/descriptor/, () => { queue.state.descriptors = [RAM_SIZE, 0]; offer(0) }],
  }
  it.each(Object.entries(cases))('%s: says so once, and nothing more is taken', (_name, [expected, setUp]) => {
    setUp()
    expect(queue.pop()).toBeUndefined()
    expect(broken).toEqual([expect.stringMatching(expected)])
    put(descriptors, 0, 0x10_0000, 1, 0)
    offer(0)
    expect([queue.pop(), broken.length, queue.enabled()]).toEqual([undefined, 1, false])
  })

  it('has a buffer outside of memory: what was there is used, and the queue is broken', () => {
    put(descriptors, 0, RAM_SIZE - 2, 2, NEXT, 1)
    put(descriptors, 1, RAM_SIZE, 2, 0)
    offer(0)
    expect([take().read(new Uint8Array(4)), broken]).toEqual([2, ['queue 0: a buffer is not in memory']])
  })

  it('has its used ring outside of memory: nothing is pushed', () => {
    put(descriptors, 0, 0x10_0000, 1, 0)
    offer(0)
    const chain = take()
    queue.state.device = [0, 1]
    queue.push(chain, 0)
    queue.signal()
    expect([broken, interrupts]).toEqual([['queue 0: the used ring is not in memory'], 0])
  })

  it('works again after a reset', () => {
    offer(SIZE)
    queue.pop()
    queue.reset()
    expect([queue.enabled(), queue.state.broken, queue.state.taken]).toEqual([false, false, 0])
  })
})

describe('a refill', () => {
  it('lasts for as many requests as the queue has entries', () => {
    put(descriptors, 0, driver + 2, 2, WRITE)
    offer(0)
    let taken = 0
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      // Each request has the device announce another one.
      taken += 1
      chain.write(Uint8Array.of(taken + 1, 0))
    }
    expect([taken, queue.exhausted(), broken]).toEqual([SIZE, true, []])
    queue.refill()
    expect([take().head, queue.exhausted()]).toEqual([0, false])
  })
})

describe('the used ring', () => {
  it('gets head and length, wraps at its size, and its index at 2^16', () => {
    queue.state.used = queue.state.taken = queue.state.signalled = 0xffff
    ram.view.setUint16(driver + 2, 0xffff, true)
    put(descriptors, 5, 0x10_0000, 4, WRITE)
    put(descriptors, 2, 0x10_0000, 4, WRITE)
    offer(5, 2)
    queue.push(take(), 3)
    queue.push(take(), 4)
    const element = (slot: number) => [0, 4].map((o) => ram.view.getUint32(device + 4 + 8 * slot + o, true))
    expect([element(7), element(0), usedIndex()]).toEqual([[5, 3], [2, 4], 1])
  })

  it('gives a request back as if it had not been taken', () => {
    put(descriptors, 5, 0x10_0000, 4, WRITE)
    offer(5)
    take()
    queue.putBack(1)
    expect(take().head).toBe(5)
  })
})

describe('notification of the driver', () => {
  const finish = (): void => {
    offer(0)
    queue.push(take(), 0)
    queue.signal()
  }
  beforeEach(() => { put(descriptors, 0, 0x10_0000, 1, 0) })

  it('comes once for what was pushed since the last', () => {
    finish()
    queue.signal()
    expect(interrupts).toBe(1)
  })

  it('does not come while VIRTQ_AVAIL_F_NO_INTERRUPT is set (2.7.7.1)', () => {
    ram.view.setUint16(driver, 1, true)
    finish()
    expect(interrupts).toBe(0)
  })

  it('comes with EVENT_IDX when used_event is passed (2.7.7.2), whatever the flag says', () => {
    features.eventIndex = true
    ram.view.setUint16(driver, 1, true)
    ram.view.setUint16(driver + 4 + 2 * SIZE, 2, true)
    finish(); finish()
    expect(interrupts).toBe(0)
    finish()
    expect(interrupts).toBe(1)
    finish()
    expect(interrupts).toBe(1)
  })

  it('asks with EVENT_IDX for a notification of the next request once the ring is empty', () => {
    features.eventIndex = true
    finish(); finish()
    queue.pop()
    expect(ram.view.getUint16(device + 4 + 8 * SIZE, true)).toBe(2)
  })

  it.each([
    [0, 1, 0, true], [1, 1, 0, false], [0xffff, 0, 0xfffe, true], [5, 9, 5, true], [4, 9, 5, false], [8, 9, 5, true],
    [9, 9, 5, false],
  ])('event %i is passed on the way to %i from %i: %s', (event, now, old, passed) => {
    expect(passedEvent(event, now, old)).toBe(passed)
  })
})

describe('a queue in a snapshot', () => {
  it('goes on where it was', () => {
    put(descriptors, 1, 0x10_0000, 1, 0)
    offer(1, 1)
    queue.push(take(), 0)
    const saved = JSON.parse(JSON.stringify(queue.snapshot())) as ReturnType<VirtqueueCore['snapshot']>
    queue.reset()
    queue.restore(saved)
    queue.push(take(), 0)
    expect([usedIndex(), queue.pop()]).toEqual([2, undefined])
  })

  it.each([['size', 3], ['size', 16], ['taken', -1], ['used', 65536], ['driver', [0, -1]]])(
    'is refused with %s %j', (field, value) => {
      const saved = { ...queue.snapshot(), [field]: value }
      expect(() => { queue.restore(saved) }).toThrow(new RegExp(`virtqueue 0: snapshot field '${field}'`))
    })
})

describe('whatever a driver writes', () => {
  const word = fc.nat(0xffff)
  const descriptor = fc.tuple(
    fc.oneof(fc.nat(RAM_SIZE + 4096), fc.constantFrom(indirect, 0, 0xffff_ffff_ffff)),
    fc.oneof(fc.nat(64), fc.constantFrom(16, 48, 0xffff_ffff, 0)), fc.oneof(fc.nat(7), word), fc.oneof(fc.nat(9), word))
  it('the queue ends its work, stays in memory and in its loops', () => {
    fc.assert(fc.property(
      fc.array(descriptor, { minLength: SIZE, maxLength: SIZE }), fc.array(descriptor, { maxLength: 6 }),
      fc.array(fc.oneof(fc.nat(9), word), { minLength: SIZE, maxLength: SIZE }), fc.nat(SIZE + 1),
      fc.boolean(), fc.boolean(),
      (direct, nested, heads, count, eventIndex, indirectToo) => {
        queue.reset()
        broken = []
        Object.assign(queue.state, { descriptors: [descriptors, 0], driver: [driver, 0], device: [device, 0] })
        queue.state.enabled = true
        queue.refill()
        Object.assign(features, { eventIndex, indirect: indirectToo })
        direct.forEach((d, i) => { put(descriptors, i, d[0], d[1], d[2], d[3]) })
        nested.forEach((d, i) => { put(indirect, i, d[0], d[1], d[2], d[3]) })
        heads.forEach((head, i) => { ram.view.setUint16(driver + 4 + 2 * i, head, true) })
        ram.view.setUint16(driver + 2, count, true)
        let taken = 0
        for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
          const part = new Uint8Array(256)
          const got = chain.read(part, 3)
          expect(got).toBeLessThanOrEqual(Math.max(0, chain.readable - 3))
          expect(chain.write(part.subarray(0, 1), 5)).toBeLessThanOrEqual(1)
          queue.push(chain, 0)
          queue.signal()
          taken += 1
        }
        expect(taken).toBeLessThanOrEqual(SIZE)
        expect(broken.length).toBeLessThanOrEqual(1)
      }), { numRuns: 2000, seed: 4 })
  })
})
