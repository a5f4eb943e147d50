/** A processor with memory and nothing else, for tests of the engine. */
import { createPhysicalMemory } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import {
  ATTR, CR0_BITS, CR4_BITS, EFER_BITS, attachExtensions, configureModel, createCpuSystem, createEngine, createPlainApic,
  createProcessor,
  engineOverhead, extendSystem, extendedMeanings, extendedMsrs, flatTopology, loadState, resetCpu, sapphireRapids,
} from '../../src/index.ts'
import type { CpuModel, Engine, Extension, Processor, SegmentImage } from '../../src/index.ts'
import { DR, GPR, SEG, SEG_SIZE } from '../../src/state.ts'
import { assemble } from './assemble.ts'

export const REGISTERS = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const
export type RegisterName = (typeof REGISTERS)[number]
export type Width = 16 | 32 | 64

const CODE = ATTR.P | ATTR.S | 0xb
const DATA = ATTR.P | ATTR.S | 3

/** Where things are that every test has: descriptor tables, handlers, page tables, stack, code. */
export const AT = {
  gdt: 0x1000, idt: 0x2000, tss: 0x3000, handlers: 0x5000, code: 0x10_000, data: 0x20_000, stack: 0x30_000,
  tables: 0x40_000,
  /** User code, and the top of its stack; every page from 512 KiB to 1 MiB is the user's. */
  user: 0x80_000, userStack: 0xa0_000,
} as const
/** Selectors of the GDT that `createBare` builds. */
export const SEL = {
  code64: 0x08, data: 0x10, code32: 0x18, code16: 0x20, user64: 0x2b, userData: 0x33, user32: 0x3b, tss: 0x40,
} as const

export interface BareOptions {
  /**
   * Width of the code it starts in; 16 is real mode, 32 protected mode without paging, 64 long mode (identity mapped).
   */
  readonly width: Width
  /** Forms with handlers of their own in the dispatch function; default none, so that all are cold. */
  readonly hotForms?: readonly string[]
  readonly cr4?: number
  readonly ramBytes?: number
  /** Default `interp`; `jit` compiles what was entered 32 times, when a slice ends. */
  readonly engine?: 'interp' | 'jit'
  /** How many processors, all in the same state; default 1. */
  readonly processors?: number
  /** Default Sapphire Rapids. */
  readonly model?: CpuModel
  readonly extensions?: readonly Extension[]
  /** What waits besides interrupts: bits of APIC_EVENT. */
  readonly pendingEvents?: () => number
}

export interface Bare {
  readonly memory: PhysicalMemory
  readonly engine: Engine
  readonly processor: Processor
  /** All processors, `processor` first. Registers are those of the one that was activated last. */
  readonly processors: readonly Processor[]
  /** Ports accessed: number and size. */
  readonly ports: (readonly [number, number])[]
  /** Vectors that wait to be taken. */
  readonly pending: number[]
  /** Writes a program and answers its labels. */
  program(text: string, at?: number): ReadonlyMap<string, number>
  poke(address: number, ...bytes: number[]): void
  poke64(address: number, value: bigint): void
  peek(address: number, size: 1 | 2 | 4 | 8): bigint
  get(name: RegisterName): bigint
  set(values: Partial<Record<RegisterName, bigint | number>>): void
  rip(): bigint
  jump(rip: bigint | number): void
  flags(): number
  setFlags(value: number): void
  debug(n: number): bigint
  /** Writes a control or debug register, or any word of `state.ts`, and tells the engine. */
  setState(at: number, value: bigint): void
  segment(n: number): { selector: number; attributes: number; limit: number; base: bigint }
  /** Requests an interrupt. */
  interrupt(vector: number): void
  /** Runs until HLT, or at most so many instructions; answers how many were retired. */
  run(instructions?: number): number
  /**
   * What handlers recorded: vector, error code (or −1) and saved RIP of each event, as `createBare`'s handlers leave
   * them.
   */
  events(): { vector: number; error: number; rip: bigint; cr2: bigint }[]
}

const descriptor = (attributes: number, limit: number, base = 0): bigint => {
  const raw = limit > 0xf_ffff ? limit >>> 12 : limit
  const all = attributes | (limit > 0xf_ffff ? ATTR.G : 0)
  const lo = ((base & 0xffff) << 16) | (raw & 0xffff)
  const hi =
    ((base >>> 16) & 0xff) | ((all & 0xff) << 8) | (raw & 0xf_0000) | ((all & 0xf00) << 12) | (base & 0xff00_0000)
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
}

const segment = (
  selector: number, attributes: number, limit = 0xffff_ffff, base = 0n
): SegmentImage => ({ selector, attributes, limit, base })

/** Creates a processor in the given mode with flat segments, at `AT.code` with a stack below `AT.stack`. */
export function createBare(options: BareOptions): Bare {
  const uopBytes = 2 ** 21
  const count = options.processors ?? 1
  const memory = createPhysicalMemory({
    ram: [{ start: 0, length: options.ramBytes ?? 2 ** 22 }], overhead: engineOverhead(count, uopBytes),
  })
  const model = configureModel(options.model ?? sapphireRapids)
  const extensions = options.extensions ?? []
  const msrs = extendedMsrs(model, extensions)
  const engine = createEngine({
    memory, processors: count, meanings: extendedMeanings(extensions), hotForms: options.hotForms ?? [], uopBytes,
    engine: options.engine ?? 'interp',
  })
  const pending: number[] = []
  const ports: [number, number][] = []
  const create = (index: number): Processor => createProcessor({
    engine, index, physicalBits: model.physicalBits,
    system: extendSystem(
      createCpuSystem({ model, topology: flatTopology(count), index, apic: createPlainApic(), msrs }), extensions,
    ),
    host: {
      portRead: (port, size) => ports.push([port, size]) * 0, portWrite: (port, size) => { ports.push([port, size]) },
      random64: () => 0x0123_4567_89ab_cdefn, externalVector: () => -1,
    },
    acknowledge: () => {
      const vector = pending.shift() ?? -1
      processors[index].setInterrupt(pending.length > 0)
      return vector
    },
    attend: () => undefined,
    pendingEvents: options.pendingEvents,
  })
  const processors = Array.from({ length: count }, (_, index) => create(index))
  const bare = createControls(memory, engine, processors, pending, ports)
  buildTables(bare, options)
  for (const processor of processors) attachExtensions(processor, memory, extensions)
  for (const processor of processors.toReversed()) {
    processor.activate()
    resetCpu(processor.cpu)
    loadState(processor, startState(options))
  }
  return bare
}

function createControls(
  memory: PhysicalMemory, engine: Engine, processors: readonly Processor[], pending: number[],
  ports: [number, number][],
): Bare {
  const [processor] = processors
  const { cpu } = processor
  const { u64, u32, u16 } = cpu.views
  const bare: Bare = {
    memory, engine, processor, processors, pending, ports,
    program(text, at = AT.code) {
      const { bytes, labels } = assemble(at, text)
      memory.write(at, bytes)
      return labels
    },
    poke(address, ...bytes) { memory.write(address, Uint8Array.from(bytes)) },
    poke64(address, value) {
      memory.write(address, new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer))
    },
    peek(address, size) {
      const bytes = new Uint8Array(8)
      memory.read(address, bytes.subarray(0, size))
      return new DataView(bytes.buffer).getBigUint64(0, true)
    },
    get: (name) => u64[(GPR >>> 3) + REGISTERS.indexOf(name)],
    set(values) {
      for (const [name, value] of Object.entries(values)) {
        u64[(GPR >>> 3) + REGISTERS.indexOf(name as RegisterName)] = BigInt.asUintN(64, BigInt(value))
      }
    },
    rip: () => cpu.rip(),
    jump(rip) { processor.setRip(BigInt(rip)) },
    flags: () => cpu.getFlags(),
    setFlags(value) {
      cpu.setFlags(value, 0x3d_7fd5)
      cpu.modeChanged()
    },
    debug: (n) => u64[(DR >>> 3) + n],
    setState(at, value) {
      u64[at >>> 3] = value
      cpu.modeChanged()
    },
    segment(n) {
      const at = SEG + n * SEG_SIZE
      return {
        selector: u16[at >>> 1], attributes: u16[(at >>> 1) + 1], limit: u32[(at >>> 2) + 1], base: u64[(at >>> 3) + 1],
      }
    },
    interrupt(vector) {
      pending.push(vector)
      processor.setInterrupt(true)
    },
    run(instructions = 100_000) {
      processor.halted = false
      // Compilation waits for the end of a slice.
      const slice = engine.jit === null ? instructions : 70
      let done = 0
      for (let n = 1; n > 0 && done < instructions && !processor.halted && processor.stopped === ''; done += n) {
        n = processor.run(Math.min(slice, instructions - done))
        engine.jit?.flush()
      }
      return done
    },
    events() {
      const found = []
      const count = Number(bare.peek(LOG, 4))
      for (let i = 0; i < count; i++) {
        const at = LOG + 32 + i * 32
        const error = Number(bare.peek(at + 8, 8) & 0xffff_ffffn) | 0
        found.push({ vector: Number(bare.peek(at, 4)), error, rip: bare.peek(at + 16, 8), cr2: bare.peek(at + 24, 8) })
      }
      return found
    },
  }
  return bare
}

/** Where handlers record events. */
const LOG = 0x4000

/** Vectors that push an error code. */
const WITH_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21])

function buildTables(bare: Bare, { width }: BareOptions): void {
  if (width === 16) return
  const code = (bits: Width, dpl = 0): bigint =>
    descriptor(CODE | (dpl << ATTR.DPL_SHIFT) | (bits === 64 ? ATTR.L : bits === 32 ? ATTR.DB : 0), 0xffff_ffff)
  const data = (dpl = 0): bigint => descriptor(DATA | (dpl << ATTR.DPL_SHIFT) | ATTR.DB, 0xffff_ffff)
  const entries = [0n, code(64), data(), code(32), code(16), code(64, 3), data(3), code(32, 3)]
  entries.forEach((entry, i) => { bare.poke64(AT.gdt + i * 8, entry) })
  bare.poke64(AT.gdt + SEL.tss, descriptor(ATTR.P | 11, 0xfff, AT.tss))
  // RSP0, and no I/O map.
  bare.poke64(AT.tss + 4, BigInt(AT.stack - 0x1000))
  if (width === 32) bare.poke64(AT.tss + 4, BigInt(AT.stack - 0x1000) | (BigInt(SEL.data) << 32n))
  if (width === 64) {
    buildIdentity(bare)
    for (let vector = 0; vector < 64; vector++) buildHandler64(bare, vector)
  } else {
    for (let vector = 0; vector < 64; vector++) buildHandler32(bare, vector)
  }
}

/** Bits of page-table entries. */
export const PTE = { P: 1n, W: 2n, U: 4n, A: 0x20n, D: 0x40n, PS: 0x80n, G: 0x100n, NX: 1n << 63n } as const
/** Where the page-table entry of a linear address below 2 MiB is. */
export const entryOf = (linear: number): number => AT.tables + 0x3000 + (linear >>> 12) * 8

/**
 * 4-level tables that map the first GiB to itself: 4 KiB pages up to 2 MiB, the user's as `AT.user` says, then 2 MiB
 * pages.
 */
function buildIdentity(bare: Bare): void {
  bare.poke64(AT.tables, BigInt(AT.tables + 0x1000) | 7n)
  bare.poke64(AT.tables + 0x1000, BigInt(AT.tables + 0x2000) | 7n)
  bare.poke64(AT.tables + 0x2000, BigInt(AT.tables + 0x3000) | 7n)
  for (let i = 1; i < 512; i++) bare.poke64(AT.tables + 0x2000 + i * 8, (BigInt(i) << 21n) | 0x83n)
  for (let page = 0; page < 512; page++) {
    const user = page >= 0x80 && page < 0x100
    bare.poke64(entryOf(page << 12), (BigInt(page) << 12n) | (user ? 7n : 3n))
  }
}

const hex = (value: number, bytes: number): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (8 * i)) & 0xff).toString(16).padStart(2, '0')).join(' ')

/**
 * A handler that records and stops. What it returns to can be changed: R15 at the time of the event, when not zero, is
 * where it returns to instead; with R15 zero it halts.
 */
function buildHandler64(bare: Bare, vector: number): void {
  const at = AT.handlers + vector * 0x80
  const gate = (BigInt(at & 0xffff)) | (BigInt(SEL.code64) << 16n) | (0x8e00n << 32n) | (BigInt(at >>> 16) << 48n)
  bare.poke64(AT.idt + vector * 16, vector === 3 || vector === 0x30 ? gate | (0x6000n << 32n) : gate)
  bare.poke64(AT.idt + vector * 16 + 8, 0n)
  bare.program(`
    ${WITH_CODE.has(vector) ? '' : '6a ff'}  ; push -1
    50 53                      ; push rax; push rbx
    8b 1c 25 ${hex(LOG, 4)}    ; mov ebx,[LOG]
    ff 04 25 ${hex(LOG, 4)}    ; inc dword [LOG]
    c1 e3 05                   ; shl ebx,5
    81 c3 ${hex(LOG + 32, 4)}  ; add ebx,LOG+32
    c7 03 ${hex(vector, 4)}    ; mov dword [rbx],vector
    48 8b 44 24 10             ; mov rax,[rsp+16]
    48 89 43 08                ; mov [rbx+8],rax
    48 8b 44 24 18             ; mov rax,[rsp+24]
    48 89 43 10                ; mov [rbx+16],rax
    0f 20 d0                   ; mov rax,cr2
    48 89 43 18                ; mov [rbx+24],rax
    4d 85 ff                   ; test r15,r15
    75 [resume:rel8]           ; jnz resume
    f4                         ; hlt
    resume: 49 83 ff 01        ; cmp r15,1
    74 [return:rel8]           ; je return
    4c 89 7c 24 18             ; mov [rsp+24],r15
    return: 5b 58              ; pop rbx; pop rax
    48 83 c4 08                ; add rsp,8
    48 cf                      ; iretq
  `, at)
}

/** The same in 32-bit code: EBP plays R15. */
function buildHandler32(bare: Bare, vector: number): void {
  const at = AT.handlers + vector * 0x80
  const gate = (BigInt(at & 0xffff)) | (BigInt(SEL.code32) << 16n) | (0x8e00n << 32n) | (BigInt(at >>> 16) << 48n)
  bare.poke64(AT.idt + vector * 8, gate)
  bare.program(`
    ${WITH_CODE.has(vector) ? '' : '6a ff'}  ; push -1
    50 53                      ; push eax; push ebx
    8b 1d ${hex(LOG, 4)}       ; mov ebx,[LOG]
    ff 05 ${hex(LOG, 4)}       ; inc dword [LOG]
    c1 e3 05                   ; shl ebx,5
    81 c3 ${hex(LOG + 32, 4)}  ; add ebx,LOG+32
    c7 03 ${hex(vector, 4)}    ; mov dword [ebx],vector
    8b 44 24 08 89 43 08       ; error code
    8b 44 24 0c 89 43 10       ; EIP
    0f 20 d0 89 43 18          ; CR2
    85 ed                      ; test ebp,ebp
    75 [resume:rel8]           ; jnz resume
    f4                         ; hlt
    resume: 83 fd 01           ; cmp ebp,1
    74 [return:rel8]           ; je return
    89 6c 24 0c                ; mov [esp+12],ebp
    return: 5b 58 83 c4 04 cf  ; pop ebx; pop eax; add esp,4; iretd
  `, at)
}

function startState({ width, cr4 = 0 }: BareOptions): Parameters<typeof loadState>[1] {
  const real = width === 16
  const code = CODE | (width === 64 ? ATTR.L : width === 32 ? ATTR.DB : 0)
  const data = real ? segment(0, DATA, 0xffff) : segment(SEL.data, DATA | ATTR.DB)
  const long = width === 64
  return {
    registers: { rsp: BigInt(real ? 0xfff0 : AT.stack) },
    rip: BigInt(real ? 0x100 : AT.code), rflags: 2n,
    cr0: BigInt((CR0_BITS.ET | CR0_BITS.NE | (real ? 0 : CR0_BITS.PE | CR0_BITS.WP) | (long ? CR0_BITS.PG : 0)) >>> 0),
    cr3: long ? BigInt(AT.tables) : 0n,
    cr4: BigInt(((long ? CR4_BITS.PAE : 0) | CR4_BITS.OSFXSR | cr4) >>> 0),
    efer: long ? BigInt(EFER_BITS.LME | EFER_BITS.LMA | EFER_BITS.NXE | EFER_BITS.SCE) : 0n,
    gdtr: { base: BigInt(real ? 0 : AT.gdt), limit: real ? 0xffff : 0x4f },
    idtr: { base: BigInt(real ? 0 : AT.idt), limit: real ? 0x3ff : 0xfff },
    segments: {
      cs: real ? segment(AT.code >>> 4, CODE, 0xffff, BigInt(AT.code)) : segment(long ? SEL.code64 : SEL.code32, code),
      ss: real ? segment(AT.data >>> 4, DATA, 0xffff, BigInt(AT.data)) : data,
      ds: real ? segment(AT.data >>> 4, DATA, 0xffff, BigInt(AT.data)) : data,
      es: real ? segment(AT.data >>> 4, DATA, 0xffff, BigInt(AT.data)) : data,
      fs: data, gs: data,
      ldtr: segment(0, 0, 0),
      tr: segment(SEL.tss, ATTR.P | 11, 0xfff, BigInt(AT.tss)),
    },
  }
}
