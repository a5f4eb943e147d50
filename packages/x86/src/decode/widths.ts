/** Widths that depend on the operand size, W, L and the mode, as one table. */
import { WIDTH_CODES } from './notation.ts'

/** Bits of a context (low part of an index of `WIDTHS`): operand size (0: 2, 1: 4, 2: 8) in two, W, 64-bit mode, L. */
export const CONTEXT_W = 4
export const CONTEXT_64 = 8
export const CONTEXT_L = 16
const CONTEXTS = 32

const FIXED: Record<string, number> = { 0: 0, b: 1, w: 2, d: 4, q: 8, t: 10, o: 16, 6: 64 }

function widthIn(code: string, context: number): number {
  const opSize = 2 << (context & 3)
  const vector = context & CONTEXT_L ? 32 : 16
  switch (code) {
    case 'v': return opSize
    case 'z': return Math.min(opSize, 4)
    case 'y': return context & CONTEXT_W && context & CONTEXT_64 ? 8 : 4
    case 'p': return context & CONTEXT_64 ? 8 : 4
    case 'x': return vector
    case 'h': return vector / 2
    case 'f': return vector / 4
    case 'e': return vector / 8
    default: return FIXED[code]
  }
}

/** Bytes by `width code << 5 | context`. */
export const WIDTHS = Uint8Array.from(
  { length: WIDTH_CODES.length * CONTEXTS },
  (_, index) => widthIn(WIDTH_CODES[index >> 5], index & CONTEXTS - 1),
)
