/** Seeded instruction bytes: random, made from the opcode tables, and mutated. */
import { LINES } from '../src/decode/compile.ts'
import { AXIS, AXIS_WAYS, parseLine, type Line } from '../src/decode/notation.ts'

export type Random = (below: number) => number

/** xorshift128 (Marsaglia, "Xorshift RNGs", 2003). */
export function createRandom(seed: number): Random {
  let x = seed | 1, y = 0x9e3779b9, z = 0x7f4a7c15, w = 0x1234567
  return (below) => {
    const t = x ^ x << 11
    x = y; y = z; z = w
    w ^= w >>> 19 ^ t ^ t >>> 8
    return (w >>> 0) % below
  }
}

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]
const MANDATORY = [-1, 0x66, 0xf3, 0xf2]
const ESCAPES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]]
/** Longest case; the decoder looks at 15 bytes of it. */
export const CASE_BYTES = 24

/** The lines of the opcode tables (but for the four built-in ones, which are not looked up). */
export const lines: Line[] = LINES.slice(4).map(parseLine)

function pick(random: Random, mask: number, ways: number): number {
  for (;;) {
    const value = random(ways)
    if (mask >> value & 1) return value
  }
}

function fillRandom(random: Random, out: Uint8Array, from: number): void {
  for (let i = from; i < out.length; i++) out[i] = random(256)
}

/** Writes an encoding of a table line, with random prefixes and operands. */
export function encodeLine(random: Random, line: Line, out: Uint8Array): void {
  const { accept, opcodes, space } = line
  let at = 0
  for (let n = random(8) < 5 ? 0 : random(3); n > 0; n--) out[at++] = PREFIXES[random(PREFIXES.length)]
  const prefix = pick(random, accept[AXIS.PREFIX], AXIS_WAYS[AXIS.PREFIX])
  const w = pick(random, accept[AXIS.W], 2)
  const opcode = opcodes[random(opcodes.length)]
  if (space >= 4) {
    const vvvv = random(2) ? 15 : random(16)
    const last = vvvv << 3 | pick(random, accept[AXIS.L], 2) << 2 | prefix
    if (space === 5 && w === 0 && random(2)) {
      out[at++] = 0xc5
      out[at++] = (random(4) ? 0x80 : 0) | last
    } else {
      out[at++] = 0xc4
      out[at++] = (random(2) ? 0xe0 : random(8) << 5) | space & 3
      out[at++] = w << 7 | last
    }
  } else {
    if (accept[AXIS.PREFIX] !== 15 && MANDATORY[prefix] >= 0) out[at++] = MANDATORY[prefix]
    if (w === 1 && accept[AXIS.W] === 2 || random(3) === 0) out[at++] = 0x40 | w << 3 | random(8)
    for (const escape of ESCAPES[space]) out[at++] = escape
  }
  out[at++] = opcode
  fillRandom(random, out, at)
  const mod = pick(random, accept[AXIS.MOD], 2) ? 3 : random(3)
  out[at] = mod << 6 | pick(random, accept[AXIS.REG], 8) << 3 | pick(random, accept[AXIS.RM], 8)
}

/** Fills `out` with the next case. */
export function nextCase(random: Random, out: Uint8Array): void {
  const kind = random(8)
  if (kind === 0) fillRandom(random, out, 0)
  else encodeLine(random, lines[random(lines.length)], out)
  if (kind < 5) return
  const at = random(6)
  if (kind === 5) out[at] ^= 1 << random(8)
  else if (kind === 6) out[at] = random(256)
  else {
    out.copyWithin(1, 0)
    out[0] = PREFIXES[random(PREFIXES.length)]
    for (let n = random(16) === 0 ? random(15) : 0; n > 0; n--) {
      out.copyWithin(1, 0)
      out[0] = PREFIXES[random(PREFIXES.length)]
    }
  }
}
