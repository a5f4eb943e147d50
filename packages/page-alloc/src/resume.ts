/**
 * What of an allocator changes by its use, as data: a snapshot without what follows from the memory map. It may come
 * from outside, so it is checked whole before it is taken: an allocator with lists that lead astray would loop, or hand
 * out what somebody has.
 */
import { type PageAllocator, restorePageAllocator } from './allocator.ts'
import { MigrateType, MTS, ORDERS, PCP_LISTS, PCP_ORDERS } from './core.ts'
import { PageAllocError } from './errors.ts'
import { BlockState, PageKind } from './pages.ts'
import type { PageAllocSnapshot } from './snapshot.ts'
import { BLOCK_PAGES, MAX_ORDER } from './units.ts'

const CORE = [
  'head', 'tail', 'count', 'orders', 'pcpHead', 'pcpTail', 'pcpCount', 'pcpTurn', 'free', 'pcp', 'isolated',
] as const
const BLOCKS = ['blockMt', 'blockState', 'blockNext', 'blockPrev', 'blockSlot'] as const
const SLOTS = ['slotBlock', 'slotFree'] as const
const PAGES = ['pageState', 'pageNext', 'pagePrev'] as const

type Core = PageAllocSnapshot['core']
type Store = PageAllocSnapshot['store']

/** What changes when memory is given out and taken back. */
export interface PageAllocUse {
  readonly core: Pick<Core, (typeof CORE)[number]>
  readonly store: Pick<Store, (typeof BLOCKS | typeof SLOTS | typeof PAGES)[number] | 'slots' | 'slotUnused'>
}

const pick = <T, K extends keyof T>(from: T, names: readonly K[]): Pick<T, K> =>
  Object.fromEntries(names.map((name) => [name, from[name]])) as Pick<T, K>

/** What an allocator's use has made of it. @throws PageAllocError while memory is being accepted */
export function pageAllocUse(allocator: PageAllocator): PageAllocUse {
  const { core, store } = allocator.snapshot()
  return { core: pick(core, CORE), store: pick(store, [...BLOCKS, ...SLOTS, ...PAGES, 'slots', 'slotUnused']) }
}

function need(ok: boolean, field: string, expected: string): asserts ok {
  if (!ok) throw new PageAllocError(`${field}: expected ${expected}`)
}

/** Arrays of the right kinds and lengths. */
function checkShapes(use: PageAllocUse, fresh: PageAllocSnapshot): void {
  const isRecord = (value: unknown): boolean => typeof value === 'object' && value !== null
  need(isRecord(use) && isRecord(use.core) && isRecord(use.store), 'pages', 'records core and store')
  const { slots, slotUnused } = use.store
  need(Number.isSafeInteger(slots) && slots >= 0 && slots <= fresh.store.blocks, 'slots', `0 to ${fresh.store.blocks}`)
  need(Number.isSafeInteger(slotUnused) && slotUnused >= -1 && slotUnused < slots, 'slotUnused', 'a slot or -1')
  const check = (name: string, array: unknown, like: ArrayBufferView, length: number): void => {
    const fits = ArrayBuffer.isView(array) && Object.getPrototypeOf(array) === Object.getPrototypeOf(like)
    need(fits && (array as Uint8Array).length === length, name, `${length} numbers of its kind`)
  }
  for (const name of CORE) check(name, use.core[name], fresh.core[name], fresh.core[name].length)
  for (const name of BLOCKS) check(name, use.store[name], fresh.store[name], fresh.store[name].length)
  for (const name of SLOTS) check(name, use.store[name], fresh.store[name], slots)
  for (const name of PAGES) check(name, use.store[name], fresh.store[name], slots * BLOCK_PAGES)
}

/** Slots belong to one block each, or to the chain of those that nobody has. */
function checkSlots({ store: s }: PageAllocUse, { store }: PageAllocSnapshot): void {
  const owner = new Int32Array(s.slots).fill(-1)
  for (let block = 0; block < store.blocks; block++) {
    const [state, slot] = [s.blockState[block], s.blockSlot[block]]
    need(state <= BlockState.used, 'blockState', 'reserved, split, free or used')
    need(s.blockMt[block] < MTS, 'blockMt', `migrate types below ${MTS}`)
    need((state === BlockState.split) === (slot >= 0) && slot < s.slots, 'blockSlot', 'slots of split blocks')
    if (slot < 0) continue
    need(owner[slot] < 0 && s.slotBlock[slot] === block, 'slotBlock', 'one block for each slot')
    owner[slot] = block
  }
  let unused = 0
  for (let slot = s.slotUnused; slot >= 0; slot = s.slotBlock[slot]) {
    need(slot < s.slots && owner[slot] < 0 && unused++ < s.slots, 'slotUnused', 'a chain of unused slots')
  }
  need(
    owner.every((block) => block >= 0) || owner.filter((block) => block < 0).length === unused,
    'slotUnused', 'all unused slots',
  )
}

/** Runs of pages lie apart, at multiples of their sizes. Answers how many there are on lists. */
function checkRuns({ store: s }: PageAllocUse, used: (slot: number) => boolean): number {
  let listed = 0
  for (let slot = 0; slot < s.slots; slot++) {
    if (!used(slot)) continue
    let free = 0
    for (let at = 0, end = 0; at < BLOCK_PAGES; at++) {
      const state = s.pageState[slot * BLOCK_PAGES + at]
      if (state === 0) continue
      const [kind, order] = [state & PageKind.mask, state & 15]
      need(
        kind !== PageKind.none && order < MAX_ORDER && at >= end && at % 2 ** order === 0,
        'pageState', 'runs that lie apart',
      )
      end = at + 2 ** order
      if (kind === PageKind.free) free += 2 ** order
      if (kind !== PageKind.used) listed++
    }
    need(s.slotFree[slot] === free, 'slotFree', 'the pages on lists')
  }
  return listed
}

/** Walks a list; `fits` says whether an item belongs there. Answers its length. */
function walk(
  list: { name: string, head: number, tail: number, next: Int32Array, prev: Int32Array },
  most: number, fits: (item: number) => boolean,
): number {
  let [length, before] = [0, -1]
  for (let item = list.head; item !== -1; item = list.next[item]) {
    need(item >= 0 && item < list.next.length && fits(item), list.name, 'items of its kind')
    need(list.prev[item] === before && length < most, list.name, 'items that follow each other')
    before = item
    length++
  }
  need(list.tail === before, list.name, 'the end that its items lead to')
  return length
}

/** The buddy lists of all zones: answers how many runs in pages are on them. */
function checkBuddies({ core: c, store: s }: PageAllocUse, { core, store }: PageAllocSnapshot): number {
  let runs = 0
  const wholeBlocks = s.blockState.subarray(0, store.blocks).filter((state) => state === BlockState.free).length
  let blocks = 0
  for (let zone = 0; zone < core.managed.length; zone++) {
    const pages = { free: 0, isolated: 0 }
    for (let mt = 0; mt < MTS; mt++) {
      let orders = 0
      for (let order = 0; order < ORDERS; order++) {
        const at = (zone * MTS + mt) * ORDERS + order
        const whole = order === MAX_ORDER
        const isHere = (block: number): boolean => store.blockZone[block] === zone && s.blockMt[block] === mt
        const length = walk({
          name: 'head', head: c.head[at], tail: c.tail[at],
          next: whole ? s.blockNext : s.pageNext, prev: whole ? s.blockPrev : s.pagePrev,
        }, whole ? store.blocks : s.pageState.length, (item) => (whole
          ? item < store.blocks && s.blockState[item] === BlockState.free && isHere(item)
          : s.pageState[item] === (PageKind.free | order) && isHere(s.slotBlock[item >> 10])))
        need(c.count[at] === length, 'count', 'the lengths of the lists')
        if (length > 0) orders |= 1 << order
        if (whole) blocks += length
        else runs += length
        pages[mt === MigrateType.isolate ? 'isolated' : 'free'] += length * 2 ** order
      }
      need(c.orders[zone * MTS + mt] === orders, 'orders', 'the orders with runs')
    }
    need(c.free[zone] === pages.free && c.isolated[zone] === pages.isolated, 'free', 'the pages on lists')
  }
  need(blocks === wholeBlocks, 'blockState', 'free blocks on lists')
  return runs
}

/** The per-CPU lists: answers how many runs are on them. */
function checkPerCpu({ core: c, store: s }: PageAllocUse, { core, store }: PageAllocSnapshot): number {
  let runs = 0
  for (let zone = 0; zone < core.managed.length; zone++) {
    let pages = 0
    for (let cpu = 0; cpu < core.cpus; cpu++) {
      const at = zone * core.cpus + cpu
      let own = 0
      for (let list = 0; list < PCP_LISTS; list++) {
        const state = PageKind.pcp | Math.floor(list / PCP_ORDERS) << 4 | list % PCP_ORDERS
        const length = walk({
          name: 'pcpHead', head: c.pcpHead[at * PCP_LISTS + list], tail: c.pcpTail[at * PCP_LISTS + list],
          next: s.pageNext, prev: s.pagePrev,
        }, s.pageState.length, (item) =>
          s.pageState[item] === state && store.blockZone[s.slotBlock[item >> 10]] === zone)
        own += length * 2 ** (list % PCP_ORDERS)
        runs += length
      }
      need(c.pcpCount[at] === own && c.pcpTurn[at] < PCP_LISTS, 'pcpCount', 'the pages on its lists')
      pages += own
    }
    need(c.pcp[zone] === pages, 'pcp', 'the pages on its lists')
  }
  return runs
}

/**
 * An allocator of the same memory that goes on from the use of another one.
 * @param fresh one that was made like the other, and not used
 * @throws PageAllocError naming the part of `use` that no such allocator can have
 */
export function resumePageAllocator(fresh: PageAllocator, use: PageAllocUse): PageAllocator {
  const like = fresh.snapshot()
  checkShapes(use, like)
  checkSlots(use, like)
  const { slotBlock, blockSlot } = use.store
  const runs = checkRuns(use, (slot) => slotBlock[slot] >= 0 && blockSlot[slotBlock[slot]] === slot)
  need(checkBuddies(use, like) + checkPerCpu(use, like) === runs, 'pageState', 'free runs on lists')
  return restorePageAllocator({
    ...like, core: { ...like.core, ...pick(use.core, CORE) },
    store: { ...like.store, ...pick(use.store, [...BLOCKS, ...SLOTS, ...PAGES, 'slots', 'slotUnused']) },
  })
}
