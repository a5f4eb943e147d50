/** Addresses of operands: what an instruction computes, in the segment that it names. */
import type { MemoryViews } from '@cofferdam/memory'
import { raise, VECTOR } from '../cpu.ts'
import { MODE64, type Insn } from '../insn.ts'
import { CR0, FS, GPR, MODE, SEG, SEG_BASE, SEG_SIZE, SS } from '../state.ts'
import { ATTR, CR0_BITS } from '../system/bits.ts'
import { isCanonical } from './cpu-memory.ts'
import { decodeMode } from './mode.ts'
import type { Mmu } from './mmu-types.ts'

export interface CpuSegments {
  /** The attributes of a segment's record (`ATTR`). */
  segAttributes(seg: number): number
  /** The linear address of `offset` in a segment, after the segment's checks. */
  segmentAddress(seg: number, offset: bigint, size: number, write: boolean): bigint
  /** The offset that a memory operand names, at its address size. */
  offsetOf(insn: Insn): bigint
}

/** @param nextRip - the address behind the present instruction */
export function createCpuSegments({ i32, u32, u16, u64 }: MemoryViews, mmu: Mmu, nextRip: () => bigint): CpuSegments {
  const segAttributes = (seg: number): number => u16[(SEG + seg * SEG_SIZE + 2) >>> 1]
  const segLimit = (seg: number): number => u32[(SEG + seg * SEG_SIZE + 4) >>> 2]
  const segBase = (seg: number): bigint => u64[(SEG + seg * SEG_SIZE + SEG_BASE) >>> 3]
  const is64 = (): boolean => decodeMode(i32[MODE >>> 2]) === MODE64

  /** Limit, presence and type checks of legacy segments (SDM vol. 3 §5.3 to §5.5). */
  const checkSegment = (seg: number, offset: number, size: number, write: boolean): void => {
    const vector = seg === SS ? VECTOR.SS : VECTOR.GP
    const attributes = segAttributes(seg)
    const isProtected = (i32[CR0 >>> 2] & CR0_BITS.PE) !== 0
    if (isProtected) {
      if ((attributes & ATTR.P) === 0) raise(VECTOR.GP, 0)
      const code = (attributes & ATTR.CODE) !== 0
      if (write && (code || (attributes & ATTR.WRITABLE) === 0)) raise(VECTOR.GP, 0)
      if (!write && code && (attributes & ATTR.WRITABLE) === 0) raise(VECTOR.GP, 0)
    }
    const limit = segLimit(seg)
    // In a flat segment of 4 GiB addresses wrap; where its base is not 0 the limit counts (observed on Intel
    // processors).
    if (limit === 0xffff_ffff && segBase(seg) === 0n
      && (attributes & (ATTR.CODE | ATTR.EXPAND_DOWN)) !== ATTR.EXPAND_DOWN) return
    const last = offset + size - 1
    if ((attributes & (ATTR.CODE | ATTR.EXPAND_DOWN)) === ATTR.EXPAND_DOWN) {
      const top = (attributes & ATTR.DB) !== 0 ? 0xffff_ffff : 0xffff
      if (offset <= limit || last > top) raise(vector, 0)
    } else if (last > limit) {
      raise(vector, 0)
    }
  }

  const segmentAddress = (seg: number, offset: bigint, size: number, write: boolean): bigint => {
    if (is64()) {
      const address = BigInt.asUintN(64, seg >= FS ? offset + segBase(seg) : offset)
      if (seg === SS && !isCanonical(mmu, address)) raise(VECTOR.SS, 0)
      return address
    }
    checkSegment(seg, Number(offset & 0xffff_ffffn), size, write)
    return (offset + segBase(seg)) & 0xffff_ffffn
  }

  const offsetOf = (insn: Insn): bigint => {
    const { addrSize } = insn
    if (insn.absolute64 !== 0 && insn.ripRelative === 0) {
      return (BigInt(insn.dispHi >>> 0) << 32n) | BigInt(insn.disp >>> 0)
    }
    let offset = BigInt(insn.disp)
    if (insn.ripRelative !== 0) offset += nextRip()
    else if (insn.base >= 0) offset += u64[(GPR >>> 3) + insn.base]
    if (insn.index >= 0) offset += u64[(GPR >>> 3) + insn.index] << BigInt(insn.scale)
    return BigInt.asUintN(addrSize * 8, offset)
  }

  return { segAttributes, segmentAddress, offsetOf }
}
