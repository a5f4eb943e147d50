/**
 * LINUX_EFI_UNACCEPTED_MEM_TABLE: the bitmap of memory that has yet to be accepted, one bit per unit relative to a
 * base. Source: Linux include/linux/efi.h (struct efi_unaccepted_memory), drivers/firmware/efi/libstub/
 * unaccepted_memory.c (where it is sized and allocated).
 */
import { layout } from '@cofferdam/spec'
import { PageAllocError } from './errors.ts'
import type { MemoryRange } from './memory-map.ts'
import type { Memblock } from './memblock.ts'
import { alignDown, alignUp, NO_MEMORY, PAGE_SIZE } from './units.ts'

/** GUID of the EFI configuration table. */
export const LINUX_EFI_UNACCEPTED_MEM_TABLE_GUID = 'd5d1de3c-105c-44f9-9ea9-bcef98120031'
/** The unit that the EFI stub uses on x86: 2 MiB. */
export const DEFAULT_UNIT_SIZE = 0x20_0000
/** struct efi_unaccepted_memory without its bitmap, which follows: `size` bytes. */
export const UnacceptedHeader = layout(24, { version: [0, 4], unitSize: [4, 4], physBase: [8, 8], size: [16, 8] })

/** The table in memory. */
export interface UnacceptedTable {
  /** Bytes that one bit stands for: a power of two, at least a page. */
  readonly unitSize: number
  /** Address of the first unit. */
  readonly physBase: number
  /** Bit n of byte n / 8 (lowest bit first) set: unit n is unaccepted. */
  readonly bitmap: Uint8Array
}

function checkUnit(unitSize: number): void {
  if (!Number.isSafeInteger(unitSize) || unitSize < PAGE_SIZE || Math.log2(unitSize) % 1 !== 0 || unitSize > 2 ** 31) {
    throw new PageAllocError(`unaccepted table: unit_size ${unitSize} is no power of two from 4 KiB to 2 GiB`)
  }
}

/**
 * An empty table that spans the unaccepted ranges of a map, or undefined when it has none. Its bits are set later,
 * by `Acceptor.mark`, as the stub does from the final map.
 */
export function planUnacceptedTable(
  map: readonly MemoryRange[], unitSize = DEFAULT_UNIT_SIZE,
): UnacceptedTable | undefined {
  checkUnit(unitSize)
  const unaccepted = map.filter((r) => r.kind === 'unaccepted')
  if (unaccepted.length === 0) return undefined
  const start = alignDown(Math.min(...unaccepted.map((r) => r.start)), unitSize)
  const end = alignUp(Math.max(...unaccepted.map((r) => r.end)), unitSize)
  return { unitSize, physBase: start, bitmap: new Uint8Array(Math.ceil((end - start) / (unitSize * 8))) }
}

/** Bytes that the table takes in memory. */
export const unacceptedTableSize = (table: UnacceptedTable): number => UnacceptedHeader.size + table.bitmap.length

/**
 * Finds room for the table in memory that needs no acceptance, and reserves every page that it touches (a table
 * whose last page stayed free was a bug: Linux 0862438c9048). Returns its address, or {@link NO_MEMORY}.
 */
export function placeUnacceptedTable(
  memblock: Memblock, table: UnacceptedTable, map: readonly MemoryRange[],
): number {
  const size = unacceptedTableSize(table)
  for (const r of [...map].reverse()) {
    if (r.kind !== 'usable') continue
    const at = memblock.find({ size, align: 8, min: r.start, max: r.end, topDown: true })
    if (at === NO_MEMORY) continue
    memblock.reserve(alignDown(at, PAGE_SIZE), alignUp(at + size, PAGE_SIZE))
    return at
  }
  return NO_MEMORY
}

/** The table as it lies in memory (little-endian). */
export function encodeUnacceptedTable(table: UnacceptedTable): Uint8Array {
  const out = new Uint8Array(unacceptedTableSize(table))
  const { unitSize, physBase, bitmap } = table
  const header = { version: 1, unitSize, physBase: BigInt(physBase), size: BigInt(bitmap.length) }
  UnacceptedHeader.write(new DataView(out.buffer), header)
  out.set(bitmap, UnacceptedHeader.size)
  return out
}

/**
 * Reads a table that firmware or an earlier kernel left. The bitmap is copied: the source may change under us.
 * @throws PageAllocError naming the field that is wrong.
 */
export function decodeUnacceptedTable(bytes: Uint8Array): UnacceptedTable {
  if (bytes.length < UnacceptedHeader.size) {
    throw new PageAllocError(`unaccepted table: ${bytes.length} bytes, a header has ${UnacceptedHeader.size}`)
  }
  const header = UnacceptedHeader.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  const { version, unitSize, physBase: base, size } = header
  if (version !== 1) throw new PageAllocError(`unaccepted table: version ${version}, expected 1`)
  checkUnit(unitSize)
  if (base >= 1n << 52n || base % BigInt(PAGE_SIZE) !== 0n) {
    throw new PageAllocError(`unaccepted table: phys_base 0x${base.toString(16)} is no page address below 2^52`)
  }
  const room = bytes.length - UnacceptedHeader.size
  if (size > BigInt(room)) throw new PageAllocError(`unaccepted table: size ${size}, but ${room} bytes follow`)
  const bitmap = bytes.slice(UnacceptedHeader.size, UnacceptedHeader.size + Number(size))
  return { unitSize, physBase: Number(base), bitmap }
}
