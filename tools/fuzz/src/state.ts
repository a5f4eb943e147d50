/** The state that a case starts from, but for what its operands need. */
import { RECORD_HEAD, SELECTOR, STATE, type Batch } from '@cofferdam/oracle'
import type { Mode } from './encode.ts'
import { BOUNDARIES, code16At, LOCAL, MAIN } from './places.ts'
import type { Pool } from './pool.ts'
import { descriptorOf, isWide } from './segments.ts'

export const REGISTER = { RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7 } as const
export const SEGMENT = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const

/**
 * In sequences these hold addresses; nothing writes to them. 64-bit mode has a small index besides, and a counter of
 * loops.
 */
const BASES64 = [REGISTER.RBX, 12, 13]
const INDEX64 = 14
export const COUNTER64 = 15
const BASES32 = [REGISTER.RBX, REGISTER.RDI]
const INDEX32 = REGISTER.RSI

/** What a sequence keeps. */
export const keptRegisters = (mode: Mode): { bases: readonly number[]; index: number } =>
  mode === 64 ? { bases: BASES64, index: INDEX64 } : { bases: BASES32, index: INDEX32 }

/** Data segments that can be loaded. */
const DATA_SELECTORS = [
  LOCAL.DATA16, LOCAL.DATA16_HIGH, LOCAL.SHORT, LOCAL.DOWN, LOCAL.DOWN16, LOCAL.READ_ONLY, LOCAL.WRAPS, LOCAL.CODE32, 0,
]
const STACK_SELECTORS = [LOCAL.DATA16, LOCAL.DATA16_HIGH, LOCAL.SHORT, LOCAL.DOWN, LOCAL.DOWN16, LOCAL.WRAPS]

export const selectorOf = (batch: Batch, index: number, segment: number): number =>
  batch.u16[((batch.at(index) + STATE.SELECTORS) >> 1) + segment]

/** Where a segment begins: in 64-bit mode only FS and GS are not at 0. */
export function baseOf(batch: Batch, index: number, mode: Mode, segment: number): bigint {
  const selector = selectorOf(batch, index, segment)
  const own = segment >= SEGMENT.FS && (selector & 4) === 0
  if (own) return batch.u64[(batch.at(index) + (segment === SEGMENT.FS ? STATE.FS_BASE : STATE.GS_BASE)) >> 3]
  return mode === 64 && segment < SEGMENT.FS ? 0n : BigInt(descriptorOf(selector).base)
}

/** Width of the stack pointer in bytes. */
export const stackWidth = (batch: Batch, index: number, mode: Mode): 2 | 4 | 8 =>
  mode === 64 ? 8 : isWide(descriptorOf(selectorOf(batch, index, SEGMENT.SS))) ? 4 : 2

/** Fills registers and memory with awkward values; RSP, RSI, RDI and RBP point into data memory. */
export function fillState(pool: Pool, batch: Batch, index: number, mode: Mode, codeAt: number): void {
  const { random } = pool
  const at = batch.at(index)
  const words = (at + STATE.GPR) >> 2
  for (let r = 0; r < 16; r++) pool.integerTo(batch.u32, words + 2 * r)
  chooseSegments(pool, batch, index, mode, codeAt)
  const point = (r: number, segment: number, aligned: boolean): void => {
    const linear = BigInt(aligned ? place(pool) & ~7 : place(pool))
    const offset = linear - baseOf(batch, index, mode, segment)
    batch.u64[((at + STATE.GPR) >> 3) + r] = BigInt.asUintN(64, offset)
  }
  point(REGISTER.RSP, SEGMENT.SS, random.below(8) !== 0)
  if (random.below(8) !== 0) {
    point(REGISTER.RSI, SEGMENT.DS, false)
    point(REGISTER.RDI, SEGMENT.ES, false)
    point(REGISTER.RBP, SEGMENT.SS, false)
  }
  if (random.below(2) === 0) {
    batch.u32[words + 2] = random.below(80)
    batch.u32[words + 3] = 0
  }
  if (mode !== 64) for (let r = 0; r < 8; r++) batch.u32[words + 2 * r + 1] = 0
  if (stackWidth(batch, index, mode) === 2) batch.u32[words + 8] &= 0xffff
  const rare = (one: number, bit: number): number => (random.below(one) === 0 ? bit : 0)
  batch.u32[(at + STATE.RFLAGS) >> 2] = random.u32() & 0x8d5 | 0x202 | rare(8, 0x400)
    | rare(32, 0x4_0000) | rare(8, 0x20_0000)
  batch.u32[(at + STATE.RFLAGS + 4) >> 2] = 0
  fillFloating(pool, batch, at)
  pool.fill(batch.u8, at + STATE.YMM, 512)
  pool.fill(batch.u8, at + RECORD_HEAD, batch.window)
}

/** Any place in data memory, mostly well inside. */
function place({ random }: Pool): number {
  const choice = random.below(16)
  if (choice < 12) return MAIN - 64 + random.below(128)
  if (choice < 15) return random.pick(BOUNDARIES) - 24 + random.below(48)
  return MAIN - 128 + random.below(240)
}

function chooseSegments(pool: Pool, batch: Batch, index: number, mode: Mode, codeAt: number): void {
  const { random } = pool
  const selectors = (batch.at(index) + STATE.SELECTORS) >> 1
  const { u16 } = batch
  const near = mode === 64 ? 0 : SELECTOR.DATA
  const often = mode === 16 ? LOCAL.DATA16 : near
  for (const s of [SEGMENT.ES, SEGMENT.DS, SEGMENT.FS, SEGMENT.GS]) {
    const choice = random.below(mode === 64 ? 24 : 8)
    u16[selectors + s] = choice === 0 ? random.pick(DATA_SELECTORS) : choice === 1 ? SELECTOR.DATA : often
  }
  if (mode === 64) {
    u16[selectors + SEGMENT.CS] = SELECTOR.CODE64
    u16[selectors + SEGMENT.SS] = SELECTOR.DATA
  } else {
    const code = random.below(4) === 0 ? random.pick([LOCAL.CODE32, LOCAL.EXECUTE_ONLY]) : SELECTOR.CODE32
    u16[selectors + SEGMENT.CS] = mode === 16 ? code16At(codeAt) : code
    u16[selectors + SEGMENT.SS] = random.below(4) === 0 ? random.pick(STACK_SELECTORS) : often
  }
  const at = batch.at(index)
  for (const field of [STATE.FS_BASE, STATE.GS_BASE]) {
    const base = segmentBase(pool)
    batch.u64[(at + field) >> 3] = mode === 64 ? base : BigInt.asUintN(32, base)
  }
}

/** FS and GS bases are canonical. */
function segmentBase({ random }: Pool): bigint {
  switch (random.below(4)) {
    case 0: return 0n
    case 1: return BigInt(random.below(0x2000_0000))
    case 2: return BigInt(MAIN - 4096 + random.below(4096))
    default: return BigInt.asUintN(64, BigInt.asIntN(47, BigInt(random.u32()) << 16n) & 0x7fff_ffff_ffffn)
  }
}

/**
 * MXCSR and x87 control: mostly all masked; any rounding and precision; flags set before, denormals flushed at times.
 */
function fillFloating(pool: Pool, batch: Batch, at: number): void {
  const { random } = pool
  const masks = random.below(6) !== 0 ? 0x1f80 : random.u32() & 0x1f80
  const flags = random.below(3) !== 0 ? 0 : random.u32() & 0x3f
  const flush = random.below(4) !== 0 ? 0 : random.u32() & 0x8040
  batch.u32[(at + STATE.MXCSR) >> 2] = masks | flags | flush | (random.below(2) === 0 ? 0 : random.u32() & 0x6000)
  const control = random.below(3) !== 0 ? 0x37f : random.u32() & 0xf3f | 0x40 | (random.below(3) !== 0 ? 0x3f : 0)
  const full = random.below(4)
  let status = random.below(8) << 11 | random.u32() & 0x4700 | (
    random.below(3) !== 0 ? 0 : random.u32() & 0x7f & control
  )
  // An exception that is pending: the next waiting instruction raises #MF.
  if (random.below(32) === 0) status |= 0x3f & ~control & (1 << random.below(6))
  if ((status & 0x3f & ~control) !== 0) status |= 0x8080
  batch.u16[(at + STATE.FCW) >> 1] = control
  batch.u16[(at + STATE.FSW) >> 1] = status
  batch.u16[(at + STATE.FTW) >> 1] = full === 0 ? 0 : full === 1 ? random.below(256) : 0xff
  batch.u16[(at + STATE.FOP) >> 1] = 0
  batch.u64[(at + STATE.FIP) >> 3] = 0n
  batch.u64[(at + STATE.FDP) >> 3] = 0n
  for (let i = 0; i < 8; i++) pool.extended(batch.u8, at + STATE.ST + 16 * i)
}

/** Writes into the window of a record, as far as it shows that memory. */
export function poke(batch: Batch, index: number, linear: number, size: number, value: bigint): void {
  let from = batch.at(index) + RECORD_HEAD
  for (const piece of batch.pieces) {
    for (let i = 0; i < size; i++) {
      const offset = linear + i - piece.at
      if (offset >= 0 && offset < piece.length) batch.u8[from + offset] = Number(value >> BigInt(8 * i) & 0xffn)
    }
    from += piece.length
  }
}
