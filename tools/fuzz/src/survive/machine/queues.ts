/**
 * Virtqueues of random bytes on a whole machine: loops of descriptors, lengths of 4 GiB, addresses outside of RAM,
 * tables in tables; 9P messages, Ethernet frames and disk requests that are nearly right. A device that gives up must
 * work again after its reset.
 */
import { Q35_MMIO } from '@cofferdam/devices'
import type { Random } from '@cofferdam/oracle'
import { CommonConfig, randomRequest } from '../../inside.ts'
import type { Survivor } from '../processor.ts'
import { createSeries } from '../series.ts'
import { createBench, MEMORY, type Bench } from './bench.ts'

const CASES = 25
/** Slots of the virtio devices that `everyDevice` makes, and how many queues each has. */
const DEVICES = [
  { slot: 1, queues: 1, kind: 'blk' }, { slot: 2, queues: 1, kind: 'blk' }, { slot: 3, queues: 1, kind: 'rng' },
  { slot: 4, queues: 2, kind: 'console' }, { slot: 5, queues: 1, kind: '9p' }, { slot: 6, queues: 2, kind: 'net' },
] as const
type Device = (typeof DEVICES)[number]

/** Rings of queue n lie 64 KiB apart, buffers behind them. */
const RINGS = 0x20_0000
const BUFFERS = 0x40_0000
const QUEUE = 16
const AVAILABLE = 0x4000
const USED = 0x8000
const INDIRECT = 0xc000
const NOTIFY = 0x3000
const FLAG = { next: 1, write: 2, indirect: 4 } as const

/** A device's registers on the bus, as a driver reaches them. */
interface Driver {
  /** Reset, features, queues, DRIVER_OK; `spoil` gives other values now and then. */
  start(spoil: Random | null): void
  notify(queue: number): void
  status(): number
  poke(offset: number, width: 1 | 2 | 4, value: number): void
}

const VIRTIO_BAR = 4

function createDriver({ machine }: Bench, { slot, queues }: Device): Driver {
  const { mmio } = machine.memory
  const config = (register: number): number => Q35_MMIO.ecam.start + (slot << 15) + register
  const base = 0xd000_0000 + slot * 0x1_0000
  const field = (name: keyof typeof CommonConfig.fields, value: number): void => {
    mmio.write(base + CommonConfig.offset[name], CommonConfig.fields[name][1], value)
  }
  return {
    start(spoil) {
      const odd = (value: number): number => (spoil !== null && spoil.below(40) === 0 ? spoil.u32() : value)
      mmio.write(config(0x10 + 4 * VIRTIO_BAR), 4, base)
      mmio.write(config(0x14 + 4 * VIRTIO_BAR), 4, 0)
      mmio.write(config(4), 2, 6)
      field('deviceStatus', 0)
      field('deviceStatus', 3)
      for (const half of [0, 1]) {
        field('deviceFeatureSelect', half)
        field('driverFeatureSelect', half)
        field('driverFeature', odd(mmio.read(base + CommonConfig.offset.deviceFeature, 4)))
      }
      field('deviceStatus', 11)
      for (let queue = 0; queue < queues; queue++) {
        const at = RINGS + queue * 0x1_0000
        field('queueSelect', queue)
        field('queueSize', odd(QUEUE))
        field('queueDescLow', odd(at))
        field('queueDriverLow', odd(at + AVAILABLE))
        field('queueDeviceLow', odd(at + USED))
        field('queueDeviceHigh', spoil !== null && spoil.below(60) === 0 ? spoil.u32() : 0)
        field('queueEnable', 1)
      }
      field('deviceStatus', odd(15))
    },
    notify(queue) { mmio.write(base + NOTIFY + 4 * queue, 2, queue) },
    status: () => mmio.read(base + CommonConfig.offset.deviceStatus, 1),
    poke(offset, width, value) { mmio.write(base + offset, width, value) },
  }
}

const anyAddress = (random: Random): bigint => {
  switch (random.below(12)) {
    case 0: return random.u64()
    case 1: return BigInt(MEMORY - random.below(600))
    case 2: return 2n ** 64n - BigInt(random.below(5000))
    case 3: return BigInt(RINGS + random.below(0x1_0000))
    case 4: return BigInt(random.u32())
    default: return BigInt(BUFFERS + random.below(0x10_0000))
  }
}
const anyLength = (random: Random): number => {
  switch (random.below(8)) {
    case 0: return 0
    case 1: return random.pick([0xffff_ffff, 0x8000_0000, 0x7fff_ffff, random.u32()])
    case 2: return random.below(0x10_0000)
    case 3: return 512 * random.below(64)
    default: return random.pick([1, 12, 16, 20, 64, 512, 4096, random.below(2000)])
  }
}

/** What a driver of that kind puts into its first buffer. */
function payload(random: Random, kind: Device['kind']): Uint8Array {
  switch (kind) {
    case 'blk': {
      const header = new DataView(new ArrayBuffer(16))
      header.setUint32(0, random.pick([0, 1, 4, 8, 11, 13, random.u32()]), true)
      header.setBigUint64(8, random.pick([0n, 1n, 63n, 64n, random.u64(), BigInt(random.below(70))]), true)
      return new Uint8Array(header.buffer)
    }
    case '9p': return randomRequest((limit) => random.below(limit)).bytes
    case 'net': {
      const bytes = new Uint8Array(12 + random.pick([13, 14, 60, 64, random.below(1600)]))
      for (let i = 12; i < bytes.length; i++) bytes[i] = random.below(256)
      if (bytes.length > 46) {
        bytes.set([0x52, 0x55, 0x0a, 0, 2, 2, 0x52, 0x54, 0, 0, 0, 1, 8, random.pick([0, 6]), 0x45], 12)
      }
      return bytes
    }
    default: return Uint8Array.from({ length: random.below(64) }, () => random.below(256))
  }
}

function descriptor(
  view: DataView, index: number, [address, length, flags, next]: readonly [bigint, number, number, number],
): void {
  view.setBigUint64(16 * index, BigInt.asUintN(64, address), true)
  view.setUint32(16 * index + 8, length, true)
  view.setUint16(16 * index + 12, flags, true)
  view.setUint16(16 * index + 14, next, true)
}

/** A table of descriptors: the first is a request's header, the rest is anything; of a tame one nearly right. */
function table(random: Random, entries: number, header: readonly [bigint, number], tame: boolean): Uint8Array {
  const bytes = new Uint8Array(16 * entries)
  const view = new DataView(bytes.buffer)
  const last = Math.min(entries - 1, random.below(5))
  for (let i = 0; i < entries; i++) {
    if (tame) {
      const flags = (i < last ? FLAG.next : 0) | (i > 0 && i >= last - 1 ? FLAG.write : 0)
      descriptor(view, i, i === 0 ? [header[0], header[1], flags, 1]
        : [BigInt(BUFFERS + 0x1000 * i),
            random.pick(i === last ? [1, 64, 513] : [512, 1024, random.below(2000)]), flags, i + 1])
      continue
    }
    const next = random.below(10) === 0 ? random.below(0x1_0000) : random.below(8) === 0 ? random.below(entries) : i + 1
    const more = i + 1 < entries && random.below(4) !== 0 ? FLAG.next : 0
    const odd = random.below(16) === 0 ? random.below(8) : 0
    descriptor(view, i, i === 0 ? [header[0], header[1], more, next]
      : [anyAddress(random), anyLength(random), more | odd | (random.below(3) === 0 ? 0 : FLAG.write), next])
  }
  return bytes
}

/** Fills a queue's rings; requests begin at descriptor 0, where a table may follow. */
function fillQueue(bench: Bench, random: Random, device: Device, queue: number): void {
  const at = RINGS + queue * 0x1_0000
  const request = payload(random, device.kind)
  bench.put(BUFFERS, request)
  const header = [BigInt(BUFFERS), random.below(12) === 0 ? anyLength(random) : request.length] as const
  const tame = random.below(3) !== 0
  const direct = table(random, QUEUE, header, tame)
  if (random.below(3) === 0) {
    const entries = random.pick([1, 3, 128, 1024, 1025])
    const length = random.below(8) === 0 ? anyLength(random) : 16 * Math.min(entries, 1000)
    bench.put(at + INDIRECT, table(random, Math.min(entries, 1000), header, tame))
    descriptor(
      new DataView(direct.buffer), 0,
      [BigInt(at + INDIRECT), length, FLAG.indirect | (random.below(8) === 0 ? FLAG.next : 0), 1],
    )
  }
  bench.put(at, direct)
  const ring = new DataView(new ArrayBuffer(4 + 2 * QUEUE + 2))
  const count = random.below(30) === 0 ? random.below(0x1_0000) : 1 + random.below(4)
  ring.setUint16(0, random.below(2), true)
  ring.setUint16(2, count, true)
  for (let i = 0; i < QUEUE; i++) {
    ring.setUint16(
      4 + 2 * i,
      tame ? 0 : random.below(8) === 0 ? random.below(0x1_0000) : random.below(3) === 0 ? random.below(QUEUE) : 0, true,
    )
  }
  bench.put(at + AVAILABLE, new Uint8Array(ring.buffer))
}

/** The device answers a request without mistakes: of the kinds that answer at once. */
function works(bench: Bench, driver: Driver, device: Device): boolean {
  const queue = device.kind === 'console' || device.kind === 'net' ? 1 : 0
  driver.start(null)
  const at = RINGS + queue * 0x1_0000
  const view = new DataView(new ArrayBuffer(48))
  const request = new Uint8Array(64)
  // Type 8: the disk's name. For others these are bytes as good as any; Tversion is 9P's first message.
  if (device.kind === 'blk') request[0] = 8
  if (device.kind === '9p') {
    request.set([19, 0, 0, 0, 100, 0xff, 0xff, 0, 0x20, 0, 0, 6, 0, 0x39, 0x50, 0x32, 0x30, 0x30, 0x30])
  }
  bench.put(BUFFERS, request)
  if (device.kind === 'rng') descriptor(view, 0, [BigInt(BUFFERS), 64, FLAG.write, 0])
  else if (queue === 1) descriptor(view, 0, [BigInt(BUFFERS), 64, 0, 0])
  else {
    descriptor(view, 0, [BigInt(BUFFERS), device.kind === 'blk' ? 16 : 19, FLAG.next, 1])
    descriptor(view, 1, [BigInt(BUFFERS + 0x1000), device.kind === 'blk' ? 21 : 256, FLAG.write, 0])
  }
  bench.put(at, new Uint8Array(view.buffer))
  bench.put(at + AVAILABLE, Uint8Array.of(0, 0, 1, 0, 0, 0))
  bench.put(at + USED, new Uint8Array(16))
  driver.notify(queue)
  bench.idle()
  const used = new Uint8Array(4)
  bench.machine.memory.read(at + USED, used)
  return used[2] === 1 && driver.status() === 15
}

function runCase(bench: Bench, random: Random): string {
  const device = random.pick(DEVICES)
  const driver = createDriver(bench, device)
  driver.start(random)
  const turns = 1 + random.below(3)
  for (let turn = 0; turn < turns; turn++) {
    const queue = random.below(device.queues)
    fillQueue(bench, random, device, queue)
    driver.notify(queue)
    if (random.below(4) === 0) driver.poke(random.below(0x4000) & ~3, 4, random.u32())
    if (device.kind === 'console') bench.machine.consoleInput(Uint8Array.of(random.below(256), 10))
    bench.idle()
  }
  const ended = (driver.status() & 0x40) !== 0 ? 'broken' : 'works'
  if (!works(bench, driver, device)) {
    throw new Error(`virtio-${device.kind} in slot ${device.slot} does not work again after its reset`)
  }
  return `${device.kind}: ${ended}`
}

export const createQueueSurvivor = (): Survivor => createSeries({
  length: CASES,
  begin(random) {
    const bench = createBench(random, false)
    // It waits for interrupts, so that time passes quickly.
    bench.run(Uint8Array.of(0xfb, 0xf4, 0xeb, 0xfd))
    return bench
  },
  run: runCase,
})
