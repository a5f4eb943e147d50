/** The frame of an IGVM file: fixed header, checksum, and variable headers one after the other. */
import {
  IGVM_ARCHITECTURE_X64, IGVM_MAGIC, IGVM_SECTIONS, IgvmHeader, IgvmHeader2, IgvmType, IgvmVariableHeader,
  IGVM_OPTIONAL,
  type Layout, type LayoutFields, type LayoutRecord,
} from '@cofferdam/spec'
import { crc32 } from '../efi/crc32.ts'
import { BootError, hex } from '../error.ts'
import { viewOf } from './bytes.ts'

const PAGE = 4096

/** A variable header: where it is, for messages, and its content without padding. */
export interface IgvmEntry {
  readonly type: number
  readonly bytes: Uint8Array
  readonly where: string
}

/** A file, opened. */
export interface IgvmReader {
  readonly entries: readonly IgvmEntry[]
  /** The content of an entry by its layout. @throws BootError when it has another length */
  read<const F extends LayoutFields>(entry: IgvmEntry, structure: Layout<F>): LayoutRecord<F>
  /** Bytes of the file's data; undefined for offset 0, which stands for zeroes. @throws BootError */
  data(entry: IgvmEntry, offset: number, length: number): Uint8Array | undefined
  /** @throws BootError about an entry, always */
  refuse(entry: IgvmEntry, problem: string): never
}

/** Whether a file begins as IGVM files do. */
export const isIgvm = (bytes: Uint8Array): boolean =>
  bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === IGVM_MAGIC

/** `PAGE_DATA`, or the number of a type that has no name. */
export const igvmTypeName = (type: number): string =>
  Object.entries(IgvmType).find(([, value]) => value === type)?.[0] ?? `type ${hex(type)}`

/** The fixed header's checks; answers where the variable headers are. */
function readFrame(bytes: Uint8Array, name: string): { readonly start: number, readonly end: number } {
  const refuse = (field: string, problem: string): never => {
    throw new BootError(name, `IGVM header, ${field}`, problem)
  }
  if (bytes.length < IgvmHeader.size) refuse('size', `${bytes.length} bytes; expected at least ${IgvmHeader.size}`)
  const view = viewOf(bytes)
  const header = IgvmHeader.read(view)
  if (header.magic !== IGVM_MAGIC) refuse('magic', `${hex(header.magic)}; expected ${hex(IGVM_MAGIC)}, "IGVM"`)
  const { formatVersion: version } = header
  if (version !== 1 && version !== 2) refuse('format_version', `${version}; expected 1 or 2`)
  const headerSize = version === 1 ? IgvmHeader.size : IgvmHeader2.size
  const { variableHeaderOffset: start, variableHeaderSize: size } = header
  if (header.totalFileSize !== bytes.length) {
    refuse('total_file_size', `${header.totalFileSize}; the file has ${bytes.length} bytes`)
  }
  if (start !== headerSize) refuse('variable_header_offset', `${start}; expected ${headerSize}`)
  const end = start + size
  if (size % 8 !== 0 || end > bytes.length) {
    refuse('variable_header_size', `${size}; expected a multiple of 8 inside the file's ${bytes.length} bytes`)
  }
  if (version === 2) {
    const { architecture, pageSize } = IgvmHeader2.read(view)
    if (architecture !== IGVM_ARCHITECTURE_X64) refuse('architecture', `${architecture}; expected 0, x64`)
    if (pageSize !== PAGE) refuse('page_size', `${pageSize}; expected ${PAGE}`)
  }
  const summed = bytes.slice(0, end)
  IgvmHeader.set(viewOf(summed), 'checksum', 0)
  const checksum = crc32(summed)
  if (header.checksum !== checksum) refuse('checksum', `${hex(header.checksum)}; expected ${hex(checksum)}`)
  return { start, end }
}

/** All variable headers, with their sections in order. */
function readEntries(bytes: Uint8Array, name: string, start: number, end: number): IgvmEntry[] {
  const view = viewOf(bytes)
  const entries: IgvmEntry[] = []
  let section = 0
  for (let at = start; at < end;) {
    const { type: word, length } = IgvmVariableHeader.read(view, at)
    const type = (word & ~IGVM_OPTIONAL) >>> 0
    const where = `variable header ${entries.length} at ${hex(at)} (${igvmTypeName(type)})`
    const from = at + IgvmVariableHeader.size
    const padded = from + Math.ceil(length / 8) * 8
    if (padded > end) throw new BootError(name, where, `length ${length}; ${end - from} bytes are left`)
    if (bytes.subarray(from + length, padded).some((byte) => byte !== 0)) {
      throw new BootError(name, where, 'its padding is not zero')
    }
    const own = IGVM_SECTIONS.findIndex(([first, last]) => type >= first && type <= last)
    const isKnown = (Object.values(IgvmType) as readonly number[]).includes(type)
    if (!isKnown && (word & IGVM_OPTIONAL) === 0) {
      throw new BootError(name, where, 'a type that this loader does not know')
    }
    if (own >= 0 && own < section) throw new BootError(name, where, 'it belongs to a section that is over')
    if (own >= 0) section = own
    if (isKnown) entries.push({ type, bytes: bytes.subarray(from, from + length), where })
    at = padded
  }
  return entries
}

/**
 * Opens a file.
 * @throws BootError that names the file, the field and what was expected
 */
export function openIgvm(bytes: Uint8Array, name: string): IgvmReader {
  const { start, end } = readFrame(bytes, name)
  const entries = readEntries(bytes, name, start, end)
  const refuse = (entry: IgvmEntry, problem: string): never => { throw new BootError(name, entry.where, problem) }
  return {
    entries, refuse,
    read(entry, structure) {
      if (entry.bytes.length !== structure.size) {
        refuse(entry, `length ${entry.bytes.length}; expected ${structure.size}`)
      }
      return structure.read(viewOf(entry.bytes))
    },
    data(entry, offset, length) {
      if (offset === 0) return undefined
      if (offset < end || offset + length > bytes.length) {
        refuse(
          entry, `file_offset ${hex(offset)}, for ${length} bytes; the data lie at ${hex(end)} to ${hex(bytes.length)}`,
        )
      }
      return bytes.subarray(offset, offset + length)
    },
  }
}
