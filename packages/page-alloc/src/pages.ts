/**
 * Page metadata in two levels. Every block of 4 MiB has a few bytes; only a block of which part is free and part is
 * not has a *slot*, with nine bytes for each of its 1024 pages. So a terabyte that nobody touches costs megabytes.
 *
 * Links and buddies are computed on page indices (slot * 1024 + page in block), which stay small integers whatever
 * the physical address; only the edges of the API convert to page frame numbers.
 */
import { BLOCK_PAGES } from './units.ts'

/** What a block is, as a whole. */
export const BlockState = {
  /** Reserved, or a hole: none of its pages is with the allocator. */
  reserved: 0,
  /** Its pages differ: see its slot. */
  split: 1,
  free: 2,
  /** Allocated whole. */
  used: 3,
  /** On its zone's list of blocks to accept. */
  unaccepted: 4,
  /** Off that list, being accepted. */
  accepting: 5,
} as const

/** A page's byte in a slot: kind in bits 7:6, migrate type in 5:4, order in 3:0. Zero: inside a run, or a hole. */
export const PageKind = { none: 0x00, free: 0x40, used: 0x80, pcp: 0xc0, mask: 0xc0 } as const

/** Pages of one directory chunk: 64 GiB. */
const CHUNK_PAGES = 2 ** 24
const CHUNK_BLOCKS = CHUNK_PAGES / BLOCK_PAGES

/** The metadata of all pages. */
export interface PageStore {
  /** By 64 GiB of physical address, by block: block number, -1 for none, or -2 - n for entry n of `shared`. */
  dir: (Int32Array | undefined)[]
  /** Blocks that lie in one 4 MiB but in different zones. */
  shared: number[][]
  blocks: number
  /** First page frame of the 4 MiB. */
  blockPfn: Float64Array
  blockZone: Uint16Array
  /** Migrate type of all pages of the block that are free (Linux: the pageblock's). */
  blockMt: Uint8Array
  blockState: Uint8Array
  blockNext: Int32Array
  blockPrev: Int32Array
  blockSlot: Int32Array
  slots: number
  /** Head of the chain of unused slots (through slotBlock), or -1. */
  slotUnused: number
  slotBlock: Int32Array
  /** Pages of the slot on buddy lists. */
  slotFree: Uint16Array
  pageState: Uint8Array
  pageNext: Int32Array
  pagePrev: Int32Array
}

/** An empty store with room for `blocks` blocks. */
export function createPageStore(blocks: number): PageStore {
  return {
    dir: [], shared: [], blocks: 0,
    blockPfn: new Float64Array(blocks), blockZone: new Uint16Array(blocks), blockMt: new Uint8Array(blocks),
    blockState: new Uint8Array(blocks), blockNext: new Int32Array(blocks), blockPrev: new Int32Array(blocks),
    blockSlot: new Int32Array(blocks).fill(-1),
    slots: 0, slotUnused: -1, slotBlock: new Int32Array(0), slotFree: new Uint16Array(0),
    pageState: new Uint8Array(0), pageNext: new Int32Array(0), pagePrev: new Int32Array(0),
  }
}

/** Adds the block at `pfn` (a multiple of 1024) for a zone; several zones may share one 4 MiB. */
export function addBlock(s: PageStore, pfn: number, zone: number, mt: number): number {
  const block = s.blocks++
  s.blockPfn[block] = pfn
  s.blockZone[block] = zone
  s.blockMt[block] = mt
  const chunk = Math.floor(pfn / CHUNK_PAGES)
  const dir = (s.dir[chunk] ??= new Int32Array(CHUNK_BLOCKS).fill(-1))
  const at = (pfn % CHUNK_PAGES) / BLOCK_PAGES
  const there = dir[at]
  if (there === -1) dir[at] = block
  else if (there >= 0) {
    dir[at] = -2 - s.shared.length
    s.shared.push([there, block])
  } else s.shared[-2 - there].push(block)
  return block
}

/** The blocks that hold pages of the 4 MiB around `pfn`. */
export function blocksAt(s: PageStore, pfn: number): readonly number[] {
  const entry = s.dir[Math.floor(pfn / CHUNK_PAGES)]?.[(pfn >>> 10) & (CHUNK_BLOCKS - 1)] ?? -1
  return entry === -1 ? [] : entry >= 0 ? [entry] : s.shared[-2 - entry]
}

/** The block of `zone` in the 4 MiB around `pfn`, or -1. */
export function blockIn(s: PageStore, pfn: number, zone: number): number {
  const entry = s.dir[Math.floor(pfn / CHUNK_PAGES)]?.[(pfn >>> 10) & (CHUNK_BLOCKS - 1)] ?? -1
  if (entry === -1) return -1
  if (entry >= 0) return s.blockZone[entry] === zone ? entry : -1
  return s.shared[-2 - entry].find((b) => s.blockZone[b] === zone) ?? -1
}

/** The block whose allocated page `pfn` is, or -1. Where zones share a block, the one whose slot knows the page. */
export function blockOf(s: PageStore, pfn: number): number {
  const dir = s.dir[(pfn / CHUNK_PAGES) | 0]
  if (dir === undefined) return -1
  const entry = dir[(pfn >>> 10) & (CHUNK_BLOCKS - 1)]
  if (entry >= -1) return entry
  for (const block of s.shared[-2 - entry]) {
    const slot = s.blockSlot[block]
    if (slot >= 0 && s.pageState[slot * BLOCK_PAGES + (pfn & (BLOCK_PAGES - 1))] !== 0) return block
  }
  return -1
}

/** Page frame of a page index. */
export const pfnOf = (s: PageStore, page: number): number => s.blockPfn[s.slotBlock[page >> 10]] + (page & 1023)

function growSlots(s: PageStore): void {
  const slots = Math.max(16, s.slotBlock.length + (s.slotBlock.length >> 1))
  const grow = <T extends Int32Array | Uint16Array | Uint8Array>(to: T, from: T): T => {
    to.set(from)
    return to
  }
  s.slotBlock = grow(new Int32Array(slots), s.slotBlock)
  s.slotFree = grow(new Uint16Array(slots), s.slotFree)
  s.pageState = grow(new Uint8Array(slots * BLOCK_PAGES), s.pageState)
  s.pageNext = grow(new Int32Array(slots * BLOCK_PAGES), s.pageNext)
  s.pagePrev = grow(new Int32Array(slots * BLOCK_PAGES), s.pagePrev)
}

/** Gives a block a slot, whose pages are all of kind none; returns the index of its first page. */
export function takeSlot(s: PageStore, block: number): number {
  let slot = s.slotUnused
  if (slot >= 0) s.slotUnused = s.slotBlock[slot]
  else {
    if (s.slots === s.slotBlock.length) growSlots(s)
    slot = s.slots++
  }
  s.slotBlock[slot] = block
  s.slotFree[slot] = 0
  s.blockSlot[block] = slot
  s.blockState[block] = BlockState.split
  return slot * BLOCK_PAGES
}

/** Takes a block's slot back; its pages must be of kind none. */
export function dropSlot(s: PageStore, block: number): void {
  const slot = s.blockSlot[block]
  s.blockSlot[block] = -1
  s.slotBlock[slot] = s.slotUnused
  s.slotUnused = slot
}

/** Bytes that the metadata takes. */
export function storeBytes(s: PageStore): number {
  let bytes = 0
  for (const chunk of s.dir) bytes += chunk?.byteLength ?? 0
  for (const a of [
    s.blockPfn, s.blockZone, s.blockMt, s.blockState, s.blockNext, s.blockPrev, s.blockSlot,
    s.slotBlock, s.slotFree, s.pageState, s.pageNext, s.pagePrev,
  ]) bytes += a.byteLength
  return bytes
}
