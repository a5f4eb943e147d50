/**
 * 9P transport: messages of 9P in virtqueue requests. Sources: VIRTIO 1.2, section 5 (device type 9); Linux
 * include/uapi/linux/virtio_9p.h. Who serves the messages is a port: this device knows nothing of files.
 */
import type { Plain } from '../snapshot.ts'
import { SnapshotError } from '../snapshot.ts'
import { VIRTIO_TYPE } from './constants.ts'
import type { DescriptorChain, Virtqueue } from './virtqueue.ts'
import type { VirtioDevice, VirtioPort } from './device.ts'

/** Who answers 9P messages; `@cofferdam/ninep` fits. */
export interface P9Service {
  /** The reply to a request, at most `room` bytes; empty when not even an error fits. Never throws. */
  serve(request: Uint8Array, room: number): Uint8Array
  /** The client is gone. */
  reset(): void
  /** Data that JSON can carry. */
  snapshot(): object
  /** Answers the names of files that can't be brought back. */
  restore(saved: unknown): readonly string[]
}

/** Options of {@link createVirtio9p}. */
export interface Virtio9pOptions {
  /** The name by which the guest mounts it: 1 to 31 characters of ASCII. */
  readonly tag: string
  readonly service: P9Service
  /** Files that were open in a snapshot and are no more. */
  readonly onLost?: (paths: readonly string[]) => void
}

/** VIRTIO_9P_MOUNT_TAG: the configuration space has the tag. */
const MOUNT_TAG = 1n

/** Longest message: 9P's size and what Linux can put into 128 descriptors are below. */
const MOST = 2 ** 20

/** A host that has the file in its cache takes about as long. */
const LATENCY = 20_000

/** Bytes of a 9P header's size field. */
const SIZE_FIELD = 4

/** The request's bytes: as many as it says that it has, of those that came. Copied once. */
function requestOf(chain: DescriptorChain): Uint8Array {
  const bytes = new Uint8Array(Math.min(chain.readable, MOST))
  chain.read(bytes)
  if (bytes.length < SIZE_FIELD) return bytes
  const size = new DataView(bytes.buffer).getUint32(0, true)
  return size < bytes.length ? bytes.subarray(0, size) : bytes
}

/** Creates the device. @throws RangeError for a tag that is none */
export function createVirtio9p(options: Virtio9pOptions): VirtioDevice {
  const { tag, service } = options
  if (!/^[\x21-\x7e]{1,31}$/.test(tag)) throw new RangeError(`9p tag '${tag}': expected 1 to 31 characters of ASCII`)
  const config = [tag.length, 0, ...Array.from(tag, (char) => char.charCodeAt(0))]
  let port: VirtioPort | undefined

  const serve = (queue: Virtqueue, chain: DescriptorChain): boolean => {
    const reply = service.serve(requestOf(chain), Math.min(chain.writable, MOST))
    if (reply.length === 0) return false
    queue.push(chain, chain.write(reply))
    return true
  }

  return {
    name: 'virtio-9p', type: VIRTIO_TYPE.P9, classCode: 0x00_0200, features: MOUNT_TAG, queueSizes: [128],
    latency: LATENCY, configSize: config.length,
    attach(given) { port = given },
    readConfig: (offset) => config[offset] ?? 0,
    writeConfig: () => undefined,
    notify(index) {
      const queue = port?.queue(index)
      for (let chain = queue?.pop(); queue !== undefined && chain !== undefined; chain = queue.pop()) {
        if (serve(queue, chain)) continue
        port?.fail('a 9P request leaves no room for a reply')
        return
      }
    },
    reset: () => service.reset(),
    snapshot: () => service.snapshot() as Plain,
    restore(saved) {
      try {
        const lost = service.restore(saved)
        if (lost.length > 0) options.onLost?.(lost)
      } catch (error) {
        const why = error instanceof Error ? error.message : ''
        throw new SnapshotError('virtio-9p', 'device', `a session of 9P: ${why}`)
      }
    },
  }
}
