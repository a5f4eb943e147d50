/** Writes the micro-ops of a block that was decoded. */
import type { MemoryViews } from '@cofferdam/memory'
import { MODE64 } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP } from '../ops.ts'
import { reserveRecords } from './code-cache.ts'
import type { Block, CodeCache, CodePage, HostSite } from './code-cache.ts'
import { analyseFlags } from './flag-use.ts'
import type { FormTable } from './form-table.ts'
import { createLinks } from './links.ts'
import { decodeMode } from './mode.ts'
import { immediateOf, isFusable, isTerminator, needsAddress, readsFlags } from './op-classes.ts'
import { createOperandWriter, memoryToTemporary, settleAddress } from './operand-writer.ts'
import { advance, ripInPage, ripValue } from './rip.ts'
import type { Rip } from './rip.ts'
import { HANDLER, HEADER, UOP } from './uop.ts'

/** A block's instructions, decoded; the arrays are used again for the next block. */
export interface Decoded {
  readonly insns: readonly Insn[]
  /** Whether a meaning in TypeScript carries it out. */
  readonly host: Uint8Array
  /** Bytes from the block's start to each instruction, and to the end. */
  readonly offsets: Uint16Array
  /** Which status flags of an instruction are looked at, and whose an instruction looks at: see `analyseFlags`. */
  readonly needed: Uint8Array
  readonly source: Int8Array
}

/** What to emit: `n` instructions from `offset` of `page`; the first may reach into `next`. */
export interface Emission {
  readonly page: CodePage
  readonly offset: number
  readonly n: number
  readonly next: CodePage | null
  readonly stepping: boolean
  /** Entries until the block is reported as hot. */
  readonly hotness: number
}

/** @throws CodeCacheFull */
export function createEmitter(
  views: MemoryViews, cache: CodeCache, forms: FormTable, decoded: Decoded,
): (what: Emission) => Block {
  const { u16, i32 } = views
  const { insns, host, offsets, needed, source } = decoded
  const writeOperands = createOperandWriter(views)
  const links = createLinks(views, cache)

  /** RIP of the block, and that behind the instruction that is emitted. */
  const first: Rip = { low: 0, high: 0 }
  const nextRip: Rip = { low: 0, high: 0 }
  let wide = false

  const setNext = (i: number): void => { advance(first, offsets[i + 1], wide, nextRip) }

  const ripOf = (i: number): bigint => {
    const rip: Rip = { low: 0, high: 0 }
    advance(first, offsets[i], wide, rip)
    return ripValue(rip)
  }

  const hostSite = (block: Block, i: number, n: number): HostSite => ({
    insn: { ...insns[i] }, block, rip: ripOf(i), next: ripOf(i + 1), remaining: n - i, meaning: undefined,
  })

  /** Emits instruction `i` (and the branch fused behind it); answers the index of the last instruction taken. */
  const emitOne = (block: Block, i: number, n: number): number => {
    const insn = insns[i]
    // STI as the last instruction: the host sees to it that one more runs before an interrupt.
    const onHost = host[i] !== 0 || (insn.op === OP.sti && i === n - 1)
    if (onHost) {
      const uop = reserveRecords(cache, 1)
      u16[uop >>> 1] = HANDLER.HOST
      cache.note(uop, block, offsets[i], i)
      cache.hostInsns.set(uop, hostSite(block, i, n))
      return i
    }
    setNext(i)
    if (needsAddress(insn)) {
      const uop = reserveRecords(cache, 1)
      u16[uop >>> 1] = HANDLER.ADDRESS
      cache.note(uop, block, offsets[i], i)
      cache.hostInsns.set(uop, hostSite(block, i, n))
      memoryToTemporary(insn)
    } else {
      settleAddress(insn, nextRip)
    }
    const branch = i + 1 < n && isFusable[insn.op] && needed[i] !== 0 && insns[i + 1].op === OP.jcc && host[i + 1] === 0
      ? insns[i + 1] : null
    const uop = reserveRecords(cache, 1)
    cache.note(uop, block, offsets[i], i)
    writeOperands(uop, insn, nextRip)
    const immediate = immediateOf(insn)
    // A form's key has room for one of the two (LOOPE and LOOPNE could have both).
    const reads = immediate < 0 && readsFlags(insn) ? source[i] : -1
    const form = forms.lookUp(insn, needed[i] !== 0, reads, immediate, branch)
    u16[uop >>> 1] = forms.handler(form)
    u16[(uop + UOP.FORM) >>> 1] = form
    if (branch !== null) {
      setNext(i + 1)
      links.addBranch(uop, branch, nextRip)
      return i + 1
    }
    links.addBranch(uop, insn, nextRip)
    if (insn.op === OP.rdtsc || insn.op === OP.rdtscp) i32[(uop + UOP.LINK2) >>> 2] = n - i
    return i
  }

  return ({ page, offset, n, next, stepping, hotness }) => {
    links.clear()
    const block = cache.newBlock(page, offset)
    block.count = n
    block.length = offsets[n]
    block.next = next
    i32[(block.header + HEADER.COUNT) >>> 2] = n
    i32[(block.header + HEADER.HOTNESS) >>> 2] = hotness
    analyseFlags(n, (i) => insns[i], (i) => host[i] !== 0, needed, source)
    wide = decodeMode(page.mode) === MODE64
    ripInPage(page, offset, first)
    if (next !== null) {
      const uop = reserveRecords(cache, 1)
      u16[uop >>> 1] = HANDLER.CROSS
      i32[(uop + UOP.DISP) >>> 2] = next.words
      cache.note(uop, block, 0, 0)
    }
    for (let i = 0; i < n; i++) i = emitOne(block, i, n)
    const last = insns[n - 1]
    if (host[n - 1] !== 0 || !isTerminator[last.op]) {
      const uop = reserveRecords(cache, 1)
      advance(first, offsets[n], wide, nextRip)
      if (stepping) {
        u16[uop >>> 1] = HANDLER.STEP
        links.writeRip(uop, nextRip)
      } else {
        u16[uop >>> 1] = HANDLER.GOTO
      }
      cache.note(uop, block, offsets[n], n)
      if (!stepping) links.add(uop + UOP.LINK, nextRip, true)
    }
    links.make(block, stepping)
    return block
  }
}
