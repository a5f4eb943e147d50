/** Programmable attribute map: who answers between C0000h and 1 MiB (data sheet 316966, §5.1.17–23). */

/** A segment of the map. */
export interface PamSegment {
  readonly start: number
  readonly length: number
  /** Reads reach RAM; otherwise the ROM behind the LPC bridge. */
  readonly read: boolean
  /** Writes reach RAM; otherwise they are lost in the ROM. */
  readonly write: boolean
}

/** Offset of PAM0 in the host bridge, and how many there are. */
export const PAM = { FIRST: 0x90, COUNT: 7 } as const

const READ = 1
const WRITE = 2

const segment = (start: number, length: number, bits: number): PamSegment =>
  ({ start, length, read: (bits & READ) !== 0, write: (bits & WRITE) !== 0 })

/** What the seven registers say: PAM0 holds F0000h in its high half, the others two segments of 16 KiB each. */
export function pamSegments(registers: readonly number[]): PamSegment[] {
  return registers.flatMap((value, i) => {
    if (i === 0) return [segment(0xf_0000, 0x1_0000, value >> 4)]
    const start = 0xc_0000 + (i - 1) * 0x8000
    return [segment(start, 0x4000, value), segment(start + 0x4000, 0x4000, value >> 4)]
  })
}
