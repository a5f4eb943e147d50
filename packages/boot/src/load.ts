/** What all ways of entering a kernel share: the map, the places, the command line, the initrd, ACPI. */
import { E820Type } from '@cofferdam/spec'
import type { AcpiPlatform } from './acpi/platform.ts'
import { createAcpiTables } from './acpi/tables.ts'
import { BootError, bytesText, hex } from './error.ts'
import type { ElfImage } from './elf.ts'
import { PC, pcMemoryMap, type MemoryRegion } from './memory-map.ts'
import { createPlacement, type Placed, type Placement, type WriteMemory } from './placement.ts'
import { createSmbios, type SmbiosInfo } from './smbios.ts'
import type { StartState } from './start-state.ts'

/** What every loader takes. */
export interface LoadOptions {
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array
  readonly cmdline: string
  /** RAM in bytes. */
  readonly memory: number
  /** Writes guest memory. RAM that is not written keeps what it has. */
  readonly write: WriteMemory
  /** The platform that ACPI describes; without it the kernel gets no RSDP. */
  readonly acpi?: AcpiPlatform
  /** What SMBIOS says of the machine; without it there are no such tables. */
  readonly smbios?: SmbiosInfo
  /** The memory map, when it is not that of `pcMemoryMap(memory)`. */
  readonly map?: readonly MemoryRegion[]
  /** Names for error messages. */
  readonly names?: { readonly kernel?: string, readonly initrd?: string }
}

/** What every loader answers. */
export interface Loaded {
  /** The state in which the boot processor starts. */
  readonly state: StartState
  readonly map: readonly MemoryRegion[]
  /** Everything that was put into memory, in order. */
  readonly placed: readonly Placed[]
  /** Guest-physical address of the RSDP, or 0. */
  readonly rsdp: number
}

/** Low memory, free on a PC: below the kernel's own trampolines, which go to the end of the lowest 640 KiB. */
export const LOW = {
  biosData: 0x400, gdt: 0x1000, info: 0x2000, bootParams: 0x7000, stack: 0x8000, pageTables: 0x9000, cmdline: 0x2_0000,
  setupData: 0x4_0000, end: 0x9_b000,
} as const

export interface Workplace {
  readonly map: readonly MemoryRegion[]
  readonly place: Placement
  readonly write: WriteMemory
  /** End of RAM below 4 GiB. */
  readonly lowEnd: number
  readonly kernelName: string
  readonly initrdName: string
}

/** What a BIOS leaves at 0x400 and Linux looks at: segment of the EBDA, and KiB of base memory. */
function biosData(): Uint8Array {
  const bytes = new Uint8Array(0x100)
  const view = new DataView(bytes.buffer)
  view.setUint16(0x0e, PC.ebda >> 4, true)
  view.setUint16(0x13, PC.ebda >> 10, true)
  return bytes
}

export function openWorkplace(options: LoadOptions): Workplace {
  const map = options.map ?? pcMemoryMap(options.memory)
  const place = createPlacement(map, options.write)
  const lowEnd = map.filter((r) => r.type === E820Type.RAM && r.start < PC.fourGiB)
    .reduce((end, r) => Math.max(end, Math.min(PC.fourGiB, r.start + r.length)), 0)
  place.put('BIOS data', LOW.biosData, biosData())
  if (options.smbios !== undefined) place.put('SMBIOS', PC.smbios, createSmbios(options.smbios, PC.smbios))
  return {
    map, place, write: options.write, lowEnd, kernelName: options.names?.kernel ?? 'kernel',
    initrdName: options.names?.initrd ?? 'initrd',
  }
}

/** The command line as bytes, ended by 0. @throws BootError when it is longer than `longest` bytes or has a NUL */
export function commandLineBytes(text: string, longest: number, source: string): Uint8Array {
  if (text.includes('\0')) throw new BootError('command line', 'text', 'contains a NUL character')
  const bytes = new TextEncoder().encode(text)
  if (bytes.length > longest) {
    throw new BootError('command line', 'length', `${bytes.length} bytes; this kernel takes ${longest} (${source})`)
  }
  const terminated = new Uint8Array(bytes.length + 1)
  terminated.set(bytes)
  return terminated
}

/**
 * A place in low memory: the usual one, or, where an executable has taken that, the lowest free one.
 * @throws BootError when there is none
 */
export function lowPlace(work: Workplace, name: string, length: number, usual: number): number {
  if (work.place.free(usual, length)) return usual
  const other = work.place.lowest(length, LOW.gdt, PC.ebda, 16)
  if (other === undefined) {
    throw new BootError(work.kernelName, 'program headers',
      `the segments leave no ${bytesText(length)} below ${hex(PC.ebda)} for the ${name}`)
  }
  return other
}

/** Puts something into low memory; answers its address. */
export function putLow(work: Workplace, name: string, bytes: Uint8Array, usual: number): number {
  const at = lowPlace(work, name, bytes.length, usual)
  work.place.put(name, at, bytes)
  return at
}

/** Puts the command line, ended by 0, into low memory; answers its address. */
export function putCommandLine(work: Workplace, text: string, limit: number, source: string): number {
  const longest = Math.min(limit, LOW.setupData - LOW.cmdline - 1)
  return putLow(work, 'command line', commandLineBytes(text, longest, source), LOW.cmdline)
}

/** Finds a place for an initrd of `length` bytes, as high as `limit` and low memory allow; claims and answers it. */
export function placeInitrd(
  { place, lowEnd, initrdName }: Pick<Workplace, 'place' | 'lowEnd' | 'initrdName'>, length: number, limit: number,
): number {
  const top = Math.min(lowEnd, limit)
  const start = place.highest(length, PC.highMemory, top, 4096)
  if (start === undefined) {
    throw new BootError(initrdName, 'size',
      `${bytesText(length)} find no place beside the kernel below ${hex(top)} `
      + '(end of low memory, or initrd_addr_max); give the machine more memory')
  }
  place.claim('initrd', start, length)
  return start
}

/** Puts the initrd in; answers where, 0 without one. */
export function putInitrd(work: Workplace, initrd: Uint8Array | undefined, limit: number): number {
  if (initrd === undefined || initrd.length === 0) return 0
  const start = placeInitrd(work, initrd.length, limit)
  work.write(start, initrd)
  return start
}

/** Puts the ACPI tables, when there is a platform; answers the RSDP's address or 0. */
export function putAcpi(work: Workplace, platform: AcpiPlatform | undefined): number {
  if (platform === undefined) return 0
  const tables = createAcpiTables(platform, { address: PC.acpi, length: PC.acpiLength })
  work.place.put('ACPI tables', PC.acpi, tables.bytes)
  return tables.rsdp
}

/** Puts the segments of an executable at their physical addresses, with zeroes where the file has none. */
export function putElf(work: Workplace, image: ElfImage): void {
  for (const s of image.segments) {
    if (!work.place.free(s.physical, s.memorySize)) {
      throw new BootError(work.kernelName, 'program headers',
        `a segment takes ${bytesText(s.memorySize)} at ${hex(s.physical)}, where the machine `
        + `has no free memory (${bytesText(work.lowEnd)} below 4 GiB)`)
    }
    work.place.claim('kernel', s.physical, s.memorySize)
    work.write(s.physical, s.data)
    putZeroes(work.write, s.physical + s.data.length, s.memorySize - s.data.length)
  }
}

/** Writes zeroes piece by piece: a .bss may be large. */
export function putZeroes(write: WriteMemory, start: number, length: number): void {
  const piece = new Uint8Array(Math.min(length, 0x1_0000))
  for (let done = 0; done < length; done += piece.length) {
    write(start + done, piece.subarray(0, Math.min(piece.length, length - done)))
  }
}
