/** A processor without an engine, for tests of meanings: state, flat memory, and what was asked of the hooks. */
import type { Cpu } from '../src/cpu.ts'
import { guestFault, raise, raisePageFault, VECTOR } from '../src/cpu.ts'
import type { Insn } from '../src/insn.ts'
import { MODE64 } from '../src/insn.ts'
import * as S from '../src/state.ts'
import { ATTR, CR0_BITS, CR4_BITS, EFER_BITS, FLAG } from '../src/system/bits.ts'
import { createPlainApic } from '../src/system/apic-port.ts'
import { createCpuSystem } from '../src/system/cpu-system.ts'
import type { CpuModel } from '../src/system/cpuid/model.ts'
import { epycGenoa } from '../src/system/cpuid/models/epyc-genoa.ts'
import { flatTopology } from '../src/system/cpuid/topology.ts'
import { insideLimit } from '../src/system/inner-stack.ts'
import { createMsrTable } from '../src/system/msr/table.ts'
import { resetCpu } from '../src/system/reset.ts'

export const MEMORY_SIZE = 0x2_0000

export interface FakeCpu extends Cpu {
  readonly memory: DataView
  /** Pages (address >> 12) that fault when touched. */
  readonly missing: Set<number>
  readonly log: string[]
  readonly ports: { reads: number[]; writes: [number, number, number][]; answer: number }
  stopped: string | undefined
  halted: boolean
  time: bigint
  setRip(rip: number | bigint): void
}

export interface FakeOptions {
  readonly model?: CpuModel
  readonly cpus?: number
  readonly index?: number
}

/** Creates a processor after reset, in real mode. */
export function createFakeCpu(options: FakeOptions = {}): FakeCpu {
  const buffer = new ArrayBuffer(0x1000)
  const views = {
    u8: new Uint8Array(buffer), u16: new Uint16Array(buffer), i32: new Int32Array(buffer), u32: new Uint32Array(buffer),
    i64: new BigInt64Array(buffer), u64: new BigUint64Array(buffer), f64: new Float64Array(buffer),
  }
  const bytes = new Uint8Array(MEMORY_SIZE)
  const memory = new DataView(bytes.buffer)
  const missing = new Set<number>()
  const log: string[] = []
  const ports: FakeCpu['ports'] = { reads: [], writes: [], answer: 0x1234_5678 }
  const model = options.model ?? epycGenoa
  let flags: number = FLAG.ONE
  let nextRip = 0n
  let random = 0x0123_4567_89ab_cdefn

  const at = (address: bigint, size: number, write: boolean, user: boolean): number => {
    for (const a of [address, address + BigInt(size - 1)]) {
      if (a >= BigInt(MEMORY_SIZE) || missing.has(Number(a >> 12n))) {
        raisePageFault(a, (write ? 2 : 0) | (user ? 4 : 0))
      }
    }
    return Number(address)
  }
  const user = (): boolean => views.u32[S.CPL >>> 2] === 3
  const in64 = (): boolean =>
    (views.u32[S.EFER >>> 2] & EFER_BITS.LMA) !== 0 && (views.u16[(S.SEG + 16 * S.CS + 2) >>> 1] & ATTR.L) !== 0
  const load = (address: bigint, size: number, u: boolean): number => {
    const i = at(address, size, false, u)
    return size === 1 ? memory.getUint8(i) : size === 2 ? memory.getUint16(i, true) : memory.getUint32(i, true)
  }
  const store = (address: bigint, size: number, value: number, u: boolean): void => {
    const i = at(address, size, true, u)
    if (size === 1) memory.setUint8(i, value)
    else if (size === 2) memory.setUint16(i, value, true)
    else memory.setUint32(i, value, true)
  }
  const segmentAddress = (seg: number, offset: bigint, size: number, write: boolean): bigint => {
    const fault = seg === S.SS ? VECTOR.SS : VECTOR.GP
    const record = S.SEG + 16 * seg
    const base = views.u64[(record + 8) >>> 3]
    if (in64()) {
      const address = BigInt.asUintN(64, seg >= S.FS ? offset + base : offset)
      if (BigInt.asUintN(64, BigInt.asIntN(48, address)) !== address) raise(fault, 0)
      return address
    }
    const attributes = views.u16[(record + 2) >>> 1]
    if ((attributes & ATTR.P) === 0) raise(VECTOR.GP, 0)
    if (write && (attributes & ATTR.CODE) !== 0) raise(VECTOR.GP, 0)
    const limit = views.u32[(record + 4) >>> 2]
    if (!insideLimit(attributes & ~ATTR.CODE, limit, Number(offset), size)) raise(fault, 0)
    return (base + offset) & 0xffff_ffffn
  }

  const cpu: FakeCpu = {
    views, memory, missing, log, ports, stopped: undefined, halted: false, time: 1000n,
    index: options.index ?? 0,
    system: createCpuSystem({
      model, topology: flatTopology(options.cpus ?? 1), index: options.index ?? 0, apic: createPlainApic(),
      msrs: createMsrTable(model),
    }),
    host: {
      portRead: (port, size) => {
        ports.reads.push(port)
        return size === 4 ? ports.answer : ports.answer & (2 ** (size * 8) - 1)
      },
      portWrite: (port, size, value) => { ports.writes.push([port, size, value]) },
      random64: () => { random = BigInt.asUintN(64, random * 3n + 1n); return random },
      externalVector: () => -1,
    },
    load: (address, size) => load(address, size, user()),
    load64: (address) => memory.getBigUint64(at(address, 8, false, user()), true),
    loadBytes: (address, out) => {
      const i = at(address, out.length, false, user())
      out.set(bytes.subarray(i, i + out.length))
    },
    store: (address, size, value) => { store(address, size, value, user()) },
    store64: (address, value) => { memory.setBigUint64(at(address, 8, true, user()), value, true) },
    storeBytes: (address, source) => { bytes.set(source, at(address, source.length, true, user())) },
    loadSystem: (address, size) => load(address, size, false),
    loadSystem64: (address) => memory.getBigUint64(at(address, 8, false, false), true),
    storeSystem: (address, size, value) => { store(address, size, value, false) },
    storeSystem64: (address, value) => { memory.setBigUint64(at(address, 8, true, false), value, true) },
    checkWrite: (address, size) => { at(address, size, true, user()) },
    segmentAddress,
    operandAddress: (insn, size, write) => {
      let offset = BigInt(insn.disp)
      if (insn.base >= 0) offset += views.u64[(S.GPR >>> 3) + insn.base]
      return segmentAddress(insn.seg, BigInt.asUintN(insn.addrSize * 8, offset), size, write)
    },
    getFlags: () => flags,
    setFlags: (value, mask) => { flags = ((flags & ~mask) | (value & mask) | 2) >>> 0 },
    rip: () => views.u64[S.RIP >>> 3],
    setRip: (rip) => { views.u64[S.RIP >>> 3] = BigInt(rip) },
    setNextRip: (rip) => { nextRip = rip },
    nextRip: () => nextRip,
    modeChanged: () => { log.push('mode') },
    flushTlb: (kind) => { log.push(`flush ${String(kind)}`) },
    invalidatePage: (address) => { log.push(`page ${address.toString(16)}`) },
    cacheOperation: (kind, address) => {
      log.push(`cache ${String(kind)}${address === undefined ? '' : ` ${address.toString(16)}`}`)
    },
    halt: () => { cpu.halted = true },
    shutdown: (reason) => { cpu.stopped = reason },
    timestamp: () => cpu.time,
  }
  resetCpu(cpu)
  log.length = 0
  return cpu
}

const BLANK: Insn = {
  status: 0, op: 0, len: 2, size: 8, size2: 0, addrSize: 8, mode: MODE64, kind0: 0, kind1: 0, kind2: 0, kind3: 0,
  reg0: 0, reg1: 0, reg2: 0, reg3: 0, base: -1, index: -1, scale: 0, disp: 0, dispHi: 0, ripRelative: 0, absolute64: 0,
  seg: S.DS, segOverride: -1, immLo: 0, immHi: 0, imm2: 0, rel: 0, cc: 0, lock: 0, rep: 0, vex: 0,
}

/** An instruction record with everything but `fields` at its rest value. */
export const insn = (fields: Partial<Insn> = {}): Insn => ({ ...BLANK, ...fields })

/** What a fault looks like in tests. */
export interface Fault { vector: number; errorCode: number; address?: bigint }

/** Runs a meaning as the engine would: nextRip behind it, RIP at it. Returns the fault that it raised, if any. */
export function run(
  cpu: FakeCpu, meaning: (cpu: FakeCpu, insn: Insn) => void, instruction: Insn = insn(),
): Fault | undefined {
  cpu.setNextRip(cpu.rip() + BigInt(instruction.len))
  try {
    meaning(cpu, instruction)
    return undefined
  } catch (fault) {
    if (fault !== guestFault) throw fault
    const { vector, errorCode, address } = guestFault
    return vector === VECTOR.PF ? { vector, errorCode, address } : { vector, errorCode }
  }
}

/** #GP with an error code, and its relatives. */
export const GP = (errorCode = 0): Fault => ({ vector: VECTOR.GP, errorCode })
export const NP = (errorCode: number): Fault => ({ vector: VECTOR.NP, errorCode })
export const SSF = (errorCode: number): Fault => ({ vector: VECTOR.SS, errorCode })
export const TSF = (errorCode: number): Fault => ({ vector: VECTOR.TS, errorCode })
export const UD: Fault = { vector: VECTOR.UD, errorCode: -1 }

export const gpr = (cpu: FakeCpu, reg: number): bigint => cpu.views.u64[(S.GPR >>> 3) + reg]
export const setReg = (cpu: FakeCpu, reg: number, value: bigint): void => { cpu.views.u64[(S.GPR >>> 3) + reg] = value }
export const state64 = (cpu: FakeCpu, at: number): bigint => cpu.views.u64[at >>> 3]
export const setState64 = (cpu: FakeCpu, at: number, value: bigint): void => { cpu.views.u64[at >>> 3] = value }
export const state32 = (cpu: FakeCpu, at: number): number => cpu.views.u32[at >>> 2]
export const selectorOf = (cpu: FakeCpu, seg: number): number => cpu.views.u16[(S.SEG + seg * 16) >>> 1]
export const attributesOf = (cpu: FakeCpu, seg: number): number => cpu.views.u16[(S.SEG + seg * 16 + 2) >>> 1]

/** Where the tables of the test machine lie. */
export const GDT = 0x1000
export const IDT = 0x2000
export const TSS = 0x3000
export const STACK = 0x8000
/** Ring-0 stack in the TSS, and IST1. */
export const STACK0 = 0x9000
export const STACK_IST1 = 0xa000

/** Selectors of the test GDT. */
export const SEL = {
  CODE64: 0x08, DATA: 0x10, CODE32: 0x18, USER_CODE32: 0x20 | 3, USER_DATA: 0x28 | 3, USER_CODE64: 0x30 | 3, TSS: 0x38,
  ABSENT: 0x48, CONFORMING: 0x50, READ_ONLY: 0x58, LDT: 0x60, CALL_GATE: 0x70, EXECUTE_ONLY: 0x80, CODE16: 0x88,
  BEYOND: 0x90,
} as const
const GDT_LIMIT = 0x8f

/** A code or data descriptor: access byte, flags nibble (G D L AVL), flat unless `limit` says otherwise. */
export function setDescriptor(
  cpu: FakeCpu, selector: number, access: number, flags: number, base = 0, limit = 0xf_ffff,
): void {
  const at = GDT + (selector & 0xfff8)
  cpu.memory.setUint32(at, (limit & 0xffff) | ((base & 0xffff) << 16), true)
  cpu.memory.setUint32(at + 4,
    ((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf_0000) | (flags << 20) | (base & 0xff00_0000), true)
}

/** Loads a segment record directly. */
export function setSeg(
  cpu: FakeCpu, seg: number, selector: number, attributes: number, limit = 0xffff_ffff, base = 0n,
): void {
  cpu.views.u16[(S.SEG + seg * 16) >>> 1] = selector
  cpu.views.u16[(S.SEG + seg * 16 + 2) >>> 1] = attributes
  cpu.views.u32[(S.SEG + seg * 16 + 4) >>> 2] = limit
  cpu.views.u64[(S.SEG + seg * 16 + 8) >>> 3] = base
}

function setTables(cpu: FakeCpu, long: boolean): void {
  setDescriptor(cpu, SEL.CODE64, 0x9b, 0xa)
  setDescriptor(cpu, SEL.DATA, 0x93, 0xc)
  setDescriptor(cpu, SEL.CODE32, 0x9b, 0xc)
  setDescriptor(cpu, SEL.USER_CODE32, 0xfb, 0xc)
  setDescriptor(cpu, SEL.USER_DATA, 0xf3, 0xc)
  setDescriptor(cpu, SEL.USER_CODE64, 0xfb, 0xa)
  setDescriptor(cpu, SEL.TSS, 0x89, 0, TSS, 0x67)
  setDescriptor(cpu, SEL.ABSENT, 0x13, 0xc)
  setDescriptor(cpu, SEL.CONFORMING, 0x9f, long ? 0xa : 0xc)
  setDescriptor(cpu, SEL.READ_ONLY, 0x91, 0xc)
  setDescriptor(cpu, SEL.LDT, 0x82, 0, 0x4000, 0xff)
  setDescriptor(cpu, SEL.EXECUTE_ONLY, 0x99, 0xc)
  setDescriptor(cpu, SEL.CODE16, 0x9b, 0, 0, 0xffff)
  cpu.views.u32[S.GDTR >>> 2] = GDT_LIMIT
  setState64(cpu, S.GDTR + 8, BigInt(GDT))
  cpu.views.u32[S.IDTR >>> 2] = long ? 0xfff : 0x7ff
  setState64(cpu, S.IDTR + 8, BigInt(IDT))
  setSeg(cpu, S.TR, SEL.TSS, long ? 0x8b : 0x8b, 0x67, BigInt(TSS))
}

const CODE64_ATTRIBUTES = 0xa9b
const DATA_ATTRIBUTES = 0xc93

/** A processor in 64-bit mode at the given privilege, with the tables above. */
export function longCpu(level: 0 | 3 = 0, options: FakeOptions = {}): FakeCpu {
  const cpu = createFakeCpu(options)
  setTables(cpu, true)
  cpu.memory.setBigUint64(TSS + 4, BigInt(STACK0), true)
  cpu.memory.setBigUint64(TSS + 0x24, BigInt(STACK_IST1), true)
  setState64(cpu, S.CR0, BigInt(CR0_BITS.PG) | BigInt(CR0_BITS.PE | CR0_BITS.ET))
  setState64(cpu, S.CR4, BigInt(CR4_BITS.PAE | CR4_BITS.OSFXSR))
  setState64(cpu, S.EFER, BigInt(EFER_BITS.LME | EFER_BITS.LMA | EFER_BITS.SCE | EFER_BITS.NXE))
  const dpl = level << 5
  setSeg(cpu, S.CS, level === 3 ? SEL.USER_CODE64 : SEL.CODE64, CODE64_ATTRIBUTES | dpl)
  for (const seg of [S.SS, S.DS, S.ES]) setSeg(cpu, seg, level === 3 ? SEL.USER_DATA : SEL.DATA, DATA_ATTRIBUTES | dpl)
  for (const seg of [S.FS, S.GS]) setSeg(cpu, seg, 0, 0, 0)
  cpu.views.u32[S.CPL >>> 2] = level
  setReg(cpu, 4, BigInt(STACK))
  cpu.setRip(0x5000)
  return cpu
}

/** A processor in 32-bit protected mode without paging. */
export function protectedCpu(level: 0 | 3 = 0, options: FakeOptions = {}): FakeCpu {
  const cpu = createFakeCpu(options)
  setTables(cpu, false)
  cpu.memory.setUint32(TSS + 4, STACK0, true)
  cpu.memory.setUint16(TSS + 8, SEL.DATA, true)
  setState64(cpu, S.CR0, BigInt(CR0_BITS.PE | CR0_BITS.ET))
  const dpl = level << 5
  setSeg(cpu, S.CS, level === 3 ? SEL.USER_CODE32 : SEL.CODE32, 0xc9b | dpl)
  for (const seg of [S.SS, S.DS, S.ES, S.FS, S.GS]) {
    setSeg(cpu, seg, level === 3 ? SEL.USER_DATA : SEL.DATA, DATA_ATTRIBUTES | dpl)
  }
  cpu.views.u32[S.CPL >>> 2] = level
  setReg(cpu, 4, BigInt(STACK))
  cpu.setRip(0x5000)
  return cpu
}

/** Writes a gate into the IDT: 16 bytes in long mode, else 8. */
export function setGate(
  cpu: FakeCpu, vector: number,
  fields: { selector?: number; offset?: bigint; type?: number; dpl?: number; present?: boolean; ist?: number },
): void {
  const { selector = SEL.CODE64, offset = 0x6000n, type = 14, dpl = 0, present = true, ist = 0 } = fields
  const long = (state32(cpu, S.EFER) & EFER_BITS.LMA) !== 0
  const at = IDT + vector * (long ? 16 : 8)
  const low = Number(offset & 0xffff_ffffn)
  cpu.memory.setUint32(at, (selector << 16) | (low & 0xffff), true)
  cpu.memory.setUint32(at + 4, (low & 0xffff_0000) | (present ? 0x8000 : 0) | (dpl << 13) | (type << 8) | ist, true)
  if (long) cpu.memory.setUint32(at + 8, Number(offset >> 32n), true)
}
