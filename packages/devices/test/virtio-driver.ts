/** The driver's side of virtio, as plain as it gets, for tests of device cores. */
import { createVirtioTransport, createVirtualClock, type DmaMemory, type VirtioDevice } from '../src/index.ts'

export const RAM_SIZE = 0x20_0000
/** Where buffers begin; rings are below, 64 KiB for each queue. */
const BUFFERS = 0x10_0000

/** Memory of 2 MiB, all of it RAM. */
export function createRam(): { readonly bytes: Uint8Array, readonly view: DataView, readonly memory: DmaMemory } {
  const bytes = new Uint8Array(RAM_SIZE)
  const fits = (address: number, length: number): boolean => address >= 0 && address + length <= RAM_SIZE
  return {
    bytes,
    view: new DataView(bytes.buffer),
    memory: {
      read(address, target) {
        if (!fits(address, target.length)) return false
        target.set(bytes.subarray(address, address + target.length))
        return true
      },
      write(address, part) {
        if (!fits(address, part.length)) return false
        bytes.set(part, address)
        return true
      },
    },
  }
}

export const ringsOf = (queue: number) => {
  const base = queue * 0x1_0000
  return { descriptors: base, driver: base + 0x8000, device: base + 0xa000, indirect: base + 0xc000 }
}

/** A finished request: what the device wrote, and how much of it it said it had written. */
export interface Used {
  readonly head: number
  readonly written: number
  readonly bytes: Uint8Array
}

/** A driver of `device`; `features` are those it accepts of what is offered, all by default. */
export function createDriver(device: VirtioDevice, accept: bigint = 2n ** 64n - 1n) {
  const ram = createRam()
  const clock = createVirtualClock()
  const log: string[] = []
  const broken: string[] = []
  const transport = createVirtioTransport({
    device, clock, memory: ram.memory,
    interruptQueue: (queue) => { log.push(`queue ${queue}`) },
    interruptConfig: () => { log.push('config') },
    onBroken: (_name, reason) => { broken.push(reason) },
  })
  const queues = device.queueSizes.map(() => ({
    available: 0, seen: 0, nextDescriptor: 0, requests: new Map<number, readonly [number, number][]>(),
  }))
  let nextBuffer = BUFFERS

  const sizeOf = (queue: number): number => transport.queues[queue].state.size
  const descriptor = (table: number, index: number, address: number, length: number, flags: number, next: number) => {
    const at = table + 16 * index
    ram.view.setBigUint64(at, BigInt(address), true)
    ram.view.setUint32(at + 8, length, true)
    ram.view.setUint16(at + 12, flags, true)
    ram.view.setUint16(at + 14, next, true)
  }

  /** Section 3.1.1; answers whether the device took the features. */
  const start = (): boolean => {
    transport.setStatus(0)
    queues.forEach((queue, index) => {
      Object.assign(queue, { available: 0, seen: 0, nextDescriptor: 0 })
      ram.bytes.fill(0, index * 0x1_0000, (index + 1) * 0x1_0000)
    })
    transport.setStatus(1)
    transport.setStatus(3)
    for (const half of [0, 1]) {
      const wanted = Number(accept >> BigInt(32 * half) & 0xffff_ffffn)
      transport.setDriverFeatures(half, transport.deviceFeatures(half) & wanted)
    }
    transport.setStatus(11)
    if ((transport.status() & 8) === 0) return false
    transport.queues.forEach(({ state }, queue) => {
      const { descriptors, driver, device: used } = ringsOf(queue)
      Object.assign(state, { descriptors: [descriptors, 0], driver: [driver, 0], device: [used, 0], enabled: true })
    })
    transport.setStatus(15)
    return true
  }

  const makeAvailable = (queue: number, head: number): void => {
    const { driver } = ringsOf(queue)
    const q = queues[queue]
    ram.view.setUint16(driver + 4 + 2 * (q.available % sizeOf(queue)), head, true)
    q.available = q.available + 1 & 0xffff
    ram.view.setUint16(driver + 2, q.available, true)
  }

  return {
    ram, clock, log, broken, transport, start, descriptor, makeAvailable,
    /** Puts a request into the ring: buffers to read, then lengths of buffers to write. Answers its head. */
    add(queue: number, readable: readonly Uint8Array[], writable: readonly number[] = []): number {
      const q = queues[queue]
      const buffers = [...readable.map((b) => b.length), ...writable]
      const head = q.nextDescriptor % sizeOf(queue)
      const places: [number, number][] = []
      buffers.forEach((length, i) => {
        if (nextBuffer + length > RAM_SIZE) nextBuffer = BUFFERS
        if (i < readable.length) ram.bytes.set(readable[i], nextBuffer)
        else places.push([nextBuffer, length])
        const flags = (i < readable.length ? 0 : 2) | (i + 1 < buffers.length ? 1 : 0)
        const index = (q.nextDescriptor + i) % sizeOf(queue)
        descriptor(ringsOf(queue).descriptors, index, nextBuffer, length, flags, (index + 1) % sizeOf(queue))
        nextBuffer += length
      })
      q.nextDescriptor += buffers.length
      q.requests.set(head, places)
      makeAvailable(queue, head)
      return head
    },
    /** Notifies the device and lets time pass until it has served. */
    kick(queue: number): void {
      transport.notify(queue)
      clock.advanceTo(clock.now() + device.latency)
    },
    /** What the device has finished since the last call. */
    finished(queue: number): Used[] {
      const { device: ring } = ringsOf(queue)
      const q = queues[queue]
      const done: Used[] = []
      for (; q.seen !== ram.view.getUint16(ring + 2, true); q.seen = q.seen + 1 & 0xffff) {
        const at = ring + 4 + 8 * (q.seen % sizeOf(queue))
        const head = ram.view.getUint32(at, true)
        const places = q.requests.get(head) ?? []
        const parts = places.flatMap(([start, length]) => [...ram.bytes.subarray(start, start + length)])
        done.push({ head, written: ram.view.getUint32(at + 4, true), bytes: Uint8Array.from(parts) })
      }
      return done
    },
  }
}

/** One request and its answer. */
export function ask(
  driver: ReturnType<typeof createDriver>, queue: number, readable: readonly Uint8Array[], writable: readonly number[],
): Used | undefined {
  driver.add(queue, readable, writable)
  driver.kick(queue)
  return driver.finished(queue).at(-1)
}
