/** Host memory for the model: sparse bytes, and a first-fit allocator over the machine's own memory map. */
import type { HostMemory } from '../init.ts'
import type { MemoryRegion } from '../memory.ts'
import { alignUp, gaps, merge, MiB, type Range } from '../ranges.ts'

/** Host memory whose allocations can be counted. */
export interface ModelMemory extends HostMemory {
  /** What is allocated, by address. */
  allocated(): readonly Range[]
}

/**
 * Memory that serves allocations from the lowest address up, whole pages, never below the first megabyte nor from
 * `taken`.
 */
export function createModelMemory(regions: readonly MemoryRegion[], taken: readonly Range[] = []): ModelMemory {
  const pages = new Map<number, Uint8Array>()
  let used: Range[] = merge([{ start: 0, end: MiB }, ...taken])
  let allocated: Range[] = []
  const page = (address: number): Uint8Array => {
    const at = address - (address % 4096)
    const found = pages.get(at) ?? new Uint8Array(4096)
    pages.set(at, found)
    return found
  }
  return {
    alloc(size, node) {
      for (const r of [...regions].sort((a, b) => a.start - b.start)) {
        if (node !== undefined && r.node !== node) continue
        for (const gap of gaps(used, r)) {
          const start = alignUp(gap.start, 4096)
          if (start + size > gap.end) continue
          const range = { start, end: start + size }
          used = merge([...used, range])
          allocated = [...allocated, range]
          return start
        }
      }
      return -1
    },
    free(start, size) {
      const range = { start, end: start + size }
      if (!allocated.some((r) => r.start === start && r.end === range.end)) {
        throw new RangeError(`free of 0x${start.toString(16)}, which was not allocated like that`)
      }
      allocated = allocated.filter((r) => r.start !== start)
      used = used.flatMap((r) => gaps([range], r))
    },
    allocated: () => [...allocated].sort((a, b) => a.start - b.start),
    write(address, bytes) {
      bytes.forEach((b, i) => {
        page(address + i)[(address + i) % 4096] = b
      })
    },
    read: (address, length) => Uint8Array.from({ length }, (_, i) => page(address + i)[(address + i) % 4096]),
  }
}
