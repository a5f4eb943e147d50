/** Unaccepted memory between firmware and kernel: whether a kernel takes it, and the table that tells of it. */
import { EfiGuid, guidBytes, LinuxUnacceptedMemory } from '@cofferdam/spec'
import type { EfiRange } from './layout.ts'

/** What one bit stands for on x86 (Linux asm/efi.h, EFI_UNACCEPTED_UNIT_SIZE). */
export const UNACCEPTED_UNIT = 2 ** 21

function findBytes(haystack: Uint8Array, needle: Uint8Array, from: number): number {
  for (let at = haystack.indexOf(needle[0], from); at >= 0; at = haystack.indexOf(needle[0], at + 1)) {
    if (at + needle.length > haystack.length) return -1
    let same = 1
    while (same < needle.length && haystack[at + same] === needle[same]) same++
    if (same === needle.length) return at
  }
  return -1
}

/** Compilers put a GUID into code as two immediate operands, a few bytes apart. */
const HALVES_APART = 32

/**
 * Whether a kernel image looks for the table of unaccepted memory: the uncompressed part of every kernel that does
 * holds its GUID. No field of the setup header says it; EFI kernels say it by a protocol call that a direct boot has
 * not.
 */
export function takesUnacceptedMemory(kernel: Uint8Array): boolean {
  const guid = guidBytes(EfiGuid.LINUX_UNACCEPTED_MEMORY)
  const [low, high] = [guid.subarray(0, 8), guid.subarray(8)]
  for (let at = findBytes(kernel, low, 0); at >= 0; at = findBytes(kernel, low, at + 1)) {
    const start = Math.max(0, at - HALVES_APART)
    if (findBytes(kernel.subarray(start, at + 8 + HALVES_APART), high, 0) >= 0) return true
  }
  return false
}

/** Bytes that a table for memory up to `end` may take. */
export const unacceptedTableBound = (end: number): number =>
  LinuxUnacceptedMemory.size + Math.ceil(Math.ceil(end / UNACCEPTED_UNIT) / 8)

/** The table with the bits of `ranges`, which are whole units. */
export function unacceptedTable(ranges: readonly EfiRange[]): Uint8Array {
  const base = Math.min(...ranges.map((r) => r.start))
  const end = Math.max(...ranges.map((r) => r.start + r.length))
  const size = Math.ceil((end - base) / (8 * UNACCEPTED_UNIT))
  const table = new Uint8Array(LinuxUnacceptedMemory.size + size)
  LinuxUnacceptedMemory.write(new DataView(table.buffer), {
    version: 1, unitSize: UNACCEPTED_UNIT, physBase: BigInt(base), size: BigInt(size),
  })
  const bitmap = table.subarray(LinuxUnacceptedMemory.size)
  for (const { start, length } of ranges) {
    for (let unit = (start - base) / UNACCEPTED_UNIT, n = length / UNACCEPTED_UNIT; n > 0; n--, unit++) {
      bitmap[unit >> 3] |= 1 << (unit & 7)
    }
  }
  return table
}
