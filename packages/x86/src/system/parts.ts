/**
 * Operands that the processor accesses in parts. Each part has its own check against the segment, and its own offset,
 * which wraps at the address size: with 16-bit addresses what begins at offset FFFEh goes on at 0 with the first part
 * that begins there (observed on Intel's processors).
 */
import type { Cpu } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { effectiveOffset } from './effective.ts'

/** Linear address of `size` bytes that begin `from` bytes behind `offset`, checked against the segment. */
export const partAddress = (cpu: Cpu, insn: Insn, offset: bigint, from: number, size: number, write: boolean): bigint =>
  cpu.segmentAddress(insn.seg, BigInt.asUintN(insn.addrSize * 8, offset + BigInt(from)), size, write)

/** Linear address of the selector of a far pointer in memory; its offset was read before it. */
export const selectorAddress = (cpu: Cpu, insn: Insn): bigint =>
  partAddress(cpu, insn, effectiveOffset(cpu, insn), insn.size, 2, false)

/**
 * Loads an operand part by part; `sizes` of the parts, in bytes, add up to `into`'s. `loaded` hears where each part
 * ends, before the next one can fault.
 */
export function loadParts(
  cpu: Cpu, insn: Insn, into: Uint8Array, sizes: readonly number[], loaded?: (end: number) => void,
): void {
  const offset = effectiveOffset(cpu, insn)
  let from = 0
  for (const size of sizes) {
    cpu.loadBytes(partAddress(cpu, insn, offset, from, size, false), into.subarray(from, from + size))
    from += size
    loaded?.(from)
  }
}

/** Whether an operand of `length` bytes goes on at offset 0. */
export const wraps = (cpu: Cpu, insn: Insn, length: number): boolean =>
  effectiveOffset(cpu, insn) + BigInt(length) > 1n << BigInt(8 * insn.addrSize)

/** Loads an area: at once where its offsets don't wrap, else part by part with `loaded` (see `loadParts`). */
export function loadArea(
  cpu: Cpu, insn: Insn, into: Uint8Array, sizes: readonly number[], loaded?: (end: number) => void,
): void {
  if (wraps(cpu, insn, into.length)) loadParts(cpu, insn, into, sizes, loaded)
  else cpu.loadBytes(cpu.operandAddress(insn, into.length, false), into)
}

/** Stores an area: at once where its offsets don't wrap. Nothing is stored when a part faults. */
export function storeArea(cpu: Cpu, insn: Insn, bytes: Uint8Array, sizes: readonly number[]): void {
  if (!wraps(cpu, insn, bytes.length)) {
    cpu.storeBytes(cpu.operandAddress(insn, bytes.length, true), bytes)
    return
  }
  const offset = effectiveOffset(cpu, insn)
  let from = 0
  const parts = sizes.map((size) => {
    const at = partAddress(cpu, insn, offset, from, size, true)
    cpu.checkWrite(at, size)
    from += size
    return { at, bytes: bytes.subarray(from - size, from) }
  })
  for (const part of parts) cpu.storeBytes(part.at, part.bytes)
}
