/** The console device. Source: VIRTIO 1.2, section 5.3. */
import { describe, expect, it } from 'vitest'
import { createVirtioConsole, type VirtioTransportSnapshot } from '../src/index.ts'
import { INPUT_LIMIT } from '../src/virtio/console.ts'
import { createDriver } from './virtio-driver.ts'

const text = (from: string): Uint8Array => Uint8Array.from(from, (c) => c.charCodeAt(0))
const string = (bytes: Uint8Array | undefined): string => String.fromCharCode(...bytes ?? [])

function setUp() {
  let output = ''
  const device = createVirtioConsole({ onOutput: (bytes) => { output += string(bytes) }, columns: 132 })
  const driver = createDriver(device)
  driver.start()
  const time = (): void => { driver.clock.advanceTo(driver.clock.now() + device.latency) }
  return { device, driver, time, output: () => output }
}

describe('virtio-console', () => {
  it('sends what the driver puts into the transmit queue, in order', () => {
    const { driver, output } = setUp()
    driver.add(1, [text('hel'), text('lo ')])
    driver.add(1, [text('x'.repeat(5000))])
    driver.kick(1)
    expect([output(), driver.finished(1).map(({ written }) => written)]).toEqual([`hello ${'x'.repeat(5000)}`, [0, 0]])
  })

  it('fills buffers of the receive queue with input, as much as they take', () => {
    const { device, driver, time } = setUp()
    driver.add(0, [], [3])
    driver.add(0, [], [100])
    driver.kick(0)
    expect([driver.finished(0), device.receive(text('hello'))]).toEqual([[], 5])
    time()
    expect(driver.finished(0).map(({ bytes, written }) => string(bytes.subarray(0, written)))).toEqual(['hel', 'lo'])
    expect(driver.log).toEqual(['queue 0'])
  })

  it('keeps input until there are buffers, up to its limit', () => {
    const { device, driver } = setUp()
    expect([device.receive(new Uint8Array(INPUT_LIMIT - 2).fill(65)), device.receive(text('abc'))])
      .toEqual([INPUT_LIMIT - 2, 2])
    driver.add(0, [], [INPUT_LIMIT])
    driver.kick(0)
    expect(string(driver.finished(0)[0]?.bytes).slice(-3)).toBe('Aab')
  })

  it('has its size in the configuration space, and takes emergency writes before it is started (5.3.4)', () => {
    const { device, driver, output } = setUp()
    expect([0, 1, 2, 4].map((offset) => device.readConfig(offset))).toEqual([132, 0, 25, 1])
    driver.transport.setStatus(0)
    device.writeConfig(8, 33)
    device.writeConfig(9, 34)
    expect(output()).toBe('!')
  })

  it.each([
    ['output with a buffer to write', 1, [text('a')], [1]],
    ['output of more than a megabyte', 1, [new Uint8Array(2 ** 20 - 1), text('ab')], []],
    ['a buffer for input that takes none', 0, [text('a')], []],
  ])('is broken by %s', (_name, queue, readable, writable) => {
    const { device, driver, output } = setUp()
    device.receive(text('x'))
    driver.add(queue, readable, writable)
    driver.kick(queue)
    expect([driver.broken, output()]).toEqual([[expect.stringContaining('5.3.6')], ''])
  })

  it('has waiting input in its snapshot', () => {
    const { device, driver } = setUp()
    device.receive(text('later'))
    const saved = JSON.parse(JSON.stringify(driver.transport.snapshot())) as VirtioTransportSnapshot
    driver.transport.reset()
    driver.transport.restore(saved)
    driver.add(0, [], [9])
    driver.kick(0)
    expect(string(driver.finished(0)[0]?.bytes.subarray(0, 5))).toBe('later')
    expect(() => { device.restore([256]) }).toThrow('virtio-console')
  })
})
