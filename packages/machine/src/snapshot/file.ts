/**
 * Snapshots as files. All numbers are little-endian:
 *
 *     0  16 bytes  what it is: MAGIC
 *    16  u32       version of this layout
 *    20  u32       length of the directory
 *    24  u32       CRC-32 of the directory
 *    28            the directory, MessagePack: see `Directory`
 *                  then the sections, one behind the other
 *
 * Every section is compressed by itself and has its own checksum, so that whoever reads a file can do several at once
 * and never needs more memory than what the machine had in use.
 */
import type { Plain } from '@cofferdam/devices'
import { IMAGE_PIECE, pieceBytes } from '@cofferdam/memory'
import type { ImagePiece, MemoryImage } from '@cofferdam/memory'
import { stateLayout } from '@cofferdam/x86'
import type { Snapshot } from '../board.ts'
import { asSnapshot } from '../machine.ts'
import { MachineError } from '../options.ts'
import { hostMemory } from '../snp/host-memory.ts'
import { plainCodec } from './codec.ts'
import type { SnapshotCodec } from './codec.ts'
import { crc32 } from './crc32.ts'
import { pack, unpack } from './pack.ts'
import { misfit } from './shape.ts'
import type { Shape } from './shape.ts'
import { checkSnapshotOptions } from './snapshot.ts'
import type { SnapshotData, SnapshotOptions } from './snapshot.ts'
import type { MachineState } from './state.ts'

/** The first bytes; a transfer that changes line ends or cuts the eighth bit breaks them. */
const MAGIC = Uint8Array.of(0x89, ...new TextEncoder().encode('COFFERDAM\r\n'), 0x1a, 0x0a, 0, 0)
/** Version of the layout and of what the sections hold. */
export const SNAPSHOT_VERSION = 2
const HEADER = 28
/** Longest directory: a piece of memory takes some 20 bytes of it. */
const LONGEST_DIRECTORY = 2 ** 21
/** Longest state when it is unpacked: that of a machine with 64 processors and full TLBs, and overlays of its disks. */
const LONGEST_STATE = 2 ** 29
/** Bytes that a memory can have in frames at most: it lies in one WebAssembly memory. */
const MOST_BACKED = 2 ** 32
/** Sections that are compressed or unpacked at a time. */
const AT_ONCE = 4

/** One section: where it is, and what it becomes. */
type Section = readonly [stored: number, length: number, crc32: number]

interface Directory {
  /** What made the file; another layout of registers is another version. */
  readonly layout: number
  readonly options: SnapshotOptions
  readonly codec: string
  /** The state, then pieces of memory, each stored bytes, bytes when unpacked, checksum of the stored bytes. */
  readonly sections: readonly Section[]
}

const DIRECTORY: Shape = {
  layout: 'count',
  options: {
    memory: 'count', vcpus: 'count', cpu: 'string', seed: 'integer', cc: 'string', snp: { orNull: {} }, files: {},
  },
  codec: 'string',
  sections: { list: { list: 'count' } },
}

/** The first section. */
interface Body {
  readonly attachment: Plain
  readonly state: MachineState
  readonly image: Omit<MemoryImage, 'contents'>
}

const BODY: Shape = {
  attachment: 'any',
  state: {},
  image: {
    stored: Uint32Array, zero: Uint32Array, packed: Uint32Array, patterns: Uint32Array, packAbove: 'count',
    readAsZero: Uint32Array,
    keys: { keys: { list: Uint8Array }, slots: { list: { list: 'count' } }, pages: { list: { list: 'any' } } },
  },
}

const layoutMark = crc32(new TextEncoder().encode(stateLayout))

/** Does `work` for each item, `AT_ONCE` at a time; the results in the items' order. */
async function eachAtOnce<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++
      results[index] = await work(items[index], index)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return results
}

/**
 * A snapshot as the bytes of a file.
 * @throws MachineError for a state that is longer than a file may hold: of disks with much that was written over them
 */
export async function encodeSnapshot(snapshot: SnapshotData, codec: SnapshotCodec = plainCodec): Promise<Uint8Array> {
  const { contents, ...image } = snapshot.image
  const body: Body = { attachment: snapshot.attachment, state: snapshot.state, image }
  const parts = [pack(body), ...contents.map(pieceBytes)]
  if (parts[0].length > LONGEST_STATE) {
    throw new MachineError(snapshot.name, 'state', `expected at most ${LONGEST_STATE} bytes, got ${parts[0].length}`)
  }
  const stored = await eachAtOnce(parts, (part) => codec.compress(part))
  const directory: Directory = {
    layout: layoutMark, options: snapshot.options, codec: codec.name,
    sections: stored.map((bytes, i) => [bytes.length, parts[i].length, crc32(bytes)]),
  }
  const packed = pack(directory)
  const file = new Uint8Array(stored.reduce((sum, { length }) => sum + length, HEADER + packed.length))
  const view = new DataView(file.buffer)
  file.set(MAGIC)
  view.setUint32(16, SNAPSHOT_VERSION, true)
  view.setUint32(20, packed.length, true)
  view.setUint32(24, crc32(packed), true)
  let at = HEADER
  for (const bytes of [packed, ...stored]) {
    file.set(bytes, at)
    at += bytes.length
  }
  return file
}

/** How `decodeSnapshot` reads. */
export interface DecodeOptions {
  /** What errors call the file. */
  readonly name?: string
  /** What may have compressed it, besides `plainCodec`. */
  readonly codecs?: readonly SnapshotCodec[]
  /** The checksum of zlib, for those who have a faster one. */
  readonly crc32?: (bytes: Uint8Array) => number
}

/** The directory of a file, and where it ends. @throws MachineError */
function readDirectory(file: Uint8Array, name: string): { directory: Directory, end: number } {
  const refuse = (field: string, problem: string): never => { throw new MachineError(name, field, problem) }
  if (MAGIC.some((byte, i) => file[i] !== byte)) refuse('magic', 'expected a snapshot of Cofferdam')
  if (file.length < HEADER) refuse('header', `expected ${HEADER} bytes, got ${file.length}: the file is cut off`)
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const [version, length, sum] = [16, 20, 24].map((at) => view.getUint32(at, true))
  if (version !== SNAPSHOT_VERSION) refuse('version', `expected ${SNAPSHOT_VERSION}, got ${version}`)
  if (length > LONGEST_DIRECTORY) refuse('directory', `expected at most ${LONGEST_DIRECTORY} bytes, got ${length}`)
  const end = HEADER + length
  if (file.length < end) {
    refuse('directory', `expected ${length} bytes, got ${file.length - HEADER}: the file is cut off`)
  }
  const packed = file.subarray(HEADER, end)
  if (crc32(packed) !== sum) refuse('directory', 'expected another checksum: the file is damaged')
  const directory = unpackAs(packed, DIRECTORY, name, 'directory') as Directory
  if (directory.layout !== layoutMark) {
    refuse('layout', 'expected a snapshot of this version of Cofferdam, got another one\'s')
  }
  checkSnapshotOptions(name, directory.options)
  const { sections } = directory
  if (sections.length === 0 || sections.some((section) => section.length !== 3)) {
    refuse('sections', 'expected three numbers each')
  }
  return { directory, end }
}

/** @throws MachineError naming the part of `field` that has another shape */
function unpackAs(bytes: Uint8Array, shape: Shape, name: string, field: string): unknown {
  let value: unknown
  try {
    value = unpack(bytes)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new MachineError(name, field, `expected MessagePack (${why})`)
  }
  const found = misfit(value, shape)
  if (found !== undefined) throw new MachineError(name, `${field}.${found.path}`, `expected ${found.expected}`)
  return value
}

/**
 * Reads a snapshot's file. Whether the state in it is one that a machine can be in is found when one is made from it.
 * @throws MachineError for what is no such file, or damaged, cut off, or of another version
 */
export async function decodeSnapshot(file: Uint8Array, options: DecodeOptions = {}): Promise<Snapshot> {
  const { name = 'snapshot', codecs = [], crc32: checksum = crc32 } = options
  const { directory, end } = readDirectory(file, name)
  const codec = [plainCodec, ...codecs].find((one) => one.name === directory.codec)
  if (codec === undefined) {
    const known = [plainCodec, ...codecs].map((one) => one.name).join(', ')
    throw new MachineError(name, 'codec', `expected one of ${known}; got ${directory.codec}`)
  }
  checkLengths(directory, file.length - end, name)
  let at = end
  const sections = directory.sections.map(([stored, length, sum], i): Stored => {
    const bytes = file.subarray(at, at += stored)
    const field = i === 0 ? 'state' : `memory.contents[${i - 1}]`
    if (checksum(bytes) !== sum) throw new MachineError(name, field, 'expected another checksum: the file is damaged')
    return { bytes, length, name, field }
  })
  const body = await unpackNow(codec, sections[0])
  const { attachment, state, image } = unpackAs(body, BODY, name, 'state') as Body
  const contents =
    await eachAtOnce(sections.slice(1), (section) => unpackLater(codec, section) ?? unpackNow(codec, section))
  return asSnapshot({ name, options: directory.options, attachment, state, image: { ...image, contents } })
}

/** @throws MachineError when the sections don't fill the rest of the file, or would fill more memory than there was */
function checkLengths({ sections, options }: Directory, rest: number, name: string): void {
  const total = sections.reduce((sum, [stored]) => sum + stored, 0)
  if (total > rest) {
    throw new MachineError(name, 'sections', `expected ${total} bytes, got ${rest}: the file is cut off`)
  }
  if (total < rest) {
    throw new MachineError(name, 'sections', `expected ${total} bytes, got ${rest}: something follows them`)
  }
  const memory = sections.slice(1).reduce((sum, [, length]) => sum + length, 0)
  if (sections[0][1] > LONGEST_STATE) {
    throw new MachineError(
      name, 'sections', `expected a state of at most ${LONGEST_STATE} bytes, got ${sections[0][1]}`,
    )
  }
  // Memory has no use for more, so nothing is unpacked that would not fit.
  const ram = options.cc === 'snp' ? hostMemory(options.memory) : options.memory
  if (memory > Math.min(ram, MOST_BACKED)) {
    throw new MachineError(name, 'sections', `expected no more than the ${ram} bytes of RAM, got ${memory}`)
  }
  if (sections.slice(1).some(([, length]) => length > IMAGE_PIECE)) {
    throw new MachineError(name, 'sections', `expected pieces of at most ${IMAGE_PIECE} bytes`)
  }
}

/** A section as it lies in the file, which has the right checksum. */
interface Stored {
  readonly bytes: Uint8Array
  readonly length: number
  /** Of the file, and of the section in it. */
  readonly name: string
  readonly field: string
}

const refuseSection = ({ name, field }: Stored, { name: method }: SnapshotCodec, error: unknown): never => {
  throw new MachineError(name, field, `expected ${method} (${error instanceof Error ? error.message : String(error)})`)
}

function checkUnpacked({ length, name, field }: Stored, bytes: Uint8Array): Uint8Array {
  if (bytes.length !== length) throw new MachineError(name, field, `expected ${length} bytes, got ${bytes.length}`)
  // A Buffer of Node is a Uint8Array with methods of its own.
  return new Uint8Array(bytes.buffer, bytes.byteOffset, length)
}

async function unpackNow(codec: SnapshotCodec, section: Stored): Promise<Uint8Array> {
  let unpacked: Uint8Array
  try {
    unpacked = await codec.decompress(section.bytes, section.length)
  } catch (error) {
    return refuseSection(section, codec, error)
  }
  return checkUnpacked(section, unpacked)
}

/** A piece of memory that is unpacked when somebody looks at it, where the codec can. */
function unpackLater(codec: SnapshotCodec, section: Stored): ImagePiece | undefined {
  if (codec.decompressNow === undefined) return undefined
  const { bytes, length } = section
  return {
    length,
    load() {
      let unpacked: Uint8Array
      try {
        unpacked = codec.decompressNow?.(bytes, length) ?? bytes
      } catch (error) {
        return refuseSection(section, codec, error)
      }
      return checkUnpacked(section, unpacked)
    },
  }
}
