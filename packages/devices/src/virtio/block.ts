/**
 * Block device. Source: VIRTIO 1.2, section 5.2.
 *
 * A request is done when it is completed: a write is in the backend (and synced, where the driver has no write-back
 * cache to flush), a flush has synced. Nothing is reordered.
 */
import { layout } from '@cofferdam/spec'
import { copyPlain, restorePlain } from '../snapshot.ts'
import { type BlockBackend, BlockError, checkDiskSize, SECTOR } from './block-backend.ts'
import { VIRTIO_TYPE } from './constants.ts'
import type { VirtioDevice, VirtioPort } from './device.ts'
import type { DescriptorChain } from './virtqueue.ts'

/** Feature bits (section 5.2.3), those that are offered. */
export const BLK_FEATURE = {
  SEG_MAX: 1n << 2n, RO: 1n << 5n, BLK_SIZE: 1n << 6n, FLUSH: 1n << 9n, CONFIG_WCE: 1n << 11n, DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
} as const

/** Request types and status (section 5.2.6). */
export const BLK_REQUEST = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const
/** The last byte of a request's answer (section 5.2.6). */
export const BLK_STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const

/** `struct virtio_blk_config` (section 5.2.4). */
export const BlkConfig = layout(60, {
  capacity: [0, 8], sizeMax: [8, 4], segMax: [12, 4], cylinders: [16, 2], heads: [18, 1], sectors: [19, 1],
  blkSize: [20, 4], physicalBlockExp: [24, 1], alignmentOffset: [25, 1], minIoSize: [26, 2], optIoSize: [28, 4],
  writeback: [32, 1], numQueues: [34, 2], maxDiscardSectors: [36, 4], maxDiscardSeg: [40, 4],
  discardSectorAlignment: [44, 4], maxWriteZeroesSectors: [48, 4], maxWriteZeroesSeg: [52, 4],
  writeZeroesMayUnmap: [56, 1],
})

/** `struct virtio_blk_discard_write_zeroes`. */
const Range = layout(16, { sector: [0, 8], numSectors: [8, 4], flags: [12, 4] })
const UNMAP = 1

const HEADER = 16
const ID_LENGTH = 20
const QUEUE_SIZE = 256
/** Data of one request; drivers stay far below. */
const REQUEST_LIMIT = 32 * 2 ** 20
/** Bytes after which further requests wait for their next turn, so that a turn ends; a flush counts as so many. */
const TURN_LIMIT = 32 * 2 ** 20
const FLUSH_COST = 2 ** 20
const LATENCY = 20_000
/** Sectors of one range to discard or to write zeros to, and ranges of one request. */
const RANGE_SECTORS = 8192
const RANGES = 16
const CHUNK = 0x1_0000

/** Options of {@link createVirtioBlock}. */
export interface VirtioBlockOptions {
  readonly backend: BlockBackend
  /** Up to 20 printable ASCII characters that the driver shows. */
  readonly serial?: string
  /** For messages. */
  readonly name?: string
}

/** @throws BlockError for a serial that cannot be shown */
function serialBytes(name: string, serial: string): Uint8Array {
  if (!/^[\x20-\x7e]{0,20}$/.test(serial)) {
    throw new BlockError(name, 'serial', `'${serial}'; expected at most ${ID_LENGTH} printable ASCII characters`)
  }
  const bytes = new Uint8Array(ID_LENGTH)
  for (let i = 0; i < serial.length; i++) bytes[i] = serial.charCodeAt(i)
  return bytes
}

/** Creates a disk over a backend, which it does not own. @throws BlockError for a size or a serial that cannot be */
export function createVirtioBlock(options: VirtioBlockOptions): VirtioDevice {
  const { backend } = options
  const label = options.name ?? 'disk'
  checkDiskSize(label, backend.size)
  const id = serialBytes(label, options.serial ?? '')
  const capacity = backend.size / SECTOR
  const config = new DataView(BlkConfig.create({
    capacity: BigInt(capacity), segMax: QUEUE_SIZE - 2, blkSize: SECTOR, writeback: 1, numQueues: 1,
    maxDiscardSectors: RANGE_SECTORS, maxDiscardSeg: RANGES, discardSectorAlignment: 1,
    maxWriteZeroesSectors: RANGE_SECTORS, maxWriteZeroesSeg: RANGES, writeZeroesMayUnmap: 1,
  }).buffer)
  const state = { writeback: 1 }
  const chunk = new Uint8Array(CHUNK)
  let port: VirtioPort | undefined
  /** Bytes moved in this turn. */
  let spent = 0

  const accepted = (feature: bigint): boolean => ((port?.features() ?? 0n) & feature) !== 0n
  /** Section 5.2.6.2: without a cache that the driver knows of, completed writes are on stable storage. */
  const writesThrough = (): boolean =>
    !accepted(BLK_FEATURE.FLUSH) || (accepted(BLK_FEATURE.CONFIG_WCE) && state.writeback === 0)
  const flush = (): number => {
    spent += FLUSH_COST
    return backend.flush() ? BLK_STATUS.OK : BLK_STATUS.IOERR
  }
  const settled = (done: boolean): number =>
    (!done ? BLK_STATUS.IOERR : writesThrough() ? flush() : BLK_STATUS.OK)
  const fits = (sector: number, bytes: number): boolean =>
    bytes % SECTOR === 0 && bytes <= REQUEST_LIMIT && sector + bytes / SECTOR <= capacity

  /** Status, and bytes written into the request before it. */
  type Answer = readonly [status: number, written: number]

  const read = (chain: DescriptorChain, sector: number): Answer => {
    const length = chain.writable - 1
    if (!fits(sector, length)) return [BLK_STATUS.IOERR, 0]
    for (let at = 0; at < length; at += CHUNK) {
      const part = chunk.subarray(0, Math.min(CHUNK, length - at))
      if (!backend.read(sector * SECTOR + at, part)) return [BLK_STATUS.IOERR, at]
      if (chain.write(part, at) < part.length) return [BLK_STATUS.IOERR, at]
    }
    return [BLK_STATUS.OK, length]
  }
  const write = (chain: DescriptorChain, sector: number): Answer => {
    const length = chain.readable - HEADER
    if (backend.readOnly || !fits(sector, length)) return [BLK_STATUS.IOERR, 0]
    for (let at = 0; at < length; at += CHUNK) {
      const part = chunk.subarray(0, Math.min(CHUNK, length - at))
      if (chain.read(part, HEADER + at) < part.length) return [BLK_STATUS.IOERR, 0]
      if (!backend.write(sector * SECTOR + at, part)) return [BLK_STATUS.IOERR, 0]
    }
    return [settled(true), 0]
  }
  const getId = (chain: DescriptorChain): Answer =>
    [BLK_STATUS.OK, chain.write(id.subarray(0, Math.min(ID_LENGTH, chain.writable - 1)))]

  /** Discard and write-zeroes: all ranges are checked before the first is carried out. */
  const ranges = (chain: DescriptorChain, zero: boolean): Answer => {
    const length = chain.readable - HEADER
    if (backend.readOnly || length === 0 || length % Range.size !== 0 || length > RANGES * Range.size) {
      return [BLK_STATUS.IOERR, 0]
    }
    const bytes = new Uint8Array(length)
    if (chain.read(bytes, HEADER) < length) return [BLK_STATUS.IOERR, 0]
    const view = new DataView(bytes.buffer)
    const list = Array.from({ length: length / Range.size }, (_, i) => Range.read(view, i * Range.size))
    // Reserved flags, and unmap where everything is: not supported.
    if (list.some(({ flags }) => (zero ? flags & ~UNMAP : flags) !== 0)) return [BLK_STATUS.UNSUPP, 0]
    const good = list.every(({ sector, numSectors }) =>
      numSectors <= RANGE_SECTORS && Number(sector) + numSectors <= capacity)
    if (!good) return [BLK_STATUS.IOERR, 0]
    const done = list.every(({ sector, numSectors, flags }) => {
      const [at, n] = [Number(sector) * SECTOR, numSectors * SECTOR]
      spent += zero ? n : 0
      if (n === 0) return true
      return zero ? backend.writeZeroes(at, n, (flags & UNMAP) !== 0) : backend.discard(at, n)
    })
    return [zero ? settled(done) : done ? BLK_STATUS.OK : BLK_STATUS.IOERR, 0]
  }

  const carryOut = (chain: DescriptorChain, type: number, sector: number): Answer => {
    switch (type) {
      case BLK_REQUEST.IN: return read(chain, sector)
      case BLK_REQUEST.OUT: return write(chain, sector)
      case BLK_REQUEST.FLUSH: return [flush(), 0]
      case BLK_REQUEST.GET_ID: return getId(chain)
      case BLK_REQUEST.DISCARD: return ranges(chain, false)
      case BLK_REQUEST.WRITE_ZEROES: return ranges(chain, true)
      default: return [BLK_STATUS.UNSUPP, 0]
    }
  }

  return {
    name: 'virtio-blk', type: VIRTIO_TYPE.BLOCK, classCode: 0x01_0000,
    features: BLK_FEATURE.SEG_MAX | BLK_FEATURE.BLK_SIZE | BLK_FEATURE.FLUSH | BLK_FEATURE.CONFIG_WCE
      | (backend.readOnly ? BLK_FEATURE.RO : BLK_FEATURE.DISCARD | BLK_FEATURE.WRITE_ZEROES),
    queueSizes: [QUEUE_SIZE], latency: LATENCY, configSize: BlkConfig.size,
    attach(given) { port = given },
    readConfig: (offset) => (offset === BlkConfig.offset.writeback ? state.writeback : config.getUint8(offset)),
    writeConfig(offset, value) {
      if (offset === BlkConfig.offset.writeback && accepted(BLK_FEATURE.CONFIG_WCE)) state.writeback = value & 1
    },
    notify(index) {
      const queue = port?.queue(index)
      spent = 0
      for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
        if (chain.readable < HEADER || chain.writable < 1) {
          port?.fail('a request without a header to read or a status to write (5.2.6)')
          return
        }
        const header = new Uint8Array(HEADER)
        chain.read(header)
        const view = new DataView(header.buffer)
        const [status, written] = carryOut(chain, view.getUint32(0, true), Number(view.getBigUint64(8, true)))
        chain.write(Uint8Array.of(status), chain.writable - 1)
        // Section 2.7.8.2: so many bytes from the first on were written for sure.
        queue?.push(chain, written === chain.writable - 1 ? written + 1 : written)
        spent += Math.min(REQUEST_LIMIT, chain.readable + chain.writable)
        if (spent >= TURN_LIMIT) {
          port?.notifyLater(index, LATENCY)
          return
        }
      }
    },
    reset() { state.writeback = 1 },
    snapshot: () => ({ ...copyPlain(state), disk: backend.snapshot() }),
    restore(saved) {
      restorePlain('virtio-blk', state, saved)
      state.writeback &= 1
      backend.restore((saved as { disk?: null }).disk ?? null)
    },
  }
}
