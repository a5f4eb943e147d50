/** The `Cpu` that meanings in TypeScript see: memory, operand addresses, flags, modes. */
import { configureWalk } from '@cofferdam/paging'
import type { Cpu, CpuHost } from '../cpu.ts'
import { FLUSH } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import {
  BUDGET, CC_A, CC_OP, CPL, CR0, CR3, CR4, CS, EFER, ICOUNT, MODE, MODE_SALT, PKRU, RIP, SLICE, SYSFLAGS, TLB_BASE,
  XCR0,
} from '../state.ts'
import { OP } from '../ops.ts'
import { ATTR, CR0_BITS, CR4_BITS, EFER_BITS, FLAG, XCR0_BITS } from '../system/bits.ts'
import type { CpuSystem } from '../system/cpu-system.ts'
import type { Breakpoints } from './breakpoints.ts'
import { STATUS_FLAGS } from './flags.ts'
import type { Engine } from './engine.ts'
import { createCpuMemory, highOf, lowOf } from './cpu-memory.ts'
import { createCpuSegments } from './cpu-segments.ts'
import { MODE_AVX, MODE_SSE, MODE_TRAPS, MODE_USER } from './mode.ts'
import type { Mmu } from './mmu-types.ts'
import type { Supervisor } from './supervisor.ts'
import { TLB_MODE_SIZE } from './uop.ts'

/** A `Cpu`, and what only the engine asks of it. */
export interface EngineCpu extends Cpu {
  /**
   * What the hidden temporary must hold so that it, plus nothing, is the instruction's linear address (LEA: its
   * offset).
   */
  temporaryAddress(insn: Insn): bigint
  /** After control registers were replaced all at once: translates by them, with or without what is cached. */
  retranslate(flush: boolean): void
}

export interface CpuServices {
  readonly engine: Engine
  readonly mmu: Mmu
  readonly breakpoints: Breakpoints
  readonly index: number
  readonly host: CpuHost
  readonly system: CpuSystem
  nextRip(): bigint
  setNextRip(rip: bigint): void
  halt(): void
  shutdown(reason: string): void
  pause(): void
  /** Who stands above the code that runs. */
  supervisor(): Supervisor | null
  /** Charged but not executed instructions of the running block. */
  uncharged(): number
}

const VECTORS = XCR0_BITS.SSE | XCR0_BITS.AVX
/** Types of INVPCID (SDM vol. 2). */
const INVPCID = { ADDRESS: 0, PCID: 1, ALL: 2, ALL_BUT_GLOBAL: 3 } as const
const { LMA } = EFER_BITS
const { AC, VM } = FLAG
/**
 * Bits whose change makes cached translations worthless: CR0.PG and WP; CR4.PSE PAE PGE LA57 SMEP SMAP PKE; EFER.NXE
 * LMA.
 */
const CR0_PAGING = 0x8001_0000
const CR4_PAGING = 0x0070_10b0
const EFER_PAGING = 0xc00

export function createCpu(services: CpuServices): EngineCpu {
  const { engine, mmu } = services
  const { views } = engine.memory
  const { i32, u32, i64, f64 } = views
  const memory = createCpuMemory(views, mmu)
  const { segAttributes, segmentAddress, offsetOf } = createCpuSegments(views, mmu, () => services.nextRip())
  let lastCr0 = -1
  let lastCr4 = -1
  let lastEfer = -1
  let lastPkru = 0
  let cacheOperation: Cpu['cacheOperation']

  const readCr = (at: number): number => i32[at >>> 2]

  const reconfigure = (): void => {
    configureWalk(mmu.context, {
      cr0: readCr(CR0), cr3Low: readCr(CR3), cr3High: i32[(CR3 >>> 2) + 1], cr4: readCr(CR4), efer: readCr(EFER),
      ac: (i32[SYSFLAGS >>> 2] & AC) !== 0, pkru: u32[PKRU >>> 2],
    })
    // In two dimensions each walk reads its PDPTE from memory (APM vol. 2 §15.25.10).
    if (mmu.context.format === 2 && mmu.context.nested === null) mmu.loadPdptes()
    mmu.la57 = (readCr(CR4) & CR4_BITS.LA57) !== 0
    mmu.canonical = (readCr(EFER) & LMA) !== 0
  }

  const modeChanged = (): void => {
    const cr0 = readCr(CR0)
    const cr4 = readCr(CR4)
    const efer = readCr(EFER)
    const pkru = i32[PKRU >>> 2]
    const attributes = segAttributes(CS)
    const width = (efer & LMA) !== 0 && (attributes & ATTR.L) !== 0 ? 8 : (attributes & ATTR.DB) !== 0 ? 4 : 2
    const user = i32[CPL >>> 2] === 3
    const sse = (cr4 & CR4_BITS.OSFXSR) !== 0 && (cr0 & (CR0_BITS.EM | CR0_BITS.TS)) === 0
    const avx = (cr4 & CR4_BITS.OSXSAVE) !== 0 && (i32[XCR0 >>> 2] & VECTORS) === VECTORS && (cr0 & CR0_BITS.TS) === 0
    const traps = services.supervisor()?.traps === true
    i32[MODE >>> 2] = width | (user ? MODE_USER : 0) | (sse ? MODE_SSE : 0)
      | (avx ? MODE_AVX : 0) | (traps ? MODE_TRAPS : 0)
    // Bits 62:57 of the salt name the mode; they are never all zeroes, so that a salted tag is no canonical address.
    const number =
      (width === 8 ? 0 : width === 4 ? 1 : 2) | (user ? 4 : 0) | (sse ? 8 : 0) | (avx ? 16 : 0) | (traps ? 32 : 0)
    i32[(MODE_SALT >>> 2) + 1] = (number + 1) << 25
    i32[MODE_SALT >>> 2] = 0
    const ac = (i32[SYSFLAGS >>> 2] & AC) !== 0
    // In user code AC asks for alignment: the TLB that has nothing sends every access to where it is checked.
    const checksAlignment = user && ac && (cr0 & CR0_BITS.AM) !== 0
    i32[TLB_BASE >>> 2] = checksAlignment ? mmu.unfilled : mmu.tlb + TLB_MODE_SIZE * (user ? 2 : ac ? 1 : 0)
    const changed = ((cr0 ^ lastCr0) & CR0_PAGING) | ((cr4 ^ lastCr4) & CR4_PAGING) | ((efer ^ lastEfer) & EFER_PAGING)
    lastCr0 = cr0
    lastCr4 = cr4
    lastEfer = efer
    if (changed !== 0 || pkru !== lastPkru) {
      reconfigure()
      mmu.flush(true)
    } else {
      mmu.context.mode = ac ? mmu.context.mode | 0x40 : mmu.context.mode & ~0x40
    }
    lastPkru = pkru
    // Pages with breakpoints must go from the TLBs and the enterable code pages, or may come back.
    if (services.breakpoints.refresh()) mmu.flush(true)
  }

  const cpu: EngineCpu = {
    views, index: services.index, host: services.host, system: services.system,
    load: memory.load,
    load64: memory.load64,
    loadBytes: memory.loadBytes,
    store: memory.store,
    store64: memory.store64,
    storeBytes: memory.storeBytes,
    loadSystem: memory.loadSystem,
    loadSystem64: memory.loadSystem64,
    storeSystem: memory.storeSystem,
    storeSystem64: memory.storeSystem64,
    storeSystemBytes: memory.storeSystemBytes,
    checkWrite: memory.checkWrite,
    checkAlignment: memory.checkAlignment,
    unaligned: memory.unaligned,
    operandAddress: (insn, size, write) => segmentAddress(insn.seg, offsetOf(insn), size, write),
    segmentAddress,
    temporaryAddress(insn) {
      if (isLea(insn)) return offsetOf(insn)
      const writes = insn.kind0 === 3 && !readsOnly(insn)
      // POP computes its destination with the stack pointer as it is afterwards.
      if (insn.op === OP.pop && insn.base === RSP) insn = { ...insn, disp: insn.disp + insn.size }
      return segmentAddress(
        insn.seg, offsetOf(insn), insn.size2 === 0 || insn.kind0 === 3 ? Math.max(insn.size, 1) : insn.size2, writes,
      )
    },
    getFlags: () => (i32[SYSFLAGS >>> 2] | 2 | engine.flagImage()) >>> 0,
    setFlags(value, mask) {
      if ((mask & value & VM) !== 0) {
        services.shutdown('virtual-8086 mode is not supported: EFLAGS.VM was set')
        return
      }
      const keep = mask & ~STATUS_FLAGS
      i32[SYSFLAGS >>> 2] = (i32[SYSFLAGS >>> 2] & ~keep) | (value & keep) | 2
      if ((mask & STATUS_FLAGS) !== 0) {
        const image = (engine.flagImage() & ~mask) | (value & mask & STATUS_FLAGS)
        i32[CC_A >>> 2] = image
        i32[CC_OP >>> 2] = CC_IMAGE
      }
    },
    rip: () => BigInt.asUintN(64, i64[RIP >>> 3]),
    nextRip: () => BigInt.asUintN(64, services.nextRip()),
    setNextRip: (rip) => { services.setNextRip(BigInt.asIntN(64, rip)) },
    modeChanged,
    flushTlb(kind) {
      reconfigure()
      mmu.flush(kind === FLUSH.ALL)
    },
    invalidatePage(address) {
      mmu.invalidate(lowOf(address), highOf(address))
    },
    invalidatePcid(kind, pcid, address) {
      const present = (readCr(CR4) & CR4_BITS.PCIDE) !== 0 ? readCr(CR3) & 0xfff : 0
      if (kind === INVPCID.ALL) mmu.flush(true)
      else if (kind === INVPCID.ALL_BUT_GLOBAL) mmu.flush(false)
      // Of other PCIDs nothing is cached but global pages, which stay: a write of CR3 forgets the rest.
      else if (pcid !== present) return
      else if (kind === INVPCID.ADDRESS) cpu.invalidatePage(address)
      else mmu.flush(false)
    },
    halt: () => { services.halt() },
    shutdown: (reason) => { services.shutdown(reason) },
    pause: () => { services.pause() },
    supervisor: () => services.supervisor(),
    retranslate(flush) {
      reconfigure()
      if (flush) mmu.flush(true)
    },
    get cacheOperation() { return cacheOperation },
    set cacheOperation(listener) {
      cacheOperation = listener
      engine.translator.hearsLines = true
      engine.flushCode()
    },
    timestamp: () => BigInt(f64[ICOUNT >>> 3] + i32[SLICE >>> 2] - i32[BUDGET >>> 2] - services.uncharged()),
  }
  return cpu
}

const RSP = 4

/** CC_OP of an image of the flags. */
const CC_IMAGE = 2

const isLea = (insn: Insn): boolean => insn.op === OP.lea
const readOnly = new Set<number>([OP.cmp, OP.test, OP.bt, OP.push, OP.mul, OP.imul, OP.div, OP.idiv, OP.call, OP.jmp])
const readsOnly = (insn: Insn): boolean => readOnly.has(insn.op)
