/** Watches the table of unaccepted memory of a guest that was booted directly: bits of its bitmap are only cleared. */
import type { SnpGuest } from '@cofferdam/host'
import type { PhysicalMemory } from '@cofferdam/memory'
import type { TableWriteFact } from '@cofferdam/sev'
import { LinuxUnacceptedMemory } from '@cofferdam/spec'
import type { AccessObserver } from '@cofferdam/x86'

export interface UnacceptedTableOptions {
  readonly memory: PhysicalMemory
  readonly guest: Pick<SnpGuest, 'memory' | 'asid'>
  /** Guest physical address and bytes of the table. */
  readonly table: { readonly start: number, readonly length: number }
  /** The running processor's guest has done that. */
  readonly tell: (fact: TableWriteFact) => void
}

const PAGE = 4096

const bitsOf = (byte: number): number => {
  let bits = 0
  for (let rest = byte; rest !== 0; rest &= rest - 1) bits++
  return bits
}

/** Begins to watch; the answer has processors look at each access, so that it is known which instruction wrote. */
export function watchUnacceptedTable({ memory, guest, table, tell }: UnacceptedTableOptions): AccessObserver {
  const { start, length } = table
  /** Offset in the table of each system page's first byte. */
  const pages = new Map<number, number>()
  for (let page = Math.floor(start / PAGE); page * PAGE < start + length; page++) {
    const system = guest.memory.systemPage(page)
    if (system < 0) continue
    pages.set(system, page * PAGE - start)
    memory.watchPage(system, true)
  }

  const read = (system: number, from: number, bytes: number): Uint8Array => {
    const out = new Uint8Array(bytes)
    memory.read(system * PAGE + from, out, guest.asid)
    return out
  }
  /** The table as it was. */
  const known = new Uint8Array(length)
  /** The part of a page that is the table's, from `at` on. */
  const partOf = (at: number): readonly [from: number, to: number] => [Math.max(0, -at), Math.min(PAGE, length - at)]
  for (const [system, at] of pages) {
    const [from, to] = partOf(at)
    known.set(read(system, from, to - from), at + from)
  }

  memory.onWrite((address, count) => {
    const at = pages.get(Math.floor(address / PAGE))
    if (at === undefined) return
    const [first, end] = partOf(at)
    const [from, to] = [Math.max(first, address % PAGE), Math.min(end, address % PAGE + count)]
    if (from >= to) return
    const now = read(Math.floor(address / PAGE), from, to - from)
    let bits = 0
    let header = false
    now.forEach((byte, i) => {
      const offset = at + from + i
      const before = known[offset]
      known[offset] = byte
      if (offset < LinuxUnacceptedMemory.size) header ||= byte !== before
      else bits += bitsOf(byte & ~before)
    })
    if (bits > 0 || header) tell({ kind: 'table-write', gpa: BigInt(start + at + from), bits, header })
  })
  return { sees: (page) => pages.has(page), accessed: () => undefined }
}
