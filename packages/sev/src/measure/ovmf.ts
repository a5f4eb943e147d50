/**
 * What OVMF's image says about itself to whoever starts it: a table of GUIDs that ends 32 bytes before the image does,
 * and in it the pages that have to be there at launch (edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm and
 * X64/OvmfSevMetadata.asm).
 */
import { guidBytes } from '@cofferdam/spec'
import { sameBytes, viewOf } from '../bytes.ts'
import { SevInputError } from '../error.ts'

/** GUIDs of entries in the table. */
export const OvmfGuid = {
  TABLE_FOOTER: '96b582de-1fb2-45f7-baea-a366c55a082d',
  SEV_HASH_TABLE: '7255371f-3a3b-4b04-927b-1da6efa8d454',
  SEV_ES_RESET_BLOCK: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
  SEV_METADATA: 'dc886566-984a-4798-a75e-5585a7bf67cc',
} as const

/** Types of sections in the SEV metadata. */
export const OvmfSectionType = { SEC_MEM: 1, SECRETS: 2, CPUID: 3, SVSM_CAA: 4, KERNEL_HASHES: 0x10 } as const

/** A range of guest memory that has to be launched. */
export interface OvmfSection {
  /** A number of `OvmfSectionType`. */
  readonly type: number
  readonly gpa: number
  /** Bytes, whole pages. */
  readonly size: number
}

/** An OVMF image. */
export interface OvmfImage {
  readonly bytes: Uint8Array
  /** Guest physical address of its first byte: images end at 4 GiB. */
  readonly gpa: number
  /** Where application processors start (SEV-ES reset block), or null. */
  readonly resetEip: number | null
  /** Where the table of kernel hashes lies, or null. */
  readonly hashTableGpa: number | null
  readonly sections: readonly OvmfSection[]
}

const FOUR_GIB = 2 ** 32
const PAGE = 4096
const ENTRY_HEADER = 18
const FROM_END = 32
/** Sections that one image may have, and the memory that they may name together. */
const MAX_SECTIONS = 256

/**
 * Reads an image.
 * @param name the file's name, for messages
 * @throws SevInputError when it is no OVMF image or its tables contradict themselves
 */
export function parseOvmf(bytes: Uint8Array, name = 'firmware'): OvmfImage {
  if (bytes.length === 0 || bytes.length % PAGE !== 0 || bytes.length > 2 ** 28) {
    throw new SevInputError(name, `its size, ${bytes.length} bytes`, 'whole 4 KiB pages, up to 256 MiB')
  }
  const entries = readTable(bytes, name)
  const word = (guid: string): number | null => {
    const data = entries.find((e) => sameBytes(e.guid, guidBytes(guid)))?.data
    return data === undefined || data.length < 4 ? null : viewOf(data).getUint32(0, true)
  }
  const metadata = word(OvmfGuid.SEV_METADATA)
  const hashTable = word(OvmfGuid.SEV_HASH_TABLE)
  return {
    bytes, gpa: FOUR_GIB - bytes.length,
    resetEip: word(OvmfGuid.SEV_ES_RESET_BLOCK),
    hashTableGpa: hashTable === 0 ? null : hashTable,
    sections: metadata === null ? [] : readSections(bytes, metadata, name),
  }
}

interface TableEntry {
  readonly guid: Uint8Array
  readonly data: Uint8Array
}

/** Walks the table backwards from its footer; empty when the image has none. */
function readTable(bytes: Uint8Array, name: string): TableEntry[] {
  const footer = bytes.length - FROM_END - ENTRY_HEADER
  const view = viewOf(bytes)
  const guidAt = (header: number): Uint8Array => bytes.subarray(header + 2, header + ENTRY_HEADER)
  if (!sameBytes(guidAt(footer), guidBytes(OvmfGuid.TABLE_FOOTER))) return []
  const start = footer - (view.getUint16(footer, true) - ENTRY_HEADER)
  if (start < 0 || start > footer) throw new SevInputError(name, 'the size of its GUID table', 'a table in the image')
  const entries: TableEntry[] = []
  for (let end = footer; end - start >= ENTRY_HEADER;) {
    const header = end - ENTRY_HEADER
    const size = view.getUint16(header, true)
    if (size < ENTRY_HEADER || end - size < start) {
      throw new SevInputError(name, `entry ${entries.length} of its GUID table`, 'an entry that fits into the table')
    }
    entries.push({ guid: guidAt(header), data: bytes.subarray(end - size, header) })
    end -= size
  }
  return entries
}

function readSections(bytes: Uint8Array, fromEnd: number, name: string): OvmfSection[] {
  const view = viewOf(bytes)
  const start = bytes.length - fromEnd
  if (start < 0 || start + 16 > bytes.length) {
    throw new SevInputError(name, 'the place of its SEV metadata', 'an offset in the image')
  }
  // "ASEV"
  if (view.getUint32(start, true) !== 0x5645_5341) {
    throw new SevInputError(name, 'its SEV metadata', 'the signature ASEV')
  }
  const version = view.getUint32(start + 8, true)
  if (version !== 1) throw new SevInputError(name, `version ${version} of its SEV metadata`, 'version 1')
  const count = view.getUint32(start + 12, true)
  const size = view.getUint32(start + 4, true)
  if (count > MAX_SECTIONS || 16 + 12 * count > size || start + 16 + 12 * count > bytes.length) {
    const expected = `at most ${MAX_SECTIONS} that lie in the image`
    throw new SevInputError(name, `${count} sections in its SEV metadata`, expected)
  }
  const sections = Array.from({ length: count }, (_, i): OvmfSection => {
    const at = start + 16 + 12 * i
    return {
      gpa: view.getUint32(at, true), size: view.getUint32(at + 4, true), type: view.getUint32(at + 8, true),
    }
  })
  const known: readonly number[] = Object.values(OvmfSectionType)
  let total = 0
  sections.forEach(({ gpa, size: length, type }, i) => {
    total += length
    if (gpa % PAGE !== 0 || length % PAGE !== 0 || gpa + length > FOUR_GIB || total > FOUR_GIB) {
      throw new SevInputError(name, `section ${i} of its SEV metadata`, 'whole pages below 4 GiB')
    }
    if (!known.includes(type)) throw new SevInputError(name, `type ${type} of SEV section ${i}`, 'a type that we know')
  })
  return sections
}
