/** Between a record of the oracle and the state of our processor. */
import { STATE, type Batch } from '@cofferdam/oracle'
import type { MemoryViews } from '@cofferdam/memory'
import { S } from './inside.ts'
import { descriptorOf } from './segments.ts'

export interface Transfer {
  /** Registers of the record at byte `at` into the processor, but for RFLAGS and RIP. */
  place(from: Batch, at: number): void
  take(to: Batch, at: number): void
}

const FS = 4
const GS = 5
const SEGMENTS = 6

export function createTransfer({ u8, u16, u32, u64, i32 }: MemoryViews): Transfer {
  const placeSegments = (from: Batch, at: number): void => {
    for (let s = 0; s < SEGMENTS; s++) {
      const selector = from.u16[((at + STATE.SELECTORS) >> 1) + s]
      const { attributes, limit, base } = descriptorOf(selector)
      const to = S.SEG + s * S.SEG_SIZE
      u16[to >>> 1] = selector
      u16[(to >>> 1) + 1] = attributes
      u32[(to >>> 2) + 1] = limit
      u32[(to + S.SEG_BASE) >>> 2] = base
      u32[((to + S.SEG_BASE) >>> 2) + 1] = 0
    }
    for (const [s, field] of [[FS, STATE.FS_BASE], [GS, STATE.GS_BASE]] as const) {
      // A local descriptor brings its base along.
      if ((from.u16[((at + STATE.SELECTORS) >> 1) + s] & 4) !== 0) continue
      const to = (S.SEG + s * S.SEG_SIZE + S.SEG_BASE) >>> 2
      u32[to] = from.u32[(at + field) >> 2]
      u32[to + 1] = from.u32[((at + field) >> 2) + 1]
    }
  }

  const placeX87 = (from: Batch, at: number): void => {
    const status = from.u16[(at + STATE.FSW) >> 1]
    const top = (status >> 11) & 7
    i32[S.FCW >>> 2] = from.u16[(at + STATE.FCW) >> 1]
    i32[S.FSW >>> 2] = status
    i32[S.FTW >>> 2] = from.u16[(at + STATE.FTW) >> 1] & 0xff
    i32[S.FOP >>> 2] = from.u16[(at + STATE.FOP) >> 1]
    u64[S.FIP >>> 3] = from.u64[(at + STATE.FIP) >> 3]
    u64[S.FDP >>> 3] = from.u64[(at + STATE.FDP) >> 3]
    u32[S.FCS >>> 2] = 0
    u32[S.FDS >>> 2] = 0
    const first = 8 - top
    u8.set(from.u8.subarray(at + STATE.ST, at + STATE.ST + 16 * first), S.FPR + 16 * top)
    if (top !== 0) u8.set(from.u8.subarray(at + STATE.ST + 16 * first, at + STATE.ST + 128), S.FPR)
  }

  return {
    place(from, at) {
      u8.set(from.u8.subarray(at + STATE.GPR, at + STATE.GPR + 128), S.GPR)
      placeSegments(from, at)
      i32[S.MXCSR >>> 2] = from.u32[(at + STATE.MXCSR) >> 2]
      placeX87(from, at)
      for (let r = 0; r < 16; r++) {
        const lane = (at + STATE.YMM + 32 * r) >> 2
        const low = (S.XMM + 16 * r) >> 2
        const high = (S.YMMH + 16 * r) >> 2
        for (let k = 0; k < 4; k++) {
          u32[low + k] = from.u32[lane + k]
          u32[high + k] = from.u32[lane + 4 + k]
        }
      }
    },
    take(to, at) {
      to.u8.set(u8.subarray(S.GPR, S.GPR + 128), at + STATE.GPR)
      for (let s = 0; s < SEGMENTS; s++) to.u16[((at + STATE.SELECTORS) >> 1) + s] = u16[(S.SEG + s * S.SEG_SIZE) >>> 1]
      to.u64[(at + STATE.FS_BASE) >> 3] = u64[(S.SEG + FS * S.SEG_SIZE + S.SEG_BASE) >>> 3]
      to.u64[(at + STATE.GS_BASE) >> 3] = u64[(S.SEG + GS * S.SEG_SIZE + S.SEG_BASE) >>> 3]
      to.u32[(at + STATE.MXCSR) >> 2] = i32[S.MXCSR >>> 2]
      const status = i32[S.FSW >>> 2]
      const top = (status >> 11) & 7
      to.u16[(at + STATE.FCW) >> 1] = i32[S.FCW >>> 2]
      to.u16[(at + STATE.FSW) >> 1] = status
      to.u16[(at + STATE.FTW) >> 1] = i32[S.FTW >>> 2]
      to.u16[(at + STATE.FOP) >> 1] = i32[S.FOP >>> 2]
      to.u64[(at + STATE.FIP) >> 3] = u64[S.FIP >>> 3]
      to.u64[(at + STATE.FDP) >> 3] = u64[S.FDP >>> 3]
      const first = 16 * (8 - top)
      to.u8.set(u8.subarray(S.FPR + 16 * top, S.FPR + 128), at + STATE.ST)
      if (top !== 0) to.u8.set(u8.subarray(S.FPR, S.FPR + 16 * top), at + STATE.ST + first)
      for (let r = 0; r < 16; r++) {
        const lane = (at + STATE.YMM + 32 * r) >> 2
        const low = (S.XMM + 16 * r) >> 2
        const high = (S.YMMH + 16 * r) >> 2
        for (let k = 0; k < 4; k++) {
          to.u32[lane + k] = u32[low + k]
          to.u32[lane + 4 + k] = u32[high + k]
        }
      }
    },
  }
}
