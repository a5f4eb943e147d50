/**
 * A processor between two instructions, as data. The registers are the block of `state.ts` without what follows from
 * the rest (modes, lazy flags, counters of the slice), so that both engines give the same bytes.
 */
import {
  BUDGET, CC_A, CC_B, CC_OP, CPL, CPU_INDEX, CPU_SLOT, CR0, CR4, EFER, FTW, GPR, HOT, HOT_END, ICOUNT, MODE_SALT,
  MXCSR, SHADOW, SLICE, SYSFLAGS, TIME_END, XCR0, XSS, YIELDS,
} from '../state.ts'
import * as layout from '../state.ts'
import type { CpuSystem } from '../system/cpu-system.ts'
import { ccOp, KIND, STATUS_FLAGS } from './flags.ts'
import type { ProcessorCounts } from './processor-types.ts'
import type { SupervisorState } from './supervisor.ts'
import { needState } from './translations.ts'
import type { Translations } from './translations.ts'

/** A processor between two instructions. */
export interface ProcessorSnapshot {
  /** The block of `state.ts` from HOT on. */
  readonly registers: Uint8Array
  /** Waits for an interrupt, or for a start-up IPI. */
  readonly halted: boolean
  /** Why it stopped for good, or ''. */
  readonly stopped: string
  /** An interrupt is pending. */
  readonly line: boolean
  /** An NMI, INIT or start-up request is to be looked at. */
  readonly attention: boolean
  /** The shadow after MOV SS or POP SS, which holds off debug traps too, rather than STI's. */
  readonly stackShadow: boolean
  /** Bits of DR6 that the debug trap after the last instruction sets; 0 when none is pending. */
  readonly traps: number
  readonly nmiBlocked: boolean
  /** Line that MONITOR armed as two halves of 32 bits, or null. */
  readonly monitor: readonly number[] | null
  /** MSRs that hold what was written: index, low half, high half. */
  readonly msrs: Uint32Array
  /** Counters that don't depend on the engine and on what was decoded before. */
  readonly counts: Pick<ProcessorCounts, (typeof COUNTED)[number]>
  readonly translations: Translations
  /** What stands above the code that runs here knows; null without anybody. */
  readonly supervisor: SupervisorState | null
}

const COUNTED = ['host', 'faults', 'interrupts', 'pauses'] as const

/** What is in the block but no register, as start and end (exclusive). */
const DERIVED: readonly (readonly [number, number])[] = [
  [GPR + 16 * 8, CC_A], [BUDGET, MODE_SALT + 8], [CPU_SLOT, CPU_INDEX + 4], [SLICE, SLICE + 4],
  [TIME_END, TIME_END + 8], [YIELDS, YIELDS + 4],
]
/** CC_OP of an image of the flags. */
const IMAGE = ccOp(KIND.IMAGE, 4)

/** Where every register is: a snapshot with another layout is one of another version. */
export const stateLayout = Object.entries(layout).map(([name, at]) => `${name}=${at}`).sort().join(' ')

/** The registers in the block at `at`, whose status flags are `flags`. */
export function saveRegisters(u8: Uint8Array, at: number, flags: number): Uint8Array {
  const block = u8.slice(at, at + HOT_END - HOT)
  const view = new DataView(block.buffer)
  for (const [from, to] of DERIVED) block.fill(0, from - HOT, to - HOT)
  view.setBigUint64(CC_A - HOT, BigInt(flags & STATUS_FLAGS), true)
  view.setBigUint64(CC_B - HOT, 0n, true)
  view.setUint32(CC_OP - HOT, IMAGE, true)
  return block
}

const PE = 1
const PG = 0x8000_0000
const PAE = 0x20
const LME = 0x100
const LMA = 0x400
const VM = 0x2_0000

/** @throws StateError for registers that no processor of this model can have */
export function checkRegisters(block: Uint8Array, { legal }: CpuSystem): void {
  needState(block.length === HOT_END - HOT, 'registers', `${HOT_END - HOT} bytes`)
  const view = new DataView(block.buffer, block.byteOffset)
  const u32 = (at: number): number => view.getUint32(at - HOT, true)
  const need = (ok: boolean, name: string, expected: string): void => { needState(ok, `registers.${name}`, expected) }
  const only = (at: number, bits: number, name: string): void => {
    need(u32(at + 4) === 0 && (u32(at) & ~bits) === 0, name, `no bits but 0x${(bits >>> 0).toString(16)}`)
  }
  const [cr0, cr4, efer] = [u32(CR0), u32(CR4), u32(EFER)]
  only(CR0, 0xe005_003f, 'cr0')
  only(CR4, legal.cr4, 'cr4')
  only(EFER, legal.efer, 'efer')
  only(XCR0, legal.xcr0 | 1, 'xcr0')
  only(XSS, legal.xss, 'xss')
  need((cr0 & PG) === 0 || (cr0 & PE) !== 0, 'cr0', 'paging in protected mode only')
  need(((efer & LMA) !== 0) === ((efer & LME) !== 0 && (cr0 & PG) !== 0), 'efer', 'LMA with LME and paging')
  need((efer & LMA) === 0 || (cr4 & PAE) !== 0, 'cr4', 'PAE in long mode')
  need(u32(CPL) <= 3, 'cpl', 'a privilege level from 0 to 3')
  need((u32(SYSFLAGS) & (VM | STATUS_FLAGS)) === 0, 'rflags', 'no virtual-8086 mode')
  need((u32(MXCSR) & ~0x2_ffff) === 0, 'mxcsr', 'no reserved bits')
  need(u32(FTW) <= 0xff, 'ftw', '8 bits')
  need(u32(SHADOW) <= 1, 'shadow', '0 or 1')
  need(u32(CC_OP) === IMAGE && (u32(CC_A) & ~STATUS_FLAGS) === 0, 'flags', 'the six status flags')
  const count = view.getFloat64(ICOUNT - HOT, true)
  need(Number.isSafeInteger(count) && count >= 0, 'icount', 'a whole number')
  for (const [from, to] of DERIVED) {
    need(block.subarray(from - HOT, to - HOT).every((b) => b === 0), 'derived', 'zeroes')
  }
}

/** MSRs that hold what was written. */
export function saveMsrs({ held }: CpuSystem): Uint32Array {
  const sorted = [...held].sort(([a], [b]) => a - b)
  return Uint32Array.from(sorted.flatMap(([index, value]) =>
    [index, Number(value & 0xffff_ffffn), Number(BigInt.asUintN(64, value) >> 32n)]))
}

/** @throws StateError for an MSR that there is none of */
export function loadMsrs({ held, msrs }: CpuSystem, saved: Uint32Array): void {
  needState(saved.length % 3 === 0, 'msrs', '3 words each')
  held.clear()
  for (let at = 0; at < saved.length; at += 3) {
    const [index, low, high] = saved.subarray(at, at + 3)
    needState(msrs.has(index), 'msrs', `MSRs of this processor, got 0x${index.toString(16)}`)
    held.set(index, BigInt(high) << 32n | BigInt(low))
  }
}

/** The counters that a snapshot keeps. */
export const saveCounts = (counts: ProcessorCounts): ProcessorSnapshot['counts'] =>
  ({ host: counts.host, faults: counts.faults, interrupts: counts.interrupts, pauses: counts.pauses })

/** Takes over counters. @throws StateError for what is no count */
export function loadCounts(counts: ProcessorCounts, saved: ProcessorSnapshot['counts']): void {
  for (const key of COUNTED) {
    needState(Number.isSafeInteger(saved[key]) && saved[key] >= 0, `counts.${key}`, 'a whole number')
    counts[key] = saved[key]
  }
}
