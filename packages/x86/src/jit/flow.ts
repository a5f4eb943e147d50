/** Where execution goes from decoded blocks, as the links that it left behind tell. */
import type { MemoryViews } from '@cofferdam/memory'
import type { Block, CodeCache } from '../engine/code-cache.ts'
import { decodeMode } from '../engine/mode.ts'
import type { ExpandedInsn, Translator } from '../engine/translate.ts'
import { HANDLER, HEADER, HEADER_SIZE, UOP, UOP_SIZE } from '../engine/uop.ts'
import { MODE64, REL } from '../insn.ts'
import { OP, OPS } from '../ops.ts'

/** The ways between blocks. */
export interface Flow {
  /** The block whose header a link word names, if it has been followed and leads into live code. */
  linked(slot: number): Block | null
  /** The live block of 64-bit code, whole in its page, that has this header. */
  blockOfHeader(header: number): Block | null
  /** A block's instructions, the same ones until `forget`. */
  expand(block: Block): readonly ExpandedInsn[]
  /** Number of leading instructions that can be compiled. */
  compilable(insns: readonly ExpandedInsn[]): number
  /** Link words at the end of a block: the branch's, or that of the GOTO behind its last instruction; 0 for none. */
  linkSlots(insns: readonly ExpandedInsn[]): { readonly taken: number; readonly next: number }
  /** The block behind a call, if decoded. */
  returnSite(block: Block, insns: readonly ExpandedInsn[]): Block | null
  /** Where the indirect jump, call or RET at the end of a block went last. */
  lastTarget(insns: readonly ExpandedInsn[]): Block | null
  /** All blocks that a block leads to; none where it can't be compiled to its end. */
  neighbours(block: Block): Block[]
  /** Drops what `expand` keeps. */
  forget(): void
}

/** Has a WebAssembly meaning, but one that only the interpreter can carry out. */
const interpreterOnly = new Set<number>([
  OP.movs, OP.stos, OP.lods, OP.scas, OP.cmps, OP.popf, OP.sti, OP.rdtsc, OP.rdtscp,
])
const isInterpreterOnly: readonly boolean[] = OPS.map((_, op) => interpreterOnly.has(op))

const branches = new Set<number>([OP.jcc, OP.jmp, OP.call, OP.loop, OP.loope, OP.loopne, OP.jcxz])
const indirect = new Set<number>([OP.jmp, OP.call, OP.ret])
const isIndirect = (op: number): boolean => indirect.has(op)
const isBranch = (op: number): boolean => branches.has(op)

export function createFlow(views: MemoryViews, cache: CodeCache, translator: Translator): Flow {
  const { i32, u16 } = views

  const linked = (slot: number): Block | null => {
    const header = i32[slot >>> 2]
    const known = blockOfHeader(header)
    if (known !== null) return known
    // A conditional branch out of its page goes through a GOTO.
    const uop = header + HEADER_SIZE
    if (u16[uop >>> 1] !== HANDLER.GOTO) return null
    return blockOfHeader(i32[(uop + UOP.LINK) >>> 2])
  }

  const blockOfHeader = (header: number): Block | null => {
    const block = cache.blocks[i32[(header + HEADER.BLOCK) >>> 2]] as Block | undefined
    return block?.header === header && block.alive && decodeMode(block.page.mode) === MODE64 && block.next === null
      ? block
      : null
  }

  const expanded = new Map<Block, readonly ExpandedInsn[]>()
  const expand = (block: Block): readonly ExpandedInsn[] => {
    let insns = expanded.get(block)
    if (insns === undefined) expanded.set(block, insns = translator.expand(block))
    return insns
  }

  const compilable = (insns: readonly ExpandedInsn[]): number => {
    const stop = insns.findIndex(({ insn, interpreted }) => interpreted || isInterpreterOnly[insn.op])
    return stop < 0 ? insns.length : stop
  }

  const linkSlots = (insns: readonly ExpandedInsn[]): { taken: number; next: number } => {
    const last = insns[insns.length - 1]
    const { insn, uop } = last
    if (insn.kind0 === REL && isBranch(insn.op)) {
      return { taken: uop + UOP.LINK, next: insn.op === OP.jmp || insn.op === OP.call ? 0 : uop + UOP.LINK2 }
    }
    return {
      taken: 0, next: insn.op === OP.jmp || insn.op === OP.call || insn.op === OP.ret ? 0 : uop + UOP_SIZE + UOP.LINK,
    }
  }

  const returnSite = (block: Block, insns: readonly ExpandedInsn[]): Block | null => {
    const last = insns[insns.length - 1]
    if (last.insn.op !== OP.call) return null
    const offset = block.offset + block.length
    return offset < 4096 ? block.page.entries.get(offset) ?? null : null
  }

  const lastTarget = (insns: readonly ExpandedInsn[]): Block | null => {
    const { insn, uop } = insns[insns.length - 1]
    return insn.kind0 !== REL && isIndirect(insn.op) ? linked(uop + UOP.LINK) : null
  }

  const neighbours = (block: Block): Block[] => {
    const insns = expand(block)
    if (insns.length === 0 || compilable(insns) < insns.length) return []
    const { taken, next } = linkSlots(insns)
    const found = [taken, next].filter((slot) => slot !== 0).map(linked)
    found.push(returnSite(block, insns), lastTarget(insns))
    return found.filter((b): b is Block => b !== null)
  }

  return {
    linked, blockOfHeader, expand, compilable, linkSlots, returnSite, lastTarget, neighbours,
    forget: () => { expanded.clear() },
  }
}
