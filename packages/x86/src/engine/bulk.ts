/**
 * Repeated MOVS and STOS where the TLBs do not help: writes to pages that hold code, reads of RAM that nobody has
 * written. What counts as one instruction is the same as on the quick way (`writeBulkFunctions`): all elements up to
 * the end of a page, so that virtual time does not depend on what happens to be decoded.
 */
import { FRAME_NONE, FRAME_ROM, FRAME_WATCHED } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import { GPR, SYSFLAGS } from '../state.ts'

const PAGE = 4096
const RAX = GPR
const RCX = GPR + 8
const RSI = GPR + 6 * 8
const RDI = GPR + 7 * 8
const DF = 0x400
const TF = 0x100

export interface BulkOptions {
  readonly memory: PhysicalMemory
  /**
   * Physical page of `bytes` at a linear address that may be accessed so; −1 where an element at a time is wanted (or
   * faults).
   */
  readonly page: (low: number, high: number, bytes: number, write: boolean) => number
}

/**
 * One part of the instruction, up to the end of a page: moves or stores elements of `size` bytes and advances RCX, RSI
 * and RDI. Answers false, having done nothing, when the next element must be carried out by itself.
 */
export type Bulk = (moves: boolean, size: number) => boolean

export function createBulk({ memory, page }: BulkOptions): Bulk {
  const { u8, u32, i32, i64 } = memory.views

  /** Host address of RAM at a linear address; for reading, unbacked RAM is the frame of zeros; 0 otherwise. */
  const host = (at: number, physical: number, write: boolean): number => {
    let word = memory.frameWord(physical)
    if (word === FRAME_NONE || (write && (word & FRAME_ROM) !== 0)) return 0
    if (word < PAGE) {
      if (!write && !memory.filled) return memory.zeroFrame + (u32[at >>> 2] % PAGE)
      memory.backPage(physical)
      word = memory.frameWord(physical)
    }
    return word - (word % PAGE) + (u32[at >>> 2] % PAGE)
  }

  const copy = (to: number, from: number, bytes: number, size: number): void => {
    // An element at a time, upwards: a copy onto what follows repeats it.
    if (to > from && to - from < bytes) {
      for (let at = 0; at < bytes; at += size) u8.copyWithin(to + at, from + at, from + at + size)
    } else {
      u8.copyWithin(to, from, from + bytes)
    }
  }

  const fill = (to: number, bytes: number, size: number): void => {
    if (size === 1) u8.fill(u8[RAX], to, to + bytes)
    else for (let at = 0; at < bytes; at += size) u8.copyWithin(to + at, RAX, RAX + size)
  }

  return (moves, size) => {
    // Single-stepping traps after each element (SDM vol. 2, REP).
    if ((i32[SYSFLAGS >>> 2] & (DF | TF)) !== 0) return false
    const left = PAGE - (u32[RDI >>> 2] % PAGE)
    const room = Math.floor(Math.min(left, moves ? PAGE - (u32[RSI >>> 2] % PAGE) : left) / size)
    const many = i32[(RCX + 4) >>> 2] !== 0 || u32[RCX >>> 2] > room
    const count = many ? room : u32[RCX >>> 2]
    if (count === 0) return false
    const bytes = count * size
    const source = moves ? page(i32[RSI >>> 2], i32[(RSI + 4) >>> 2], bytes, false) : 0
    const target = source < 0 ? -1 : page(i32[RDI >>> 2], i32[(RDI + 4) >>> 2], bytes, true)
    if (target < 0) return false
    const to = memory.frameWord(target) === FRAME_NONE ? 0 : host(RDI, target, true)
    const from = moves ? host(RSI, source, false) : 1
    if (to === 0 || from === 0) return false
    const physical = target * PAGE + (u32[RDI >>> 2] % PAGE)
    if (moves) copy(to, from, bytes, size)
    else fill(to, bytes, size)
    if ((memory.frameWord(target) & FRAME_WATCHED) !== 0) memory.notifyWrite(physical, bytes)
    i64[RDI >>> 3] += BigInt(bytes)
    if (moves) i64[RSI >>> 3] += BigInt(bytes)
    i64[RCX >>> 3] -= BigInt(count)
    return true
  }
}
