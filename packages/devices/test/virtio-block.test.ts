/** The block device. Source: VIRTIO 1.2, section 5.2. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BLK_FEATURE, BLK_REQUEST, BLK_STATUS, BlkConfig, type BlockBackend, BlockError, createMemoryDisk,
  createMemoryOverlay, createVirtioBlock, SECTOR, type VirtioTransportSnapshot,
} from '../src/index.ts'
import type { Plain } from '../src/snapshot.ts'
import { createDriver, RAM_SIZE } from './virtio-driver.ts'

const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = BLK_REQUEST
const ALL = 2n ** 64n - 1n
const SECTORS = 64

const pattern = (length: number, from = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (from + i * 7) & 0xff)
const header = (type: number, sector: bigint | number = 0): Uint8Array => {
  const view = new DataView(new ArrayBuffer(16))
  view.setUint32(0, type, true)
  view.setBigUint64(8, BigInt(sector), true)
  return new Uint8Array(view.buffer)
}
const range = (sector: bigint | number, count: number, flags = 0): Uint8Array => {
  const view = new DataView(new ArrayBuffer(16))
  view.setBigUint64(0, BigInt(sector), true)
  view.setUint32(8, count, true)
  view.setUint32(12, flags, true)
  return new Uint8Array(view.buffer)
}

/** A disk with a volatile cache, as real ones have: only what was flushed is in `stable`. */
function createCachedDisk(size = SECTORS * SECTOR) {
  const cache = new Uint8Array(size)
  const stable = new Uint8Array(size)
  const calls: string[] = []
  const inner = createMemoryDisk({ bytes: cache })
  const disk = { ...inner, stable, cache, calls, failing: '' }
  const call = (name: string, work: () => boolean): boolean => {
    calls.push(name)
    return disk.failing !== name && work()
  }
  const backend: BlockBackend = {
    ...inner,
    read: (offset, target) => call('read', () => inner.read(offset, target)),
    write: (offset, bytes) => call('write', () => inner.write(offset, bytes)),
    writeZeroes: (offset, length, unmap) => call('zero', () => inner.writeZeroes(offset, length, unmap)),
    discard: (offset, length) => call('discard', () => inner.discard(offset, length)),
    flush: () => call('flush', () => {
      stable.set(cache)
      return true
    }),
  }
  return Object.assign(disk, { backend })
}

function setUp(options: { backend?: BlockBackend, serial?: string, accept?: bigint } = {}) {
  const disk = createCachedDisk()
  const device = createVirtioBlock({ backend: options.backend ?? disk.backend, serial: options.serial })
  const driver = createDriver(device, options.accept ?? ALL)
  expect(driver.start()).toBe(true)
  const request = (readable: readonly Uint8Array[], writable: readonly number[]) => {
    driver.add(0, readable, writable)
    driver.kick(0)
    const used = driver.finished(0).at(-1)
    return { status: used?.bytes.at(-1), bytes: [...used?.bytes.slice(0, -1) ?? []], written: used?.written }
  }
  return { disk, device, driver, request }
}

describe('virtio-blk: configuration (5.2.4)', () => {
  it('says its capacity in sectors, and what it takes', () => {
    const { device } = setUp()
    const bytes = Uint8Array.from({ length: device.configSize }, (_, i) => device.readConfig(i))
    expect(BlkConfig.read(new DataView(bytes.buffer))).toMatchObject({
      capacity: BigInt(SECTORS), blkSize: 512, segMax: 254, writeback: 1, writeZeroesMayUnmap: 1,
    })
  })

  it('offers VIRTIO_BLK_F_RO and nothing that writes for a disk that is read-only', () => {
    const backend = createMemoryDisk({ bytes: new Uint8Array(512), readOnly: true })
    const { features } = createVirtioBlock({ backend })
    expect(features & (BLK_FEATURE.RO | BLK_FEATURE.DISCARD | BLK_FEATURE.WRITE_ZEROES)).toBe(BLK_FEATURE.RO)
  })

  const bad = [[{ serial: 'x'.repeat(21) }, 'serial'], [{ serial: 'ä' }, 'serial'], [{ size: 513 }, 'size'],
    [{ size: 0 }, 'size']] as const
  it.each(bad)(
    'refuses %j', ({ serial, size }: { serial?: string, size?: number }, field) => {
      const backend = { ...createMemoryDisk({ bytes: new Uint8Array(512) }), size: size ?? 512 }
      const create = (): unknown => createVirtioBlock({ backend, serial, name: 'a.img' })
      expect(create).toThrow(BlockError)
      expect(create).toThrow(new RegExp(`^a.img: ${field}: `))
    })
})

describe('virtio-blk: requests (5.2.6)', () => {
  it('writes and reads sectors, however the driver frames them (2.7.4)', () => {
    const { disk, request } = setUp()
    const data = pattern(3 * SECTOR)
    const all = Uint8Array.of(...header(OUT, 5), ...data)
    expect(request([all.subarray(0, 10), all.subarray(10, 700), all.subarray(700)], [1]))
      .toEqual({ status: BLK_STATUS.OK, bytes: [], written: 1 })
    expect(disk.cache.subarray(5 * SECTOR, 8 * SECTOR)).toEqual(data)
    expect(request([header(IN, 6)], [100, SECTOR - 99]))
      .toEqual({ status: BLK_STATUS.OK, bytes: [...data.subarray(SECTOR, 2 * SECTOR)], written: SECTOR + 1 })
  })

  it('moves requests that are longer than a chunk', () => {
    const { disk, request } = setUp({ backend: undefined })
    const data = pattern(SECTORS * SECTOR)
    disk.cache.set(data)
    expect(request([header(IN)], [SECTORS * SECTOR, 1]).bytes).toEqual([...data])
  })

  it.each([
    ['a sector past the end', IN, SECTORS, SECTOR], ['a range over the end', IN, SECTORS - 1, 2 * SECTOR],
    ['a sector of 2^64 − 1', IN, 2n ** 64n - 1n, SECTOR], ['half a sector', IN, 0, 100],
  ])('fails a read of %s with IOERR, without touching the disk', (_name, type, sector, length) => {
    const { disk, request } = setUp()
    expect([request([header(type, sector)], [length, 1]).status, disk.calls]).toEqual([BLK_STATUS.IOERR, []])
  })

  it.each([
    ['a sector past the end', SECTORS, SECTOR], ['a range over the end', SECTORS - 1, 2 * SECTOR],
    ['half a sector', 0, 100],
  ])('fails a write of %s with IOERR, without touching the disk', (_name, sector, length) => {
    const { disk, request } = setUp()
    expect([request([header(OUT, sector), pattern(length)], [1]).status, disk.calls]).toEqual([BLK_STATUS.IOERR, []])
  })

  it('fails every change of a read-only disk with IOERR (5.2.6.2)', () => {
    const bytes = pattern(SECTORS * SECTOR)
    const { request } = setUp({ backend: createMemoryDisk({ bytes, readOnly: true }) })
    for (const type of [OUT, DISCARD, WRITE_ZEROES]) {
      expect(request([header(type), type === OUT ? pattern(SECTOR) : range(0, 1)], [1]).status).toBe(BLK_STATUS.IOERR)
    }
    expect(bytes).toEqual(pattern(SECTORS * SECTOR))
  })

  it('names itself by 20 bytes of its serial', () => {
    const { bytes } = setUp({ serial: 'disk-1' }).request([header(GET_ID)], [20, 1])
    expect(String.fromCharCode(...bytes)).toBe(`disk-1${'\0'.repeat(14)}`)
  })

  it.each([2, 3, 7, 10, 14, 0xffff_ffff])('answers UNSUPP to type %i', (type) => {
    expect(setUp().request([header(type)], [1]).status).toBe(BLK_STATUS.UNSUPP)
  })

  it('says IOERR when the backend fails', () => {
    for (const [failing, readable, writable] of [
      ['read', [header(IN)], [SECTOR, 1]], ['write', [header(OUT), pattern(SECTOR)], [1]],
      ['flush', [header(FLUSH)], [1]],
      ['zero', [header(WRITE_ZEROES), range(0, 1)], [1]], ['discard', [header(DISCARD), range(0, 1)], [1]],
    ] as const) {
      const { disk, request } = setUp()
      disk.failing = failing
      expect([failing, request(readable, writable).status]).toEqual([failing, BLK_STATUS.IOERR])
    }
  })

  it.each([
    ['a short header', [new Uint8Array(15)], [1]], ['no place for the status', [header(FLUSH)], []],
  ] as const)('is broken by %s', (_name, readable, writable) => {
    const { driver, request } = setUp()
    request(readable, writable)
    expect(driver.broken).toEqual([expect.stringContaining('5.2.6')])
  })
})

describe('virtio-blk: discard and write-zeroes', () => {
  it('makes zeros of each range, and of nothing else', () => {
    const { disk, request } = setUp()
    disk.cache.fill(9)
    expect(request([header(WRITE_ZEROES), range(1, 2), range(5, 1, 1)], [1]).status).toBe(BLK_STATUS.OK)
    const zeros = Array.from({ length: SECTORS }, (_, i) => i).filter((s) => disk.cache[s * SECTOR] === 0)
    expect(zeros).toEqual([1, 2, 5])
  })

  it.each([
    ['a flag that is reserved', WRITE_ZEROES, [range(0, 1, 2)], BLK_STATUS.UNSUPP],
    ['unmap of a discard', DISCARD, [range(0, 1, 1)], BLK_STATUS.UNSUPP],
    ['a range past the end', DISCARD, [range(SECTORS, 1)], BLK_STATUS.IOERR],
    ['a range of 2^64 − 1', WRITE_ZEROES, [range(2n ** 64n - 1n, 1)], BLK_STATUS.IOERR],
    ['more sectors than max_write_zeroes_sectors', WRITE_ZEROES, [range(0, 8193)], BLK_STATUS.IOERR],
    ['more ranges than max_discard_seg', DISCARD, Array.from({ length: 17 }, () => range(0, 1)), BLK_STATUS.IOERR],
    ['no range', DISCARD, [], BLK_STATUS.IOERR],
    ['half a range', DISCARD, [range(0, 1).subarray(8)], BLK_STATUS.IOERR],
    ['a bad range after a good one', WRITE_ZEROES, [range(0, 1), range(SECTORS, 1)], BLK_STATUS.IOERR],
  ])('refuses %s, and carries out no part of it', (_name, type, ranges, status) => {
    const { disk, request } = setUp()
    expect([request([header(type), ...ranges], [1]).status, disk.calls]).toEqual([status, []])
  })
})

describe('virtio-blk: what is safe (5.2.6.2)', () => {
  it('completes a flush only after the backend synced', () => {
    const { disk, request } = setUp()
    request([header(OUT, 1), pattern(SECTOR)], [1])
    expect([disk.cache[SECTOR + 1], disk.stable[SECTOR + 1]]).toEqual([8, 0])
    expect(request([header(FLUSH)], [1]).status).toBe(BLK_STATUS.OK)
    expect(disk.stable[SECTOR + 1]).toBe(8)
  })

  it.each([
    ['without VIRTIO_BLK_F_FLUSH', ALL & ~BLK_FEATURE.FLUSH & ~BLK_FEATURE.CONFIG_WCE, 1],
    ['with writeback switched off', ALL, 0],
  ])('syncs each write before it completes %s', (_name, accept, writeback) => {
    const { device, disk, request } = setUp({ accept })
    device.writeConfig(BlkConfig.offset.writeback, writeback)
    request([header(OUT), pattern(SECTOR)], [1])
    request([header(WRITE_ZEROES), range(3, 1)], [1])
    expect([disk.calls, disk.stable[1]]).toEqual([['write', 'flush', 'zero', 'flush'], 8])
    disk.failing = 'flush'
    expect(request([header(OUT), pattern(SECTOR)], [1]).status).toBe(BLK_STATUS.IOERR)
  })

  it('takes no writeback from a driver that did not accept VIRTIO_BLK_F_CONFIG_WCE', () => {
    const { device } = setUp({ accept: ALL & ~BLK_FEATURE.CONFIG_WCE })
    device.writeConfig(BlkConfig.offset.writeback, 0)
    expect(device.readConfig(BlkConfig.offset.writeback)).toBe(1)
  })

  it('holds for any order of requests: what was flushed is stable, what was written is read back', () => {
    const step = fc.oneof(
      fc.record({ type: fc.constant(OUT), sector: fc.nat(SECTORS - 1), fill: fc.integer({ min: 1, max: 255 }) }),
      fc.record({ type: fc.constant(WRITE_ZEROES), sector: fc.nat(SECTORS - 1), fill: fc.constant(0) }),
      fc.record({ type: fc.constant(FLUSH), sector: fc.constant(0), fill: fc.constant(0) }))
    fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { disk, driver } = setUp()
      const written = new Uint8Array(SECTORS)
      let flushed = written.slice()
      for (const { type, sector, fill } of steps) {
        const data = type === OUT ? [new Uint8Array(SECTOR).fill(fill)] : type === FLUSH ? [] : [range(sector, 1)]
        driver.add(0, [header(type, sector), ...data], [1])
        driver.kick(0)
        if (type === FLUSH) flushed = written.slice()
        else written[sector] = fill
      }
      const firsts = (bytes: Uint8Array) => Uint8Array.from(written, (_, i) => bytes[i * SECTOR])
      expect(firsts(disk.cache)).toEqual(written)
      expect(firsts(disk.stable)).toEqual(flushed)
    }), { numRuns: 100, seed: 7 })
  })
})

describe('virtio-blk: a turn', () => {
  it('ends after so much work, and goes on later by itself', () => {
    const { driver, disk } = setUp()
    for (let i = 0; i < 40; i++) driver.add(0, [header(FLUSH)], [1])
    driver.kick(0)
    expect(disk.calls.length).toBe(32)
    driver.clock.advanceTo(driver.clock.now() + 20_000)
    expect([disk.calls.length, driver.finished(0).length]).toEqual([40, 40])
  })

  it('refuses a request of gigabytes that the driver makes of a few pages', () => {
    const { driver, disk, device } = setUp({ backend: undefined })
    expect(device.configSize).toBe(60)
    const table = 0x18_0000
    driver.ram.bytes.set(header(OUT), 0x17_0000)
    driver.descriptor(table, 0, 0x17_0000, 16, 1, 1)
    for (let i = 1; i < 100; i++) driver.descriptor(table, i, 0, RAM_SIZE, 1, i + 1)
    driver.descriptor(table, 100, 0x17_1000, 1, 2, 0)
    driver.descriptor(0, 0, table, 16 * 101, 4, 0)
    driver.makeAvailable(0, 0)
    driver.kick(0)
    expect([driver.ram.bytes[0x17_1000], disk.calls, driver.broken]).toEqual([BLK_STATUS.IOERR, [], []])
  })
})

describe('an overlay', () => {
  it('reads like a plain disk whatever is written, and leaves the image alone', () => {
    const size = 3 * 4096 + 512
    const op = fc.record({
      kind: fc.constantFrom('write', 'zero', 'read'), sector: fc.nat(size / 512 - 1),
      count: fc.integer({ min: 1, max: 20 }), fill: fc.nat(255),
    })
    fc.assert(fc.property(fc.array(op, { maxLength: 30 }), (ops) => {
      const image = pattern(size)
      const model = createMemoryDisk({ bytes: pattern(size) })
      const overlay = createMemoryOverlay(createMemoryDisk({ bytes: image, readOnly: true }))
      for (const { kind, sector, count, fill } of ops) {
        const [at, n] = [sector * 512, Math.min(count, size / 512 - sector) * 512]
        const [a, b] = [new Uint8Array(n), new Uint8Array(n)]
        for (const [disk, into] of [[model, a], [overlay, b]] as const) {
          if (kind === 'write') expect(disk.write(at, new Uint8Array(n).fill(fill))).toBe(true)
          else if (kind === 'zero') expect(disk.writeZeroes(at, n, false)).toBe(true)
          else expect(disk.read(at, into)).toBe(true)
        }
        expect(b).toEqual(a)
      }
      expect(image).toEqual(pattern(size))
      const other = createMemoryOverlay(createMemoryDisk({ bytes: image, readOnly: true }))
      other.restore(JSON.parse(JSON.stringify(overlay.snapshot())) as null)
      const [a, b] = [new Uint8Array(size), new Uint8Array(size)]
      expect([model.read(0, a), other.read(0, b)]).toEqual([true, true])
      expect(b).toEqual(a)
    }), { numRuns: 200, seed: 3 })
  })

  it('fails writes beyond its limit, as a full disk would, and still takes those to what it has', () => {
    const overlay = createMemoryOverlay(createMemoryDisk({ bytes: new Uint8Array(2 ** 16) }), { limit: 3 * 4300 })
    expect([0, 1, 2, 3].map((n) => overlay.write(n * 4096, new Uint8Array(512)))).toEqual([true, true, true, false])
    expect(overlay.write(4096, new Uint8Array(4096))).toBe(true)
    expect(overlay.writeZeroes(0, 4096, false)).toBe(true)
    expect(overlay.write(3 * 4096, new Uint8Array(512))).toBe(true)
  })

  const written: readonly Plain[] = [null, { 99: 'ff' }, { 0: 'zz' }, { 0: 'ff00' }, { 0: 5 }, [7]]
  const bad = [null, { base: null }, ...written.map((clusters) => ({ base: null, written: clusters }))]
  it.each(bad.map((saved) => ({ saved })))('refuses the snapshot $saved', ({ saved }) => {
    const overlay = createMemoryOverlay(createMemoryDisk({ bytes: new Uint8Array(4096) }))
    expect(() => { overlay.restore(saved) }).toThrow('disk overlay')
  })
})

describe('virtio-blk in a snapshot', () => {
  it('keeps the cache mode and what the overlay holds', () => {
    const make = () => setUp({ backend: createMemoryOverlay(createMemoryDisk({ bytes: new Uint8Array(8192) })) })
    const first = make()
    first.device.writeConfig(BlkConfig.offset.writeback, 0)
    first.request([header(OUT, 2), pattern(SECTOR)], [1])
    const second = make()
    second.driver.transport.restore(
      JSON.parse(JSON.stringify(first.driver.transport.snapshot())) as VirtioTransportSnapshot)
    expect(second.device.readConfig(BlkConfig.offset.writeback)).toBe(0)
    const again = make()
    again.device.restore(second.device.snapshot())
    expect(again.request([header(IN, 2)], [SECTOR, 1]).bytes).toEqual([...pattern(SECTOR)])
  })
})
