/** The entropy device. Source: VIRTIO 1.2, section 5.4. */
import { describe, expect, it } from 'vitest'
import { createVirtioRng, type VirtioTransportSnapshot } from '../src/index.ts'
import { ask, createDriver } from './virtio-driver.ts'

const start = (seed: number) => {
  const driver = createDriver(createVirtioRng({ seed }))
  driver.start()
  return driver
}
const bytesOf = (driver: ReturnType<typeof start>, length: number): number[] =>
  [...ask(driver, 0, [], [length])?.bytes ?? []]

describe('virtio-rng', () => {
  it('fills the buffers that the driver offers', () => {
    const driver = start(1)
    const used = ask(driver, 0, [], [7, 30])
    expect([used?.written, used?.bytes.length]).toEqual([37, 37])
    expect(new Set(used?.bytes).size).toBeGreaterThan(20)
  })

  it('gives at most 4096 bytes for one request', () => {
    expect(ask(start(1), 0, [], [5000])?.written).toBe(4096)
  })

  it('gives the same bytes for the same seed, others for another, and goes on over a reset', () => {
    const first = start(5)
    const bytes = bytesOf(first, 16)
    expect([bytesOf(start(5), 16), bytesOf(start(5 + 2 ** 40), 16)]).toEqual([bytes, expect.not.arrayContaining(bytes)])
    first.start()
    expect(bytesOf(first, 16)).not.toEqual(bytes)
  })

  it('goes on from a snapshot with the bytes that would have come', () => {
    const driver = start(9)
    const saved = JSON.parse(JSON.stringify(driver.transport.snapshot())) as VirtioTransportSnapshot
    const bytes = bytesOf(driver, 16)
    driver.transport.restore(saved)
    driver.add(0, [], [16])
    driver.kick(0)
    driver.transport.restore(saved)
    const other = start(1)
    other.transport.restore(saved)
    expect(bytesOf(other, 16)).toEqual(bytes)
  })

  it('is broken by a request with a buffer to read (5.4.6)', () => {
    const driver = start(1)
    expect(ask(driver, 0, [Uint8Array.of(1)], [4])).toBeUndefined()
    expect(driver.broken).toEqual([expect.stringContaining('5.4.6')])
  })
})
