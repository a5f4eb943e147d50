/** Decoding a block of guest code into micro-ops. */
import type { MemoryViews } from '@cofferdam/memory'
import { createInsn, decode } from '../decode/decode.ts'
import { DECODED, MODE64, REL, TOO_LONG, TRUNCATED } from '../insn.ts'
import type { Insn } from '../insn.ts'
import type { Block, CodeCache, CodePage } from './code-cache.ts'
import { createEmitter } from './emit.ts'
import { analyseFlags } from './flag-use.ts'
import { makeForm } from './form.ts'
import type { Form } from './form.ts'
import type { FormTable } from './form-table.ts'
import { decodeMode } from './mode.ts'
import { immediateOf, isTerminator, needsAddress, runsOnHost } from './op-classes.ts'
import { branchTarget } from './operand-writer.ts'
import { blockRip } from './rip.ts'
import type { Rip } from './rip.ts'
import { HEADER_SIZE, UOP_SIZE } from './uop.ts'

const PAGE = 4096
const MAX_BLOCK = 64
/** Longest instruction. */
const MAX_INSN = 15

/** Where the bytes of the next page come from when an instruction crosses into it; null: fetching there faults. */
export type NextPage = () => CodePage | null

/** What a failed translation raises. */
export const TRANSLATE = { OK: 0, INVALID: 1, TOO_LONG: 2, FETCH_FAULT: 3, LIMIT: 4 } as const

export interface Translator {
  /** Translates the block at `offset` of `page`; the answer is null when `status` says why not. */
  block(page: CodePage, offset: number, nextPage: NextPage): Block | null
  /** Translates one instruction only, into a block that is not kept; every way out is a STEP. */
  step(page: CodePage, offset: number, nextPage: NextPage): Block | null
  status: number
  /** Entries until a new block is reported as hot. */
  hotness: number
  /** Somebody listens to operations on cache lines: blocks that are translated from now on leave for the host there. */
  hearsLines: boolean
  /** Decodes a block again, for the JIT. */
  expand(block: Block): ExpandedInsn[]
  /** Decodes the instruction of a micro-op again. */
  insnAt(uop: number, out: Insn): void
}

/** One instruction of a block, and its micro-op (a branch fused with its producer shares the producer's). */
export interface ExpandedInsn {
  readonly insn: Insn
  readonly form: Form
  readonly uop: number
  readonly nextRip: bigint
  /** The interpreter must run it. */
  readonly interpreted: boolean
}

export function createTranslator(
  views: MemoryViews, frameOf: (physicalPage: number) => number, cache: CodeCache, forms: FormTable,
): Translator {
  const { u8 } = views
  const insns = Array.from({ length: MAX_BLOCK + 1 }, createInsn)
  const target: Rip = { low: 0, high: 0 }
  const crossing = new Uint8Array(32)
  const needed = new Uint8Array(MAX_BLOCK)
  const source = new Int8Array(MAX_BLOCK)
  const host = new Uint8Array(MAX_BLOCK)
  const offsets = new Uint16Array(MAX_BLOCK + 1)
  const emit = createEmitter(views, cache, forms, { insns, host, offsets, needed, source })

  /** Decodes at an offset of a page, and from the next page's bytes when `next` is given. */
  const decodeAt = (page: CodePage, offset: number, next: CodePage | null, out: Insn): void => {
    const frame = frameOf(page.physical.number)
    const width = decodeMode(page.mode)
    if (next === null) {
      decode(u8, frame + offset, frame + PAGE, width, out)
      return
    }
    const here = PAGE - offset
    crossing.set(u8.subarray(frame + offset, frame + PAGE))
    const nextFrame = frameOf(next.physical.number)
    crossing.set(u8.subarray(nextFrame, nextFrame + MAX_INSN), here)
    decode(crossing, 0, here + MAX_INSN, width, out)
  }

  /** Offset in the code segment of a byte of a page of legacy code. */
  const segmentOffset = (page: CodePage, at: number): number => (page.linear * PAGE + at - page.base) >>> 0

  const beyondLimit = (page: CodePage, at: number, insn: Insn): boolean =>
    insn.mode !== MODE64 && segmentOffset(page, at) + insn.len - 1 > page.limit

  /** A relative branch out of its segment: #GP(0) at the branch, if taken, which its meaning in TypeScript raises. */
  const leavesSegment = (page: CodePage, at: number, insn: Insn): boolean => {
    if (insn.mode === MODE64 || insn.kind0 !== REL) return false
    branchTarget(insn, { low: (segmentOffset(page, at) + insn.len) | 0, high: 0 }, target)
    return target.low >>> 0 > page.limit
  }

  /** Decodes instructions into `insns`; answers how many, or 0 with `status` set. */
  const collect = (page: CodePage, offset: number, limit: number): number => {
    let at = offset
    let n = 0
    while (n < limit && at < PAGE) {
      const insn = insns[n]
      decodeAt(page, at, null, insn)
      if (insn.status === TRUNCATED) break
      if (insn.status === TOO_LONG) {
        if (n === 0) translator.status = TRANSLATE.TOO_LONG
        break
      }
      if (insn.status !== DECODED) {
        if (n === 0) translator.status = TRANSLATE.INVALID
        break
      }
      if (beyondLimit(page, at, insn)) {
        if (n === 0) translator.status = TRANSLATE.LIMIT
        break
      }
      offsets[n] = at - offset
      host[n] = runsOnHost(insn, page.mode, translator.hearsLines) || leavesSegment(page, at, insn) ? 1 : 0
      at += insn.len
      n++
      if (isTerminator[insn.op]) break
    }
    offsets[n] = at - offset
    return n
  }

  const translate = (page: CodePage, offset: number, nextPage: NextPage, stepping: boolean): Block | null => {
    translator.status = TRANSLATE.OK
    const n = collect(page, offset, stepping ? 1 : MAX_BLOCK)
    if (n > 0) return emit({ page, offset, n, next: null, stepping, hotness: translator.hotness })
    if (translator.status !== TRANSLATE.OK) return null
    const next = nextPage()
    if (next === null) {
      translator.status = TRANSLATE.FETCH_FAULT
      return null
    }
    const insn = insns[0]
    decodeAt(page, offset, next, insn)
    if (insn.status !== DECODED) {
      translator.status = insn.status === TOO_LONG ? TRANSLATE.TOO_LONG : TRANSLATE.INVALID
      return null
    }
    if (beyondLimit(page, offset, insn)) {
      translator.status = TRANSLATE.LIMIT
      return null
    }
    offsets[0] = 0
    offsets[1] = insn.len
    host[0] = runsOnHost(insn, page.mode, translator.hearsLines) || leavesSegment(page, offset, insn) ? 1 : 0
    return emit({ page, offset, n: 1, next, stepping, hotness: translator.hotness })
  }

  const expand = (block: Block): ExpandedInsn[] => {
    const n = block.next === null ? collect(block.page, block.offset, MAX_BLOCK) : 0
    // Bytes that changed without the block dying can't be; a shorter block means the same end was found sooner.
    if (n !== block.count) return []
    analyseFlags(n, (i) => insns[i], (i) => host[i] !== 0, needed, source)
    const first = blockRip(block)
    const out: ExpandedInsn[] = []
    let uop = block.header + HEADER_SIZE
    for (let i = 0; i < n; i++) {
      if (i > 0 && cache.indexAt(uop + UOP_SIZE) === i) uop += UOP_SIZE
      const insn = { ...insns[i] }
      const interpreted = host[i] !== 0 || needsAddress(insn)
      out.push({
        insn, interpreted, uop,
        form: makeForm(insn, needed[i] !== 0, -1, immediateOf(insn)),
        nextRip: first + BigInt(offsets[i + 1]),
      })
    }
    return out
  }

  const translator: Translator = {
    status: TRANSLATE.OK,
    hotness: 0x7fff_ffff,
    hearsLines: false,
    block(page, offset, nextPage) {
      const block = translate(page, offset, nextPage, false)
      if (block !== null) cache.publish(block)
      return block
    },
    expand,
    step: (page, offset, nextPage) => translate(page, offset, nextPage, true),
    insnAt(uop, out) {
      const known = cache.hostInsns.get(uop)
      if (known !== undefined) {
        Object.assign(out, known.insn)
        return
      }
      const block = cache.blockAt(uop)
      const at = block.offset + cache.offsetAt(uop)
      decodeAt(block.page, at, block.next, out)
    },
  }
  return translator
}
