/** What a PC's CMOS memory says of its RAM (QEMU hw/i386/pc.c; Ralf Brown's CMOS list). */
import { PC } from '../memory-map.ts'

const KIB = 1024
const UNIT = 64 * KIB

/** Pairs of register and value, low byte first. */
const word = (at: number, value: number): [number, number][] => [[at, value & 0xff], [at + 1, value >> 8 & 0xff]]

/**
 * CMOS registers that tell of memory: base memory, extended memory to 64 MiB, memory above 16 MiB below 4 GiB, memory
 * above 4 GiB.
 * @param ram - ranges of RAM
 */
export function memoryCmos(ram: readonly { readonly start: number, readonly length: number }[]): [number, number][] {
  const ends = ram.filter((r) => r.start < PC.fourGiB).map((r) => Math.min(PC.fourGiB, r.start + r.length))
  const low = Math.max(0, ...ends)
  const high = ram.reduce((sum, r) => sum + Math.max(0, r.start + r.length - Math.max(r.start, PC.fourGiB)), 0)
  const extended = Math.min(0xffff, Math.max(0, low - PC.highMemory) / KIB)
  const above16 = Math.min(0xffff, Math.max(0, low - 16 * 2 ** 20) / UNIT)
  const above4G = Math.min(0xff_ffff, high / UNIT)
  return [
    ...word(0x15, 640), ...word(0x17, extended), ...word(0x30, extended), ...word(0x34, above16),
    ...word(0x5b, above4G), [0x5d, Math.floor(above4G / 0x1_0000)],
  ]
}
