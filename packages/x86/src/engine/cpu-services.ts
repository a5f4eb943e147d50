/** The `Cpu` that meanings in TypeScript see: memory through the TLBs, operand addresses, flags, modes. */
import { ACCESS_IMPLICIT, ACCESS_USER, ACCESS_WRITE, configureWalk } from '@cofferdam/paging'
import type { Cpu, CpuHost } from '../cpu.ts'
import { FLUSH, VECTOR, guestFault, raise } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MODE64 } from '../insn.ts'
import {
  BUDGET, CC_A, CC_OP, CPL, CR0, CR3, CR4, CS, EFER, FS, GPR, ICOUNT, MODE, MODE_SALT, PKRU, RIP, SEG, SEG_BASE,
  SEG_SIZE, SLICE, SS, SYSFLAGS, TLB_BASE, XCR0,
} from '../state.ts'
import { OP } from '../ops.ts'
import { CR0_BITS, CR4_BITS, XCR0_BITS } from '../system/bits.ts'
import type { CpuSystem } from '../system/cpu-system.ts'
import type { Breakpoints } from './breakpoints.ts'
import { STATUS_FLAGS } from './flags.ts'
import type { Engine } from './engine.ts'
import { MODE_AVX, MODE_SSE, MODE_TRAPS, MODE_USER, decodeMode } from './mode.ts'
import type { Mmu } from './mmu-types.ts'
import type { Supervisor } from './supervisor.ts'
import { TLB_ENTRIES, TLB_MODE_SIZE, TLB_WRITE, missInfo } from './uop.ts'

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
const LMA = 0x400
const AC = 0x4_0000
const VM = 0x2_0000
const ATTR = { WRITABLE: 2, EXPAND_DOWN: 4, CODE: 8, PRESENT: 0x80, L: 0x200, DB: 0x400 } as const
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
  const { i32, u32, u16, u8, i64, u64, f64 } = views
  let lastCr0 = -1
  let lastCr4 = -1
  let lastEfer = -1
  let lastPkru = 0
  let cacheOperation: Cpu['cacheOperation']

  /** Host address of an access that one TLB entry serves, or −1. */
  const probe = (base: number, low: number, high: number, size: number, write: boolean): number => {
    if ((low & 0xfff) + size > 4096) return -1
    const entry = (base + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4) + (write ? TLB_WRITE : 0)) >>> 2
    if (i32[entry] !== (low & ~0xfff) || i32[entry + 1] !== high) return -1
    return (low + i32[entry + 2]) >>> 0
  }

  const throwFault = (): never => {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- see GuestFault: a jump, caught in one place
    throw guestFault
  }

  /** Host address through the present mode's TLB, filling it if that helps; −1: the slow path. */
  const direct = (low: number, high: number, size: number, write: boolean): number => {
    const base = i32[TLB_BASE >>> 2]
    const host = probe(base, low, high, size, write)
    if (host >= 0) return host
    return mmu.miss(low, high, missInfo(size, write ? 2 : 1)) === 1 ? probe(base, low, high, size, write) : -1
  }

  const userAccess = (): number => (i32[CPL >>> 2] === 3 ? ACCESS_USER : 0)
  const lowOf = (address: bigint): number => Number(address & 0xffff_ffffn) | 0
  const highOf = (address: bigint): number => Number((address >> 32n) & 0xffff_ffffn) | 0
  const eight = new Uint8Array(8)
  const eightView = new DataView(eight.buffer)
  const slots = [new Uint8Array(1), new Uint8Array(2), new Uint8Array(0), new Uint8Array(4)]

  const readHost = (host: number, size: number): number => {
    if (size === 1) return u8[host]
    if (size === 2) return u8[host] | (u8[host + 1] << 8)
    return (host & 3) === 0 ? u32[host >>> 2] : (
      u8[host] | (u8[host + 1] << 8) | (u8[host + 2] << 16) | (u8[host + 3] << 24)
    ) >>> 0
  }
  const writeHost = (host: number, size: number, value: number): void => {
    for (let i = 0; i < size; i++) u8[host + i] = value >>> (8 * i)
  }
  const readHost64 = (host: number): bigint =>
    (host & 7) === 0 ? u64[host >>> 3] : BigInt(readHost(host, 4)) | (BigInt(readHost(host + 4, 4)) << 32n)
  const writeHost64 = (host: number, value: bigint): void => {
    if ((host & 7) === 0) {
      u64[host >>> 3] = value
    } else {
      writeHost(host, 4, Number(value & 0xffff_ffffn))
      writeHost(host + 4, 4, Number((value >> 32n) & 0xffff_ffffn))
    }
  }

  const slowLoad = (low: number, high: number, bytes: Uint8Array, access: number): void => {
    if (!mmu.copyIn(low, high, bytes, access)) throwFault()
  }
  const slowStore = (low: number, high: number, bytes: Uint8Array, access: number): void => {
    if (!mmu.copyOut(low, high, bytes, access)) throwFault()
  }
  const toNumber = (bytes: Uint8Array): number => {
    let value = 0
    for (let i = bytes.length - 1; i >= 0; i--) value = value * 256 + bytes[i]
    return value
  }

  const loadVia = (host: number, low: number, high: number, size: 1 | 2 | 4, access: number): number => {
    if (host >= 0) return readHost(host, size)
    const bytes = slots[size - 1]
    slowLoad(low, high, bytes, access)
    return toNumber(bytes)
  }
  const load64Via = (host: number, low: number, high: number, access: number): bigint => {
    if (host >= 0) return readHost64(host)
    slowLoad(low, high, eight, access)
    return eightView.getBigUint64(0, true)
  }
  const storeVia = (host: number, low: number, high: number, size: 1 | 2 | 4, value: number, access: number): void => {
    if (host >= 0) {
      writeHost(host, size, value)
      return
    }
    const bytes = slots[size - 1]
    for (let i = 0; i < size; i++) bytes[i] = value >>> (8 * i)
    slowStore(low, high, bytes, access)
  }
  const store64Via = (host: number, low: number, high: number, value: bigint, access: number): void => {
    if (host >= 0) {
      writeHost64(host, value)
      return
    }
    eightView.setBigUint64(0, BigInt.asUintN(64, value), true)
    slowStore(low, high, eight, access)
  }

  /** Supervisor accesses look in the supervisor's TLB (AC clear), which only supervisor code fills. */
  const system = (low: number, high: number, size: number, write: boolean): number =>
    i32[CPL >>> 2] === 3 ? probe(mmu.tlb, low, high, size, write) : direct(low, high, size, write)

  const segAttributes = (seg: number): number => u16[(SEG + seg * SEG_SIZE + 2) >>> 1]
  const segLimit = (seg: number): number => u32[(SEG + seg * SEG_SIZE + 4) >>> 2]
  const segBase = (seg: number): bigint => u64[(SEG + seg * SEG_SIZE + SEG_BASE) >>> 3]
  const is64 = (): boolean => decodeMode(i32[MODE >>> 2]) === MODE64

  /** Limit, presence and type checks of legacy segments (SDM vol. 3 §5.3 to §5.5). */
  const checkSegment = (seg: number, offset: number, size: number, write: boolean): void => {
    const vector = seg === SS ? VECTOR.SS : VECTOR.GP
    const attributes = segAttributes(seg)
    const isProtected = (i32[CR0 >>> 2] & CR0_BITS.PE) !== 0
    if (isProtected) {
      if ((attributes & ATTR.PRESENT) === 0) raise(VECTOR.GP, 0)
      const code = (attributes & ATTR.CODE) !== 0
      if (write && (code || (attributes & ATTR.WRITABLE) === 0)) raise(VECTOR.GP, 0)
      if (!write && code && (attributes & ATTR.WRITABLE) === 0) raise(VECTOR.GP, 0)
    }
    const limit = segLimit(seg)
    // In a flat segment of 4 GiB addresses wrap; where its base is not 0 the limit counts (observed on Intel
    // processors).
    if (limit === 0xffff_ffff && segBase(seg) === 0n
      && (attributes & (ATTR.CODE | ATTR.EXPAND_DOWN)) !== ATTR.EXPAND_DOWN) return
    const last = offset + size - 1
    if ((attributes & (ATTR.CODE | ATTR.EXPAND_DOWN)) === ATTR.EXPAND_DOWN) {
      const top = (attributes & ATTR.DB) !== 0 ? 0xffff_ffff : 0xffff
      if (offset <= limit || last > top) raise(vector, 0)
    } else if (last > limit) {
      raise(vector, 0)
    }
  }

  const segmentAddress = (seg: number, offset: bigint, size: number, write: boolean): bigint => {
    if (is64()) {
      const address = BigInt.asUintN(64, seg >= FS ? offset + segBase(seg) : offset)
      if (seg === SS && !canonical(address)) raise(VECTOR.SS, 0)
      return address
    }
    checkSegment(seg, Number(offset & 0xffff_ffffn), size, write)
    return (offset + segBase(seg)) & 0xffff_ffffn
  }

  const canonical = (address: bigint): boolean =>
    BigInt.asUintN(64, BigInt.asIntN(mmu.la57 ? 57 : 48, address)) === BigInt.asUintN(64, address)

  const offsetOf = (insn: Insn): bigint => {
    const { addrSize } = insn
    if (insn.absolute64 !== 0 && insn.ripRelative === 0) {
      return (BigInt(insn.dispHi >>> 0) << 32n) | BigInt(insn.disp >>> 0)
    }
    let offset = BigInt(insn.disp)
    if (insn.ripRelative !== 0) offset += services.nextRip()
    else if (insn.base >= 0) offset += u64[(GPR >>> 3) + insn.base]
    if (insn.index >= 0) offset += u64[(GPR >>> 3) + insn.index] << BigInt(insn.scale)
    return BigInt.asUintN(addrSize * 8, offset)
  }

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
    load(address, size) {
      const low = lowOf(address)
      const high = highOf(address)
      return loadVia(direct(low, high, size, false), low, high, size, userAccess())
    },
    load64(address) {
      const low = lowOf(address)
      const high = highOf(address)
      return load64Via(direct(low, high, 8, false), low, high, userAccess())
    },
    loadBytes(address, out) {
      const low = lowOf(address)
      const high = highOf(address)
      const host = direct(low, high, out.length, false)
      if (host >= 0) out.set(u8.subarray(host, host + out.length))
      else slowLoad(low, high, out, userAccess())
    },
    store(address, size, value) {
      const low = lowOf(address)
      const high = highOf(address)
      storeVia(direct(low, high, size, true), low, high, size, value, userAccess())
    },
    store64(address, value) {
      const low = lowOf(address)
      const high = highOf(address)
      store64Via(direct(low, high, 8, true), low, high, value, userAccess())
    },
    storeBytes(address, bytes) {
      const low = lowOf(address)
      const high = highOf(address)
      const host = direct(low, high, bytes.length, true)
      if (host >= 0) u8.set(bytes, host)
      else slowStore(low, high, bytes, userAccess())
    },
    loadSystem(address, size) {
      const low = lowOf(address)
      const high = highOf(address)
      return loadVia(system(low, high, size, false), low, high, size, ACCESS_IMPLICIT)
    },
    loadSystem64(address) {
      const low = lowOf(address)
      const high = highOf(address)
      return load64Via(system(low, high, 8, false), low, high, ACCESS_IMPLICIT)
    },
    storeSystem(address, size, value) {
      const low = lowOf(address)
      const high = highOf(address)
      storeVia(system(low, high, size, true), low, high, size, value, ACCESS_IMPLICIT)
    },
    storeSystem64(address, value) {
      const low = lowOf(address)
      const high = highOf(address)
      store64Via(system(low, high, 8, true), low, high, value, ACCESS_IMPLICIT)
    },
    storeSystemBytes(address, bytes) {
      const low = lowOf(address)
      const high = highOf(address)
      const host = system(low, high, bytes.length, true)
      if (host >= 0) u8.set(bytes, host)
      else slowStore(low, high, bytes, ACCESS_IMPLICIT)
    },
    checkWrite(address, size) {
      if (!mmu.isAligned(lowOf(address), highOf(address), size)) throwFault()
      // The second page faults at its first byte.
      const last = (address + BigInt(size - 1)) & ~0xfffn
      for (const end of last > address ? [address, last] : [address]) {
        if (mmu.translate(lowOf(end), highOf(end), userAccess() | ACCESS_WRITE) < 0) throwFault()
      }
    },
    checkAlignment(address, size) {
      if (i32[TLB_BASE >>> 2] === mmu.unfilled && (lowOf(address) & (size - 1)) !== 0 && canonical(address)) {
        raise(VECTOR.AC, 0)
      }
    },
    unaligned(access) {
      const base = i32[TLB_BASE >>> 2]
      if (base !== mmu.unfilled) return access()
      i32[TLB_BASE >>> 2] = mmu.tlb + 2 * TLB_MODE_SIZE
      try {
        return access()
      } finally {
        i32[TLB_BASE >>> 2] = base
      }
    },
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
