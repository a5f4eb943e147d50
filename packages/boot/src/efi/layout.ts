/**
 * What a boot stage puts into a guest's memory, page by page, and what EFI calls it: the launch image and the EFI
 * memory map are two views of one list.
 */
import { E820Type, EfiMemoryAttribute, EfiMemoryDescriptor, EfiMemoryType } from '@cofferdam/spec'
import { BootError } from '../error.ts'
import type { MemoryRegion } from '../memory-map.ts'
import { createPlacement, type Placement } from '../placement.ts'

/**
 * How pages come to be: `measured` and `zero` pages are the launch's; `accept` pages are accepted by the boot stage
 * before the kernel is entered; `secrets` and `cpuid` pages are filled in at the launch (SEV-SNP).
 */
export type PageOrigin = 'measured' | 'zero' | 'accept' | 'secrets' | 'cpuid'

/** Pages that have a purpose before the kernel owns memory. Start and length are multiples of 4096. */
export interface Piece {
  readonly name: string
  readonly start: number
  readonly length: number
  /** An EfiMemoryType. */
  readonly efi: number
  readonly origin: PageOrigin
  /** Contents of measured pages, zeroes after their end. May be changed until the layout is read. */
  readonly bytes?: Uint8Array
}

export interface EfiLayout {
  readonly place: Placement
  readonly pieces: readonly Piece[]
  /** End of RAM below 4 GiB. */
  readonly lowEnd: number
  /** Puts bytes at the lowest free pages from the block's start on; answers the address. @throws BootError */
  put(name: string, efi: number, bytes: Uint8Array): number
  /** Reserves pages there. @throws BootError when they find no place */
  reserve(name: string, efi: number, origin: PageOrigin, length: number): number
  /** Notes pages whose place is claimed already. */
  note(piece: Piece): void
}

const PAGE = 4096
/** `n` up to whole pages. */
export const pages = (n: number): number => Math.ceil(n / PAGE) * PAGE

/** @param block lowest address for what may lie anywhere */
export function createEfiLayout(map: readonly MemoryRegion[], block: number): EfiLayout {
  const place = createPlacement(map, () => undefined)
  const pieces: Piece[] = []
  const lowEnd = map.filter((r) => r.type === E820Type.RAM && r.start < 2 ** 32)
    .reduce((end, r) => Math.max(end, Math.min(2 ** 32, r.start + r.length)), 0)
  const find = (name: string, length: number): number => {
    const start = place.lowest(length, block, lowEnd, PAGE)
    if (start === undefined) {
      throw new BootError(name, 'placement', `${length} bytes find no place below 4 GiB; give the machine more memory`)
    }
    place.claim(name, start, length)
    return start
  }
  return {
    place, pieces, lowEnd,
    put(name, efi, bytes) {
      const length = pages(bytes.length)
      const start = find(name, length)
      pieces.push({ name, start, length, efi, origin: 'measured', bytes })
      return start
    },
    reserve(name, efi, origin, bytes) {
      const length = pages(bytes)
      const start = find(name, length)
      pieces.push({ name, start, length, efi, origin })
      return start
    },
    note(piece) { pieces.push(piece) },
  }
}

/** One range of the EFI memory map. */
export interface EfiRange {
  readonly start: number
  readonly length: number
  /** An EfiMemoryType. */
  readonly type: number
}

/** Memory that no piece takes, and which part of it the boot stage accepts. */
export interface FreeMemory {
  readonly accepted: readonly EfiRange[]
  readonly unaccepted: readonly EfiRange[]
}

/** RAM between the pieces. */
function gaps(map: readonly MemoryRegion[], pieces: readonly Piece[]): { start: number, end: number }[] {
  const sorted = [...pieces].sort((a, b) => a.start - b.start)
  const found: { start: number, end: number }[] = []
  for (const region of map) {
    if (region.type !== E820Type.RAM) continue
    const end = region.start + region.length
    let at = region.start
    for (const piece of sorted) {
      if (piece.start < region.start || piece.start >= end) continue
      if (piece.start > at) found.push({ start: at, end: piece.start })
      at = piece.start + piece.length
    }
    if (at < end) found.push({ start: at, end })
  }
  return found
}

/**
 * Splits free memory: whole units can wait for the kernel, the rest cannot be told by its bitmap and is accepted first.
 * @param unit bytes of a unit; 0 accepts everything
 */
export function splitFree(map: readonly MemoryRegion[], pieces: readonly Piece[], unit: number): FreeMemory {
  const accepted: EfiRange[] = []
  const unaccepted: EfiRange[] = []
  const add = (list: EfiRange[], type: number, start: number, end: number): void => {
    if (end > start) list.push({ start, length: end - start, type })
  }
  for (const { start, end } of gaps(map, pieces)) {
    const first = unit === 0 ? end : Math.ceil(start / unit) * unit
    const last = unit === 0 ? end : Math.floor(end / unit) * unit
    if (first >= last) {
      add(accepted, EfiMemoryType.CONVENTIONAL, start, end)
    } else {
      add(accepted, EfiMemoryType.CONVENTIONAL, start, first)
      add(unaccepted, EfiMemoryType.UNACCEPTED, first, last)
      add(accepted, EfiMemoryType.CONVENTIONAL, last, end)
    }
  }
  return { accepted, unaccepted }
}

/** Joins neighbours of one type. */
function merge(ranges: readonly EfiRange[]): EfiRange[] {
  const merged: EfiRange[] = []
  for (const range of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1)
    if (last?.type === range.type && last.start + last.length === range.start) {
      merged[merged.length - 1] = { ...last, length: last.length + range.length }
    } else merged.push(range)
  }
  return merged
}

/** The EFI memory map: pieces, free memory, and what the machine reserves. */
export function efiMemoryMap(map: readonly MemoryRegion[], pieces: readonly Piece[], free: FreeMemory): EfiRange[] {
  const reserved = map.filter((r) => r.type !== E820Type.RAM)
    .map(({ start, length }) => ({ start, length, type: EfiMemoryType.RESERVED }))
  const taken = pieces.map(({ start, length, efi }) => ({ start, length, type: efi }))
  return merge([...reserved, ...taken, ...free.accepted, ...free.unaccepted])
}

const RUNTIME: readonly number[] = [EfiMemoryType.RUNTIME_SERVICES_CODE, EfiMemoryType.RUNTIME_SERVICES_DATA]
const { UC, WC, WT, WB } = EfiMemoryAttribute

/** The map as descriptors. */
export function efiMapBytes(ranges: readonly EfiRange[]): Uint8Array {
  const bytes = new Uint8Array(ranges.length * EfiMemoryDescriptor.size)
  const view = new DataView(bytes.buffer)
  ranges.forEach(({ start, length, type }, i) => {
    const memory = type === EfiMemoryType.RESERVED ? UC : UC | WC | WT | WB
    EfiMemoryDescriptor.write(view, {
      type, physicalStart: BigInt(start), numberOfPages: BigInt(length / PAGE),
      attribute: RUNTIME.includes(type) ? memory | EfiMemoryAttribute.RUNTIME : memory,
    }, i * EfiMemoryDescriptor.size)
  })
  return bytes
}

const E820_OF: Readonly<Record<number, number>> = {
  [EfiMemoryType.LOADER_CODE]: E820Type.RAM, [EfiMemoryType.LOADER_DATA]: E820Type.RAM,
  [EfiMemoryType.BOOT_SERVICES_CODE]: E820Type.RAM, [EfiMemoryType.BOOT_SERVICES_DATA]: E820Type.RAM,
  [EfiMemoryType.CONVENTIONAL]: E820Type.RAM, [EfiMemoryType.UNACCEPTED]: E820Type.RAM,
  [EfiMemoryType.ACPI_RECLAIM]: E820Type.ACPI, [EfiMemoryType.ACPI_NVS]: E820Type.NVS,
}

/** The e820 map that a loader makes of the EFI map (Linux drivers/firmware/efi/libstub/x86-stub.c, setup_e820). */
export const e820OfEfi = (ranges: readonly EfiRange[]): MemoryRegion[] =>
  merge(ranges.map(({ start, length, type }) => ({ start, length, type: E820_OF[type] ?? E820Type.RESERVED })))
