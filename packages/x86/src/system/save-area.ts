/**
 * The memory of FXSAVE, XSAVE and their kin. Where its offsets go on at 0, behind the end of what the address size
 * reaches, each element of it is an access of its own (observed on Intel's processors).
 */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { beginArea, effectiveOffset } from './effective.ts'
import { partAddress } from './parts.ts'
import { EXTENDED_START, LEGACY_SIZE } from './xsave-layout.ts'

/** An area of a memory operand. */
export interface SaveArea {
  readonly insn: Insn
  readonly offset: bigint
  /** Linear address of the first byte. */
  readonly first: bigint
  readonly wraps: boolean
  readonly write: boolean
}

/** The area of the memory operand: `size` bytes within the segment, aligned to `alignment` (#GP). */
export function openArea(cpu: Cpu, insn: Insn, size: number, alignment: bigint, write: boolean): SaveArea {
  // Where alignment is checked #AC may come instead of #GP (SDM vol. 2, XSAVE): Intel's processors raise it below 4
  // bytes.
  beginArea(cpu, insn, 4, false)
  const offset = effectiveOffset(cpu, insn)
  const wraps = offset + BigInt(size) > 1n << BigInt(8 * insn.addrSize)
  const first = partAddress(cpu, insn, offset, 0, wraps ? 4 : size, write)
  if ((first & (alignment - 1n)) !== 0n) raise(VECTOR.GP, 0)
  return { insn, offset, first, wraps, write }
}

/** Linear address of `length` bytes from `at` on, which are not more than an element. */
export function areaAddress(cpu: Cpu, area: SaveArea, at: number, length: number): bigint {
  const { insn, offset, first, wraps, write } = area
  return wraps ? partAddress(cpu, insn, offset, at, length, write) : first + BigInt(at)
}

/** Ends of the elements in the first 32 bytes. */
const FIELDS = [2, 4, 6, 8, 16, 24, 28, 32]

function elementEnd(at: number): number {
  if (at < 32) return FIELDS.find((end) => end > at) ?? 32
  const last = at >= LEGACY_SIZE && at < EXTENDED_START ? 7 : 15
  return (at | last) + 1
}

type Run = (address: bigint, at: number, length: number) => void

/** Calls with each run of bytes from `at` to `end`. */
function eachRun(cpu: Cpu, area: SaveArea, at: number, end: number, run: Run): void {
  for (let from = at; from < end;) {
    const length = (area.wraps ? Math.min(end, elementEnd(from)) : end) - from
    run(areaAddress(cpu, area, from, length), from, length)
    from += length
  }
}

/** Loads the bytes from `at` on. */
export function loadFrom(cpu: Cpu, area: SaveArea, at: number, into: Uint8Array): void {
  eachRun(cpu, area, at, at + into.length, (address, from, length) => {
    cpu.loadBytes(address, into.subarray(from - at, from - at + length))
  })
}

/** Stores bytes from `at` on. */
export function storeTo(cpu: Cpu, area: SaveArea, at: number, bytes: Uint8Array): void {
  eachRun(cpu, area, at, at + bytes.length, (address, from, length) => {
    cpu.storeBytes(address, bytes.subarray(from - at, from - at + length))
  })
}

/** Raises what storing `length` bytes from `at` on would. */
export function checkStore(cpu: Cpu, area: SaveArea, at: number, length: number): void {
  eachRun(cpu, area, at, at + length, (address, _from, size) => { cpu.checkWrite(address, size) })
}

/**
 * Raises what storing the last of `size` bytes would: it is looked at first, as a fault's address shows (on Intel's
 * processors).
 */
export function checkEnd(cpu: Cpu, area: SaveArea, size: number): void {
  cpu.checkWrite(areaAddress(cpu, area, size - 1, 1), 1)
}
