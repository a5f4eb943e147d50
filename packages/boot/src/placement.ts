/** Where a boot loader puts things: every range is claimed, and two that meet are an error with both names. */
import { E820Type } from '@cofferdam/spec'
import { BootError, bytesText, hex } from './error.ts'
import type { MemoryRegion } from './memory-map.ts'

/** A range that the loader has filled. */
export interface Placed {
  readonly name: string
  readonly start: number
  readonly length: number
}

/** Writes guest-physical memory. The bytes are not kept. */
export type WriteMemory = (address: number, bytes: Uint8Array) => void

/** Finds room in a machine's RAM, and remembers what lies where. */
export interface Placement {
  readonly placed: readonly Placed[]
  /** Claims `length` bytes at `start` and writes `bytes` there. @throws BootError when taken */
  put(name: string, start: number, bytes: Uint8Array, length?: number): void
  /** Claims without writing. @throws BootError when taken */
  claim(name: string, start: number, length: number): void
  /** Whether the range is RAM and free. */
  free(start: number, length: number): boolean
  /** Highest aligned start in `[from, to)` where `length` bytes of RAM are free, or undefined. */
  highest(length: number, from: number, to: number, alignment: number): number | undefined
  /** Lowest likewise. */
  lowest(length: number, from: number, to: number, alignment: number): number | undefined
}

/** Starts with nothing placed; `map` says where RAM is, and `write` puts bytes there. */
export function createPlacement(map: readonly MemoryRegion[], write: WriteMemory): Placement {
  const placed: Placed[] = []
  const collision = (start: number, length: number): Placed | undefined =>
    placed.find((p) => start < p.start + p.length && p.start < start + length)
  const usable = (start: number, length: number): boolean => map.some((r) =>
    (r.type === E820Type.RAM || r.type === E820Type.ACPI) && start >= r.start && start + length <= r.start + r.length)
  const free = (start: number, length: number): boolean =>
    usable(start, length) && collision(start, length) === undefined

  const claim = (name: string, start: number, length: number): void => {
    const other = collision(start, length)
    if (other !== undefined) {
      throw new BootError(name, 'placement',
        `${hex(start)} + ${bytesText(length)} meets ${other.name} at ${hex(other.start)}`)
    }
    if (!usable(start, length)) {
      throw new BootError(name, 'placement', `${bytesText(length)} at ${hex(start)} lie outside the machine's memory`)
    }
    placed.push({ name, start, length })
  }

  /** Starts worth trying: the ends of RAM and of what is placed already. */
  const candidates = (length: number, from: number, to: number, alignment: number, top: boolean): number[] => {
    const down = (a: number) => Math.floor(a / alignment) * alignment
    const up = (a: number) => Math.ceil(a / alignment) * alignment
    const ram = map.filter((r) => r.type === E820Type.RAM)
    const raw = top
      ? [to, ...ram.map((r) => Math.min(to, r.start + r.length)), ...placed.map((p) => p.start)]
          .map((end) => down(end - length))
      : [from, ...ram.map((r) => Math.max(from, r.start)), ...placed.map((p) => p.start + p.length)].map(up)
    return raw.filter((s) => s >= from && s + length <= to && free(s, length))
  }

  return {
    placed,
    claim,
    free,
    put(name, start, bytes, length = bytes.length) {
      claim(name, start, length)
      write(start, bytes)
    },
    highest(length, from, to, alignment) {
      const all = candidates(length, from, to, alignment, true)
      return all.length === 0 ? undefined : Math.max(...all)
    },
    lowest(length, from, to, alignment) {
      const all = candidates(length, from, to, alignment, false)
      return all.length === 0 ? undefined : Math.min(...all)
    },
  }
}
