/** Decoding a block of guest code into micro-ops. */
import type { MemoryViews } from '@cofferdam/memory'
import { createInsn, decode } from '../decode/decode.ts'
import { OP, OPS } from '../ops.ts'
import { DECODED, IMM, MEM, MODE64, NONE, REG, REG_HIGH, REL, TOO_LONG, TRUNCATED, XMM_REG } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { DS, FS, GS, TEMP_REG, ZERO_REG } from '../state.ts'
import type { Block, CodeCache, CodePage, HostSite } from './code-cache.ts'
import { CodeCacheFull, blockRip, linearAddress } from './code-cache.ts'
import { analyseFlags } from './flag-use.ts'
import { makeForm } from './form.ts'
import type { Form } from './form.ts'
import type { FormTable } from './form-table.ts'
import { wasmMeanings } from './meanings.ts'
import { POP_RSP_BASED } from './meanings-move.ts'
import { IMMEDIATE_OPS, vectorWasmMeanings } from './meanings-vector.ts'
import { HANDLER, HEADER, HEADER_SIZE, UOP, UOP_SIZE, regByte } from './uop.ts'
import { MODE_AVX, MODE_SSE, MODE_TRAPS, decodeMode } from './mode.ts'

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

const isWasm: readonly boolean[] = OPS.map((name) => wasmMeanings.has(name))
const needsImmediate: readonly boolean[] = OPS.map((name) => IMMEDIATE_OPS.has(name))
const counted = new Set([OP.loop, OP.loope, OP.loopne, OP.jcxz])
const vectorNames = new Set(vectorWasmMeanings.map(([name]) => name))
const isVector: readonly boolean[] = OPS.map((name) => vectorNames.has(name))
/** Operations that always leave the block. */
const terminators = new Set<number>([
  OP.jcc, OP.jmp, OP.call, OP.ret, OP.loop, OP.loope, OP.loopne, OP.jcxz, OP.callf, OP.jmpf, OP.retf, OP.iret, OP.syscall, OP.sysret,
  OP.sysenter, OP.sysexit, OP.int, OP.int3, OP.int1, OP.into, OP.hlt, OP.ud, OP.vmrun, OP.rsm, OP.invalid,
])
const isTerminator: readonly boolean[] = OPS.map((_, op) => terminators.has(op))
/** Producers of flags that a following JCC is fused with. */
const fusable = new Set<number>([OP.add, OP.sub, OP.cmp, OP.and, OP.or, OP.xor, OP.test, OP.inc, OP.dec, OP.neg])
const isFusable: readonly boolean[] = OPS.map((_, op) => fusable.has(op))
/** Stack, branch and other operations whose WebAssembly meaning is that of 64-bit mode. */
const only64 = new Set<number>([
  OP.push, OP.pop, OP.call, OP.ret, OP.leave, OP.pushf, OP.popf, OP.movs, OP.stos, OP.lods, OP.scas, OP.cmps,
  OP.vzeroupper,
])
const isOnly64: readonly boolean[] = OPS.map((_, op) => only64.has(op))
const trapped = new Set<number>([OP.rdtsc, OP.rdtscp, OP.pushf, OP.popf, OP.pause])
const isBitTest: readonly boolean[] = OPS.map((_, op) => ([OP.bt, OP.bts, OP.btr, OP.btc] as number[]).includes(op))
const isString: readonly boolean[] = OPS.map((_, op) => ([OP.movs, OP.stos, OP.lods, OP.scas, OP.cmps] as number[]).includes(op))

export function createTranslator(views: MemoryViews, frameOf: (physicalPage: number) => number, cache: CodeCache, forms: FormTable): Translator {
  const { u8, u16, i32, i64, u32 } = views
  const insns = Array.from({ length: MAX_BLOCK + 1 }, createInsn)
  const crossing = new Uint8Array(32)
  const needed = new Uint8Array(MAX_BLOCK)
  const source = new Int8Array(MAX_BLOCK)
  const host = new Uint8Array(MAX_BLOCK)
  const offsets = new Uint16Array(MAX_BLOCK + 1)

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

  /** Whether the instruction must be run by a meaning in TypeScript. */
  const runsOnHost = (insn: Insn, mode: number): boolean => {
    if (insn.status !== DECODED || !isWasm[insn.op]) return true
    if ((mode & MODE_TRAPS) !== 0 && trapped.has(insn.op)) return true
    if (isVector[insn.op] && !vectorAllowed(insn, mode)) return true
    if (isBitTest[insn.op] && insn.kind0 === MEM && insn.kind1 === REG && insn.addrSize !== 8) return true
    if (insn.op === OP.mov && (insn.kind0 > XMM_REG || insn.kind1 > XMM_REG)) return true
    if (insn.mode !== MODE64) return isOnly64[insn.op] || (insn.op === OP.jmp && insn.kind0 !== REL)
    if (isString[insn.op]) return insn.addrSize !== 8 || insn.segOverride === FS || insn.segOverride === GS
    switch (insn.op) {
      case OP.push: case OP.pop: return insn.kind0 !== REG && insn.kind0 !== MEM && insn.kind0 !== IMM
      case OP.pushf: case OP.popf: return insn.size !== 8
      case OP.jmp: case OP.call: case OP.ret: return false
      default: return false
    }
  }

  /** MMX operands, and vector instructions while CR0, CR4 or XCR0 forbid them, are the host's. */
  const vectorAllowed = (insn: Insn, mode: number): boolean => {
    for (const kind of [insn.kind0, insn.kind1, insn.kind2, insn.kind3]) if (kind > XMM_REG) return false
    return (mode & (insn.vex !== 0 ? MODE_AVX : MODE_SSE)) !== 0
  }

  const immediateOf = (insn: Insn): number => {
    if (counted.has(insn.op)) return insn.addrSize
    if (insn.op === OP.pop && insn.kind0 === MEM) return insn.base === RSP ? POP_RSP_BASED : 0
    if (!needsImmediate[insn.op]) return -1
    return insn.kind2 === IMM || insn.kind1 === IMM || insn.kind3 === IMM ? insn.immLo & 0xff : -1
  }

  /** A link to `low`,`high`: its record is entered like a block and asks for the real one. Answers the header. */
  const linkStub = (patch: number, target: bigint, block: Block, handler: number): number => {
    const at = reserve(2)
    i32[(at + HEADER.HOTNESS) >>> 2] = 0x7fff_ffff
    i32[(at + HEADER.PAGE) >>> 2] = cache.always
    i32[(at + HEADER.ENTRY) >>> 2] = at + HEADER_SIZE
    const uop = at + HEADER_SIZE
    u16[uop >>> 1] = handler
    i64[(uop + UOP.IMM) >>> 3] = target
    i32[(uop + UOP.LINK) >>> 2] = patch
    cache.note(uop, block, 0, 0)
    return at
  }

  const reserve = (n: number): number => {
    const at = cache.allocate(n)
    if (at === 0) throw new CodeCacheFull()
    return at
  }

  /** Links of the block being emitted; their records come after its micro-ops, which so lie side by side. */
  const links: { slot: number; target: bigint; mayLeave: boolean }[] = []

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
    const at = reserve(2)
    i32[(at + HEADER.HOTNESS) >>> 2] = 0x7fff_ffff
    i32[(at + HEADER.PAGE) >>> 2] = cache.always
    i32[(at + HEADER.ENTRY) >>> 2] = at + HEADER_SIZE
    const uop = at + HEADER_SIZE
    u16[uop >>> 1] = HANDLER.GOTO
    cache.note(uop, block, 0, 0)
    i32[(uop + UOP.LINK) >>> 2] = linkStub(uop + UOP.LINK, target, block, HANDLER.LINK)
    i32[slot >>> 2] = at
  }

  /** Puts registers, address and immediate into a micro-op. */
  const writeOperands = (uop: number, insn: Insn, nextRip: bigint): void => {
    const absolute = insn.kind0 === MEM || insn.kind1 === MEM || insn.kind2 === MEM ? writeAddress(uop, insn, nextRip) : false
    if (insn.kind0 !== NONE) writeRegister(uop + regByte(0), insn.kind0, insn.reg0)
    if (insn.kind1 !== NONE) writeRegister(uop + regByte(1), insn.kind1, insn.reg1)
    if (insn.kind2 !== NONE) writeRegister(uop + regByte(2), insn.kind2, insn.reg2)
    if (insn.kind0 === IMM || insn.kind1 === IMM || insn.kind2 === IMM) writeImmediate(uop, insn, absolute)
  }

  const writeRegister = (at: number, kind: number, number: number): void => {
    if (kind === REG) u8[at] = number * 8
    else if (kind === REG_HIGH) u8[at] = number * 8 + 1
    else if (kind === XMM_REG) u8[at] = number * 16
  }

  const writeImmediate = (uop: number, insn: Insn, absolute: boolean): void => {
    const mask = insn.size === 1 ? 0xff : insn.size === 2 ? 0xffff : -1
    if (absolute) {
      i32[(uop + UOP.DISP) >>> 2] = insn.immLo & mask
      return
    }
    i32[(uop + UOP.IMM) >>> 2] = insn.immLo & mask
    i32[(uop + UOP.IMM + 4) >>> 2] = insn.immHi
  }

  /** Answers whether the address took the place of the immediate. */
  const writeAddress = (uop: number, insn: Insn, nextRip: bigint): boolean => {
    if (insn.absolute64 !== 0) {
      if (insn.op === OP.call) {
        i32[(uop + UOP.DISP) >>> 2] = insn.disp
        return true
      }
      u32[(uop + UOP.IMM) >>> 2] = insn.disp
      u32[(uop + UOP.IMM + 4) >>> 2] = insn.dispHi
      if (insn.ripRelative !== 0) i64[(uop + UOP.IMM) >>> 3] = nextRip + BigInt(insn.disp)
      return true
    }
    const ripBase = insn.ripRelative !== 0
    u8[uop + UOP.BASE] = insn.base < 0 || ripBase ? ZERO_REG * 8 : insn.base * 8
    u8[uop + UOP.INDEX] = insn.index < 0 ? ZERO_REG * 8 : insn.index * 8
    u8[uop + UOP.SCALE] = insn.scale
    i32[(uop + UOP.DISP) >>> 2] = ripBase ? Number(BigInt.asIntN(32, nextRip + BigInt(insn.disp))) : insn.disp
    return false
  }

  /** RIP-relative operands out of reach of a sign-extended displacement become absolute ones. */
  const settleAddress = (insn: Insn, nextRip: bigint): void => {
    if (insn.ripRelative === 0) return
    const address = nextRip + BigInt(insn.disp)
    if (BigInt.asIntN(32, address) !== BigInt.asIntN(64, address)) insn.absolute64 = 1
  }

  /** Whether the address must be computed by the host first: legacy segments, 32- and 16-bit addresses. */
  const needsAddress = (insn: Insn): boolean =>
    (insn.mode !== MODE64 || insn.addrSize !== 8) && (insn.kind0 === MEM || insn.kind1 === MEM || insn.kind2 === MEM)
    && !(insn.op === OP.nop)

  const memoryToTemporary = (insn: Insn): void => {
    insn.base = TEMP_REG
    insn.index = -1
    insn.disp = 0
    insn.seg = DS
    insn.ripRelative = 0
    insn.absolute64 = 0
  }

  /** Where a relative branch goes, cut to the operand size in legacy modes. */
  const branchTarget = (insn: Insn, nextRip: bigint): bigint => {
    const target = nextRip + BigInt(insn.rel)
    if (insn.mode === MODE64) return BigInt.asIntN(64, target)
    return BigInt.asUintN(insn.size === 2 ? 16 : 32, target)
  }

  const writeLinks = (uop: number, insn: Insn, nextRip: bigint): void => {
    const { op } = insn
    if (op === OP.call) i64[(uop + UOP.IMM) >>> 3] = nextRip
    if (insn.kind0 !== REL) return
    const conditional = op !== OP.jmp && op !== OP.call
    links.push({ slot: uop + UOP.LINK, target: branchTarget(insn, nextRip), mayLeave: !conditional })
    if (conditional) links.push({ slot: uop + UOP.LINK2, target: nextRip, mayLeave: false })
  }

  const emit = (page: CodePage, offset: number, n: number, next: CodePage | null, stepping: boolean): Block => {
    links.length = 0
    const block = cache.newBlock(page, offset)
    block.count = n
    block.length = offsets[n]
    block.next = next
    i32[(block.header + HEADER.COUNT) >>> 2] = n
    i32[(block.header + HEADER.HOTNESS) >>> 2] = translator.hotness
    analyseFlags(n, (i) => insns[i], (i) => host[i] !== 0, needed, source)
    const first = blockRip(block)
    const legacy = decodeMode(page.mode) !== MODE64
    const rip = (i: number): bigint => (legacy ? BigInt.asUintN(32, first + BigInt(offsets[i])) : first + BigInt(offsets[i]))
    if (next !== null) {
      const uop = reserve(1)
      u16[uop >>> 1] = HANDLER.CROSS
      i32[(uop + UOP.DISP) >>> 2] = next.words
      cache.note(uop, block, 0, 0)
    }
    for (let i = 0; i < n; i++) i = emitOne(block, i, n, rip)
    const last = insns[n - 1]
    if (host[n - 1] !== 0 || !isTerminator[last.op]) {
      const uop = reserve(1)
      if (stepping) {
        u16[uop >>> 1] = HANDLER.STEP
        i64[(uop + UOP.IMM) >>> 3] = rip(n)
      } else {
        u16[uop >>> 1] = HANDLER.GOTO
      }
      cache.note(uop, block, offsets[n], n)
      if (!stepping) links.push({ slot: uop + UOP.LINK, target: rip(n), mayLeave: true })
    }
    for (const link of links) makeLink(link.slot, link.target, block, stepping, link.mayLeave)
    return block
  }

  const hostSite = (block: Block, i: number, n: number, rip: (i: number) => bigint): HostSite => ({
    insn: { ...insns[i] }, block, rip: rip(i), next: rip(i + 1), remaining: n - i, meaning: undefined,
  })

  /** Emits instruction `i` (and the branch fused behind it); answers the index of the last instruction taken. */
  const emitOne = (block: Block, i: number, n: number, rip: (i: number) => bigint): number => {
    const insn = insns[i]
    // Few instructions need it, and it is a BigInt.
    const nextRip = insn.ripRelative !== 0 || insn.kind0 === REL || insn.op === OP.call ? rip(i + 1) : 0n
    // STI as the last instruction: the host sees to it that one more runs before an interrupt.
    const onHost = host[i] !== 0 || (insn.op === OP.sti && i === n - 1)
    if (onHost) {
      const uop = reserve(1)
      u16[uop >>> 1] = HANDLER.HOST
      cache.note(uop, block, offsets[i], i)
      cache.hostInsns.set(uop, hostSite(block, i, n, rip))
      return i
    }
    if (needsAddress(insn)) {
      const uop = reserve(1)
      u16[uop >>> 1] = HANDLER.ADDRESS
      cache.note(uop, block, offsets[i], i)
      cache.hostInsns.set(uop, hostSite(block, i, n, rip))
      memoryToTemporary(insn)
    } else {
      settleAddress(insn, nextRip)
    }
    const branch = i + 1 < n && isFusable[insn.op] && needed[i] !== 0 && insns[i + 1].op === OP.jcc && host[i + 1] === 0
      ? insns[i + 1] : null
    const uop = reserve(1)
    cache.note(uop, block, offsets[i], i)
    writeOperands(uop, insn, nextRip)
    const immediate = immediateOf(insn)
    // A form's key has room for one of the two (LOOPE and LOOPNE could have both).
    const form = forms.lookUp(insn, needed[i] !== 0, immediate < 0 && readsFlags(insn) ? source[i] : -1, immediate, branch)
    u16[uop >>> 1] = forms.handler(form)
    u16[(uop + UOP.FORM) >>> 1] = form
    if (branch !== null) {
      writeLinks(uop, branch, rip(i + 2))
      return i + 1
    }
    writeLinks(uop, insn, nextRip)
    if (insn.op === OP.rdtsc || insn.op === OP.rdtscp) i32[(uop + UOP.LINK2) >>> 2] = n - i
    return i
  }

  /** Offset in the code segment of a byte of a page of legacy code. */
  const segmentOffset = (page: CodePage, at: number): number => (page.linear * PAGE + at - page.base) >>> 0

  const beyondLimit = (page: CodePage, at: number, insn: Insn): boolean =>
    insn.mode !== MODE64 && segmentOffset(page, at) + insn.len - 1 > page.limit

  /** A relative branch out of its segment: #GP(0) at the branch, if it is taken, which its meaning in TypeScript raises. */
  const leavesSegment = (page: CodePage, at: number, insn: Insn): boolean =>
    insn.mode !== MODE64 && insn.kind0 === REL
    && branchTarget(insn, BigInt(segmentOffset(page, at) + insn.len)) > BigInt(page.limit)

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
      host[n] = runsOnHost(insn, page.mode) || leavesSegment(page, at, insn) ? 1 : 0
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
    if (n > 0) return emit(page, offset, n, null, stepping)
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
    host[0] = runsOnHost(insn, page.mode) || leavesSegment(page, offset, insn) ? 1 : 0
    return emit(page, offset, 1, next, stepping)
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

/** Operations that look at flags; only their forms name the source. */
const readers = new Set<number>([
  OP.jcc, OP.setcc, OP.cmovcc, OP.adc, OP.sbb, OP.inc, OP.dec, OP.bt, OP.bts, OP.btr, OP.btc, OP.rol, OP.ror, OP.rcl, OP.rcr, OP.pushf, OP.lahf, OP.sahf,
  OP.clc, OP.stc, OP.cmc, OP.loope, OP.loopne, OP.adcx, OP.adox,
])
const isReader: readonly boolean[] = OPS.map((_, op) => readers.has(op))
const readsFlags = (insn: Insn): boolean => isReader[insn.op]

const RSP = 4
