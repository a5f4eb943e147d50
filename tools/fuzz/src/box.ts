/**
 * Our processor as the oracle's program has the real one: CPL 3, pages of code and of data, Linux's descriptors.
 * Exceptions go through an IDT whose handlers halt, so their delivery is tested along with the instruction.
 */
import { createPhysicalMemory, type PhysicalMemory } from '@cofferdam/memory'
import { CASE, CODE, DATA, EDGE, IN, OUT, RECORD_HEAD, SIGNAL, STATE, WAY_BACK, type Batch } from '@cofferdam/oracle'
import { createPageTables } from '@cofferdam/paging'
import {
  configureModel, createCpuSystem, createEngine, createMsrTable, createPlainApic, createProcessor, engineOverhead,
  flatTopology,
  loadState, sapphireRapids, standardMeanings, type Engine, type Processor,
} from '@cofferdam/x86'
import { S } from './inside.ts'
import { createTransfer } from './transfer.ts'
import { descriptorOf, GLOBAL, GLOBAL_ENTRIES, KERNEL_CODE, localDescriptor, TABLE_SELECTOR, TASK } from './segments.ts'
import { PIECES, SLOT, TABLE } from './places.ts'

const PAGE = 4096
const UOP_BYTES = 16 * 2 ** 20
/** Physical addresses. */
const AT = {
  code: 0x10_0000, edge: 0x20_0000, data: 0x30_0000, idt: 0x40_0000, gdt: 0x40_1000, tss: 0x40_2000, stack: 0x40_3000,
  handlers: 0x40_4000, ldt: 0x40_5000, back: 0x40_6000, tables: 0x48_0000,
} as const
const RAM = 0x50_0000
const KERNEL = -0x8000_0000_0000n
const STACK_TOP = 0x800
/** Where cases lead to: at CPL 3 it ends them by #GP. */
const HLT = 0xf4
const PAD = 0xcc
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17, 21])
/** More instructions than any case has. */
const BUDGET = 1_500_000
/** Vectors that user code may raise by INT n: Linux lets it have breakpoint and overflow. */
const FOR_USERS = new Set([3, 4])

export interface Box {
  readonly engine: Engine
  readonly processor: Processor
  /** Takes the code of all records of a batch; they must lie apart. */
  load(batch: Batch): void
  /** Runs one record of the loaded batch and writes the answer into the same record of `to`. */
  run(from: Batch, to: Batch, record: number): void
  /** Compiles the code of the records that are `wanted`, as far as it was decoded by running them. */
  compile(batch: Batch, wanted?: (record: number) => boolean): void
  /** Forgets translations of data. */
  forgetData(): void
}

export interface BoxOptions {
  /** Names of the forms in the dispatch function; all others are cold. */
  readonly hotForms: readonly string[]
  readonly engine: 'interp' | 'jit'
}

export function createBox(options: BoxOptions): Box {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: RAM }], overhead: engineOverhead(1, UOP_BYTES) })
  const engine = createEngine({
    memory, processors: 1, meanings: standardMeanings, uopBytes: UOP_BYTES, threshold: 1, ...options,
  })
  const model = configureModel(sapphireRapids)
  const system = createCpuSystem({
    model, topology: flatTopology(1), index: 0, apic: createPlainApic(), msrs: createMsrTable(model),
  })
  const processor = createProcessor({
    engine, index: 0, physicalBits: model.physicalBits, system,
    host: { portRead: () => 0, portWrite: () => undefined, random64: () => 0n, externalVector: () => 0 },
    acknowledge: () => -1, attend: () => undefined,
  })
  const { u8, u64, i32, i64 } = memory.views
  const root = fillMemory(memory)
  startUser(processor, root)
  u64[S.XCR0 >>> 3] = 7n
  processor.cpu.modeChanged()
  const transfer = createTransfer(memory.views)
  const stack = memory.backPage(AT.stack / PAGE)
  const frames = new Map<number, number>()
  mapped().forEach(({ linear, physical }) => frames.set(linear / PAGE, memory.backPage(physical / PAGE)))
  const frameOf = (linear: number): number => frames.get(Math.floor(linear / PAGE)) ?? 0
  const pieces = piecesIn(frameOf)
  const zeros = Buffer.alloc(PAGE)
  const guest = Buffer.from(memory.wasm.buffer)

  const writeCode = (at: number, bytes: Uint8Array): void => {
    for (let i = 0; i < bytes.length; i++) {
      const frame = frameOf(at + i)
      if (frame !== 0) u8[frame + ((at + i) & 0xfff)] = bytes[i]
    }
  }
  const slot = new Uint8Array(SLOT)
  const codeFrames = mapped().filter(({ kind }) => kind === 'code').map(({ linear }) => frameOf(linear))

  const placeCode = (batch: Batch, record: number): void => {
    const at = batch.at(record)
    const length = batch.u32[(at + IN.LENGTH) >> 2]
    slot.fill(PAD)
    wayBack(slot, length, batch.u32[(at + IN.AT) >> 2] + length, batch.u16[(at + STATE.SELECTORS + 2) >> 1])
    slot.set(batch.u8.subarray(at + IN.CODE, at + IN.CODE + length))
    const pageEnd = (batch.u32[(at + IN.FLAGS) >> 2] & CASE.PAGE_END) !== 0
    writeCode(batch.u32[(at + IN.AT) >> 2], pageEnd ? slot.subarray(0, length) : slot)
  }

  const placeWindow = (from: Batch, record: number): void => {
    let w = from.at(record) + RECORD_HEAD
    for (const { host, length } of pieces) {
      u8.set(from.u8.subarray(w, w + length), host)
      w += length
    }
  }

  /** Moves the window to the answer, and leaves data memory zero. */
  const takeWindow = (to: Batch, record: number): void => {
    let w = to.at(record) + RECORD_HEAD
    for (const { host, length } of pieces) {
      to.u8.set(u8.subarray(host, host + length), w)
      u8.fill(0, host, host + length)
      w += length
    }
    to.u32[(to.at(record) + OUT.STRAY) >> 2] = takeStray()
  }

  const writable = DATA.KINDS.split('').flatMap(
    (kind, i) => (kind === 'w' ? [{ page: i, host: frameOf(DATA.AT + i * PAGE) }] : [])
  )

  /** As `stray` of oracle.c: a hash of what is not zero in the writable pages. */
  const takeStray = (): number => {
    let hash = 0
    for (const { page, host } of writable) {
      if (guest.compare(zeros, 0, PAGE, host, host + PAGE) === 0) continue
      if (hash === 0) hash = 2_166_136_261
      for (let i = 0; i < PAGE; i += 4) {
        const word = i32[(host + i) >>> 2]
        if (word !== 0) hash = Math.imul(hash ^ word ^ (page * PAGE + i), 16_777_619)
      }
      u8.fill(0, host, host + PAGE)
    }
    return hash >>> 0
  }

  /** How the case ended: the frame of an exception, or RIP after a step. */
  const takeEnd = (to: Batch, at: number, start: bigint, length: number, flags: number, codeSelector: number): void => {
    const rflags = (at + STATE.RFLAGS) >> 3
    const rip = (at + STATE.RIP) >> 3
    to.u64[(at + OUT.ERROR) >> 3] = 0n
    to.u64[(at + OUT.CR2) >> 3] = 0n
    to.u32[(at + OUT.VECTOR) >> 2] = 0
    to.u32[(at + OUT.SIGNAL) >> 2] = 0
    if (!processor.halted) {
      if ((flags & CASE.STEP) === 0 || i32[S.CPL >>> 2] !== 3) to.u32[(at + OUT.SIGNAL) >> 2] = SIGNAL.ALRM
      to.u64[rip] = BigInt.asUintN(64, i64[S.RIP >>> 3] - start)
      to.u64[rflags] = BigInt(processor.cpu.getFlags())
      return
    }
    const vector = Number(i64[S.RIP >>> 3] - KERNEL - BigInt(AT.handlers)) >> 4
    const frame = stack + STACK_TOP - 40
    to.u64[rip] = BigInt.asUintN(64, u64[frame >>> 3] - start)
    to.u64[rflags] = u64[(frame + 16) >>> 3]
    to.u64[(at + STATE.GPR + 32) >> 3] = u64[(frame + 24) >>> 3]
    to.u16[(at + STATE.SELECTORS + 2) >> 1] = Number(u64[(frame + 8) >>> 3])
    to.u16[(at + STATE.SELECTORS + 4) >> 1] = Number(u64[(frame + 32) >>> 3])
    if (vector === 13 && u64[frame >>> 3] === BigInt(WAY_BACK)) {
      // They ran to their end.
      to.u64[rip] = BigInt(length)
      to.u16[(at + STATE.SELECTORS + 2) >> 1] = codeSelector
      return
    }
    to.u32[(at + OUT.SIGNAL) >> 2] = SIGNAL.SEGV
    to.u32[(at + OUT.VECTOR) >> 2] = vector
    if (WITH_ERROR.has(vector)) to.u64[(at + OUT.ERROR) >> 3] = u64[(frame - 8) >>> 3]
    if (vector === 14) to.u64[(at + OUT.CR2) >> 3] = u64[S.CR2 >>> 3]
  }

  return {
    engine, processor,
    load(batch) {
      processor.activate()
      processor.mmu.flush(true)
      engine.flushCode()
      for (const frame of codeFrames) u8.fill(PAD, frame, frame + PAGE)
      // As the oracle's program has it, where a case happens to read it: zeros behind the way back.
      u8.fill(0, frameOf(WAY_BACK), frameOf(WAY_BACK) + PAGE)
      u8[frameOf(WAY_BACK)] = HLT
      for (let i = 0; i < batch.count; i++) placeCode(batch, i)
    },
    run(from, to, record) {
      const at = from.at(record)
      const flags = from.u32[(at + IN.FLAGS) >> 2]
      const codeSelector = from.u16[(at + STATE.SELECTORS + 2) >> 1]
      const codeBase = descriptorOf(codeSelector).base
      const start = BigInt(from.u32[(at + IN.AT) >> 2] - codeBase)
      transfer.place(from, at)
      i32[S.CPL >>> 2] = 3
      processor.cpu.setFlags(from.u32[(at + STATE.RFLAGS) >> 2] | 0x202, 0x3f_7fd5)
      processor.cpu.modeChanged()
      placeWindow(from, record)
      processor.halted = false
      processor.stopped = ''
      i32[S.EVENT >>> 2] = 0
      i32[S.SHADOW >>> 2] = 0
      processor.setRip(start)
      processor.run((flags & CASE.STEP) !== 0 ? 1 : BUDGET)
      // A fault's handler has not run yet when the budget ended with the fault.
      if (i32[S.CPL >>> 2] === 0 && !processor.halted) processor.run(2)
      transfer.take(to, at)
      takeEnd(to, at, start, from.u32[(at + IN.LENGTH) >> 2], flags, codeSelector)
      takeWindow(to, record)
    },
    compile(batch, wanted = () => true) {
      const { jit, cache } = engine
      if (jit === null) return
      const starts = new Set<number>()
      for (let i = 0; i < batch.count; i++) if (wanted(i)) starts.add(batch.u32[(batch.at(i) + IN.AT) >> 2])
      for (const block of [...cache.blocks]) {
        if (block.alive && starts.has(block.page.linear * PAGE + block.offset)) jit.hot(block)
      }
      jit.flush()
    },
    forgetData() {
      for (let i = 0; i < DATA.KINDS.length; i++) processor.mmu.invalidate(DATA.AT + i * PAGE, 0)
    },
  }
}

/** The jump to WAY_BACK at offset `to`, which lies at the linear address `at`. */
function wayBack(out: Uint8Array, to: number, at: number, codeSelector: number): void {
  const { attributes } = descriptorOf(codeSelector)
  const long = (attributes & 0x200) !== 0
  const target = long ? WAY_BACK - (at + 5) : WAY_BACK
  let n = to
  if (!long && (attributes & 0x400) === 0) out[n++] = 0x66
  out[n++] = long ? 0xe9 : 0xea
  for (let i = 0; i < 4; i++) out[n++] = target >> (8 * i)
  if (!long) out.set([0x33, 0], n)
}

/** Where the pieces of the window are in the WebAssembly memory: a piece that crosses a page is two. */
function piecesIn(frameOf: (linear: number) => number): { host: number; length: number }[] {
  return PIECES.flatMap(({ at, length }) => {
    const first = Math.min(length, PAGE - (at & 0xfff))
    const parts = [{ host: frameOf(at) + (at & 0xfff), length: first }]
    if (first < length) parts.push({ host: frameOf(at + first), length: length - first })
    return parts
  })
}

interface Mapping {
  readonly linear: number
  readonly physical: number
  readonly kind: 'code' | 'w' | 'r'
}

/** The pages of user mode. */
function mapped(): Mapping[] {
  const pages: Mapping[] = [{ linear: WAY_BACK, physical: AT.back, kind: 'code' }]
  for (let at = 0; at < CODE.LENGTH; at += PAGE) {
    pages.push({ linear: CODE.AT + at, physical: AT.code + at, kind: 'code' })
  }
  for (let i = 0; i < EDGE.COUNT; i++) {
    pages.push({ linear: EDGE.AT + i * EDGE.STEP, physical: AT.edge + i * PAGE, kind: 'code' })
  }
  DATA.KINDS.split('').forEach((kind, i) => {
    if (kind === '-') return
    pages.push({ linear: DATA.AT + i * PAGE, physical: AT.data + i * PAGE, kind: kind === 'w' ? 'w' : 'r' })
  })
  return pages
}

/** Page tables, descriptor tables, handlers. Answers the root of the page tables. */
function fillMemory(memory: PhysicalMemory): number {
  const word = new BigUint64Array(1)
  const bytes = new Uint8Array(word.buffer)
  const put = (at: number, value: bigint): void => {
    word[0] = BigInt.asUintN(64, value)
    memory.write(at, bytes)
  }
  const get = (at: number): bigint => {
    memory.read(at, bytes)
    return word[0]
  }
  let next: number = AT.tables
  const tables = createPageTables({ levels: 4, memory: { load64: get, store64: put, allocate: () => (next += PAGE) } })
  for (const { linear, physical, kind } of mapped()) {
    tables.map({
      from: linear, to: physical, length: PAGE, user: true, writable: kind === 'w', executable: kind === 'code',
    })
  }
  tables.map({ from: BigInt.asUintN(48, KERNEL), to: 0, length: AT.tables, largest: 12 })
  for (let vector = 0; vector < 256; vector++) {
    const to = BigInt.asUintN(64, KERNEL + BigInt(AT.handlers + (vector & 255) * 16))
    const rights = FOR_USERS.has(vector) ? 0xee00n : 0x8e00n
    put(AT.idt + vector * 16, to & 0xffffn | BigInt(KERNEL_CODE) << 16n | rights << 32n | (to >> 16n & 0xffffn) << 48n)
    put(AT.idt + vector * 16 + 8, to >> 32n)
    memory.write(AT.handlers + vector * 16, Uint8Array.of(HLT))
  }
  GLOBAL.forEach((descriptor, i) => { put(AT.gdt + i * 8, descriptor) })
  TABLE.forEach((segment, i) => { put(AT.ldt + i * 8, localDescriptor(segment)) })
  put(AT.tss, (KERNEL + BigInt(AT.stack + STACK_TOP) & 0xffff_ffffn) << 32n)
  put(AT.tss + 8, BigInt.asUintN(64, KERNEL) >> 32n)
  // The I/O bitmap lies behind the limit: no port is anybody's.
  put(AT.tss + 96, 0x68n << 48n)
  return tables.root
}

/** User mode under the control registers that Linux sets. */
function startUser(processor: Processor, root: number): void {
  const segment = (
    selector: number, attributes: number, limit: number, at: number
  ): Parameters<typeof loadState>[1]['segments']['tr'] =>
    ({ selector, attributes, limit, base: KERNEL + BigInt(at) })
  const user = { ...descriptorOf(0x2b), selector: 0x2b, base: 0n }
  loadState(processor, {
    registers: {}, rip: BigInt(CODE.AT), rflags: 0x202n,
    cr0: 0x8005_0033n, cr3: BigInt(root), cr4: 0x5_0ee0n, efer: 0xd01n,
    gdtr: { base: KERNEL + BigInt(AT.gdt), limit: GLOBAL_ENTRIES * 8 - 1 },
    idtr: { base: KERNEL + BigInt(AT.idt), limit: 0xfff },
    segments: {
      es: user, cs: { ...descriptorOf(0x33), selector: 0x33, base: 0n }, ss: user, ds: user, fs: user, gs: user,
      ldtr: segment(TABLE_SELECTOR, 0x82, TABLE.length * 8 - 1, AT.ldt),
      tr: segment(TASK, 0x8b, 0x67, AT.tss),
    },
  })
}
