/** Base address registers. Source: PCI Local Bus Specification 3.0, section 6.2.5.1. */
import type { IoHandlers } from '@cofferdam/memory'
import type { Placement } from './mapper.ts'

/** One base address register; a 64-bit one takes the next index too. */
export interface BarSpec {
  /** 0–5. */
  readonly index: number
  readonly kind: 'io' | 'memory32' | 'memory64'
  /** A power of two: at least 4 (I/O, at most 256) or 16 (memory). */
  readonly size: number
  readonly prefetchable?: boolean
  readonly handlers: IoHandlers
}

/** @throws Error for a BAR that cannot be (a bug of the device). */
export function checkBars(name: string, bars: readonly BarSpec[]): void {
  const taken = new Set<number>()
  for (const bar of bars) {
    const least = bar.kind === 'io' ? 4 : 16
    if (bar.size < least || Math.log2(bar.size) % 1 !== 0) throw new Error(`${name}: BAR ${bar.index} has a bad size`)
    for (const index of bar.kind === 'memory64' ? [bar.index, bar.index + 1] : [bar.index]) {
      if (index < 0 || index > 5 || taken.has(index)) throw new Error(`${name}: BAR ${index} is taken or not there`)
      taken.add(index)
    }
  }
}

/** The fixed and the writable bits of a BAR's words: writing ones and reading back tells the size. */
export function barBits(bar: BarSpec): { fixed: number[]; writable: number[] } {
  const address = (bits: number): number => (bits >>> 0)
  if (bar.kind === 'io') return { fixed: [1], writable: [address(0xffff_fffc & -bar.size)] }
  const flags = (bar.kind === 'memory64' ? 4 : 0) | (bar.prefetchable ? 8 : 0)
  const low = bar.size >= 2 ** 32 ? 0 : address(0xffff_fff0 & -bar.size)
  if (bar.kind === 'memory32') return { fixed: [flags], writable: [low] }
  const high = bar.size > 2 ** 32 ? address(-(bar.size / 2 ** 32)) : 0xffff_ffff
  return { fixed: [flags, 0], writable: [low, high] }
}

/** Where a BAR is, given the command register; undefined while its decoding is off, or at 0 where no BAR was placed. */
export function placementOfBar(bar: BarSpec, command: number, low: number, high: number): Placement | undefined {
  const enable = bar.kind === 'io' ? 1 : 2
  if ((command & enable) === 0) return undefined
  const start = bar.kind === 'io' ? (low & 0xffff_fffc) >>> 0 : ((low & 0xffff_fff0) >>> 0) + high * 2 ** 32
  if (start === 0) return undefined
  return { space: bar.kind === 'io' ? 'ports' : 'memory', start, length: bar.size }
}
