/**
 * Code for CPL 0 that puts everything into the system's registers: every MSR, CR0 to CR8, EFER, XCR0, debug registers,
 * descriptor tables, task registers, page-table roots, with values that are nearly right, on an edge, or anything.
 */
import type { Random } from '@cofferdam/oracle'
import { AT, CODE_BYTES, RAM } from './layout.ts'

/** Width of code. */
export type Width = 2 | 4 | 8

const bytesOf = (value: bigint, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number(BigInt.asUintN(64, value) >> BigInt(8 * i) & 0xffn))

/** Addresses on the edges of what there is: where tables, stacks and code wrap. */
const EDGES = [
  0n, 8n, 0xfff0n, 0xffffn, 0x1_0000n, 0xf_fff8n, 0x10_0000n, 0xffff_fff0n, 0xffff_ffffn, 0x1_0000_0000n,
  0x7fff_ffff_fff8n, 0x8000_0000_0000n,
  0xffff_8000_0000_0000n, 0xffff_ffff_ffff_fff0n, 0xffff_ffff_ffff_ffffn, 0xff_ffff_ffff_ffffn, 0x100_0000_0000_0000n,
  BigInt(RAM) - 8n, BigInt(RAM),
]

/** A value for a register of the system. */
export function systemValue(random: Random): bigint {
  switch (random.below(8)) {
    case 0: return random.u64()
    case 1: return 1n << BigInt(random.below(64))
    case 2: return random.pick(EDGES) + BigInt(random.below(16)) - 8n
    case 3: return BigInt(random.below(256))
    case 4: return BigInt(AT.tables + random.below(0x5000))
    case 5: return BigInt(random.below(RAM))
    case 6: return random.u64() & random.u64() & random.u64()
    default: return ~(1n << BigInt(random.below(64)))
  }
}

/** MOV of a constant to RAX, RCX or RDX (0 to 2), of 32 bits outside 64-bit mode. */
const constant = (width: Width, register: number, value: bigint): number[] => [
  ...(width === 2 ? [0x66] : width === 8 ? [0x48] : []), 0xb8 + register, ...bytesOf(value, width === 8 ? 8 : 4),
]

/** MSRs that mode switches, time and system calls depend on. */
const MODE_MSRS = [
  0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x174, 0x175, 0x176, 0x1b,
  0x10, 0x277,
]

function writeMsr(random: Random, width: Width, msrs: readonly number[]): number[] {
  const choice = random.below(8)
  const index = choice < 4 ? random.pick(msrs) : choice < 7 ? random.pick(MODE_MSRS) : random.u32()
  const read = [...constant(width, 1, BigInt(index)), 0x0f, 0x32]
  const bit = random.below(32)
  // One bit of what it holds, or any value.
  const value = random.below(3) === 0
    ? [...(width === 2 ? [0x66] : []), 0x35, ...bytesOf(1n << BigInt(bit), 4)]
    : [...constant(width, 0, systemValue(random)), ...constant(width, 2, systemValue(random))]
  return [...read, ...value, 0x0f, 0x30]
}

/** MOV CRn or DRn: one bit of what it holds, or any value. */
function writeControl(random: Random, width: Width): number[] {
  const debug = random.below(5) === 0
  const register = debug ? random.below(8) : random.pick([0, 0, 0, 2, 3, 3, 4, 4, 4, 8])
  const modrm = 0xc0 | (register & 7) << 3
  const rex = register === 8 ? (width === 8 ? [0x44] : [0xf0]) : []
  const [read, write] = debug ? [0x21, 0x23] : [0x20, 0x22]
  if (random.below(3) === 0) return [...constant(width, 0, systemValue(random)), ...rex, 0x0f, write, modrm]
  const flip = width === 8 ? [0x48, 0x0f, 0xba, 0xf8, random.below(64)] : [
    ...(width === 2 ? [0x66] : []), 0x0f, 0xba, 0xf8, random.below(32),
  ]
  return [...rex, 0x0f, read, modrm, ...flip, ...rex, 0x0f, write, modrm]
}

/** MOV of a constant to memory at an absolute address, by way of RAX. */
function poke(width: Width, at: number, value: bigint): number[] {
  const address = bytesOf(BigInt(at), width === 8 ? 8 : width === 4 ? 4 : 2)
  return [...constant(width, 0, value), ...(width === 2 ? [0x66] : width === 8 ? [0x48] : []), 0xa3, ...address]
}

/** ModRM, with a digit for an operation, and what follows of it, for an operand at an absolute address. */
const absolute = (width: Width, digit: number, at: number): number[] => {
  const bytes = bytesOf(BigInt(at), width === 2 ? 2 : 4)
  return [digit << 3 | (width === 2 ? 6 : width === 4 ? 5 : 4), ...(width === 8 ? [0x25] : []), ...bytes]
}

/** LGDT or LIDT. */
function loadTable(random: Random, width: Width): number[] {
  const idt = random.below(2) === 0
  const limit = BigInt(random.pick([0, 7, 0x7f, 0xfff, 0xffff, random.below(0x1_0000)]))
  const base = random.below(2) === 0 ? BigInt(idt ? AT.idt : AT.gdt) + BigInt(random.below(64)) : systemValue(random)
  return [
    ...poke(width, AT.scratch, limit | base << 16n), ...poke(width, AT.scratch + 4, base >> 16n),
    0x0f, 0x01, ...absolute(width, idt ? 3 : 2, AT.scratch),
  ]
}

/** Pushes a selector and an offset, and returns there. */
function farReturn(random: Random, width: Width): number[] {
  if (width === 8) return [0x6a, random.below(128) & 0x7c, 0x6a, random.below(128), 0x48, 0xcb]
  const prefix = width === 2 ? [0x66] : []
  const push = (value: bigint): number[] => [...prefix, 0x68, ...bytesOf(value, 4)]
  return [...push(selector(random)), ...push(BigInt(AT.code + random.below(CODE_BYTES))), ...prefix, 0xcb]
}

const SHORT: readonly (readonly number[])[] = [
  [0xf4], [0xfb], [0xfa], [0x9d], [0x9c], [0x0f, 0x01, 0xf8], [0x0f, 0x09], [0x0f, 0x08], [0x0f, 0xaa],
  [0x0f, 0x01, 0xf9],
  [0x0f, 0xc7, 0xf8],
]
const CALLS: readonly (readonly number[])[] = [
  [0x0f, 0x05], [0x0f, 0x34], [0x0f, 0x07], [0x0f, 0x35], [0x48, 0x0f, 0x07], [0x48, 0x0f, 0x35],
]

const selector = (random: Random): bigint =>
  BigInt(random.below(4) === 0 ? random.below(0x1_0000) : random.below(16) * 8 + random.pick([0, 3, 4, 7]))

/** LTR, LLDT, segment registers, far jumps, interrupts, returns and touches of memory: what the registers are for. */
function use(random: Random, width: Width): readonly number[] {
  const two = width === 2 ? [0x66] : []
  switch (random.below(14)) {
    case 0: return [...constant(width, 0, selector(random)), 0x0f, 0x00, random.pick([0xd8, 0xd0])]
    case 1: return [...constant(width, 0, selector(random)), 0x8e, random.pick([0xc0, 0xd0, 0xd8, 0xe0, 0xe8])]
    case 2: return [0xcd, random.below(256)]
    case 3: return [
      ...constant(width, 1, BigInt(random.below(4))), ...constant(width, 0, systemValue(random)),
      ...constant(width, 2, 0n), 0x0f, 0x01, 0xd1,
    ]
    case 4: return [
      ...constant(width, 0, systemValue(random)), ...(width === 8 ? [0x48] : []), 0x8b, width === 2 ? 0x07 : 0x00,
    ]
    case 5: return [
      ...constant(width, 0, systemValue(random)), ...(width === 8 ? [0x48] : []), 0x89, width === 2 ? 0x07 : 0x00,
    ]
    case 6: return [...constant(width, 0, systemValue(random)), 0x0f, 0x01, 0x38]
    case 7: return poke(width, AT.gdt + 8 * random.below(16), random.u64())
    case 8: return poke(width, AT.tables + 0x1000 * random.below(5) + 8 * random.below(32), tableEntry(random))
    case 9: return farReturn(random, width)
    case 10: return random.pick(CALLS)
    case 11: return [...constant(width, 0, systemValue(random)), ...(width === 8 ? [0x48] : two), 0x89, 0xc4]
    case 12: return [
      ...constant(width, 0, BigInt(random.below(5))), 0x66, 0x0f, 0x38, 0x82, ...absolute(width, 0, AT.scratch)
    ]
    default: return random.pick(SHORT)
  }
}

/** An entry of a page table: of a table, of a page, of itself; with reserved bits at times. */
export function tableEntry(random: Random): bigint {
  const flags = BigInt(
    random.below(4) === 0 ? random.below(4096) : random.pick([7, 3, 1, 0x67, 0x87, 0x83, 0x107, 0xe7])
  )
  const to = BigInt(random.below(3) === 0 ? AT.tables + 4096 * random.below(6) : 4096 * random.below(RAM / 4096))
  switch (random.below(8)) {
    case 0: return random.u64()
    case 1: return to | flags | 1n << BigInt(random.below(64))
    case 2: return to | flags | (random.u64() & 0xfff0_0000_0000_0000n)
    case 3: return flags | random.u64() & 0xf_ffff_f000n
    default: return to | flags
  }
}

/** Fills `out` with such code. */
export function fillSystemCode(random: Random, out: Uint8Array, width: Width, msrs: readonly number[]): void {
  for (let at = 0; at < out.length;) {
    const choice = random.below(10)
    const code = choice < 3 ? writeMsr(random, width, msrs) : choice < 6 ? writeControl(random, width)
      : choice < 7 ? loadTable(random, width) : use(random, width)
    for (const byte of code) if (at < out.length) out[at++] = byte
  }
}
