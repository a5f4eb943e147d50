/** States to begin in: every mode, with tables and control registers that are mostly as they should be. */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { Random } from '@cofferdam/oracle'
import { ATTR, CR0_BITS, CR4_BITS, EFER_BITS, type ProcessorState, type SegmentImage } from '@cofferdam/x86'
import type { ExtraState } from './arena.ts'
import { AT, CODE_BYTES, RAM } from './layout.ts'
import { systemValue, tableEntry } from './system-code.ts'

export const MODES = [
  'real', 'unreal', 'protected16', 'protected32', 'paged32', 'pae', 'long64', 'compat32', 'compat16',
] as const
export type StartMode = (typeof MODES)[number]

const SEL = {
  code64: 0x08, data: 0x10, code32: 0x18, code16: 0x20, user64: 0x2b, userData: 0x33, user32: 0x3b, tss: 0x40,
  gate: 0x50, ldt: 0x60,
} as const

export interface Start {
  readonly mode: StartMode
  readonly state: ProcessorState
  readonly extra: ExtraState
}

const PAGED: readonly StartMode[] = ['paged32', 'pae', 'long64', 'compat32', 'compat16']
const LONG: readonly StartMode[] = ['long64', 'compat32', 'compat16']

const descriptor = (attributes: number, limit = 0xf_ffff, base = 0): bigint => {
  const low = (base & 0xffff) << 16 | limit & 0xffff
  const high =
    base >>> 16 & 0xff | (attributes & 0xff) << 8 | limit & 0xf_0000 | (attributes & 0xf00) << 12 | base & 0xff00_0000
  return BigInt(high >>> 0) << 32n | BigInt(low >>> 0)
}

/** Code of a mode. */
export const widthOf = (mode: StartMode): 2 | 4 | 8 =>
  mode === 'long64' ? 8 : ['protected32', 'paged32', 'pae', 'compat32'].includes(mode) ? 4 : 2

/**
 * Writes tables and handlers into empty memory, and answers a state for them.
 * @param wild CPL 0, and tables of anything more often
 */
export function start(random: Random, memory: PhysicalMemory, wild = false): Start {
  const mode = random.pick(MODES)
  const word = new BigUint64Array(1)
  const bytes = new Uint8Array(word.buffer)
  const put = (at: number, value: bigint): void => {
    word[0] = BigInt.asUintN(64, value)
    memory.write(at, bytes)
  }
  const user = !wild && mode !== 'real' && mode !== 'unreal' && random.below(3) === 0
  fillGdt(random, put)
  fillHandlers(random, memory, put, mode)
  const levels5 = LONG.includes(mode) && random.below(4) === 0
  if (PAGED.includes(mode)) fillTables(random, put, mode)
  if (levels5) put(TOP, BigInt(AT.tables) | 7n)
  if (wild) spoil(random, put)
  const control = controls(random, mode)
  const flags = 2n | BigInt(random.u32() & 0x25_4fd5) | (random.below(2) === 0 ? 0x200n : 0n) | (
    user ? 0x3000n & BigInt(random.u32()) : 0n
  )
  return {
    mode,
    state: {
      ...control,
      ...(levels5 ? { cr3: BigInt(TOP), cr4: control.cr4 | BigInt(CR4_BITS.LA57) } : {}),
      registers: registers(random), rip: BigInt(ripOf(mode) + random.below(64)), rflags: flags & ~0x2_0000n,
      gdtr: { base: BigInt(AT.gdt), limit: random.below(8) === 0 ? random.below(0x80) : 0x7f },
      idtr: {
        base: BigInt(mode === 'real' || mode === 'unreal' ? 0 : AT.idt),
        limit: random.below(8) === 0 ? random.below(0x200) : 0xfff,
      },
      segments: segments(random, mode, user),
    },
    extra: {
      xcr0: random.pick([1, 3, 7, 7, 7]), tss: SEL.tss,
      debug: random.below(6) === 0 ? debugRegisters(random) : [],
    },
  }
}

/** The fifth level's table. */
const TOP = AT.tables + 0x4000

/** Anything in some of the tables: descriptors, gates, the task's segment, page tables. */
function spoil(random: Random, put: (at: number, value: bigint) => void): void {
  const some = (at: number, length: number, value: () => bigint): void => {
    if (random.below(3) !== 0) return
    const share = 1 + random.below(40)
    for (let i = 0; i < length; i += 8) if (random.below(share) === 0) put(at + i, value())
  }
  some(AT.gdt, 0x80, () => random.u64())
  some(AT.idt, 0x1000, () => random.u64())
  some(AT.tss, 0x80, () => (random.below(2) === 0 ? random.u64() : systemValue(random)))
  some(AT.tables, 0x5000, () => tableEntry(random))
}

const ripOf = (mode: StartMode): number => (mode === 'real' || mode === 'unreal' ? 0 : AT.code)

function registers(random: Random): Partial<Record<string, bigint>> {
  const names = [
    'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
  ]
  return Object.fromEntries(
    names.map((name) => [name, name === 'rsp' ? BigInt(AT.stack - random.below(64) * 8) : value(random)])
  )
}

/** What addresses and operands are made of. */
function value(random: Random): bigint {
  switch (random.below(8)) {
    case 0: return random.u64()
    case 1: return BigInt(random.below(64))
    case 2: return BigInt(AT.code + random.below(CODE_BYTES))
    case 3: return BigInt(AT.gdt + random.below(0x3000))
    case 4: return BigInt(AT.tables + random.below(0x4000))
    case 5: return (random.below(2) === 0 ? 0xfed0_0000n : 0xfee0_0000n) + BigInt(random.below(0x1000))
    default: return BigInt(random.below(RAM))
  }
}

function fillGdt(random: Random, put: (at: number, value: bigint) => void): void {
  const G = ATTR.G
  const [code, data, dpl3] = [ATTR.P | ATTR.S | 0xb, ATTR.P | ATTR.S | 3, 3 << ATTR.DPL_SHIFT]
  const entries = [
    0n, descriptor(code | ATTR.L | G), descriptor(data | ATTR.DB | G), descriptor(code | ATTR.DB | G),
    descriptor(code | G),
    descriptor(code | dpl3 | ATTR.L | G), descriptor(data | dpl3 | ATTR.DB | G), descriptor(code | dpl3 | ATTR.DB | G),
    descriptor(ATTR.P | 0xb, 0xfff, AT.tss), 0n,
    // A call gate to CPL 0.
    BigInt(AT.code + random.below(256)) | BigInt(
      random.pick([SEL.code64, SEL.code32])
    ) << 16n | BigInt(ATTR.P | dpl3 | 0xc) << 40n, 0n,
    descriptor(ATTR.P | 2, 0x7ff, AT.ldt), 0n, random.u64(), random.u64(),
  ]
  entries.forEach((entry, i) => { put(AT.gdt + 8 * i, random.below(40) === 0 ? random.u64() : entry) })
  for (let i = 0; i < 16; i++) put(AT.ldt + 8 * i, random.below(2) === 0 ? random.u64() : entries[random.below(16)])
  put(AT.tss + 4, BigInt(AT.stack - 0x800) | BigInt(SEL.data) << 32n)
  put(AT.tss + 96, BigInt(random.below(0x200)) << 48n)
}

const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17, 21])

/** Handlers that skip a byte of what faulted and go on; some are anything. */
function fillHandlers(
  random: Random, memory: PhysicalMemory, put: (at: number, value: bigint) => void, mode: StartMode,
): void {
  const real = mode === 'real' || mode === 'unreal'
  const long = LONG.includes(mode)
  for (let vector = 0; vector < 64; vector++) {
    const at = AT.handlers + vector * 16
    const error = WITH_ERROR.has(vector)
    const skip = real ? [0x55, 0x89, 0xe5, 0xff, 0x46, 0x02, 0x5d, 0xcf]
      : long ? [...(error ? [0x48, 0x83, 0xc4, 0x08] : []), 0x48, 0xff, 0x04, 0x24, 0x48, 0xcf]
        : [...(error ? [0x83, 0xc4, 0x04] : []), 0xff, 0x04, 0x24, 0xcf]
    memory.write(at, Uint8Array.from(skip))
  }
  for (let vector = 0; vector < 256; vector++) {
    const to = random.below(24) === 0 ? AT.code + random.below(CODE_BYTES) : AT.handlers + (vector & 63) * 16
    const type = random.below(24) === 0 ? random.below(256) : random.pick([0x8e, 0x8e, 0x8f, 0xee])
    if (real) put(vector * 4, BigInt(to) | BigInt(AT.handlers + ((vector + 1) & 63) * 16) << 32n)
    else if (long) {
      put(AT.idt + vector * 16, BigInt(to & 0xffff) | BigInt(SEL.code64) << 16n | BigInt(type) << 40n
        | BigInt(random.below(16) === 0 ? random.below(8) : 0) << 32n)
    } else put(AT.idt + vector * 8, BigInt(to & 0xffff) | BigInt(SEL.code32) << 16n | BigInt(type) << 40n)
  }
}

/** Identity for all of RAM in 4 KiB pages, and a large page behind; some entries are anything. */
function fillTables(random: Random, put: (at: number, value: bigint) => void, mode: StartMode): void {
  const odd = (entry: bigint): bigint => {
    switch (random.below(400)) {
      case 0: return random.u64()
      case 1: return entry & ~(1n << BigInt(random.below(12)))
      case 2: return entry | 1n << BigInt(random.below(64))
      default: return entry
    }
  }
  const rights = random.below(2) === 0 ? 7n : 0x67n
  if (mode === 'paged32') {
    const directory = [BigInt(AT.tables + 0x1000) | 7n, 0x40_0087n]
    put(AT.tables, directory[0] | directory[1] << 32n)
    // FEC00000 to FEFFFFFF.
    put(AT.tables + 0x3fb * 4 - 4, 0xfec0_0087n << 32n)
    for (let i = 0; i < 512; i += 2) {
      const two = [0, 1].map((k) => odd(BigInt((i + k) * 4096) | rights) & 0xffff_ffffn)
      put(AT.tables + 0x1000 + i * 4, two[0] | two[1] << 32n)
    }
    return
  }
  const pdpt = AT.tables + 0x1000
  const [directory, table] = [AT.tables + 0x2000, AT.tables + 0x3000]
  put(AT.tables, BigInt(pdpt) | 7n)
  const top = mode === 'pae' ? 1n : 7n
  for (let i = 0; i < 4; i++) put(pdpt + 8 * i, BigInt(directory) | top)
  for (let i = 0; i < 512; i++) put(table + 8 * i, odd(BigInt(i * 4096) | rights))
  put(directory, BigInt(table) | 7n)
  put(directory + 8, 0x87n)
  put(directory + 0x1f6 * 8, 0xfec0_0087n)
}

function controls(random: Random, mode: StartMode): Pick<ProcessorState, 'cr0' | 'cr3' | 'cr4' | 'efer'> {
  const some = (...bits: number[]): number => bits.reduce((sum, bit) => sum | (random.below(2) === 0 ? bit : 0), 0)
  const mostly = (...bits: number[]): number => bits.reduce((sum, bit) => sum | (random.below(6) === 0 ? 0 : bit), 0)
  const isProtected = mode !== 'real' && mode !== 'unreal'
  const paged = PAGED.includes(mode)
  const long = LONG.includes(mode)
  const cr0 = CR0_BITS.ET | (isProtected ? CR0_BITS.PE : 0) | (paged ? CR0_BITS.PG : 0) | some(
    CR0_BITS.WP, CR0_BITS.AM, CR0_BITS.NE, CR0_BITS.MP,
  )
    | (random.below(10) === 0 ? CR0_BITS.TS : 0) | (random.below(20) === 0 ? CR0_BITS.EM : 0)
  const wide = long || mode === 'pae'
  const cr4 = (wide ? CR4_BITS.PAE : 0) | mostly(CR4_BITS.OSFXSR, CR4_BITS.OSXMMEXCPT, CR4_BITS.OSXSAVE)
    | some(
      CR4_BITS.PGE, CR4_BITS.PSE, CR4_BITS.DE, CR4_BITS.TSD, CR4_BITS.PCE, CR4_BITS.UMIP, CR4_BITS.SMEP, CR4_BITS.SMAP,
    )
    | (long ? some(CR4_BITS.FSGSBASE, CR4_BITS.PCIDE) : 0) | (mode === 'paged32' ? CR4_BITS.PSE : 0)
  const efer = (long ? EFER_BITS.LME | EFER_BITS.LMA : 0) | mostly(EFER_BITS.NXE, EFER_BITS.SCE)
  const cr3 = mode === 'pae' ? AT.tables + 0x1000 : paged ? AT.tables : 0
  return { cr0: BigInt(cr0 >>> 0), cr4: BigInt(cr4 >>> 0), efer: BigInt(efer), cr3: BigInt(cr3) }
}

function segments(random: Random, mode: StartMode, user: boolean): ProcessorState['segments'] {
  const none = { selector: 0, attributes: 0, limit: 0, base: 0n }
  const make = (selector: number, attributes: number, limit = 0xffff_ffff, base = 0): SegmentImage =>
    ({ selector, attributes, limit, base: BigInt(base) })
  const system = { ldtr: make(SEL.ldt, ATTR.P | 2, 0x7f, AT.ldt), tr: make(SEL.tss, ATTR.P | 0xb, 0xfff, AT.tss) }
  const [code, data] = [ATTR.P | ATTR.S | 0xb, ATTR.P | ATTR.S | 3]
  if (mode === 'real' || mode === 'unreal') {
    const limit = mode === 'unreal' ? 0xffff_ffff : 0xffff
    const flat = make(0, data, limit)
    return {
      cs: make(AT.code >>> 4, code, 0xffff, AT.code), ss: flat, ds: flat, es: make(0x1000, data, limit, 0x1_0000),
      fs: flat, gs: flat, ...system
    }
  }
  const dpl = user ? 3 << ATTR.DPL_SHIFT : 0
  const wide = mode === 'long64' ? ATTR.L : mode === 'protected16' || mode === 'compat16' ? 0 : ATTR.DB
  const selector = mode === 'long64' ? (user ? SEL.user64 : SEL.code64)
    : wide === 0 ? SEL.code16 | (user ? 3 : 0)
    : user ? SEL.user32
    : SEL.code32
  const flat = make(user ? SEL.userData : SEL.data, data | dpl | ATTR.DB | ATTR.G)
  const any = (): SegmentImage => (random.below(8) === 0 ? none
    : random.below(8) === 0 ? make(SEL.data, data | dpl, random.below(RAM), random.below(RAM))
    : flat)
  return {
    cs: make(selector, code | dpl | wide | ATTR.G), ss: flat, ds: any(), es: any(), fs: any(), gs: any(), ...system
  }
}

function debugRegisters(random: Random): bigint[] {
  const address = (): bigint => BigInt(random.below(2) === 0 ? AT.code + random.below(256) : random.below(RAM))
  return [address(), address(), address(), address(), 0n, 0n, 0xffff_0ff0n, BigInt(random.u32() & 0xffff_03ff | 0x400)]
}
