import { SECTOR, type SectorStore } from '@cofferdam/devices'
import { existsSync } from 'node:fs'
import { usageError } from '../errors.ts'
import { openRandomFile, restoreFile, snapshotFile, type RandomFile } from './file-io.ts'

/*
 * An overlay file: a header of 4096 bytes, a bitmap with one bit for each sector that was written (rounded up to 4096
 * bytes), then the sectors at the places that they have in the image. The file is sparse. A sector is written before
 * its bit, and what was written but not flushed may be lost with the host's power; its neighbours are not.
 *
 * Header, little-endian: 'COFFOVL1', the image's size in bytes, its time of change in nanoseconds.
 */
const magic = new TextEncoder().encode('COFFOVL1')
const headerSize = 4096
const chunkSize = 2 ** 20

/** The largest image that an overlay file is made for: its bitmap of 256 MiB is kept in memory. */
const largestImage = 2 ** 40

const header = (size: number, changed: bigint): Uint8Array => {
  const bytes = new Uint8Array(headerSize)
  bytes.set(magic)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(8, BigInt(size), true)
  view.setBigUint64(16, changed, true)
  return bytes
}

const checkHeader = (path: string, file: RandomFile, wanted: Uint8Array): void => {
  const fail = (field: string, expected: string): Error =>
    usageError(`overlay ${path}: ${field}: expected ${expected}`)
  const found = new Uint8Array(headerSize)
  if (file.size < headerSize || !file.read(0, found)) throw fail('header', `at least ${headerSize} bytes`)
  const same = (from: number, to: number): boolean =>
    found.subarray(from, to).every((byte, i) => byte === wanted[from + i])
  if (!same(0, 8)) throw fail('signature', 'COFFOVL1, an overlay file that this program made')
  if (!same(8, 16)) throw fail('image size', 'an overlay of this image; the sizes differ')
  if (!same(16, 24)) throw fail('image time', 'an overlay of this image as it is; the image was changed since')
  if (!same(24, headerSize)) throw fail('reserved bytes', 'zeros')
}

/**
 * Opens what a guest wrote on top of an image, or starts anew where there is no such file.
 * @param image - the image below: its size and time of change, which an overlay is bound to
 * @throws a usage error that names the file and the field
 */
export const openOverlayFile = (path: string, image: Pick<RandomFile, 'size' | 'mark'>): SectorStore => {
  const { size } = image
  if (size > largestImage) throw usageError(`overlay ${path}: image size: expected at most 1T`)
  const isNew = !existsSync(path)
  const file = openRandomFile('overlay', path, isNew ? 'wx+' : 'r+')
  const wanted = header(size, image.mark().changed)
  const bitmap = new Uint8Array(Math.ceil(size / SECTOR / 8 / 4096) * 4096)
  const dataStart = headerSize + bitmap.length
  const good = (done: boolean): void => {
    if (!done) throw usageError(`overlay ${path}: it cannot be ${isNew ? 'written' : 'read'}`)
  }
  if (isNew) good(file.write(0, wanted) && file.sync())
  else {
    checkHeader(path, file, wanted)
    good(file.read(headerSize, bitmap))
  }

  const isHeld = (offset: number): boolean => {
    const sector = offset / SECTOR
    return ((bitmap[Math.floor(sector / 8)] ?? 0) >> (sector % 8) & 1) !== 0
  }
  /** Sets the bits of a range and writes the bytes that changed. */
  const mark = (offset: number, length: number): boolean => {
    let from = Infinity
    let to = 0
    for (let sector = offset / SECTOR; sector < (offset + length) / SECTOR; sector++) {
      const at = Math.floor(sector / 8)
      const now = (bitmap[at] ?? 0) | (1 << (sector % 8))
      if (now === bitmap[at]) continue
      bitmap[at] = now
      from = Math.min(from, at)
      to = at + 1
    }
    return to === 0 || file.write(headerSize + from, bitmap.subarray(from, to))
  }
  const write = (offset: number, bytes: Uint8Array): boolean =>
    file.write(dataStart + offset, bytes) && mark(offset, bytes.length)

  return {
    extent: (offset, length) => {
      const held = isHeld(offset)
      let end = SECTOR
      while (end < length && isHeld(offset + end) === held) end += SECTOR
      return { held, length: end }
    },
    read: (offset, target) => file.read(dataStart + offset, target),
    write,
    zero: (offset, length) => {
      for (let at = 0; at < length; at += chunkSize) {
        if (!write(offset + at, new Uint8Array(Math.min(chunkSize, length - at)))) return false
      }
      return true
    },
    flush: file.sync,
    snapshot: () => snapshotFile(file),
    restore: (saved) => restoreFile(`overlay ${path}`, file, saved),
  }
}
