/** What a virtio device is, apart from how its registers are reached. Source: VIRTIO 1.2, chapters 2 and 5. */
import type { Plain } from '../snapshot.ts'
import type { Virtqueue } from './virtqueue.ts'

/** What a transport gives its device. */
export interface VirtioPort {
  /** Virtual time in nanoseconds. */
  now(): number
  /** The features that the driver accepted; final from `start` on. */
  features(): bigint
  queue(index: number): Virtqueue
  /**
   * The device works: DRIVER_OK is set and nothing is broken. What comes from outside (typed text, a received packet)
   * waits while it does not; queues give no requests then.
   */
  running(): boolean
  /**
   * Has `notify(queue)` called once `time` nanoseconds have passed, as the driver's own notification would: for a
   * device that got something from outside. Notifications that wait are merged, and served together at the earliest
   * time.
   */
  notifyLater(queue: number, time: number): void
  /** The configuration space changed: the driver is told and reads it anew. */
  configChanged(): void
  /** The driver broke a rule of this device type: DEVICE_NEEDS_RESET, and nothing more is done until it resets. */
  fail(reason: string): void
}

/**
 * A device core. It is called by its transport only; what it does in a call takes no time, the time is in when it is
 * called: `latency` nanoseconds after the driver's notification. It holds no request between two calls, so that its
 * snapshot needs none: what cannot be answered yet stays in the queue.
 */
export interface VirtioDevice {
  /** For messages and snapshots, e.g. `virtio-blk`. */
  readonly name: string
  /** Section 5: 2 is a block device. */
  readonly type: number
  /** PCI class, subclass and programming interface, e.g. 0x010000. */
  readonly classCode: number
  /** Features of the device type that are offered (bits 0–23 and 50 on). The transport adds its own. */
  readonly features: bigint
  /** Most entries of each queue. */
  readonly queueSizes: readonly number[]
  /** Nanoseconds from a driver's notification to `notify`. At least 1. */
  readonly latency: number
  /** Bytes of the configuration space, 0 for none. */
  readonly configSize: number
  /** Called once, before anything else. */
  attach(port: VirtioPort): void
  /** A byte of the configuration space. */
  readConfig(offset: number): number
  /** The driver wrote a byte of the configuration space; most devices ignore it. */
  writeConfig(offset: number, value: number): void
  /** The driver has set DRIVER_OK: features and queues are final. */
  start?(): void
  /**
   * There may be requests in a queue: take them until `pop` has no more. Used buffers are signalled afterwards; after
   * as many requests as the queue has entries the rest comes with a call of its own. Queues are popped in here only.
   */
  notify(queue: number): void
  /** Back to power-on; the transport resets the queues. Backends keep what they have. */
  reset(): void
  snapshot(): Plain
  /** @throws SnapshotError */
  restore(saved: Plain): void
}
