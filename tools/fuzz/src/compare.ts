/** Differences between two answers to one case. */
import { IN, OUT, RECORD_HEAD, STATE, type Batch } from '@cofferdam/oracle'

const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']
/** Status flags, DF, ID. */
export const FLAGS_COMPARED = 0x20_0cd5

interface Field {
  readonly name: string
  readonly offset: number
  readonly size: number
}
const FIELDS: readonly Field[] = [
  ...NAMES.map((name, i) => ({ name, offset: STATE.GPR + 8 * i, size: 8 })),
  { name: 'fsbase', offset: STATE.FS_BASE, size: 8 }, { name: 'gsbase', offset: STATE.GS_BASE, size: 8 },
  { name: 'mxcsr', offset: STATE.MXCSR, size: 4 },
  { name: 'fcw', offset: STATE.FCW, size: 2 }, { name: 'fsw', offset: STATE.FSW, size: 2 }, { name: 'ftw', offset: STATE.FTW, size: 2 },
  ...Array.from({ length: 8 }, (_, i) => ({ name: `st${i}`, offset: STATE.ST + 16 * i, size: 10 })),
  ...Array.from({ length: 16 }, (_, i) => ({ name: `ymm${i}`, offset: STATE.YMM + 32 * i, size: 32 })),
]

const hex = (bytes: Uint8Array): string => [...bytes].reverse().map((b) => b.toString(16).padStart(2, '0')).join('')

/** What a case may leave differently, because the SDM leaves it open. */
export interface Leave {
  /** Of a page fault's address only the page counts. */
  readonly vagueAddress: boolean
  /** ST(0) and ST(1) may be off by one unit in the last place, and so may FSW.C1, which tells how they were rounded. */
  readonly lastPlace: boolean
}

const C1 = 0x200

/** Whether two records are the same. Fast: most cases are. */
export function same(real: Batch, ours: Batch, index: number, leave: Leave): boolean {
  const at = real.at(index)
  const signal = (b: Batch): boolean => b.u32[(at + OUT.SIGNAL) >> 2] !== 0
  if (leave.lastPlace) levelLastPlace(real, ours, at)
  if (signal(real) !== signal(ours)) return false
  if (signal(real) && !sameFault(real, ours, at, leave.vagueAddress)) return false
  const flags = (b: Batch): number => b.u32[(at + STATE.RFLAGS) >> 2] & FLAGS_COMPARED
  if (flags(real) !== flags(ours)) return false
  for (let i = (at + STATE.GPR) >> 2; i < (at + STATE.RFLAGS) >> 2; i++) if (real.u32[i] !== ours.u32[i]) return false
  for (let i = (at + STATE.FS_BASE) >> 2; i < (at + STATE.FCW) >> 2; i++) if (real.u32[i] !== ours.u32[i]) return false
  for (let i = (at + STATE.FCW) >> 1; i < (at + STATE.FOP) >> 1; i++) if (real.u16[i] !== ours.u16[i]) return false
  for (let i = (at + STATE.ST) >> 2; i < (at + real.stride) >> 2; i++) {
    if (real.u32[i] !== ours.u32[i]) {
      // The upper six bytes of an x87 register's slot mean nothing.
      const inSlot = ((i << 2) - at - STATE.ST) & 15
      const x87 = (i << 2) - at < STATE.YMM
      if (!x87 || inSlot < 8 || (inSlot === 8 && (real.u32[i] ^ ours.u32[i]) << 16 !== 0)) return false
    }
  }
  return real.u32[(at + OUT.STRAY) >> 2] === ours.u32[(at + OUT.STRAY) >> 2]
}

/** Makes our ST(0), ST(1) and C1 the real ones where they are next to each other. */
function levelLastPlace(real: Batch, ours: Batch, at: number): void {
  for (const slot of [at + STATE.ST, at + STATE.ST + 16]) {
    const value = (b: Batch): bigint => BigInt(b.u16[(slot + 8) >> 1]) << 63n | b.u64[slot >> 3] & 0x7fff_ffff_ffff_ffffn
    const distance = value(real) - value(ours)
    if (distance > 1n || distance < -1n) continue
    ours.u64[slot >> 3] = real.u64[slot >> 3]
    ours.u16[(slot + 8) >> 1] = real.u16[(slot + 8) >> 1]
  }
  const status = (at + STATE.FSW) >> 1
  ours.u16[status] = ours.u16[status] & ~C1 | real.u16[status] & C1
}

const CARRIES_ERROR = 1 << 13 | 1 << 14 | 1 << 12 | 1 << 17

function sameFault(real: Batch, ours: Batch, at: number, vagueAddress: boolean): boolean {
  const vector = real.u32[(at + OUT.VECTOR) >> 2]
  if (vector !== ours.u32[(at + OUT.VECTOR) >> 2]) return false
  // For addresses above user space Linux reports P whatever the tables say (arch/x86/mm/fault.c, set_signal_archinfo).
  if (vector === 14 && real.u32[(at + OUT.CR2 + 4) >> 2] >>> 15 !== 0) ours.u32[(at + OUT.ERROR) >> 2] |= 1
  if ((CARRIES_ERROR >> vector & 1) !== 0 && real.u32[(at + OUT.ERROR) >> 2] !== ours.u32[(at + OUT.ERROR) >> 2]) return false
  if (vector !== 14) return true
  const other = real.u64[(at + OUT.CR2) >> 3] ^ ours.u64[(at + OUT.CR2) >> 3]
  return other === 0n || (vagueAddress && other < 4096n)
}

/** What differs, in words: `name is OURS not REAL (was BEFORE)`. */
export function differences(before: Batch, real: Batch, ours: Batch, index: number): string[] {
  const at = real.at(index)
  const parts: string[] = []
  const end = (b: Batch): string => {
    if (b.u32[(at + OUT.SIGNAL) >> 2] === 0) return 'no fault'
    const vector = b.u32[(at + OUT.VECTOR) >> 2]
    return b.u32[(at + OUT.SIGNAL) >> 2] === 14 ? 'no end' : `vector ${vector} error ${b.u64[(at + OUT.ERROR) >> 3].toString(16)} cr2 ${b.u64[(at + OUT.CR2) >> 3].toString(16)}`
  }
  if (!(end(real) === 'no fault' && end(ours) === 'no fault') && end(real) !== end(ours)) parts.push(`end is ${end(ours)}, not ${end(real)}`)
  const rip = (b: Batch): string => BigInt.asIntN(64, b.u64[(at + STATE.RIP) >> 3]).toString()
  if (rip(real) !== rip(ours)) parts.push(`rip is +${rip(ours)} not +${rip(real)}`)
  for (const { name, offset, size } of FIELDS) {
    const is = (b: Batch): string => hex(b.u8.subarray(at + offset, at + offset + size))
    if (is(real) !== is(ours)) parts.push(`${name} is ${is(ours)} not ${is(real)} (was ${is(before)})`)
  }
  const flags = (b: Batch): number => b.u32[(at + STATE.RFLAGS) >> 2] & FLAGS_COMPARED
  if (flags(real) !== flags(ours)) parts.push(`flags are ${flagNames(flags(ours))} not ${flagNames(flags(real))} (were ${flagNames(flags(before))})`)
  for (let i = 0; i < real.window; i++) {
    const b = at + RECORD_HEAD + i
    if (real.u8[b] !== ours.u8[b]) {
      parts.push(`memory at end-${real.window - i} is ${ours.u8[b].toString(16)} not ${real.u8[b].toString(16)} (was ${before.u8[b].toString(16)})`)
      break
    }
  }
  const stray = (b: Batch): number => b.u32[(at + OUT.STRAY) >> 2]
  if (stray(real) !== stray(ours)) parts.push(`writes outside the window: ${stray(ours)} not ${stray(real)}`)
  return parts
}

const FLAG_NAMES: readonly (readonly [number, string])[] = [[1, 'c'], [4, 'p'], [0x10, 'a'], [0x40, 'z'], [0x80, 's'], [0x400, 'd'], [0x800, 'o'], [0x20_0000, 'i']]
const flagNames = (flags: number): string => FLAG_NAMES.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name).join('') || '-'

/** Bytes of a case as hexadecimal digits. */
export const codeOf = (batch: Batch, index: number): Uint8Array => {
  const at = batch.at(index)
  return batch.u8.slice(at + IN.CODE, at + IN.CODE + batch.u32[(at + IN.LENGTH) >> 2])
}
