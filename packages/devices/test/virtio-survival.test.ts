/** Virtio devices over PCI, under drivers that mean no good: random registers, random rings, in any order. */
import { type AccessSize, createIoBus } from '@cofferdam/memory'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createMapper, createMemoryDisk, createMemoryOverlay, createVirtioBlock, createVirtioConsole, createVirtioPci,
  createVirtioRng, createVirtualClock, type DmaMemory, type VirtioDevice,
} from '../src/index.ts'
import { CommonConfig } from '../src/virtio/common-config.ts'
import { probe } from './helpers.ts'
import { createRam, RAM_SIZE, ringsOf } from './virtio-driver.ts'

const BAR = 0x8000_0000
const MSIX = 0x9000_0000
/** Pieces of memory that one turn of one device may move: a turn must end. */
const MOST_MOVES = 400_000

const devices: Readonly<Record<string, () => VirtioDevice>> = {
  'virtio-blk': () => createVirtioBlock({
    backend: createMemoryOverlay(createMemoryDisk({ bytes: new Uint8Array(64 * 512) }), { limit: 20_000 }),
  }),
  'virtio-rng': () => createVirtioRng({ seed: 1 }),
  'virtio-console': () => createVirtioConsole({ onOutput: () => undefined }),
}

function build(device: VirtioDevice) {
  const ram = createRam()
  const clock = createVirtualClock()
  const bus = createIoBus(2 ** 46)
  let moves = 0
  const counted = (work: () => boolean): boolean => {
    moves += 1
    if (moves > MOST_MOVES) throw new Error('a turn does not end')
    return work()
  }
  const memory: DmaMemory = {
    read: (address, target) => counted(() => ram.memory.read(address, target)),
    write: (address, bytes) => counted(() => ram.memory.write(address, bytes)),
  }
  const fn = createVirtioPci({
    device, memory, clock, intx: probe(), send: () => undefined,
    mapper: createMapper({ ports: createIoBus(0x1_0000), memory: bus }),
  })
  fn.writeConfig(0x14, 4, MSIX)
  fn.writeConfig(0x20, 4, BAR)
  fn.writeConfig(4, 2, 6)
  const field = (name: keyof typeof CommonConfig.fields, value: number): void => {
    bus.write(BAR + CommonConfig.offset[name], CommonConfig.fields[name][1], value)
  }
  return {
    ram, clock, bus, fn,
    time(by: number) {
      moves = 0
      clock.advanceTo(clock.now() + by)
    },
    /** What a driver does, without mistakes. */
    start() {
      field('deviceStatus', 0)
      field('deviceStatus', 3)
      for (const half of [0, 1]) {
        field('deviceFeatureSelect', half)
        field('driverFeatureSelect', half)
        field('driverFeature', bus.read(BAR + CommonConfig.offset.deviceFeature, 4))
      }
      field('deviceStatus', 11)
      device.queueSizes.forEach((_, queue) => {
        const { descriptors, driver, device: used } = ringsOf(queue)
        field('queueSelect', queue)
        field('queueSize', 8)
        field('queueDescLow', descriptors)
        field('queueDriverLow', driver)
        field('queueDeviceLow', used)
        field('queueEnable', 1)
      })
      field('deviceStatus', 15)
    },
  }
}

const size = fc.constantFrom<AccessSize>(1, 2, 4)
const value = fc.oneof(fc.nat(20), fc.nat(0xffff_ffff), fc.constantFrom(0xffff, 0x8000_0000))
const step = fc.oneof(
  fc.record({ kind: fc.constant('start' as const) }),
  fc.record({ kind: fc.constant('time' as const), by: fc.integer({ min: 1, max: 50_000 }) }),
  fc.record({ kind: fc.constant('register' as const), at: fc.nat(0x40), size, value }),
  fc.record({ kind: fc.constant('bar' as const), at: fc.nat(0x3fff), size, value }),
  fc.record({ kind: fc.constant('msix' as const), at: fc.nat(0xfff), size, value }),
  fc.record({ kind: fc.constant('config' as const), at: fc.nat(0xff), size, value }),
  fc.record({
    kind: fc.constant('request' as const), queue: fc.nat(2), head: fc.nat(8),
    descriptors: fc.array(fc.tuple(
      fc.oneof(fc.nat(RAM_SIZE), fc.integer({ min: 0, max: 0x1_2000 })), fc.oneof(fc.nat(600), fc.nat(0xffff_ffff)),
      fc.nat(7), fc.nat(9)), { maxLength: 8 }),
    type: fc.nat(14), sector: fc.nat(70),
  }),
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

function take(machine: ReturnType<typeof build>, s: Step): void {
  const { ram, bus, fn } = machine
  const access = (address: number, width: AccessSize, written: number): void => {
    bus.write(address, width, written % 2 ** (8 * width))
    const read = bus.read(address, width)
    expect(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * width)).toBe(true)
  }
  switch (s.kind) {
    case 'start': machine.start(); break
    case 'time': machine.time(s.by); break
    case 'register': access(BAR + s.at, s.size, s.value); break
    case 'bar': access(BAR + s.at, s.size, s.value); break
    case 'msix': access(MSIX + s.at, s.size, s.value); break
    case 'config': {
      // Not the command and BARs: a device that cannot be reached is no test.
      const at = Math.max(0x40, s.at & -s.size)
      fn.writeConfig(at, s.size, s.value % 2 ** (8 * s.size))
      expect(fn.readConfig(at, s.size)).toBeLessThan(2 ** (8 * s.size))
      break
    }
    case 'request': {
      const { descriptors, driver } = ringsOf(s.queue)
      s.descriptors.forEach(([address, length, flags, next], i) => {
        ram.view.setBigUint64(descriptors + 16 * i, BigInt(address), true)
        ram.view.setUint32(descriptors + 16 * i + 8, length, true)
        ram.view.setUint16(descriptors + 16 * i + 12, flags, true)
        ram.view.setUint16(descriptors + 16 * i + 14, next, true)
        ram.view.setUint32(address & 0x1f_fff0, s.type, true)
        ram.view.setUint32((address & 0x1f_fff0) + 8, s.sector, true)
      })
      const index = ram.view.getUint16(driver + 2, true)
      ram.view.setUint16(driver + 4 + 2 * (index % 8), s.head, true)
      ram.view.setUint16(driver + 2, index + 1 & 0xffff, true)
      bus.write(BAR + 0x3000 + 4 * s.queue, 2, s.queue)
      break
    }
  }
}

describe('whatever a driver does', () => {
  it.each(Object.entries(devices))('%s goes on, each turn ends, and a reset makes it work again', (_name, create) => {
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const device = create()
      const machine = build(device)
      machine.start()
      for (const s of steps) take(machine, s)
      machine.time(1e6)
      // The state is always one that can be restored.
      const saved = JSON.parse(JSON.stringify(machine.fn.snapshot())) as ReturnType<typeof machine.fn.snapshot>
      const other = build(create())
      other.fn.restore(saved)
      expect(JSON.parse(JSON.stringify(other.fn.snapshot()))).toEqual(saved)
      machine.start()
      expect(machine.bus.read(BAR + CommonConfig.offset.deviceStatus, 1)).toBe(15)
    }), { numRuns: 300, seed: 11 })
  })
})
