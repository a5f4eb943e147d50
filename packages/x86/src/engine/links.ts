/** Where a block leads: link words of branches, and the stubs that they lead to until they are followed. */
import type { MemoryViews } from '@cofferdam/memory'
import { MODE64, REL } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import { reserveRecords } from './code-cache.ts'
import type { Block, CodeCache } from './code-cache.ts'
import { decodeMode } from './mode.ts'
import { branchTarget } from './operand-writer.ts'
import type { Rip } from './rip.ts'
import { HANDLER, HEADER, HEADER_SIZE, UOP } from './uop.ts'

export interface Links {
  /** Starts a block: forgets the links of the one before. */
  clear(): void
  /** Notes a link word; `mayLeave`: what follows it tests whether the target's page may be entered. */
  add(slot: number, target: Readonly<Rip>, mayLeave: boolean): void
  /** Makes a micro-op's immediate an instruction pointer. */
  writeRip(uop: number, rip: Readonly<Rip>): void
  /** Notes the links of a branch. */
  addBranch(uop: number, insn: Insn, nextRip: Readonly<Rip>): void
  /** Fills the link words. Their records come after the block's micro-ops, which so lie side by side. */
  make(block: Block, stepping: boolean): void
}

/** One link word and what it leads to; used again for the next block. */
interface Link {
  slot: number
  readonly target: Rip
  mayLeave: boolean
}

export function createLinks({ u16, i32 }: MemoryViews, cache: CodeCache): Links {
  const links: Link[] = []
  let count = 0
  const target: Rip = { low: 0, high: 0 }

  /** A record that is entered like a block, with one micro-op: answers the header. */
  const stub = (block: Block, handler: number): number => {
    const at = reserveRecords(cache, 2)
    i32[(at + HEADER.HOTNESS) >>> 2] = 0x7fff_ffff
    i32[(at + HEADER.PAGE) >>> 2] = cache.always
    i32[(at + HEADER.ENTRY) >>> 2] = at + HEADER_SIZE
    u16[(at + HEADER_SIZE) >>> 1] = handler
    cache.note(at + HEADER_SIZE, block, 0, 0)
    return at
  }

  const writeRip = (uop: number, { low, high }: Readonly<Rip>): void => {
    i32[(uop + UOP.IMM) >>> 2] = low
    i32[(uop + UOP.IMM + 4) >>> 2] = high
  }

  /** The offset in the block's page that `target` leads to, or −1. */
  const offsetInPage = ({ page }: Block, { low, high }: Readonly<Rip>): number => {
    const linear = (low + page.base) | 0
    const other = decodeMode(page.mode) === MODE64 ? high : 0
    return (linear & ~0xfff) === page.low && other === page.high ? linear & 0xfff : -1
  }

  /** A link to `target` that asks for the real one, and has it put at `patch`. */
  const linkStub = (patch: number, target: Readonly<Rip>, block: Block, handler: number): number => {
    const at = stub(block, handler)
    const uop = at + HEADER_SIZE
    writeRip(uop, target)
    i32[(uop + UOP.LINK) >>> 2] = patch
    return at
  }

  /** Fills a link word of a branch: through a checked GOTO when a conditional branch leaves its page. */
  const makeLink = ({ slot, target, mayLeave }: Link, block: Block, stepping: boolean): void => {
    if (stepping) {
      i32[slot >>> 2] = linkStub(0, target, block, HANDLER.STEP)
      return
    }
    const offset = offsetInPage(block, target)
    if (offset >= 0 || mayLeave) {
      const known = offset >= 0 ? block.page.entries.get(offset) : undefined
      i32[slot >>> 2] = known === undefined ? linkStub(slot, target, block, HANDLER.LINK) : known.header
      return
    }
    const at = stub(block, HANDLER.GOTO)
    const uop = at + HEADER_SIZE
    i32[(uop + UOP.LINK) >>> 2] = linkStub(uop + UOP.LINK, target, block, HANDLER.LINK)
    i32[slot >>> 2] = at
  }

  const add: Links['add'] = (slot, { low, high }, mayLeave) => {
    if (count === links.length) links.push({ slot, target: { low, high }, mayLeave })
    const link = links[count++]
    link.slot = slot
    link.target.low = low
    link.target.high = high
    link.mayLeave = mayLeave
  }

  return {
    add, writeRip,
    clear() { count = 0 },
    addBranch(uop, insn, nextRip) {
      const { op } = insn
      if (op === OP.call) writeRip(uop, nextRip)
      if (insn.kind0 !== REL) return
      const conditional = op !== OP.jmp && op !== OP.call
      branchTarget(insn, nextRip, target)
      add(uop + UOP.LINK, target, !conditional)
      if (conditional) add(uop + UOP.LINK2, nextRip, false)
    },
    make(block, stepping) {
      for (let i = 0; i < count; i++) makeLink(links[i], block, stepping)
    },
  }
}
