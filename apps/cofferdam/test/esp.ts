/**
 * A disk image with one EFI system partition, for tests: GPT (UEFI 2.10, §5.3) with a FAT16 volume (Microsoft FAT
 * specification, 2000) that holds files with names of 8.3 capitals, in the root or in folders.
 */
import { crc32 } from 'node:zlib'

const sector = 512
const firstLba = 2048
const entriesLba = 2
const entrySectors = 32
const sectorsPerCluster = 4
const cluster = sectorsPerCluster * sector
const rootEntries = 512
const reserved = 1
const directoryFlag = 0x10
const endOfChain = 0xffff

/** GUIDs as they lie on disk. */
const espType = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b'
const guid = (text: string): number[] =>
  text.split('-').flatMap((part, i) => {
    const bytes = part.match(/../g)?.map((two) => Number.parseInt(two, 16)) ?? []
    return i < 3 ? bytes.reverse() : bytes
  })

interface Volume {
  readonly bytes: Buffer
  /** Stores data in a chain of clusters and answers the first one. */
  readonly store: (data: Uint8Array) => number
  readonly rootStart: number
}

const openVolume = (sectors: number): Volume => {
  const fatSectors = Math.ceil((Math.ceil(sectors / sectorsPerCluster) + 2) * 2 / sector)
  const rootStart = (reserved + fatSectors) * sector
  const dataStart = rootStart + rootEntries * 32
  const bytes = Buffer.alloc(sectors * sector)
  bytes.set([0xeb, 0x3c, 0x90], 0)
  bytes.write('TESTDISK', 3)
  bytes.writeUInt16LE(sector, 11)
  bytes.set([sectorsPerCluster, reserved, 0, 1], 13)
  bytes.writeUInt16LE(rootEntries, 17)
  bytes[21] = 0xf8
  bytes.writeUInt16LE(fatSectors, 22)
  bytes.writeUInt32LE(firstLba, 28)
  bytes.writeUInt32LE(sectors, 32)
  bytes.set([0x80, 0, 0x29, 1, 2, 3, 4], 36)
  bytes.write('ESP        FAT16   ', 43)
  bytes.writeUInt16LE(0xaa55, 510)
  const fat = (n: number, value: number): number => bytes.writeUInt16LE(value, reserved * sector + 2 * n)
  fat(0, 0xfff8)
  fat(1, endOfChain)
  let next = 2
  const store = (data: Uint8Array): number => {
    const first = next
    const count = Math.max(1, Math.ceil(data.length / cluster))
    if (dataStart + (first - 2 + count) * cluster > bytes.length) throw new Error('the files do not fit')
    bytes.set(data, dataStart + (first - 2) * cluster)
    for (let i = 0; i < count; i++) fat(first + i, i === count - 1 ? endOfChain : first + i + 1)
    next += count
    return first
  }
  return { bytes, store, rootStart }
}

const directoryEntry = (name: string, attributes: number, start: number, size: number): Buffer => {
  const [base = '', extension = ''] = /^\.+$/.test(name) ? [name] : name.split('.')
  const entry = Buffer.alloc(32)
  entry.write(base.padEnd(8) + extension.padEnd(3), 'latin1')
  entry[11] = attributes
  entry.writeUInt16LE(start, 26)
  entry.writeUInt32LE(size, 28)
  return entry
}

/** A folder: files by name, and folders. */
export interface Folder {
  readonly [name: string]: Uint8Array | Folder
}

/** Entries of a folder's contents; folders inside are stored first. */
const entriesOf = (volume: Volume, folder: Folder): Buffer[] =>
  Object.entries(folder).map(([name, content]) => {
    if (content instanceof Uint8Array) return directoryEntry(name, 0x20, volume.store(content), content.length)
    // The parent's cluster is not known yet, and nobody here goes up.
    const dots = ['.', '..'].map((dot) => directoryEntry(dot, directoryFlag, 0, 0))
    const start = volume.store(Buffer.concat([...dots, ...entriesOf(volume, content)]))
    return directoryEntry(name, directoryFlag, start, 0)
  })

const gptHeader = (lba: number, other: number, sectors: number, table: number, entries: Buffer): Buffer => {
  const header = Buffer.alloc(sector)
  header.write('EFI PART')
  header.writeUInt32LE(0x1_0000, 8)
  header.writeUInt32LE(92, 12)
  for (const [at, value] of [[24, lba], [32, other], [40, entriesLba + entrySectors], [48, sectors - entrySectors - 2],
    [72, table]] as const) header.writeBigUInt64LE(BigInt(value), at)
  header.set(guid('01234567-89ab-cdef-0123-456789abcdef'), 56)
  header.writeUInt32LE(128, 80)
  header.writeUInt32LE(128, 84)
  header.writeUInt32LE(crc32(entries), 88)
  header.writeUInt32LE(crc32(header.subarray(0, 92)), 16)
  return header
}

/** A disk of `mebibytes` whose EFI system partition holds `files`. */
export const espDisk = (mebibytes: number, files: Folder): Buffer => {
  const sectors = mebibytes * 2048
  const disk = Buffer.alloc(sectors * sector)
  const last = sectors - entrySectors - 2
  const volume = openVolume(last - firstLba + 1)
  Buffer.concat(entriesOf(volume, files)).copy(volume.bytes, volume.rootStart)
  volume.bytes.copy(disk, firstLba * sector)
  // Protective MBR: one partition of type EEh over everything.
  disk.set([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff], 446)
  disk.writeUInt32LE(1, 454)
  disk.writeUInt32LE(sectors - 1, 458)
  disk.writeUInt16LE(0xaa55, 510)
  const entries = Buffer.alloc(entrySectors * sector)
  entries.set([...guid(espType), ...guid('89abcdef-0123-4567-89ab-cdef01234567')])
  entries.writeBigUInt64LE(BigInt(firstLba), 32)
  entries.writeBigUInt64LE(BigInt(last), 40)
  entries.write('ESP', 56, 'utf16le')
  gptHeader(1, sectors - 1, sectors, entriesLba, entries).copy(disk, sector)
  entries.copy(disk, entriesLba * sector)
  entries.copy(disk, (sectors - 1 - entrySectors) * sector)
  gptHeader(sectors - 1, 1, sectors, sectors - 1 - entrySectors, entries).copy(disk, (sectors - 1) * sector)
  return disk
}
