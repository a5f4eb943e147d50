/**
 * A split virtqueue, the device's side. Source: VIRTIO 1.2, section 2.7.
 *
 * Everything in guest memory is hostile: a descriptor is copied once and the copy is used; chains, tables and lengths
 * are bounded. A ring that breaks a rule ends the device's work (`broken` is called once) until the driver resets it.
 * Buffers that overlap each other, or the rings, hurt nobody but the driver and are not looked for.
 */
import type { DmaMemory } from '../dma.ts'
import { copyPlain, restorePlain, SnapshotError } from '../snapshot.ts'
import { AVAIL_NO_INTERRUPT, DESCRIPTOR_SIZE, DescriptorFlag } from './constants.ts'

/** Most descriptors in an indirect table; Linux's drivers stay below their queue's size. */
export const INDIRECT_LIMIT = 1024

/** Most bytes that one chain may describe (section 2.7.5.2). */
const CHAIN_LIMIT = 2 ** 32

/** A request: buffers for the device to read, then buffers for it to write. */
export interface DescriptorChain {
  /** Index of the first descriptor: the request's name in the used ring. */
  readonly head: number
  /** Bytes in the buffers that the driver filled. */
  readonly readable: number
  /** Bytes in the buffers that the device may fill. */
  readonly writable: number
  /**
   * Copies readable bytes from `offset` on into `target`; answers how many. Fewer than asked: the chain ends there, or
   * memory does (then the queue is broken).
   */
  read(target: Uint8Array, offset?: number): number
  /** Copies `bytes` into the writable bytes from `offset` on; answers how many, as `read` does. */
  write(bytes: Uint8Array, offset?: number): number
}

/** What a virtqueue needs. */
export interface VirtqueueOptions {
  readonly index: number
  /** Most entries, a power of two up to 32768; the driver may choose less. */
  readonly maxSize: number
  readonly memory: DmaMemory
  /** VIRTIO_F_EVENT_IDX is negotiated. */
  readonly eventIndex: () => boolean
  /** VIRTIO_F_INDIRECT_DESC is negotiated. */
  readonly indirect: () => boolean
  /** The driver broke a rule; the queue does nothing more until `reset`. */
  readonly onBroken: (reason: string) => void
  /** The driver is to be told of used buffers. */
  readonly interrupt: () => void
}

/** What a device core sees of a queue. */
export interface Virtqueue {
  readonly index: number
  /** The driver has enabled the queue. */
  enabled(): boolean
  /**
   * Takes the next request; undefined when there is none (the driver is then asked to notify of the next), or the queue
   * is off or broken.
   */
  pop(): DescriptorChain | undefined
  /** Gives the last `count` requests of `pop` back, as if they had not been taken. None of them may be pushed. */
  putBack(count: number): void
  /** Returns a request with the number of bytes that were written into it. */
  push(chain: DescriptorChain, written: number): void
  /** Tells the driver of what was pushed since the last call, unless it wants no interrupt. */
  signal(): void
}

/** Registers and progress of a queue. Addresses are two words, low first, as the driver writes them. */
export interface VirtqueueState {
  size: number
  enabled: boolean
  descriptors: [low: number, high: number]
  /** The driver area, or available ring. */
  driver: [low: number, high: number]
  /** The device area, or used ring. */
  device: [low: number, high: number]
  /** Index of the available ring up to which requests were taken. */
  taken: number
  /** Index of the used ring. */
  used: number
  /** `used` when the driver was last considered for an interrupt. */
  signalled: number
  broken: boolean
}

/** A queue with the transport's side. */
export interface VirtqueueCore extends Virtqueue {
  /** Most entries. */
  readonly maxSize: number
  /** Registers: the transport writes sizes and addresses while the queue is off. */
  readonly state: VirtqueueState
  /**
   * Lets `pop` take as many requests as the queue has entries, then none until the next call. Without that a driver
   * could have a device write new requests into the rings, for ever and in no time.
   */
  refill(): void
  /** `pop` refused for want of a refill. */
  exhausted(): boolean
  reset(): void
  snapshot(): VirtqueueState
  /** @throws SnapshotError */
  restore(saved: VirtqueueState): void
}

interface Segment {
  readonly address: number
  readonly length: number
}

interface Descriptor extends Segment {
  readonly flags: number
  readonly next: number
}

const initialState = (maxSize: number): VirtqueueState => ({
  size: maxSize, enabled: false, descriptors: [0, 0], driver: [0, 0], device: [0, 0], taken: 0, used: 0, signalled: 0,
  broken: false,
})

const addressOf = ([low, high]: readonly [number, number]): number => low + high * 2 ** 32

/** Whether `event` was passed on the way from `old` to `now` (section 2.7.7.2), all modulo 2^16. */
export const passedEvent = (event: number, now: number, old: number): boolean =>
  (now - event - 1 & 0xffff) < (now - old & 0xffff)

const isWord = (value: number, limit: number): boolean => value >= 0 && value < limit

/** @throws SnapshotError for numbers that no queue could have come to */
function checkState(index: number, maxSize: number, state: VirtqueueState): void {
  const name = `virtqueue ${index}`
  if (!isQueueSize(state.size, maxSize)) throw new SnapshotError(name, 'size', `a power of two up to ${maxSize}`)
  for (const field of ['taken', 'used', 'signalled'] as const) {
    if (!isWord(state[field], 2 ** 16)) throw new SnapshotError(name, field, 'a 16-bit index')
  }
  for (const field of ['descriptors', 'driver', 'device'] as const) {
    if (!state[field].every((word) => isWord(word, 2 ** 32))) throw new SnapshotError(name, field, 'two 32-bit words')
  }
}

/** Whether a split ring may have so many entries. */
export const isQueueSize = (size: number, maxSize: number): boolean =>
  size > 0 && size <= maxSize && (size & size - 1) === 0

/** Thrown inside `pop` only, to leave the walk of a chain that breaks a rule. */
class Broken extends Error {}

/** Creates a queue that is off. */
export function createVirtqueue(options: VirtqueueOptions): VirtqueueCore {
  const { memory, index } = options
  const state = initialState(options.maxSize)
  const scratch = new DataView(new ArrayBuffer(DESCRIPTOR_SIZE))
  const scratchBytes = new Uint8Array(scratch.buffer)
  const pair = scratchBytes.subarray(0, 2)
  let left = 0
  let refused = false

  const breakDown = (reason: string): void => {
    if (state.broken) return
    state.broken = true
    options.onBroken(`queue ${index}: ${reason}`)
  }
  const load16 = (address: number, what: string): number => {
    if (!memory.read(address, pair)) throw new Broken(`${what} is not in memory`)
    return scratch.getUint16(0, true)
  }
  const store = (address: number, length: number, what: string): void => {
    if (!memory.write(address, scratchBytes.subarray(0, length))) throw new Broken(`${what} is not in memory`)
  }
  /** Runs what reads guest memory; a broken rule ends in `otherwise`. */
  const guarded = <T>(work: () => T, otherwise: T): T => {
    if (!state.enabled || state.broken) return otherwise
    try {
      return work()
    } catch (error) {
      if (!(error instanceof Broken)) throw error
      breakDown(error.message)
      return otherwise
    }
  }

  const descriptorAt = (address: number): Descriptor => {
    if (!memory.read(address, scratchBytes)) throw new Broken('a descriptor is not in memory')
    return {
      address: scratch.getUint32(0, true) + scratch.getUint32(4, true) * 2 ** 32,
      length: scratch.getUint32(8, true),
      flags: scratch.getUint16(12, true),
      next: scratch.getUint16(14, true),
    }
  }

  /** Walks a table from `first`, at most as many descriptors as it has; the last may be an indirect one. */
  const walk = (table: number, entries: number, first: number, visit: (d: Descriptor) => void): Descriptor => {
    let at = first
    for (let count = 1; ; count++) {
      if (at >= entries) throw new Broken(`descriptor ${at} of ${entries}`)
      if (count > entries) throw new Broken('a chain of descriptors is a loop')
      const descriptor = descriptorAt(table + at * DESCRIPTOR_SIZE)
      if ((descriptor.flags & DescriptorFlag.mask.indirect) !== 0) return descriptor
      visit(descriptor)
      if ((descriptor.flags & DescriptorFlag.mask.next) === 0) return descriptor
      at = descriptor.next
    }
  }

  const walkIndirect = (table: Descriptor, visit: (d: Descriptor) => void): void => {
    if (!options.indirect()) throw new Broken('an indirect descriptor, which was not negotiated')
    if ((table.flags & DescriptorFlag.mask.next) !== 0) throw new Broken('an indirect descriptor with a next one')
    if (table.length === 0 || table.length % DESCRIPTOR_SIZE !== 0) {
      throw new Broken(`an indirect table of ${table.length} bytes`)
    }
    const entries = table.length / DESCRIPTOR_SIZE
    if (entries > INDIRECT_LIMIT) throw new Broken(`an indirect table of ${entries} descriptors`)
    const last = walk(table.address, entries, 0, visit)
    if ((last.flags & DescriptorFlag.mask.indirect) !== 0) throw new Broken('an indirect table within another')
  }

  /** Copies between `bytes` and segments from `offset` on. */
  const copy = (
    segments: readonly Segment[], offset: number, bytes: Uint8Array, move: (at: number, part: Uint8Array) => boolean,
  ): number => {
    let done = 0
    let start = 0
    for (const { address, length } of segments) {
      const skip = offset + done - start
      if (done < bytes.length && skip < length) {
        const part = bytes.subarray(done, done + length - skip)
        if (!move(address + skip, part)) {
          breakDown('a buffer is not in memory')
          return done
        }
        done += part.length
      }
      start += length
    }
    return done
  }

  const chainAt = (head: number): DescriptorChain => {
    const reads: Segment[] = []
    const writes: Segment[] = []
    let readable = 0
    let writable = 0
    const visit = ({ address, length, flags }: Descriptor): void => {
      if ((flags & DescriptorFlag.mask.write) !== 0) {
        writes.push({ address, length })
        writable += length
      } else {
        if (writes.length > 0) throw new Broken('a buffer to read after one to write')
        reads.push({ address, length })
        readable += length
      }
      if (readable + writable > CHAIN_LIMIT) throw new Broken('a chain of more than 4 GiB')
    }
    const last = walk(addressOf(state.descriptors), state.size, head, visit)
    if ((last.flags & DescriptorFlag.mask.indirect) !== 0) walkIndirect(last, visit)
    return {
      head, readable, writable,
      read: (target, offset = 0) =>
        (state.broken ? 0 : copy(reads, offset, target, (at, part) => memory.read(at, part))),
      write: (bytes, offset = 0) =>
        (state.broken ? 0 : copy(writes, offset, bytes, (at, part) => memory.write(at, part))),
    }
  }

  const usedRing = (): number => addressOf(state.device)
  const availableRing = (): number => addressOf(state.driver)

  /** Asks to be notified when the driver adds the next request; the flags of the used ring stay 0 for ever. */
  const askForNotification = (): void => {
    if (!options.eventIndex()) return
    scratch.setUint16(0, state.taken, true)
    store(usedRing() + 4 + 8 * state.size, 2, 'the used ring')
  }

  const take = (): DescriptorChain | undefined => {
    const waiting = load16(availableRing() + 2, 'the available ring') - state.taken & 0xffff
    if (waiting > state.size) throw new Broken(`${waiting} requests in a ring of ${state.size}`)
    if (waiting === 0) {
      askForNotification()
      return undefined
    }
    refused = left === 0
    if (refused) return undefined
    left -= 1
    const head = load16(availableRing() + 4 + 2 * (state.taken & state.size - 1), 'the available ring')
    const chain = chainAt(head)
    state.taken = state.taken + 1 & 0xffff
    return chain
  }

  const wantsInterrupt = (): boolean => {
    const old = state.signalled
    if (state.used === old) return false
    state.signalled = state.used
    if (!options.eventIndex()) return (load16(availableRing(), 'the available ring') & AVAIL_NO_INTERRUPT) === 0
    const event = load16(availableRing() + 4 + 2 * state.size, 'the available ring')
    return passedEvent(event, state.used, old)
  }

  return {
    index, state,
    maxSize: options.maxSize,
    enabled: () => state.enabled && !state.broken,
    pop: () => guarded(take, undefined),
    putBack(count) {
      state.taken = state.taken - count & 0xffff
      left += count
    },
    refill() {
      left = state.size
      refused = false
    },
    exhausted: () => refused,
    push(chain, written) {
      guarded(() => {
        scratch.setUint32(0, chain.head, true)
        scratch.setUint32(4, written, true)
        store(usedRing() + 4 + 8 * (state.used & state.size - 1), 8, 'the used ring')
        state.used = state.used + 1 & 0xffff
        scratch.setUint16(0, state.used, true)
        store(usedRing() + 2, 2, 'the used ring')
      }, undefined)
    },
    signal() { if (guarded(wantsInterrupt, false)) options.interrupt() },
    reset() { Object.assign(state, initialState(options.maxSize)) },
    snapshot: () => copyPlain(state),
    restore(saved) {
      const checked = initialState(options.maxSize)
      restorePlain(`virtqueue ${index}`, checked, saved)
      checkState(index, options.maxSize, checked)
      Object.assign(state, checked)
    },
  }
}
