/** Differences between two answers to one case. */
import { FOREIGN, IN, OUT, RECORD_HEAD, SELECTOR, SIGNAL, STATE, type Batch } from '@cofferdam/oracle'
import { PROCESSOR_NUMBER } from './segments.ts'

const NAMES = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
]
/** Status flags, DF, NT, AC, ID. TF and RF are the harness's, IF and IOPL nobody's. */
export const FLAGS_COMPARED = 0x24_4cd5

export interface Field {
  readonly name: string
  readonly offset: number
  readonly size: number
}
export const FIELDS: readonly Field[] = [
  ...NAMES.map((name, i) => ({ name, offset: STATE.GPR + 8 * i, size: 8 })),
  { name: 'fsbase', offset: STATE.FS_BASE, size: 8 }, { name: 'gsbase', offset: STATE.GS_BASE, size: 8 },
  { name: 'mxcsr', offset: STATE.MXCSR, size: 4 },
  { name: 'fcw', offset: STATE.FCW, size: 2 }, { name: 'fsw', offset: STATE.FSW, size: 2 },
  { name: 'ftw', offset: STATE.FTW, size: 2 },
  { name: 'fop', offset: STATE.FOP, size: 2 }, { name: 'fip', offset: STATE.FIP, size: 8 },
  { name: 'fdp', offset: STATE.FDP, size: 8 },
  ...['es', 'cs', 'ss', 'ds', 'fs', 'gs'].map((name, i) => ({ name, offset: STATE.SELECTORS + 2 * i, size: 2 })),
  ...Array.from({ length: 8 }, (_, i) => ({ name: `st${i}`, offset: STATE.ST + 16 * i, size: 10 })),
  ...Array.from({ length: 16 }, (_, i) => ({ name: `ymm${i}`, offset: STATE.YMM + 32 * i, size: 32 })),
]

const hex = (bytes: Uint8Array): string => [...bytes].reverse().map((b) => b.toString(16).padStart(2, '0')).join('')

/** What a case may leave differently, because the manuals leave it open. */
export interface Leave {
  /** A page fault's address may be any in the operand. */
  readonly vagueAddress: boolean
  /** ST(0) and ST(1) may be off by one unit in the last place, and so may FSW.C1, which tells how they were rounded. */
  readonly lastPlace: boolean
  /** Some of a store may have been done when its other part faulted. */
  readonly partial: boolean
  /** A segment's limit and a page may fault both: either will do. */
  readonly anyFault: boolean
  /** A fault may leave x87 and vector state loaded in part. */
  readonly partialState: boolean
  /** One may fault, and the other not. */
  readonly mayFault: boolean
  /** LSL may answer the number of the processor, which Linux has in a segment's limit. */
  readonly processorNumber: boolean
  /** Status flags that are undefined afterwards. */
  readonly flags: number
}

const C1 = 0x200
const UE = 0x10

const signalOf = (b: Batch, at: number): number => b.u32[(at + OUT.SIGNAL) >> 2]
const hangs = (b: Batch, at: number): boolean => signalOf(b, at) === SIGNAL.ALRM

/**
 * Whether our answer is a page fault where the real processor has the oracle's own memory, or (outside 64-bit mode)
 * where Linux takes the fault for the kernel's and tries again for ever: nothing can be said then.
 */
export function isForeign(real: Batch, ours: Batch, index: number): boolean {
  const at = ours.at(index)
  if (signalOf(ours, at) === 0 || ours.u32[(at + OUT.VECTOR) >> 2] !== 14) return false
  const address = ours.u64[(at + OUT.CR2) >> 3]
  if (address >> 63n !== 0n && hangs(real, at)) return true
  return FOREIGN.some(([from, to]) => address >= from && address < to)
}

const ADDRESS_FAULTS = 1 << 12 | 1 << 13 | 1 << 14
const isAddressFault = (vector: number): boolean => (ADDRESS_FAULTS >> vector & 1) !== 0

/** Whether two records are the same. Fast: most cases are. */
export function same(real: Batch, ours: Batch, index: number, leave: Leave): boolean {
  const at = real.at(index)
  if (hangs(real, at) && hangs(ours, at)) return true
  if (leave.lastPlace) levelLastPlace(real, ours, at)
  const faulted = signalOf(real, at) !== 0
  if (faulted !== (signalOf(ours, at) !== 0)) {
    return leave.mayFault && isAddressFault((faulted ? real : ours).u32[(at + OUT.VECTOR) >> 2])
  }
  if (faulted && !sameFault(real, ours, at, leave)) return false
  const mask = FLAGS_COMPARED & ~leave.flags
  if (((real.u32[(at + STATE.RFLAGS) >> 2] ^ ours.u32[(at + STATE.RFLAGS) >> 2]) & mask) !== 0) return false
  const a = real.u32
  const b = ours.u32
  for (let i = (at + STATE.GPR) >> 2; i < (at + STATE.RFLAGS) >> 2; i++) {
    if (a[i] !== b[i] && !isUpperStack(real, at, i) && !(leave.processorNumber && isNumber(b[i]))) return false
  }
  const loose = leave.partialState && faulted
  for (let i = (at + STATE.FS_BASE) >> 2; i < (at + STATE.FCW) >> 2; i++) {
    if (a[i] !== b[i] && !(loose && i === (at + STATE.MXCSR) >> 2)) return false
  }
  if (!loose && !sameX87(real, ours, at)) return false
  for (let i = 0; i < 6; i++) if (selectorAt(real, at, i) !== selectorAt(ours, at, i)) return false
  const end = leave.partial && faulted ? at + RECORD_HEAD : at + real.stride
  for (let i = (at + (loose ? RECORD_HEAD : STATE.YMM)) >> 2; i < end >> 2; i++) if (a[i] !== b[i]) return false
  return (leave.partial && faulted) || a[(at + OUT.STRAY) >> 2] === b[(at + OUT.STRAY) >> 2]
}

function sameX87(real: Batch, ours: Batch, at: number): boolean {
  const a = real.u32
  const b = ours.u32
  for (let i = (at + STATE.FCW) >> 1; i < (at + STATE.FOP + 2) >> 1; i++) if (real.u16[i] !== ours.u16[i]) return false
  for (let i = (at + STATE.FIP) >> 2; i < (at + STATE.SELECTORS) >> 2; i++) if (a[i] !== b[i]) return false
  for (let slot = (at + STATE.ST) >> 2; slot < (at + STATE.YMM) >> 2; slot += 4) {
    // The upper six bytes of an x87 register's slot mean nothing.
    if (a[slot] !== b[slot] || a[slot + 1] !== b[slot + 1] || (a[slot + 2] ^ b[slot + 2]) << 16 !== 0) return false
  }
  return true
}

/** Bits 63:32 of RSP are nobody's after 64-bit mode was left (SDM vol. 1 §3.4.1.1). */
const isUpperStack = (real: Batch, at: number, word: number): boolean =>
  word === (at + STATE.GPR + 36) >> 2 && real.u16[(at + STATE.SELECTORS + 2) >> 1] !== SELECTOR.CODE64

const isNumber = (word: number): boolean => (word & 0xffff) === (PROCESSOR_NUMBER & 0xffff)

/** All null selectors are one: an IRET of the kernel's, at any moment, makes 1 to 3 a 0. */
const selectorAt = (b: Batch, at: number, segment: number): number => {
  const selector = b.u16[((at + STATE.SELECTORS) >> 1) + segment]
  return selector < 4 ? 0 : selector
}

/** Whether two of our own answers are the same in every bit that they have. */
export function identical(one: Batch, other: Batch, index: number): boolean {
  const at = one.at(index)
  const a = one.u32
  const b = other.u32
  const from = (at + STATE.GPR) >> 2
  for (let i = at >> 2; i < (at + OUT.STRAY + 4) >> 2; i++) if (a[i] !== b[i]) return false
  for (let i = from; i < (at + one.stride) >> 2; i++) if (a[i] !== b[i]) return false
  return true
}

/** Makes our ST(0), ST(1) and C1 the real ones where they are next to each other. */
function levelLastPlace(real: Batch, ours: Batch, at: number): void {
  for (const slot of [at + STATE.ST, at + STATE.ST + 16]) {
    const value = (b: Batch): bigint =>
      BigInt(b.u16[(slot + 8) >> 1]) << 63n | b.u64[slot >> 3] & 0x7fff_ffff_ffff_ffffn
    const distance = value(real) - value(ours)
    if (distance > 1n || distance < -1n) continue
    ours.u64[slot >> 3] = real.u64[slot >> 3]
    ours.u16[(slot + 8) >> 1] = real.u16[(slot + 8) >> 1]
  }
  const status = (at + STATE.FSW) >> 1
  // Next to the least normal number it may be tiny or not.
  const tiny = (real.u16[(at + STATE.ST + 8) >> 1] & 0x7fff) <= 1 ? UE : 0
  ours.u16[status] = ours.u16[status] & ~(C1 | tiny) | real.u16[status] & (C1 | tiny)
}

const CARRIES_ERROR = 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17

/** Faults that parts of an operand may raise: alignment is checked before or after the segment, too. */
const isPartFault = (vector: number): boolean => isAddressFault(vector) || vector === 17

function sameFault(real: Batch, ours: Batch, at: number, { vagueAddress, anyFault }: Leave): boolean {
  const vector = real.u32[(at + OUT.VECTOR) >> 2]
  const other = ours.u32[(at + OUT.VECTOR) >> 2]
  if (vector !== other) return anyFault && isPartFault(vector) && isPartFault(other)
  // For addresses above user space Linux reports P whatever the tables say (arch/x86/mm/fault.c, set_signal_archinfo).
  if (vector === 14 && real.u32[(at + OUT.CR2 + 4) >> 2] >>> 15 !== 0) ours.u32[(at + OUT.ERROR) >> 2] |= 1
  if ((CARRIES_ERROR >> vector & 1) !== 0 && real.u32[(at + OUT.ERROR) >> 2] !== ours.u32[(at + OUT.ERROR) >> 2]) {
    return false
  }
  if (vector !== 14) return true
  const distance = real.u64[(at + OUT.CR2) >> 3] - ours.u64[(at + OUT.CR2) >> 3]
  return distance === 0n || (vagueAddress && distance < 4096n && distance > -4096n)
}

/** How a case ended, in words. */
export function endOf(b: Batch, index: number): string {
  const at = b.at(index)
  if (signalOf(b, at) === 0) return 'no fault'
  const vector = b.u32[(at + OUT.VECTOR) >> 2]
  if (hangs(b, at)) return 'no end'
  const error = b.u64[(at + OUT.ERROR) >> 3].toString(16)
  return `vector ${vector} error ${error}${vector === 14 ? ` cr2 ${b.u64[(at + OUT.CR2) >> 3].toString(16)}` : ''}`
}

/** What differs, in words: `name is OURS not REAL (was BEFORE)`. */
export function differences(before: Batch, real: Batch, ours: Batch, index: number): string[] {
  const at = real.at(index)
  const parts: string[] = []
  if (endOf(real, index) !== endOf(ours, index)) parts.push(`end is ${endOf(ours, index)}, not ${endOf(real, index)}`)
  const rip = (b: Batch): string => BigInt.asIntN(64, b.u64[(at + STATE.RIP) >> 3]).toString()
  if (rip(real) !== rip(ours)) parts.push(`rip is +${rip(ours)} not +${rip(real)}`)
  for (const { name, offset, size } of FIELDS) {
    const is = (b: Batch): string => hex(b.u8.subarray(at + offset, at + offset + size))
    if (is(real) !== is(ours)) parts.push(`${name} is ${is(ours)} not ${is(real)} (was ${is(before)})`)
  }
  const flags = (b: Batch): number => b.u32[(at + STATE.RFLAGS) >> 2] & FLAGS_COMPARED
  if (flags(real) !== flags(ours)) {
    parts.push(`flags are ${flagNames(flags(ours))} not ${flagNames(flags(real))} (were ${flagNames(flags(before))})`)
  }
  const memory = memoryDifference(before, real, ours, at)
  if (memory !== null) parts.push(memory)
  const stray = (b: Batch): string => b.u32[(at + OUT.STRAY) >> 2].toString(16)
  if (stray(real) !== stray(ours)) parts.push(`writes outside the window: ${stray(ours)} not ${stray(real)}`)
  return parts
}

function memoryDifference(before: Batch, real: Batch, ours: Batch, at: number): string | null {
  let from = at + RECORD_HEAD
  for (const piece of real.pieces) {
    for (let i = 0; i < piece.length; i++) {
      if (real.u8[from + i] === ours.u8[from + i]) continue
      const is = (b: Batch): string => hex(b.u8.subarray(from + i, from + Math.min(piece.length, i + 16)))
      return `memory at ${(piece.at + i).toString(16)} is ${is(ours)} not ${is(real)} (was ${is(before)})`
    }
    from += piece.length
  }
  return null
}

const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [1, 'c'], [4, 'p'], [0x10, 'a'], [0x40, 'z'], [0x80, 's'], [0x400, 'd'], [0x800, 'o'], [0x4000, 'n'], [0x4_0000, 'A'],
  [0x20_0000, 'i'],
]
const flagNames = (flags: number): string =>
  FLAG_NAMES.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name).join('') || '-'

/** Bytes of a case. */
export const codeOf = (batch: Batch, index: number): Uint8Array => {
  const at = batch.at(index)
  return batch.u8.slice(at + IN.CODE, at + IN.CODE + batch.u32[(at + IN.LENGTH) >> 2])
}
