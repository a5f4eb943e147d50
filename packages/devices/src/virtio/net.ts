/**
 * Network card. Source: VIRTIO 1.2, section 5.1. One pair of queues, no offloads: every frame is whole and has its
 * checksums. What is at the other end of the cable is a port: this device knows nothing of protocols.
 */
import { type Plain, SnapshotError } from '../snapshot.ts'
import { VIRTIO_TYPE } from './constants.ts'
import type { VirtioDevice, VirtioPort } from './device.ts'
import type { DescriptorChain } from './virtqueue.ts'

/** Who is at the other end; a gateway of `@cofferdam/usernet` fits. */
export interface NetPeer {
  /** A frame from the guest, without check sequence, 14 to 1514 bytes. Only valid during the call. */
  receive(frame: Uint8Array): void
  /** The guest's driver is gone. */
  reset(): void
  /** Data that JSON can carry. */
  snapshot(): object
  /** Answers how many connections can't be brought back. */
  restore(saved: unknown): number
}

/** Options of {@link createVirtioNet}. */
export interface VirtioNetOptions {
  /** Six bytes; the lowest bit of the first one is 0. */
  readonly mac: Uint8Array
  /** Makes the other end, which sends frames to the guest by `transmit`. */
  readonly peer: (transmit: (frame: Uint8Array) => void) => NetPeer
  /** Connections that a snapshot had and that are no more. */
  readonly onLost?: (connections: number) => void
}

/** Feature bits (section 5.1.3). */
const FEATURE = { MAC: 1n << 5n, STATUS: 1n << 16n } as const
const QUEUE = { RECEIVE: 0, TRANSMIT: 1 } as const
/** `struct virtio_net_hdr` with num_buffers, which VIRTIO_F_VERSION_1 always has (section 5.1.6). */
const HEADER = 12
const NUM_BUFFERS = 10
const SHORTEST = 14
const LONGEST = 1514
/** VIRTIO_NET_S_LINK_UP. */
const LINK_UP = 1

/** Frames that wait for the driver to give buffers; more are lost, as on any cable. */
const MOST_WAITING = 256
/** A switch takes about as long. */
const LATENCY = 10_000

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
const fromHex = (text: string): Uint8Array =>
  Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16))

/** Frames of a snapshot. @throws SnapshotError */
function checkWaiting(saved: Plain): Uint8Array[] {
  const isFrame = (frame: Plain): frame is string => typeof frame === 'string' && /^([0-9a-f]{2}){14,1514}$/.test(frame)
  if (!Array.isArray(saved) || saved.length > MOST_WAITING || !saved.every(isFrame)) {
    throw new SnapshotError('virtio-net', 'waiting', `at most ${MOST_WAITING} frames in hexadecimal`)
  }
  return saved.map(fromHex)
}

/** The frame of a transmit request: undefined when it is no frame, or asks for an offload that is not there. */
function frameOf(chain: DescriptorChain): Uint8Array | undefined {
  const length = chain.readable - HEADER
  if (length < SHORTEST || length > LONGEST) return undefined
  const bytes = new Uint8Array(chain.readable)
  chain.read(bytes)
  // section 5.1.6.2.1: flags and gso_type are 0 without VIRTIO_NET_F_CSUM and the like
  return bytes[0] === 0 && bytes[1] === 0 ? bytes.subarray(HEADER) : undefined
}

/** Creates the device. @throws RangeError for a hardware address that is none */
export function createVirtioNet(options: VirtioNetOptions): VirtioDevice {
  const { mac, onLost } = options
  if (mac.length !== 6 || (mac[0] & 1) !== 0) throw new RangeError('MAC: expected 6 bytes, the first one even')
  const config = [...mac, LINK_UP, 0]
  let waiting: Uint8Array[] = []
  let port: VirtioPort | undefined

  const peer = options.peer((frame) => {
    if (port?.running() !== true || waiting.length >= MOST_WAITING) return
    waiting.push(frame.slice())
    port.notifyLater(QUEUE.RECEIVE, LATENCY)
  })

  const receive = (): void => {
    const queue = port?.queue(QUEUE.RECEIVE)
    while (queue !== undefined && waiting.length > 0) {
      const chain = queue.pop()
      if (chain === undefined) return
      const frame = waiting[0]
      const bytes = new Uint8Array(HEADER + frame.length)
      bytes[NUM_BUFFERS] = 1
      bytes.set(frame, HEADER)
      waiting.shift()
      // section 5.1.6.3.1: a buffer is large enough for any frame; one that is not gets none
      queue.push(chain, chain.writable >= bytes.length ? chain.write(bytes) : 0)
    }
  }
  const transmit = (): void => {
    const queue = port?.queue(QUEUE.TRANSMIT)
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      const frame = frameOf(chain)
      queue?.push(chain, 0)
      if (frame !== undefined) peer.receive(frame)
    }
  }

  return {
    name: 'virtio-net', type: VIRTIO_TYPE.NET, classCode: 0x02_0000, features: FEATURE.MAC | FEATURE.STATUS,
    queueSizes: [256, 256], latency: LATENCY, configSize: config.length,
    attach(given) { port = given },
    readConfig: (offset) => config[offset] ?? 0,
    writeConfig: () => undefined,
    notify(queue) {
      if (queue === QUEUE.TRANSMIT) transmit()
      else receive()
    },
    reset() {
      waiting = []
      peer.reset()
    },
    snapshot: () => ({ waiting: waiting.map(toHex), peer: peer.snapshot() as Plain }),
    restore(saved) {
      if (typeof saved !== 'object' || saved === null || !('waiting' in saved) || !('peer' in saved)) {
        throw new SnapshotError('virtio-net', 'device', 'frames and the state of the other end')
      }
      waiting = checkWaiting(saved.waiting)
      try {
        const lost = peer.restore(saved.peer)
        if (lost > 0) onLost?.(lost)
      } catch (error) {
        throw new SnapshotError('virtio-net', 'peer', error instanceof Error ? error.message : 'a snapshot')
      }
    },
  }
}
