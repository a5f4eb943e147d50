/**
 * Decoded code. A *code page* is a physical page seen at a linear page in a decode mode; blocks belong to one.
 * Whether a processor may still enter a code page (its mapping has not been flushed since it was last walked) is one
 * word per processor in the WebAssembly memory, tested by every jump that may leave its page. A write to a page with
 * code finds the blocks it hits and turns each into a link to what is there now; the page's other blocks stay.
 */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { EVENT } from '../state.ts'
import { ripInPage } from './rip.ts'
import type { Rip } from './rip.ts'
import { EVENT_STOP, HANDLER, HEADER, HEADER_SIZE, UOP, UOP_SIZE } from './uop.ts'

export interface PhysicalCodePage {
  readonly number: number
  readonly views: CodePage[]
  /**
   * Blocks with bytes in each 64 bytes of this page (also those of an instruction that begins in the page before), and
   * some that are dead: code that changes itself has thousands in a page.
   */
  readonly lines: (Block[] | undefined)[]
  /** Blocks that are alive. */
  count: number
}

export interface CodePage {
  /** Linear page number: address / 4096. */
  readonly linear: number
  /** Its address as two halves of 32 bits, signed. */
  readonly low: number
  readonly high: number
  readonly mode: number
  /** Base of the code segment: RIP is the linear address less this (0 in 64-bit mode). */
  readonly base: number
  /** Last offset of the code segment: instructions reach no further (2^32 − 1 in 64-bit mode). */
  readonly limit: number
  readonly physical: PhysicalCodePage
  /** Address of the validity words, one per processor. */
  readonly words: number
  /** Headers by offset in the page. */
  readonly entries: Map<number, Block>
}

export interface Block {
  readonly id: number
  readonly header: number
  readonly page: CodePage
  /** Offset of the first byte in the page. */
  readonly offset: number
  /** Bytes covered; may reach into the next page for a page-crossing instruction. */
  length: number
  count: number
  /** Where the rest of a page-crossing instruction lies. */
  next: CodePage | null
  alive: boolean
  /** Told when the block dies: compiled code that contains it must go. */
  onDeath: (() => void) | null
}

/** An instruction that the host runs, with what follows from where it is. */
export interface HostSite {
  readonly insn: Insn
  readonly block: Block
  /** RIP of the instruction and of the next one. */
  readonly rip: bigint
  readonly next: bigint
  /** Instructions of the block from this one on. */
  readonly remaining: number
  /** The TypeScript meaning, once looked up. */
  meaning: Meaning | undefined
}

export interface CodeCacheOptions {
  readonly memory: PhysicalMemory
  readonly processors: number
  /** Bytes for micro-ops. */
  readonly uopBytes: number
  /** Bytes for validity words. */
  readonly wordBytes: number
  /** A physical page holds code from now on: nobody may write to it unseen. */
  readonly onCodePage: (physicalPage: number) => void
}

export interface CodeCache {
  /** Address of a word array that is always valid. */
  readonly always: number
  readonly blocks: Block[]
  /** Micro-ops that leave for the host: what they are. */
  readonly hostInsns: Map<number, HostSite>
  /** Counts flushes of everything; who holds headers or pages compares. */
  generation: number
  codePage(linear: number, physical: number, mode: number, base: number, limit: number): CodePage
  newBlock(page: CodePage, offset: number): Block
  /** Takes room for `n` records (header or micro-op); 0 when the cache is full. */
  allocate(n: number): number
  /** Notes where a micro-op belongs: block, byte offset in it, instructions before it. */
  note(uop: number, block: Block, offset: number, index: number): void
  blockAt(uop: number): Block
  offsetAt(uop: number): number
  indexAt(uop: number): number
  /** Lists a finished block on the physical pages it lies in, and watches them. */
  publish(block: Block): void
  /** Takes back all that `make` allocated, when it is done with (a single step's block). */
  temporarily<T>(make: () => T): T
  /** Forgets everything. */
  flush(): void
}

const PAGE = 4096
const LINE_SHIFT = 6
/** Records that there is room for at first. */
const FIRST_RECORDS = 2 ** 14
/** Index of a record that is no micro-op. */
const NOTHING = 255

/** The code pages that hold bytes of a block. */
const pagesOf = ({ page, next }: Block): readonly CodePage[] => (next === null ? [page] : [page, next])

/** Whether a block has bytes between two offsets of a physical page, which may be both of its pages. */
const covers = ({ page, next, offset, length }: Block, physical: PhysicalCodePage, from: number, to: number): boolean =>
  (page.physical === physical && offset < to && offset + length > from)
  || (next?.physical === physical && offset - PAGE < to && offset - PAGE + length > from)

export function createCodeCache(options: CodeCacheOptions): CodeCache {
  const { memory, processors, uopBytes, wordBytes } = options
  const { i32, u16 } = memory.views
  const uopBase = memory.reserve(uopBytes)
  const wordBase = memory.reserve(wordBytes)
  const wordStep = processors * 4
  const records = uopBytes / UOP_SIZE
  /** Where each record belongs; they grow with what is in use, since most machines use little of the room. */
  let blockOf = new Uint32Array(0)
  let offsetOf = new Uint16Array(0)
  let indexOf = new Uint8Array(0)
  const growTo = (wanted: number): void => {
    const length = Math.min(records, Math.max(FIRST_RECORDS, 2 * indexOf.length, wanted))
    const [blocks, offsets, indices] = [new Uint32Array(length), new Uint16Array(length), new Uint8Array(length)]
    blocks.set(blockOf)
    offsets.set(offsetOf)
    indices.set(indexOf);
    [blockOf, offsetOf, indexOf] = [blocks, offsets, indices]
  }
  const physicalPages = new Map<number, PhysicalCodePage>()
  const blocks: Block[] = []
  const hostInsns = new Map<number, HostSite>()
  const rip: Rip = { low: 0, high: 0 }
  let next = uopBase
  let nextWord = wordBase + wordStep
  i32.fill(1, wordBase >>> 2, (wordBase + wordStep) >>> 2)

  const allocate = (n: number): number => {
    if (next + n * UOP_SIZE > uopBase + uopBytes) return 0
    const at = next
    next += n * UOP_SIZE
    // By hand: a call of `fill` takes several times as long for so few words.
    for (let word = at >>> 2; word < next >>> 2; word++) i32[word] = 0
    // What a single step noted of the same records must not be taken for their new owner's.
    const record = (at - uopBase) / UOP_SIZE
    if (record + n > indexOf.length) growTo(record + n)
    for (let i = 0; i < n; i++) indexOf[record + i] = NOTHING
    return at
  }

  /** Turns the first micro-op of a dead block into a link to whatever is at its address now. */
  const kill = (block: Block): void => {
    block.alive = false
    for (const { physical } of pagesOf(block)) physical.count--
    block.page.entries.delete(block.offset)
    block.onDeath?.()
    const uop = block.header + HEADER_SIZE
    u16[uop >>> 1] = HANDLER.LINK
    i32[(block.header + HEADER.COUNT) >>> 2] = 0
    ripInPage(block.page, block.offset, rip)
    i32[(uop + UOP.IMM) >>> 2] = rip.low
    i32[(uop + UOP.IMM + 4) >>> 2] = rip.high
    // Nobody's word is patched: the LINK writes into its own, unused, second link.
    i32[(uop + UOP.LINK) >>> 2] = uop + UOP.LINK2
    i32[(block.header + HEADER.PAGE) >>> 2] = wordBase
    i32[(block.header + HEADER.ENTRY) >>> 2] = uop
  }

  const drop = (page: PhysicalCodePage): void => {
    physicalPages.delete(page.number)
    memory.watchPage(page.number, false)
  }

  memory.onWrite((address, length) => {
    const page = physicalPages.get(Math.floor(address / PAGE))
    if (page === undefined) return
    if (page.count === 0) {
      // Not at the write that ended the last block: code that is patched is often run again soon.
      memory.watchPage(page.number, false)
      return
    }
    const from = address % PAGE
    const to = from + length
    let hit = false
    for (let line = from >>> LINE_SHIFT; line << LINE_SHIFT < to; line++) {
      const blocks = page.lines[line]
      if (blocks === undefined) continue
      for (const block of blocks) {
        if (block.alive && covers(block, page, from, to)) {
          kill(block)
          hit = true
        }
      }
      if (blocks.length !== 0) page.lines[line] = blocks.filter((b) => b.alive)
    }
    // The processor that wrote may be inside one of them: it goes on from a fresh look-up.
    if (hit) i32[EVENT >>> 2] |= EVENT_STOP
  })

  const codePage = (linear: number, physical: number, mode: number, base: number, limit: number): CodePage => {
    let frame = physicalPages.get(physical)
    if (frame === undefined) {
      frame = { number: physical, views: [], lines: [], count: 0 }
      physicalPages.set(physical, frame)
    }
    const found = frame.views.find(
      (v) => v.linear === linear && v.mode === mode && v.base === base && v.limit === limit
    )
    if (found !== undefined) return found
    const words = nextWord
    nextWord += wordStep
    if (nextWord > wordBase + wordBytes) throw new CodeCacheFull()
    i32.fill(0, words >>> 2, nextWord >>> 2)
    const page: CodePage = {
      linear, ...halvesOf(linear), mode, base, limit, physical: frame, words, entries: new Map(),
    }
    frame.views.push(page)
    return page
  }

  const cache: CodeCache = {
    always: wordBase,
    blocks, hostInsns, generation: 0, codePage, allocate,
    newBlock(page, offset) {
      const header = allocate(1)
      if (header === 0) throw new CodeCacheFull()
      const block: Block = {
        id: blocks.length, header, page, offset, length: 0, count: 0, next: null, alive: true, onDeath: null,
      }
      blocks.push(block)
      i32[(header + HEADER.PAGE) >>> 2] = page.words
      i32[(header + HEADER.BLOCK) >>> 2] = block.id
      i32[(header + HEADER.ENTRY) >>> 2] = header + HEADER_SIZE
      return block
    },
    note(uop, block, offset, index) {
      const at = (uop - uopBase) / UOP_SIZE
      blockOf[at] = block.id
      offsetOf[at] = offset
      indexOf[at] = index
    },
    blockAt: (uop) => blocks[blockOf[(uop - uopBase) / UOP_SIZE]],
    offsetAt: (uop) => offsetOf[(uop - uopBase) / UOP_SIZE],
    indexAt: (uop) => indexOf[(uop - uopBase) / UOP_SIZE],
    publish(block) {
      block.page.entries.set(block.offset, block)
      pagesOf(block).forEach(({ physical }, n) => {
        if (physical.count++ === 0) {
          memory.watchPage(physical.number, true)
          options.onCodePage(physical.number)
        }
        const start = Math.max(0, block.offset - n * PAGE)
        const end = Math.min(PAGE, block.offset - n * PAGE + block.length)
        for (let line = start >>> LINE_SHIFT; line << LINE_SHIFT < end; line++) {
          (physical.lines[line] ??= []).push(block)
        }
      })
    },
    temporarily(make) {
      const at = next
      const count = blocks.length
      try {
        return make()
      } finally {
        for (let uop = at; uop < next; uop += UOP_SIZE) hostInsns.delete(uop)
        next = at
        blocks.length = count
      }
    },
    flush() {
      for (const page of physicalPages.values()) drop(page)
      blocks.length = 0
      hostInsns.clear()
      next = uopBase
      nextWord = wordBase + wordStep
      cache.generation++
    },
  }
  return cache
}

/** Thrown inside the engine when translation finds no room; the engine flushes and starts again. */
export class CodeCacheFull extends Error {
  constructor() {
    super('the code cache is full')
    this.name = 'CodeCacheFull'
  }
}

/** Takes room for `n` records. @throws CodeCacheFull */
export function reserveRecords(cache: CodeCache, n: number): number {
  const at = cache.allocate(n)
  if (at === 0) throw new CodeCacheFull()
  return at
}

/** The address of a linear page as two halves of 32 bits, signed. */
export const halvesOf = (linear: number): Pick<CodePage, 'low' | 'high'> => ({
  low: ((linear % 0x10_0000) * PAGE) | 0, high: Math.floor(linear / 0x10_0000) | 0,
})
