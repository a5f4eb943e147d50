/** Where a block leads: link words of branches, and the stubs that they lead to until they are followed. */
import type { MemoryViews } from '@cofferdam/memory'
import { REL } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import { linearAddress, reserveRecords } from './code-cache.ts'
import type { Block, CodeCache } from './code-cache.ts'
import { branchTarget } from './operand-writer.ts'
import { HANDLER, HEADER, HEADER_SIZE, UOP } from './uop.ts'

export interface Links {
  /** Starts a block: forgets the links of the one before. */
  clear(): void
  /** Notes a link word; `mayLeave`: what follows it tests whether the target's page may be entered. */
  add(slot: number, target: bigint, mayLeave: boolean): void
  /** Notes the links of a branch. */
  addBranch(uop: number, insn: Insn, nextRip: bigint): void
  /** Fills the link words. Their records come after the block's micro-ops, which so lie side by side. */
  make(block: Block, stepping: boolean): void
}

export function createLinks({ u16, i32, i64 }: MemoryViews, cache: CodeCache): Links {
  const links: { slot: number; target: bigint; mayLeave: boolean }[] = []

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

  /** A link to `target` that asks for the real one, and has it put at `patch`. */
  const linkStub = (patch: number, target: bigint, block: Block, handler: number): number => {
    const at = stub(block, handler)
    const uop = at + HEADER_SIZE
    i64[(uop + UOP.IMM) >>> 3] = target
    i32[(uop + UOP.LINK) >>> 2] = patch
    return at
  }

  /** Fills a link word of a branch: through a checked GOTO when a conditional branch leaves its page. */
  const makeLink = (slot: number, target: bigint, block: Block, stepping: boolean, mayLeave: boolean): void => {
    if (stepping) {
      i32[slot >>> 2] = linkStub(0, target, block, HANDLER.STEP)
      return
    }
    const linear = block.page.base === 0 ? target : BigInt.asUintN(32, target + BigInt(block.page.base))
    const samePage = (linear & ~0xfffn) === linearAddress(block.page.linear, 0)
    if (samePage || mayLeave) {
      const known = samePage ? block.page.entries.get(Number(linear & 0xfffn)) : undefined
      i32[slot >>> 2] = known === undefined ? linkStub(slot, target, block, HANDLER.LINK) : known.header
      return
    }
    const at = stub(block, HANDLER.GOTO)
    const uop = at + HEADER_SIZE
    i32[(uop + UOP.LINK) >>> 2] = linkStub(uop + UOP.LINK, target, block, HANDLER.LINK)
    i32[slot >>> 2] = at
  }

  const add = (slot: number, target: bigint, mayLeave: boolean): void => { links.push({ slot, target, mayLeave }) }

  return {
    add,
    clear() { links.length = 0 },
    addBranch(uop, insn, nextRip) {
      const { op } = insn
      if (op === OP.call) i64[(uop + UOP.IMM) >>> 3] = nextRip
      if (insn.kind0 !== REL) return
      const conditional = op !== OP.jmp && op !== OP.call
      add(uop + UOP.LINK, branchTarget(insn, nextRip), !conditional)
      if (conditional) add(uop + UOP.LINK2, nextRip, false)
    },
    make(block, stepping) {
      for (const { slot, target, mayLeave } of links) makeLink(slot, target, block, stepping, mayLeave)
    },
  }
}
