import type { IoHandlers } from '@cofferdam/memory'

/** A device whose registers are bytes. */
export interface ByteRegisters {
  read(offset: number): number
  write(offset: number, value: number): void
}

/** Puts byte registers on a bus: wider accesses touch successive registers, lowest first, as on the ISA bus. */
export function byteHandlers(registers: ByteRegisters): IoHandlers {
  return {
    read(offset, size) {
      if (size === 1) return registers.read(offset) & 0xff
      let value = 0
      for (let i = 0; i < size; i++) value |= (registers.read(offset + i) & 0xff) << (8 * i)
      return value >>> 0
    },
    write(offset, size, value) {
      if (size === 1) { registers.write(offset, value & 0xff); return }
      for (let i = 0; i < size; i++) registers.write(offset + i, (value >>> (8 * i)) & 0xff)
    },
  }
}

/** A device whose registers are 32 bits wide, aligned, and may be read and written in parts. */
export interface WordRegisters {
  /** `offset` is a multiple of 4. */
  read(offset: number): number
  /** Writes `value` under `mask`: bits outside the mask were not written. */
  write(offset: number, value: number, mask: number): void
}

const partMask = (bits: number): number => (bits >= 32 ? 0xffff_ffff : 2 ** bits - 1)

/** Puts 32-bit registers on a bus: narrow accesses reach a part, accesses across a boundary reach both. */
export function wordHandlers(registers: WordRegisters): IoHandlers {
  return {
    read(offset, size) {
      const shift = (offset & 3) * 8
      const base = offset & ~3
      let value = registers.read(base) >>> shift
      const low = 32 - shift
      if (size * 8 > low) value = (value | (registers.read(base + 4) << low)) >>> 0
      return (value & partMask(size * 8)) >>> 0
    },
    write(offset, size, value) {
      const shift = (offset & 3) * 8
      const base = offset & ~3
      const mask = partMask(size * 8)
      registers.write(base, (value << shift) >>> 0, (mask << shift) >>> 0)
      const low = 32 - shift
      if (size * 8 > low) registers.write(base + 4, value >>> low, mask >>> low)
    },
  }
}

/** Merges a write under a mask into an old value. */
export const merge = (old: number, value: number, mask: number): number => ((old & ~mask) | (value & mask)) >>> 0
