/** The decode mode of code: width of the segment, privilege, and which vector instructions may run. */
import { MODE16, MODE32, MODE64 } from '../insn.ts'
import type { CodeWidth } from '../insn.ts'

/** Bits 3:0 hold the width (2, 4 or 8). */
export const MODE_SSE = 0x10
export const MODE_AVX = 0x20
export const MODE_USER = 0x40
/** RDTSC, RDTSCP, PUSHF, POPF and PAUSE are the host's: a supervisor wants to see them. */
export const MODE_TRAPS = 0x80

export const decodeMode = (mode: number): CodeWidth => {
  const width = mode & 15
  return width === MODE64 ? MODE64 : width === MODE32 ? MODE32 : MODE16
}
