/** Negotiation, and the way to it over PCI. Source: VIRTIO 1.2, sections 2.1, 2.2, 3.1 and 4.1. */
import { createIoBus } from '@cofferdam/memory'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  attachVirtio, createMapper, createPciBus, createPciHost, createVirtioPci, createVirtualClock, type VirtioDevice,
  type VirtioPci, type VirtioPort, type VirtioTransportSnapshot,
} from '../src/index.ts'
import { CommonConfig } from '../src/virtio/common-config.ts'
import { probe } from './helpers.ts'
import { createDriver, createRam, ringsOf } from './virtio-driver.ts'

const VERSION_1 = 1n << 32n

/** A device that returns each request with its bytes, and counts what it is called for. */
function createEcho() {
  let port: VirtioPort | undefined
  const calls: string[] = []
  const device: VirtioDevice = {
    name: 'virtio-echo', type: 63, classCode: 0xff_0000, features: 5n, queueSizes: [8, 4], latency: 1000, configSize: 3,
    attach(given) { port = given },
    readConfig: (offset) => 0xa0 + offset,
    writeConfig(offset, value) { calls.push(`config ${offset} ${value}`) },
    start() { calls.push('start') },
    notify(index) {
      calls.push(`notify ${index}`)
      const queue = port?.queue(index)
      for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
        const bytes = new Uint8Array(chain.readable)
        chain.read(bytes)
        queue?.push(chain, chain.write(bytes))
      }
    },
    reset() { calls.push('reset') },
    snapshot: () => calls.length,
    restore: () => undefined,
  }
  return { device, calls, port: () => port as VirtioPort }
}

describe('negotiation', () => {
  it('accepts a driver of version 1 and starts the device at DRIVER_OK', () => {
    const { device, calls, port } = createEcho()
    const driver = createDriver(device)
    expect(driver.start()).toBe(true)
    expect([calls, port().features() & 0xffn, port().running()]).toEqual([['reset', 'start'], 5n, true])
  })

  it('refuses FEATURES_OK without VIRTIO_F_VERSION_1 (6.1), and DRIVER_OK after that', () => {
    const { device, calls } = createEcho()
    const driver = createDriver(device, 7n)
    expect([driver.start(), driver.transport.status()]).toEqual([false, 3])
    driver.transport.setStatus(15)
    expect([driver.transport.status(), calls]).toEqual([3, ['reset']])
  })

  it('refuses features that it did not offer (2.2.2)', () => {
    const { transport } = createDriver(createEcho().device)
    transport.setStatus(3)
    transport.setDriverFeatures(0, 2)
    transport.setDriverFeatures(1, 1)
    transport.setStatus(11)
    expect(transport.status()).toBe(3)
  })

  it('keeps accepted features once FEATURES_OK is set, and clears no status bit but by reset', () => {
    const { device } = createEcho()
    const driver = createDriver(device, VERSION_1)
    driver.start()
    driver.transport.setDriverFeatures(0, 5)
    driver.transport.setStatus(1)
    expect([driver.transport.driverFeatures(0), driver.transport.status()]).toEqual([0, 15])
    driver.transport.setStatus(0)
    expect([driver.transport.status(), driver.transport.driverFeatures(1)]).toEqual([0, 0])
  })

  it('offers VIRTIO_F_ACCESS_PLATFORM where it is asked for', () => {
    expect(createDriver(createEcho().device).transport.deviceFeatures(1)).toBe(1)
    expect(createDriver(createEcho().device).transport.deviceFeatures(2)).toBe(0)
  })
})

describe('a notification', () => {
  it('is served after the latency of the device, together with others', () => {
    const { device, calls } = createEcho()
    const driver = createDriver(device)
    driver.start()
    driver.add(1, [Uint8Array.of(1)], [1])
    driver.transport.notify(1)
    driver.transport.notify(1)
    driver.clock.advanceTo(999)
    driver.add(0, [Uint8Array.of(2)], [1])
    driver.transport.notify(0)
    expect(calls.slice(2)).toEqual([])
    driver.clock.advanceTo(1000)
    expect([calls.slice(2), driver.log]).toEqual([['notify 0', 'notify 1'], ['queue 0', 'queue 1']])
    expect(driver.finished(1).map(({ written, bytes }) => [written, ...bytes])).toEqual([[1, 1]])
  })

  it('is nothing before DRIVER_OK, for a queue that is off, or for one that is not there', () => {
    const { device, calls } = createEcho()
    const driver = createDriver(device)
    driver.transport.notify(0)
    driver.start()
    driver.transport.queues[1].state.enabled = false
    driver.transport.notify(1)
    driver.transport.notify(2)
    driver.clock.advanceTo(1e6)
    expect(calls).toEqual(['reset', 'start'])
  })

  it('is forgotten by a reset', () => {
    const { device, calls } = createEcho()
    const driver = createDriver(device)
    driver.start()
    driver.transport.notify(0)
    driver.transport.setStatus(0)
    driver.clock.advanceTo(1e6)
    expect([calls, driver.clock.pending()]).toEqual([['reset', 'start', 'reset'], 0])
  })

  it('waits in a snapshot too', () => {
    const driver = createDriver(createEcho().device)
    driver.start()
    driver.add(0, [Uint8Array.of(7)], [1])
    driver.transport.notify(0)
    const saved = JSON.parse(JSON.stringify(driver.transport.snapshot())) as VirtioTransportSnapshot
    driver.transport.reset()
    driver.transport.restore(saved)
    driver.clock.advanceTo(1000)
    expect(driver.finished(0).map(({ bytes }) => [...bytes])).toEqual([[7]])
  })

  it('goes on later when requests never end', () => {
    const { device, calls } = createEcho()
    const driver = createDriver(device)
    driver.start()
    const { descriptors, driver: available, device: used } = ringsOf(1)
    // The request copies the used ring's index, two ahead here, to the available ring's: each announces the next.
    driver.descriptor(descriptors, 0, used + 2, 2, 1, 1)
    driver.descriptor(descriptors, 1, available + 2, 2, 2, 0)
    driver.transport.queues[1].state.used = 2
    driver.ram.view.setUint16(used + 2, 2, true)
    driver.makeAvailable(1, 0)
    driver.kick(1)
    expect([calls.slice(2), driver.clock.pending(), driver.broken]).toEqual([['notify 1'], 1, []])
    driver.clock.advanceTo(3000)
    expect(calls.slice(2)).toEqual(['notify 1', 'notify 1', 'notify 1'])
  })
})

describe('a broken ring', () => {
  it('sets DEVICE_NEEDS_RESET, tells the driver and the host, and ends the work until a reset', () => {
    const { device, calls, port } = createEcho()
    const driver = createDriver(device)
    driver.start()
    driver.makeAvailable(0, 77)
    driver.kick(0)
    expect([driver.transport.status(), driver.log, driver.broken])
      .toEqual([15 | 64, ['config'], ['queue 0: descriptor 77 of 8']])
    driver.add(1, [Uint8Array.of(1)], [1])
    driver.kick(1)
    expect([calls.at(-1), port().running(), driver.clock.pending()]).toEqual(['notify 0', false, 0])
    driver.start()
    driver.add(1, [Uint8Array.of(1)], [1])
    driver.kick(1)
    expect([driver.transport.status(), driver.finished(1).length]).toEqual([15, 1])
  })
})

describe('virtio over PCI', () => {
  const BAR = 0x8000_0000
  const MSIX = 0x9000_0000
  const COMMON = CommonConfig.offset
  let fn: VirtioPci
  let echo: ReturnType<typeof createEcho>
  let ram: ReturnType<typeof createRam>
  const line = probe()
  let messages: number[]
  const clock = createVirtualClock()
  let bus: ReturnType<typeof createIoBus>

  const get = (field: keyof typeof COMMON): number => bus.read(BAR + COMMON[field], CommonConfig.fields[field][1])
  const set = (field: keyof typeof COMMON, value: number): void => {
    bus.write(BAR + COMMON[field], CommonConfig.fields[field][1], value)
  }
  /** Capabilities by `cfg_type`; MSI-X as 0. */
  const capabilities = (): Map<number, number> => {
    const found = new Map<number, number>()
    for (let at = fn.readConfig(0x34, 1); at !== 0; at = fn.readConfig(at + 1, 1)) {
      found.set(fn.readConfig(at, 1) === 0x09 ? fn.readConfig(at + 3, 1) : 0, at)
    }
    return found
  }
  const enableMsix = (): void => {
    fn.writeConfig((capabilities().get(0) as number) + 2, 2, 0x8000)
    for (let n = 0; n < 3; n++) {
      [0xfee0_0000, 0, 0x40 + n, 0].forEach((word, i) => { bus.write(MSIX + 16 * n + 4 * i, 4, word) })
    }
  }
  const startDriver = (vectors: boolean): void => {
    set('deviceStatus', 0)
    set('deviceStatus', 3)
    set('driverFeatureSelect', 1)
    set('driverFeature', 1)
    set('deviceStatus', 11)
    if (vectors) set('configMsixVector', 0)
    for (const queue of [0, 1]) {
      const { descriptors, driver, device } = ringsOf(queue)
      set('queueSelect', queue)
      set('queueDescLow', descriptors)
      set('queueDriverLow', driver)
      set('queueDeviceLow', device)
      if (vectors) set('queueMsixVector', queue + 1)
      set('queueEnable', 1)
    }
    set('deviceStatus', 15)
  }
  /** One request without bytes on a queue, and the time for it. */
  const request = (queue: number): void => {
    const { driver } = ringsOf(queue)
    const index = ram.view.getUint16(driver + 2, true)
    ram.view.setUint16(driver + 2, index + 1, true)
    bus.write(BAR + 0x3000 + 4 * queue, 2, queue)
    clock.advanceTo(clock.now() + 1000)
  }

  beforeEach(() => {
    echo = createEcho()
    ram = createRam()
    bus = createIoBus(2 ** 46)
    messages = []
    line.set(false)
    fn = createVirtioPci({
      device: echo.device, memory: ram.memory, clock, intx: line,
      mapper: createMapper({ ports: createIoBus(0x1_0000), memory: bus }),
      send: (_address, data) => { messages.push(data) },
    })
    fn.writeConfig(0x14, 4, MSIX)
    fn.writeConfig(0x20, 4, BAR)
    fn.writeConfig(4, 2, 6)
  })

  it('has the IDs of a device without legacy interface (4.1.2)', () => {
    expect([fn.readConfig(0, 2), fn.readConfig(2, 2), fn.readConfig(8, 1)]).toEqual([0x1af4, 0x1040 + 63, 1])
    expect(fn.readConfig(0x2e, 2)).toBeGreaterThanOrEqual(0x40)
  })

  it('shows each structure by a capability (4.1.4)', () => {
    const all = capabilities()
    const places = [1, 2, 3, 4].map((type) => {
      const at = all.get(type) as number
      return [fn.readConfig(at + 2, 1), fn.readConfig(at + 4, 1), fn.readConfig(at + 8, 4), fn.readConfig(at + 12, 4)]
    })
    expect(places).toEqual([[16, 4, 0, 56], [20, 4, 0x3000, 8], [16, 4, 0x1000, 1], [16, 4, 0x2000, 3]])
    expect(fn.readConfig((all.get(2) as number) + 16, 4)).toBe(4)
    expect([all.has(5), all.has(0)]).toEqual([true, true])
  })

  it('shows the registers of the selected queue, and 0 for a queue that is not there', () => {
    expect(get('numQueues')).toBe(2)
    set('queueSelect', 1)
    expect([get('queueSize'), get('queueNotifyOff'), get('queueMsixVector')]).toEqual([4, 1, 0xffff])
    set('queueSelect', 2)
    expect([get('queueSize'), get('queueEnable'), get('queueMsixVector')]).toEqual([0, 0, 0xffff])
  })

  it('takes a smaller power of two for the size, and nothing else', () => {
    for (const [written, size] of [[2, 2], [3, 2], [16, 2], [0, 2], [8, 8]]) {
      set('queueSize', written)
      expect(get('queueSize')).toBe(size)
    }
  })

  it('keeps a queue as it is once enabled; only a reset disables it', () => {
    startDriver(false)
    set('queueSelect', 0)
    set('queueDescLow', 0x1234_0000)
    set('queueEnable', 0)
    expect([get('queueDescLow'), get('queueEnable')]).toEqual([0, 1])
    set('deviceStatus', 0)
    expect([get('queueEnable'), get('deviceStatus')]).toEqual([0, 0])
  })

  it('refuses a vector that does not exist by reading back NO_VECTOR (4.1.5.1.2)', () => {
    set('configMsixVector', 3)
    expect(get('configMsixVector')).toBe(0xffff)
    set('configMsixVector', 2)
    expect(get('configMsixVector')).toBe(2)
  })

  it('has the configuration space of the device, and counts its changes', () => {
    expect([bus.read(BAR + 0x2000, 2), bus.read(BAR + 0x2002, 2)]).toEqual([0xa1a0, 0x00a2])
    bus.write(BAR + 0x2001, 1, 9)
    expect(echo.calls).toContain('config 1 9')
    const before = get('configGeneration')
    echo.port().configChanged()
    expect(get('configGeneration')).toBe(before + 1)
  })

  it('interrupts by INTx, which reading the ISR status lowers (4.1.4.5)', () => {
    startDriver(false)
    request(0)
    expect([line.level, bus.read(BAR + 0x1000, 1), line.level, bus.read(BAR + 0x1000, 1)]).toEqual([true, 1, false, 0])
    echo.port().configChanged()
    expect([line.level, bus.read(BAR + 0x1000, 1)]).toEqual([true, 2])
  })

  it('interrupts by each queue\'s MSI-X vector, and by none without one', () => {
    enableMsix()
    startDriver(true)
    request(1)
    request(0)
    echo.port().configChanged()
    expect([messages, line.level]).toEqual([[0x42, 0x41, 0x40], false])
    set('queueSelect', 0)
    set('queueMsixVector', 0xffff)
    request(0)
    expect([messages.length, line.level]).toEqual([3, false])
  })

  it('lowers INTx when MSI-X is switched on', () => {
    startDriver(false)
    request(0)
    enableMsix()
    expect(line.level).toBe(false)
  })

  it('reaches no memory while it may not master the bus', () => {
    startDriver(false)
    fn.writeConfig(4, 2, 2)
    request(0)
    expect([get('deviceStatus'), ram.view.getUint16(ringsOf(0).device + 2, true)]).toEqual([15 | 64, 0])
  })

  it('gives the BAR through configuration space (4.1.4.9)', () => {
    const at = capabilities().get(5) as number
    fn.writeConfig(at + 4, 1, 4)
    const point = (offset: number, size: number): void => {
      fn.writeConfig(at + 8, 4, offset)
      fn.writeConfig(at + 12, 4, size)
    }
    point(COMMON.numQueues, 2)
    expect(fn.readConfig(at + 16, 2)).toBe(2)
    point(COMMON.queueSelect, 2)
    fn.writeConfig(at + 16, 2, 1)
    expect(get('queueSelect')).toBe(1)
    for (const [offset, size] of [[0x4000, 1], [2, 4], [0, 3], [0xffff_fffc, 4]]) {
      point(offset, size)
      fn.writeConfig(at + 16, 4, 0)
      fn.readConfig(at + 16, 4)
    }
    expect(get('queueSelect')).toBe(1)
  })

  it('goes on from a snapshot with its registers, queues, vectors and interrupt', () => {
    startDriver(false)
    request(0)
    const saved = JSON.parse(JSON.stringify(fn.snapshot())) as ReturnType<VirtioPci['snapshot']>
    fn.reset()
    expect([get('deviceStatus'), bus.read(BAR, 4)]).toEqual([0xff, 0xffff_ffff])
    fn.restore(saved)
    expect([get('deviceStatus'), bus.read(BAR + 0x1000, 1)]).toEqual([15, 1])
    request(1)
    expect(ram.view.getUint16(ringsOf(1).device + 2, true)).toBe(1)
  })
})

describe('many virtio devices', () => {
  const attach = (count: number, others?: number) => {
    const bus = createPciBus()
    const memory = createIoBus(2 ** 46)
    const lines: string[] = []
    attachVirtio({
      devices: Array.from({ length: count }, () => createEcho().device), memory: createRam().memory, bus,
      mapper: createMapper({ ports: createIoBus(0x1_0000), memory }), clock: () => createVirtualClock(),
      intx: (slot, pin) => {
        lines.push(`${slot}.${pin}`)
        return probe()
      },
      deliver: () => true,
      others,
    })
    return { bus, lines, host: createPciHost({ bus }) }
  }

  it('have a slot each from 1 on, up to 29', () => {
    const { bus, lines } = attach(29)
    expect(bus.functions().map(({ device }) => device)).toEqual(Array.from({ length: 29 }, (_, i) => i + 1))
    expect([lines.length, new Set(lines).has('29.1')]).toEqual([29, true])
  })

  it('go on behind a bridge when there are more, with pins that it swizzles', () => {
    const { lines, host } = attach(31)
    expect(lines.slice(28)).toEqual(['29.2', '29.3', '29.4'])
    const bridge = 29 << 15
    expect(host.ecam.read(bridge + 8, 4) >>> 8).toBe(0x06_0400)
    host.ecam.write(bridge + 0x18, 4, 0x0001_0100)
    expect([1, 2, 3, 4].map((slot) => host.ecam.read(1 << 20 | slot << 15, 2)))
      .toEqual([0x1af4, 0x1af4, 0x1af4, 0xffff])
  })

  it('leave as many slots of the root bus as others need', () => {
    const slots = (others: number): number[] => attach(29, others).bus.functions().map(({ device }) => device)
    expect([slots(1).at(-1), slots(2).at(-1)]).toEqual([29, 28])
    expect(slots(2).length).toBe(28)
    expect(() => attach(48, 2)).not.toThrow()
  })

  it('are refused when they are too many', () => {
    expect(() => attach(49)).toThrow('more virtio devices than slots')
  })
})
