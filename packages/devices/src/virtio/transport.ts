/**
 * What all transports have in common: negotiation, status, queues, and when notifications are served. Source: VIRTIO
 * 1.2, sections 2.1, 2.2 and 3.1.
 *
 * A notification of the driver is served `latency` nanoseconds later, all that have come until then together and by the
 * number of the queue. So the order of things depends on virtual time alone, and a snapshot at any instant holds no
 * request half done.
 */
import type { Clock, Timer } from '../clock.ts'
import type { DmaMemory } from '../dma.ts'
import { copyPlain, type Plain, restorePlain, SnapshotError } from '../snapshot.ts'
import { DeviceStatus, VirtioFeature } from './constants.ts'
import type { VirtioDevice } from './device.ts'
import { createVirtqueue, type VirtqueueCore, type VirtqueueState } from './virtqueue.ts'

/** Options of {@link createVirtioTransport}. */
export interface VirtioTransportOptions {
  readonly device: VirtioDevice
  readonly memory: DmaMemory
  readonly clock: Clock
  /** VIRTIO_F_ACCESS_PLATFORM is offered: guests with encrypted memory want it. */
  readonly accessPlatform?: boolean
  /** A queue has used buffers that the driver wants to hear of. */
  readonly interruptQueue: (queue: number) => void
  /** The configuration space or the status changed. */
  readonly interruptConfig: () => void
  /** A driver broke a rule: which, for a person. */
  readonly onBroken?: (device: string, reason: string) => void
}

/** State of the transport and its device. */
export interface VirtioTransportSnapshot {
  readonly registers: Readonly<Record<string, Plain>>
  readonly queues: readonly VirtqueueState[]
  readonly device: Plain
}

/** The registers that every transport shows in its own way. */
export interface VirtioTransport {
  readonly queues: readonly VirtqueueCore[]
  /** 32 bits of the offered features: `select` 0 or 1, others read 0. */
  deviceFeatures(select: number): number
  driverFeatures(select: number): number
  setDriverFeatures(select: number, value: number): void
  status(): number
  /** Writes the device status; 0 resets. */
  setStatus(value: number): void
  /** Counts changes of the configuration space, modulo 256. */
  generation(): number
  /** The driver's notification. */
  notify(queue: number): void
  reset(): void
  snapshot(): VirtioTransportSnapshot
  /** Arms the timer again: restore the clock first. @throws SnapshotError */
  restore(saved: VirtioTransportSnapshot): void
}

const { mask: STATUS } = DeviceStatus
const WORKS = STATUS.driverOk | STATUS.deviceNeedsReset

const initialRegisters = (queues: number) => ({
  status: 0,
  generation: 0,
  /** Accepted features, two words. */
  accepted: [0, 0],
  /** Queues with a notification that waits. */
  waiting: Array.from({ length: queues }, () => false),
  /** When they are served, −1 when none waits. */
  serveAt: -1,
})

/** Creates a device that waits for its driver. */
export function createVirtioTransport(options: VirtioTransportOptions): VirtioTransport {
  const { device, clock } = options
  const registers = initialRegisters(device.queueSizes.length)
  let timer: Timer | undefined

  const offered = device.features | VirtioFeature.mask.version1 | VirtioFeature.mask.indirectDesc
    | VirtioFeature.mask.eventIdx | (options.accessPlatform === true ? VirtioFeature.mask.accessPlatform : 0n)
  const accepted = (): bigint => BigInt(registers.accepted[0]) | BigInt(registers.accepted[1]) << 32n
  const has = (feature: bigint): boolean => (accepted() & feature) !== 0n
  let eventIndex = false
  let indirect = false
  const running = (): boolean => (registers.status & WORKS) === STATUS.driverOk

  const fail = (reason: string): void => {
    if ((registers.status & STATUS.deviceNeedsReset) !== 0) return
    registers.status |= STATUS.deviceNeedsReset
    stop()
    options.onBroken?.(device.name, reason)
    // Section 2.1.2: the driver is told if it had said DRIVER_OK.
    if ((registers.status & STATUS.driverOk) !== 0) options.interruptConfig()
  }

  const queues = device.queueSizes.map((maxSize, index) => createVirtqueue({
    index, maxSize,
    memory: options.memory,
    eventIndex: () => eventIndex,
    indirect: () => indirect,
    onBroken: fail,
    interrupt: () => { options.interruptQueue(index) },
  }))

  function stop(): void {
    timer?.cancel()
    timer = undefined
    registers.waiting.fill(false)
    registers.serveAt = -1
  }

  const serve = (): void => {
    timer = undefined
    registers.serveAt = -1
    for (const queue of queues) queue.refill()
    registers.waiting.forEach((waits, index) => {
      if (!waits || !running()) return
      registers.waiting[index] = false
      device.notify(index)
    })
    for (const queue of queues) {
      if (!running()) return
      queue.signal()
      if (queue.exhausted()) notifyLater(queue.index, device.latency)
    }
  }
  function arm(): void {
    timer?.cancel()
    timer = registers.serveAt < 0 ? undefined : clock.at(registers.serveAt, serve)
  }
  function notifyLater(queue: number, time: number): void {
    if (!running() || queue >= queues.length || !queues[queue].state.enabled) return
    registers.waiting[queue] = true
    const at = clock.now() + Math.max(1, time)
    if (registers.serveAt >= 0 && registers.serveAt <= at) return
    registers.serveAt = at
    arm()
  }

  const reset = (): void => {
    stop()
    Object.assign(registers, initialRegisters(queues.length))
    eventIndex = indirect = false
    for (const queue of queues) queue.reset()
    device.reset()
  }
  const settleFeatures = (): void => {
    eventIndex = has(VirtioFeature.mask.eventIdx)
    indirect = has(VirtioFeature.mask.indirectDesc)
  }

  device.attach({
    now: () => clock.now(),
    features: accepted,
    queue: (index) => queues[index],
    running, notifyLater, fail,
    configChanged() {
      registers.generation = registers.generation + 1 & 0xff
      if (running()) options.interruptConfig()
    },
  })

  return {
    queues,
    deviceFeatures: (select) => (select > 1 ? 0 : Number(offered >> BigInt(32 * select) & 0xffff_ffffn)),
    driverFeatures: (select) => (select > 1 ? 0 : registers.accepted[select]),
    setDriverFeatures(select, value) {
      // Section 3.1.1: features are chosen before FEATURES_OK.
      if (select <= 1 && (registers.status & STATUS.featuresOk) === 0) registers.accepted[select] = value >>> 0
    },
    status: () => registers.status,
    setStatus(value) {
      if (value === 0) { reset(); return }
      const old = registers.status
      // Bits are only set, until a reset; DEVICE_NEEDS_RESET is the device's own (section 2.1.1).
      let now = old | value & DeviceStatus.used & ~STATUS.deviceNeedsReset
      // Section 2.2.2: features that were not offered, or a driver of the legacy interface, are refused.
      const agreed = (accepted() & ~offered) === 0n && has(VirtioFeature.mask.version1)
      if ((old & STATUS.featuresOk) === 0 && !agreed) now &= ~STATUS.featuresOk
      // Section 3.1.1: DRIVER_OK comes after FEATURES_OK.
      if ((now & STATUS.featuresOk) === 0) now &= ~STATUS.driverOk
      registers.status = now
      settleFeatures()
      if ((now & ~old & STATUS.driverOk) !== 0 && running()) device.start?.()
    },
    generation: () => registers.generation,
    notify(queue) { notifyLater(queue, device.latency) },
    reset,
    snapshot: () => ({
      registers: copyPlain(registers), queues: queues.map((q) => q.snapshot()), device: copyPlain(device.snapshot()),
    }),
    restore(saved) {
      const checked = initialRegisters(queues.length)
      restorePlain(device.name, { registers: checked }, saved)
      const given: unknown = saved.queues
      if (!Array.isArray(given) || given.length !== queues.length) {
        throw new SnapshotError(device.name, 'queues', `${queues.length} items`)
      }
      stop()
      checked.accepted.forEach((word, i) => { checked.accepted[i] = word >>> 0 })
      Object.assign(registers, checked)
      settleFeatures()
      queues.forEach((queue, i) => { queue.restore(saved.queues[i]) })
      device.restore(saved.device)
      arm()
    },
  }
}
