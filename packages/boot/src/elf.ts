/** ELF executables for x86 (System V ABI, chapters 4 and 5; ELF-64 Object File Format 1.5). */
import { layout } from '@cofferdam/spec'
import { BootError, hex } from './error.ts'

const Ident = layout(16, { magic: [0, 4], class: [4, 1], data: [5, 1], version: [6, 1], osabi: [7, 1] })
const Header64 = layout(64, {
  type: [16, 2], machine: [18, 2], version: [20, 4], entry: [24, 8], phoff: [32, 8], shoff: [40, 8], flags: [48, 4],
  ehsize: [52, 2], phentsize: [54, 2], phnum: [56, 2], shentsize: [58, 2], shnum: [60, 2], shstrndx: [62, 2],
})
const Header32 = layout(52, {
  type: [16, 2], machine: [18, 2], version: [20, 4], entry: [24, 4], phoff: [28, 4], shoff: [32, 4], flags: [36, 4],
  ehsize: [40, 2], phentsize: [42, 2], phnum: [44, 2], shentsize: [46, 2], shnum: [48, 2], shstrndx: [50, 2],
})
const Segment64 = layout(56, {
  type: [0, 4], flags: [4, 4], offset: [8, 8], vaddr: [16, 8], paddr: [24, 8], filesz: [32, 8], memsz: [40, 8],
  align: [48, 8],
})
const Segment32 = layout(32, {
  type: [0, 4], offset: [4, 4], vaddr: [8, 4], paddr: [12, 4], filesz: [16, 4], memsz: [20, 4], flags: [24, 4],
  align: [28, 4],
})

const MAGIC = 0x464c_457f
const PT_LOAD = 1
const PT_NOTE = 4
const MACHINES: Readonly<Record<number, number>> = { 3: 32, 62: 64 }

/** Highest physical address that a segment may reach. */
const LIMIT = 2 ** 46

/** More program headers than any kernel has: notes may overlap, and each is read. */
const MOST_HEADERS = 64

/** A PT_LOAD segment. */
export interface ElfSegment {
  readonly virtual: bigint
  readonly physical: number
  /** Bytes from the file; memory from there to `memorySize` is zero. */
  readonly data: Uint8Array
  readonly memorySize: number
  readonly readable: boolean
  readonly writable: boolean
  readonly executable: boolean
}

/** An entry of a PT_NOTE segment. */
export interface ElfNote {
  readonly name: string
  readonly type: number
  readonly data: Uint8Array
}

/** A checked executable. */
export interface ElfImage {
  readonly bits: 32 | 64
  readonly machine: number
  readonly entry: bigint
  readonly segments: readonly ElfSegment[]
  readonly notes: readonly ElfNote[]
}

interface RawSegment {
  type: number
  flags: number
  offset: number
  vaddr: bigint
  paddr: number
  filesz: number
  memsz: number
  align: number
}

const small = (value: bigint | number): number => Number(value)

function rawSegment(view: DataView, at: number, bits: 32 | 64): RawSegment {
  const s = bits === 64 ? Segment64.read(view, at) : Segment32.read(view, at)
  return {
    type: s.type, flags: s.flags, offset: small(s.offset), vaddr: BigInt(s.vaddr), paddr: small(s.paddr),
    filesz: small(s.filesz),
    memsz: small(s.memsz), align: small(s.align),
  }
}

/** True when the bytes begin like an ELF file. */
export const isElf = (bytes: Uint8Array): boolean =>
  bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46

function loadSegment(file: string, image: Uint8Array, s: RawSegment, index: number): ElfSegment {
  const refuse = (field: string, problem: string) => new BootError(file, `program header ${index}, ${field}`, problem)
  if (s.offset + s.filesz > image.length) {
    throw refuse('p_offset, p_filesz',
      `ends at ${hex(s.offset + s.filesz)}, the file at ${hex(image.length)}: it is truncated`)
  }
  if (s.filesz > s.memsz) throw refuse('p_filesz', `${hex(s.filesz)} is more than p_memsz ${hex(s.memsz)}`)
  if (s.paddr + s.memsz > LIMIT) {
    throw refuse('p_paddr, p_memsz', `ends at ${hex(s.paddr + s.memsz)}, past every memory`)
  }
  return {
    virtual: s.vaddr, physical: s.paddr, data: image.subarray(s.offset, s.offset + s.filesz), memorySize: s.memsz,
    readable: (s.flags & 4) !== 0, writable: (s.flags & 2) !== 0, executable: (s.flags & 1) !== 0,
  }
}

function readNotes(file: string, image: Uint8Array, s: RawSegment, index: number): ElfNote[] {
  if (s.offset + s.filesz > image.length) {
    throw new BootError(file, `program header ${index}, p_offset, p_filesz`,
      'the notes lie outside the file: it is truncated')
  }
  const bytes = image.subarray(s.offset, s.offset + s.filesz)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Notes are aligned to 4 bytes, with p_align 8 to 8.
  const unit = s.align === 8 ? 8 : 4
  const up = (n: number) => Math.ceil(n / unit) * unit
  const notes: ElfNote[] = []
  for (let at = 0; at + 12 <= bytes.length;) {
    const nameSize = view.getUint32(at, true)
    const dataSize = view.getUint32(at + 4, true)
    const data = up(at + 12 + nameSize)
    if (data + dataSize > bytes.length) {
      throw new BootError(file, `program header ${index}, note at ${hex(s.offset + at)}`, 'ends outside its segment')
    }
    const name = String.fromCharCode(...bytes.subarray(at + 12, at + 12 + Math.min(nameSize, 64))).replace(/\0.*$/s, '')
    notes.push({ name, type: view.getUint32(at + 8, true), data: bytes.subarray(data, data + dataSize) })
    at = up(data + dataSize)
  }
  return notes
}

function checkOverlap(file: string, segments: readonly ElfSegment[]): void {
  const sorted = segments.filter((s) => s.memorySize > 0).sort((a, b) => a.physical - b.physical)
  for (let i = 1; i < sorted.length; i++) {
    const end = sorted[i - 1].physical + sorted[i - 1].memorySize
    if (end > sorted[i].physical) {
      throw new BootError(file, 'program headers',
        `the segment at ${hex(sorted[i].physical)} lies inside the one that ends at ${hex(end)}`)
    }
  }
}

/**
 * Takes an x86 ELF executable apart.
 * @throws BootError that names the field and what was expected
 */
export function parseElf(image: Uint8Array, file = 'kernel'): ElfImage {
  if (!isElf(image)) throw new BootError(file, 'e_ident', 'no ELF magic')
  if (image.length < Header32.size) throw new BootError(file, 'size', `${image.length} bytes, less than an ELF header`)
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  const ident = Ident.read(view)
  if (ident.magic !== MAGIC || (ident.class !== 1 && ident.class !== 2)) {
    throw new BootError(file, 'e_ident, class', `${ident.class}, expected 1 (32 bits) or 2 (64 bits)`)
  }
  if (ident.data !== 1) throw new BootError(file, 'e_ident, data', `${ident.data}, expected 1 (little-endian)`)
  const bits = ident.class === 2 ? 64 : 32
  if (bits === 64 && image.length < Header64.size) {
    throw new BootError(file, 'size', `${image.length} bytes, less than an ELF header`)
  }
  const h = bits === 64 ? Header64.read(view) : Header32.read(view)
  if (!(h.machine in MACHINES)) throw new BootError(file, 'e_machine', `${h.machine}, expected 3 (i386) or 62 (x86-64)`)
  if (h.type !== 2 && h.type !== 3) {
    throw new BootError(file, 'e_type', `${h.type}, expected 2 (executable) or 3 (shared)`)
  }
  const entrySize = bits === 64 ? Segment64.size : Segment32.size
  if (h.phnum === 0) throw new BootError(file, 'e_phnum', 'no program headers: this is no executable')
  if (h.phnum > MOST_HEADERS) {
    throw new BootError(file, 'e_phnum', `${h.phnum} program headers, expected up to ${MOST_HEADERS}`)
  }
  if (h.phentsize !== entrySize) throw new BootError(file, 'e_phentsize', `${h.phentsize}, expected ${entrySize}`)
  const phoff = small(h.phoff)
  if (phoff + h.phnum * entrySize > image.length) {
    throw new BootError(file, 'e_phoff',
      `the headers end at ${hex(phoff + h.phnum * entrySize)}, the file at ${hex(image.length)}: it is truncated`)
  }
  const segments: ElfSegment[] = []
  const notes: ElfNote[] = []
  for (let i = 0; i < h.phnum; i++) {
    const s = rawSegment(view, phoff + i * entrySize, bits)
    if (s.type === PT_LOAD && s.memsz > 0) segments.push(loadSegment(file, image, s, i))
    else if (s.type === PT_NOTE) for (const note of readNotes(file, image, s, i)) notes.push(note)
  }
  if (segments.length === 0) throw new BootError(file, 'program headers', 'nothing to load (no PT_LOAD)')
  checkOverlap(file, segments)
  return { bits, machine: h.machine, entry: BigInt(h.entry), segments, notes }
}

/** Memory that the segments take, from the lowest to the highest address. */
export function elfExtent(image: ElfImage): { start: number, length: number } {
  const start = Math.min(...image.segments.map((s) => s.physical))
  const end = Math.max(...image.segments.map((s) => s.physical + s.memorySize))
  return { start, length: end - start }
}
