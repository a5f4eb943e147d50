/**
 * Firmware's memory maps, e820 and EFI, as one sorted list without overlaps.
 * Sources: Linux Documentation/arch/x86/zero-page.rst and asm/e820/types.h; UEFI 2.10 §7.2.3 (memory types) and
 * Table 7.10 (what is free after ExitBootServices).
 */
import { PageAllocError } from './errors.ts'
import { alignDown, alignUp, PAGE_SIZE, PHYS_LIMIT } from './units.ts'

/** What a range of the memory map is for. */
export type MemoryKind = 'usable' | 'unaccepted' | 'reserved' | 'acpi' | 'nvs' | 'unusable' | 'persistent' | 'mmio'

/** One range of a normalised map. Bytes. */
export interface MemoryRange {
  readonly start: number
  readonly end: number
  readonly kind: MemoryKind
}

/** An e820 entry; `addr` and `size` in bytes. */
export interface E820Entry {
  readonly addr: number
  readonly size: number
  readonly type: number
}

/** An EFI memory descriptor: `start` in bytes, `pages` of 4 KiB. */
export interface EfiMemoryDescriptor {
  readonly type: number
  readonly start: number
  readonly pages: number
  /** EFI attribute bits as a number; only EFI_MEMORY_SP (bit 18) is looked at. */
  readonly attribute?: number
}

/** EFI memory types by number, UEFI 2.10 §7.2.3. */
export const EFI_MEMORY_TYPES = [
  'EfiReservedMemoryType', 'EfiLoaderCode', 'EfiLoaderData', 'EfiBootServicesCode', 'EfiBootServicesData',
  'EfiRuntimeServicesCode', 'EfiRuntimeServicesData', 'EfiConventionalMemory', 'EfiUnusableMemory',
  'EfiACPIReclaimMemory', 'EfiACPIMemoryNVS', 'EfiMemoryMappedIO', 'EfiMemoryMappedIOPortSpace', 'EfiPalCode',
  'EfiPersistentMemory', 'EfiUnacceptedMemoryType',
] as const

/** By EFI type, what the range is once boot services have ended. */
const EFI_KINDS: readonly MemoryKind[] = [
  'reserved', 'usable', 'usable', 'usable', 'usable', 'reserved', 'reserved', 'usable', 'unusable', 'acpi', 'nvs',
  'mmio', 'mmio', 'reserved', 'persistent', 'unaccepted',
]
/** Soft-reserved ("specific purpose") memory is conventional by type, but not for general use. */
const EFI_MEMORY_SP = 0x40000

const e820Kind = (type: number): MemoryKind => {
  switch (type) {
    case 1: return 'usable'
    case 3: return 'acpi'
    case 4: return 'nvs'
    case 5: return 'unusable'
    case 7: case 12: return 'persistent'
    default: return 'reserved'
  }
}

/** Where ranges overlap the stronger kind wins: memory that anybody else claims is not for general use. */
const STRENGTH: Record<MemoryKind, number> = {
  usable: 0, unaccepted: 1, persistent: 2, acpi: 3, nvs: 4, reserved: 5, mmio: 6, unusable: 7,
}

/** Kinds that the allocator can hand out; their ranges are cut to whole pages. */
const isMemory = (kind: MemoryKind): boolean => kind === 'usable' || kind === 'unaccepted'

function checkRange(what: string, start: number, end: number): void {
  if (!Number.isSafeInteger(start) || start < 0 || start >= PHYS_LIMIT) {
    throw new PageAllocError(`${what}: start ${start} is no physical address below 2^52`)
  }
  if (!Number.isSafeInteger(end) || end < start || end > PHYS_LIMIT) {
    throw new PageAllocError(`${what}: end ${end} is not in [start, 2^52]`)
  }
}

const push = (out: MemoryRange[], start: number, end: number, kind: MemoryKind): void => {
  if (start >= end) return
  const last = out.at(-1)
  if (last?.end === start && last.kind === kind) {
    out[out.length - 1] = { start: last.start, end, kind }
  } else out.push({ start, end, kind })
}

/** Sorts, resolves overlaps by {@link STRENGTH} and joins neighbours of one kind. */
function flatten(ranges: readonly MemoryRange[]): MemoryRange[] {
  const edges = ranges.filter((r) => r.end > r.start)
    .flatMap((r) => [{ at: r.start, kind: r.kind, step: 1 }, { at: r.end, kind: r.kind, step: -1 }])
    .sort((a, b) => a.at - b.at)
  const live = new Map<MemoryKind, number>()
  const out: MemoryRange[] = []
  let from = 0
  for (const { at, kind, step } of edges) {
    let best: MemoryKind | undefined
    for (const [k, n] of live) if (n > 0 && (best === undefined || STRENGTH[k] > STRENGTH[best])) best = k
    if (best !== undefined) push(out, from, at, best)
    from = at
    live.set(kind, (live.get(kind) ?? 0) + step)
  }
  return out
}

/** Cuts memory to whole pages; the slivers become reserved, so that nothing disappears from the totals. */
function toPages(ranges: readonly MemoryRange[]): MemoryRange[] {
  const out: MemoryRange[] = []
  for (const { start, end, kind } of ranges) {
    if (!isMemory(kind)) {
      push(out, start, end, kind)
      continue
    }
    const from = Math.min(alignUp(start, PAGE_SIZE), end)
    const to = Math.max(alignDown(end, PAGE_SIZE), from)
    push(out, start, from, 'reserved')
    push(out, from, to, kind)
    push(out, to, end, 'reserved')
  }
  return out
}

/**
 * A sorted, non-overlapping map from any list of ranges.
 * @throws PageAllocError naming the range that is no physical range.
 */
export function normaliseMap(ranges: readonly MemoryRange[]): MemoryRange[] {
  ranges.forEach((r, i) => checkRange(`memory map[${i}] (${r.kind})`, r.start, r.end))
  return toPages(flatten(ranges))
}

/** The memory map that an e820 table describes. @throws PageAllocError naming a bad entry. */
export function mapFromE820(entries: readonly E820Entry[]): MemoryRange[] {
  entries.forEach((e, i) => checkRange(`e820[${i}]`, e.addr, e.addr + e.size))
  return normaliseMap(entries.map((e) => ({ start: e.addr, end: e.addr + e.size, kind: e820Kind(e.type) })))
}

/**
 * The memory map that EFI describes, as it is after ExitBootServices. Types that UEFI does not define are reserved.
 * @throws PageAllocError naming a bad descriptor.
 */
export function mapFromEfi(descriptors: readonly EfiMemoryDescriptor[]): MemoryRange[] {
  return normaliseMap(descriptors.map((d, i) => {
    const end = d.start + d.pages * PAGE_SIZE
    if (d.start % PAGE_SIZE !== 0) throw new PageAllocError(`EFI map[${i}]: start ${d.start} is not page aligned`)
    checkRange(`EFI map[${i}]`, d.start, end)
    const kind = EFI_KINDS[d.type] ?? 'reserved'
    const soft = ((d.attribute ?? 0) & EFI_MEMORY_SP) !== 0 && kind === 'usable'
    return { start: d.start, end, kind: soft ? 'reserved' : kind }
  }))
}

/** Bytes of each kind; their sum is the size of the union of all input ranges. */
export function mapTotals(map: readonly MemoryRange[]): Record<MemoryKind, number> {
  const totals: Record<MemoryKind, number> = {
    usable: 0, unaccepted: 0, reserved: 0, acpi: 0, nvs: 0, unusable: 0, persistent: 0, mmio: 0,
  }
  for (const r of map) totals[r.kind] += r.end - r.start
  return totals
}
