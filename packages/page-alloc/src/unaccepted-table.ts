/**
 * LINUX_EFI_UNACCEPTED_MEM_TABLE: the bitmap of memory that has yet to be accepted, one bit per unit relative to a
 * base. Source: Linux include/linux/efi.h (struct efi_unaccepted_memory), drivers/firmware/efi/libstub/
 * unaccepted_memory.c (where it is sized and allocated).
 */
import { PageAllocError } from './errors.ts'
import type { MemoryRange } from './memory-map.ts'
import type { Memblock } from './memblock.ts'
import { alignDown, alignUp, NO_MEMORY, PAGE_SIZE } from './units.ts'

/** GUID of the EFI configuration table. */
export const LINUX_EFI_UNACCEPTED_MEM_TABLE_GUID = 'd5d1de3c-105c-44f9-9ea9-bcef98120031'
/** The unit that the EFI stub uses on x86: 2 MiB. */
export const DEFAULT_UNIT_SIZE = 0x20_0000
/** Version (4), unit_size (4), phys_base (8), size (8); the bitmap follows. */
export const UNACCEPTED_TABLE_HEADER = 24

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
export const unacceptedTableSize = (table: UnacceptedTable): number => UNACCEPTED_TABLE_HEADER + table.bitmap.length

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
  const view = new DataView(out.buffer)
  view.setUint32(0, 1, true)
  view.setUint32(4, table.unitSize, true)
  view.setBigUint64(8, BigInt(table.physBase), true)
  view.setBigUint64(16, BigInt(table.bitmap.length), true)
  out.set(table.bitmap, UNACCEPTED_TABLE_HEADER)
  return out
}

/**
 * Reads a table that firmware or an earlier kernel left. The bitmap is copied: the source may change under us.
 * @throws PageAllocError naming the field that is wrong.
 */
export function decodeUnacceptedTable(bytes: Uint8Array): UnacceptedTable {
  if (bytes.length < UNACCEPTED_TABLE_HEADER) {
    throw new PageAllocError(`unaccepted table: ${bytes.length} bytes, a header has ${UNACCEPTED_TABLE_HEADER}`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const version = view.getUint32(0, true)
  if (version !== 1) throw new PageAllocError(`unaccepted table: version ${version}, expected 1`)
  const unitSize = view.getUint32(4, true)
  checkUnit(unitSize)
  const base = view.getBigUint64(8, true)
  if (base >= 1n << 52n || base % BigInt(PAGE_SIZE) !== 0n) {
    throw new PageAllocError(`unaccepted table: phys_base 0x${base.toString(16)} is no page address below 2^52`)
  }
  const size = view.getBigUint64(16, true)
  const room = bytes.length - UNACCEPTED_TABLE_HEADER
  if (size > BigInt(room)) throw new PageAllocError(`unaccepted table: size ${size}, but ${room} bytes follow`)
  const bitmap = bytes.slice(UNACCEPTED_TABLE_HEADER, UNACCEPTED_TABLE_HEADER + Number(size))
  return { unitSize, physBase: Number(base), bitmap }
}
