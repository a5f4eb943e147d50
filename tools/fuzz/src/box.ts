/**
 * Our processor as the oracle's program has the real one: CPL 3, one page of code, one of data, nothing beside them.
 * Exceptions go through an IDT whose handlers halt, so their delivery is tested along with the instruction.
 */
import { createPhysicalMemory } from '@cofferdam/memory'
import { CASE, CODE_AT, DATA_END, DATA_PAGE, IN, OUT, RECORD_HEAD, SIGNAL, STATE, type Batch } from '@cofferdam/oracle'
import { createPageTables } from '@cofferdam/paging'
import {
  configureModel, createCpuSystem, createEngine, createMsrTable, createPlainApic, createProcessor, engineOverhead, flatTopology,
  loadState, sapphireRapids, standardMeanings, type Engine, type SegmentImage,
} from '@cofferdam/x86'
import { S } from './inside.ts'

const PAGE = 4096
const UOP_BYTES = 4 * 2 ** 20
/** Physical addresses. */
const AT = { code: 0x10000, data: 0x11000, idt: 0x20000, gdt: 0x21000, tss: 0x22000, stack: 0x23000, handlers: 0x24000, tables: 0x40000 } as const
const KERNEL = -0x8000_0000_0000n
const STACK_TOP = 0x800
const KERNEL_CS = 8
/** 48 bytes of code, and the HLT that ends a case by #GP. */
const HLT = 0xf4
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17, 21])
/** More instructions than any case has. */
const BUDGET = 20_000

const segment = (selector: number, attributes: number): SegmentImage => ({ selector, attributes, limit: 0xffff_ffff, base: 0n })
const USER_CODE = segment(0x33, 0xafb)
const USER_DATA = segment(0x2b, 0xcf3)

export interface Box {
  readonly engine: Engine
  /** Runs one record of `from` and writes the answer into the same record of `to`. */
  run(from: Batch, to: Batch, record: number): void
}

export interface BoxOptions {
  readonly hotForms: readonly string[]
}

export function createBox(options: BoxOptions): Box {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: 2 ** 20 }], overhead: engineOverhead(1, UOP_BYTES) })
  const engine = createEngine({ memory, processors: 1, meanings: standardMeanings, hotForms: options.hotForms, uopBytes: UOP_BYTES })
  const model = configureModel(sapphireRapids)
  const topology = flatTopology(1)
  const system = createCpuSystem({ model, topology, index: 0, apic: createPlainApic(), msrs: createMsrTable(model) })
  const processor = createProcessor({
    engine, index: 0, physicalBits: model.physicalBits, system,
    host: { portRead: () => 0, portWrite: () => undefined, random64: () => 0n, externalVector: () => 0 },
    acknowledge: () => -1, attend: () => undefined,
  })
  const { u8, u32, u64, i32, i64 } = memory.views
  const words = new DataView(new ArrayBuffer(8))
  const put = (at: number, value: bigint): void => {
    words.setBigUint64(0, BigInt.asUintN(64, value), true)
    memory.write(at, new Uint8Array(words.buffer))
  }
  const tables = buildTables(put, (at) => {
    const bytes = new Uint8Array(8)
    memory.read(at, bytes)
    return new DataView(bytes.buffer).getBigUint64(0, true)
  })
  fillSystemPages(put, (at, bytes) => { memory.write(at, bytes) })
  const data = memory.backPage(AT.data / PAGE)
  const stack = memory.backPage(AT.stack / PAGE)

  const kernelSegment = { selector: 0, attributes: 0, limit: 0, base: 0n }
  loadState(processor, {
    registers: {}, rip: BigInt(CODE_AT), rflags: 0x202n,
    cr0: 0x8005_0033n, cr3: BigInt(tables), cr4: 0x5_0ee0n, efer: 0xd01n,
    gdtr: { base: KERNEL + BigInt(AT.gdt), limit: 0x7f }, idtr: { base: KERNEL + BigInt(AT.idt), limit: 0xfff },
    segments: {
      es: USER_DATA, cs: USER_CODE, ss: USER_DATA, ds: USER_DATA, fs: USER_DATA, gs: USER_DATA, ldtr: kernelSegment,
      tr: { selector: 0x40, attributes: 0x8b, limit: 0x67, base: KERNEL + BigInt(AT.tss) },
    },
  })
  u64[S.XCR0 >>> 3] = 7n
  processor.cpu.modeChanged()
  const segments = u8.slice(S.SEG, S.SEG + 8 * S.SEG_SIZE)
  const codeBytes = new Uint8Array(64)

  /** Brings the bytes of the case where they run; answers their linear address. */
  const placeCode = (from: Batch, at: number): number => {
    const length = from.u32[(at + IN.LENGTH) >> 2]
    const flags = from.u32[(at + IN.FLAGS) >> 2]
    codeBytes.fill(0xcc)
    codeBytes.set(from.u8.subarray(at + IN.CODE, at + IN.CODE + length))
    if ((flags & CASE.PAGE_END) !== 0) {
      memory.write(AT.code + PAGE - length, codeBytes.subarray(0, length))
      return (CODE_AT & ~0xfff) + PAGE - length
    }
    codeBytes[length] = HLT
    memory.write(AT.code + (CODE_AT & 0xfff), codeBytes)
    return CODE_AT
  }

  const placeState = (from: Batch, at: number): void => {
    const offset = (at + STATE.GPR) >> 3
    for (let r = 0; r < 16; r++) u64[(S.GPR >>> 3) + r] = from.u64[offset + r]
    u8.set(segments, S.SEG)
    u64[(S.SEG + S.FS * S.SEG_SIZE + S.SEG_BASE) >>> 3] = from.u64[(at + STATE.FS_BASE) >> 3]
    u64[(S.SEG + S.GS * S.SEG_SIZE + S.SEG_BASE) >>> 3] = from.u64[(at + STATE.GS_BASE) >> 3]
    i32[S.CPL >>> 2] = 3
    processor.cpu.setFlags(from.u32[(at + STATE.RFLAGS) >> 2] | 0x202, 0x3f_7fd5)
    i32[S.MXCSR >>> 2] = from.u32[(at + STATE.MXCSR) >> 2]
    const status = from.u16[(at + STATE.FSW) >> 1]
    const top = (status >> 11) & 7
    i32[S.FCW >>> 2] = from.u16[(at + STATE.FCW) >> 1]
    i32[S.FSW >>> 2] = status
    i32[S.FTW >>> 2] = from.u16[(at + STATE.FTW) >> 1]
    i32[S.FOP >>> 2] = from.u16[(at + STATE.FOP) >> 1]
    u64[S.FIP >>> 3] = from.u64[(at + STATE.FIP) >> 3]
    u64[S.FDP >>> 3] = from.u64[(at + STATE.FDP) >> 3]
    u32[S.FCS >>> 2] = 0
    u32[S.FDS >>> 2] = 0
    for (let i = 0; i < 8; i++) {
      const to = S.FPR + 16 * ((top + i) & 7)
      for (let k = 0; k < 16; k++) u8[to + k] = from.u8[at + STATE.ST + 16 * i + k]
    }
    for (let r = 0; r < 16; r++) {
      const lane = (at + STATE.YMM + 32 * r) >> 2
      for (let k = 0; k < 4; k++) {
        u32[((S.XMM + 16 * r) >> 2) + k] = from.u32[lane + k]
        u32[((S.YMMH + 16 * r) >> 2) + k] = from.u32[lane + 4 + k]
      }
    }
    processor.cpu.modeChanged()
  }

  const takeState = (to: Batch, at: number): void => {
    const offset = (at + STATE.GPR) >> 3
    for (let r = 0; r < 16; r++) to.u64[offset + r] = u64[(S.GPR >>> 3) + r]
    to.u64[(at + STATE.FS_BASE) >> 3] = u64[(S.SEG + S.FS * S.SEG_SIZE + S.SEG_BASE) >>> 3]
    to.u64[(at + STATE.GS_BASE) >> 3] = u64[(S.SEG + S.GS * S.SEG_SIZE + S.SEG_BASE) >>> 3]
    to.u32[(at + STATE.MXCSR) >> 2] = i32[S.MXCSR >>> 2]
    const status = i32[S.FSW >>> 2]
    const top = (status >> 11) & 7
    to.u16[(at + STATE.FCW) >> 1] = i32[S.FCW >>> 2]
    to.u16[(at + STATE.FSW) >> 1] = status
    to.u16[(at + STATE.FTW) >> 1] = i32[S.FTW >>> 2]
    to.u16[(at + STATE.FOP) >> 1] = i32[S.FOP >>> 2]
    to.u64[(at + STATE.FIP) >> 3] = u64[S.FIP >>> 3]
    to.u64[(at + STATE.FDP) >> 3] = u64[S.FDP >>> 3]
    for (let i = 0; i < 8; i++) {
      const from = S.FPR + 16 * ((top + i) & 7)
      for (let k = 0; k < 16; k++) to.u8[at + STATE.ST + 16 * i + k] = k < 10 ? u8[from + k] : 0
    }
    for (let r = 0; r < 16; r++) {
      const lane = (at + STATE.YMM + 32 * r) >> 2
      for (let k = 0; k < 4; k++) {
        to.u32[lane + k] = u32[((S.XMM + 16 * r) >> 2) + k]
        to.u32[lane + 4 + k] = u32[((S.YMMH + 16 * r) >> 2) + k]
      }
    }
  }

  /** How the case ended: the frame of an exception, or RIP after a step. */
  const takeEnd = (to: Batch, at: number, start: number, length: number, flags: number): void => {
    const rflags = (at + STATE.RFLAGS) >> 3
    const rip = (at + STATE.RIP) >> 3
    to.u64[(at + OUT.ERROR) >> 3] = 0n
    to.u64[(at + OUT.CR2) >> 3] = 0n
    to.u32[(at + OUT.VECTOR) >> 2] = 0
    to.u32[(at + OUT.SIGNAL) >> 2] = 0
    if (!processor.halted) {
      if ((flags & CASE.STEP) === 0 || i32[S.CPL >>> 2] !== 3) to.u32[(at + OUT.SIGNAL) >> 2] = SIGNAL.ALRM
      to.u64[rip] = BigInt.asUintN(64, i64[S.RIP >>> 3] - BigInt(start))
      to.u64[rflags] = BigInt(processor.cpu.getFlags())
      return
    }
    const vector = Number(i64[S.RIP >>> 3] - KERNEL - BigInt(AT.handlers)) >> 4
    const frame = stack + STACK_TOP - 40
    const hasError = WITH_ERROR.has(vector)
    to.u64[rip] = BigInt.asUintN(64, u64[frame >>> 3] - BigInt(start))
    to.u64[rflags] = u64[(frame + 16) >>> 3]
    to.u64[(at + STATE.GPR + 32) >> 3] = u64[(frame + 24) >>> 3]
    // The HLT behind the bytes: they ran to their end.
    if (vector === 13 && to.u64[rip] === BigInt(length) && (flags & CASE.PAGE_END) === 0) return
    to.u32[(at + OUT.SIGNAL) >> 2] = SIGNAL.SEGV
    to.u32[(at + OUT.VECTOR) >> 2] = vector
    if (hasError) to.u64[(at + OUT.ERROR) >> 3] = u64[(frame - 8) >>> 3]
    if (vector === 14) to.u64[(at + OUT.CR2) >> 3] = u64[S.CR2 >>> 3]
  }

  return {
    engine,
    run(from, to, record) {
      const at = from.at(record)
      const flags = from.u32[(at + IN.FLAGS) >> 2]
      const length = from.u32[(at + IN.LENGTH) >> 2]
      processor.activate()
      const start = placeCode(from, at)
      placeState(from, at)
      u8.set(from.windowOf(record), data + PAGE - from.window)
      processor.halted = false
      processor.stopped = ''
      i32[S.EVENT >>> 2] = 0
      i32[S.SHADOW >>> 2] = 0
      processor.setRip(BigInt(start))
      processor.run((flags & CASE.STEP) !== 0 ? 1 : BUDGET)
      // A fault's handler has not run yet when the budget ended with the fault.
      if (i32[S.CPL >>> 2] === 0 && !processor.halted) processor.run(2)
      takeState(to, at)
      takeEnd(to, at, start, length, flags)
      const window = data + PAGE - from.window
      to.u8.set(u8.subarray(window, data + PAGE), at + RECORD_HEAD)
      to.u32[(at + OUT.STRAY) >> 2] = cleanStray(u64, data, window)
    },
  }
}

/** Clears what was written to the data page outside the window; answers 1 if anything was. */
function cleanStray(u64: BigUint64Array, from: number, to: number): number {
  let stray = 0
  for (let i = from >>> 3; i < to >>> 3; i++) {
    if (u64[i] !== 0n) {
      u64[i] = 0n
      stray = 1
    }
  }
  return stray
}

function buildTables(store64: (at: number, value: bigint) => void, load64: (at: number) => bigint): number {
  let next: number = AT.tables
  const tables = createPageTables({ levels: 4, memory: { load64, store64, allocate: () => (next += PAGE) } })
  tables.map({ from: CODE_AT & ~0xfff, to: AT.code, length: PAGE, user: true })
  tables.map({ from: DATA_PAGE, to: AT.data, length: DATA_END - DATA_PAGE, user: true, executable: false })
  tables.map({ from: BigInt.asUintN(48, KERNEL), to: 0, length: AT.tables, largest: 12 })
  return tables.root
}

function fillSystemPages(put: (at: number, value: bigint) => void, write: (at: number, bytes: Uint8Array) => void): void {
  for (let vector = 0; vector < 32; vector++) {
    const to = BigInt.asUintN(64, KERNEL + BigInt(AT.handlers + vector * 16))
    put(AT.idt + vector * 16, to & 0xffffn | BigInt(KERNEL_CS) << 16n | 0xee00n << 32n | (to >> 16n & 0xffffn) << 48n)
    put(AT.idt + vector * 16 + 8, to >> 32n)
    write(AT.handlers + vector * 16, Uint8Array.of(HLT))
  }
  put(AT.gdt + KERNEL_CS, 0x00af_9b00_0000_ffffn)
  put(AT.tss, (KERNEL + BigInt(AT.stack + STACK_TOP) & 0xffff_ffffn) << 32n)
  put(AT.tss + 8, BigInt.asUintN(64, KERNEL) >> 32n)
}
