/** From a firmware memory map to a memblock whose allocations are accepted: what a host or guest does first. */
import { type AcceptMemory, type Acceptor, createAcceptor } from './acceptor.ts'
import { PageAllocError } from './errors.ts'
import { addMap, createMemblock, type Memblock } from './memblock.ts'
import type { MemoryRange } from './memory-map.ts'
import { planUnacceptedTable, type UnacceptedTable } from './unaccepted-table.ts'
import { alignDown, PAGE_SIZE, type Range } from './units.ts'

/** What {@link bootMemory} needs besides the map. */
export interface BootMemoryOptions {
  /** Which node has which memory; the rest is node 0's. */
  readonly nodes?: readonly (Range & { node: number })[]
  /** How memory is accepted; needed when the map has unaccepted memory. */
  readonly accept?: AcceptMemory
  /** Bytes that one bit of the table stands for; default 2 MiB. */
  readonly unitSize?: number
  /** A table that firmware or an earlier kernel left: used as it is, instead of one made from the map. */
  readonly table?: UnacceptedTable
  readonly bottomUp?: boolean
}

/** Memory at boot. */
export interface BootMemory {
  readonly memblock: Memblock
  /** Undefined when nothing is unaccepted. */
  readonly acceptor: Acceptor | undefined
}

/**
 * Makes a memblock of the map's usable and unaccepted memory. Ends of unaccepted ranges that are no whole unit are
 * accepted now; what of them fails is reserved for good, with the page before it.
 * @throws PageAllocError when there is unaccepted memory and no way to accept it.
 */
export function bootMemory(map: readonly MemoryRange[], options: BootMemoryOptions = {}): BootMemory {
  const table = options.table ?? planUnacceptedTable(map, options.unitSize)
  const { accept, bottomUp } = options
  let acceptor: Acceptor | undefined
  if (table !== undefined) {
    if (accept === undefined) throw new PageAllocError('the map has unaccepted memory, and there is no accept port')
    acceptor = createAcceptor({ table, port: accept })
  }
  const memblock = createMemblock({ bottomUp, acceptor })
  addMap(memblock, map, options.nodes)
  if (acceptor !== undefined && options.table === undefined) {
    for (const r of map) if (r.kind === 'unaccepted') acceptor.mark(r.start, r.end)
  }
  for (const bad of acceptor?.failed() ?? []) {
    memblock.reserve(alignDown(Math.max(bad.start - 1, 0), PAGE_SIZE), bad.end)
  }
  return { memblock, acceptor }
}
