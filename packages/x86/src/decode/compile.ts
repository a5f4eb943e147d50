/**
 * The opcode tables as typed arrays: for each map and opcode the root of a small decision tree whose leaves are forms.
 */
import { AXIS_WAYS, SPACES, parseLine, type Line } from './notation.ts'
import { ONE_BYTE } from './tables-onebyte.ts'
import { TWO_BYTE } from './tables-0f.ts'
import { X87 } from './tables-x87.ts'
import { SSE } from './tables-sse.ts'
import { VEX } from './tables-vex.ts'

/**
 * Forms that the decoder itself chooses; their encodings are never looked up. 90 is XCHG, NOP or PAUSE; the others are
 * the shapes of opcodes that mean nothing.
 */
const BUILT_IN = ['00: nop', '00: pause', '00: ud Eb', '00: ud Eb,Ub'] as const
export const NOP_FORM = 1
export const PAUSE_FORM = 2
const MODRM_SHAPE = 3
const MODRM_IMM8_SHAPE = 4

/** Every table line, in the order that numbers the mnemonics. */
export const LINES = [...BUILT_IN, ...ONE_BYTE, ...TWO_BYTE, ...X87, ...SSE, ...VEX] as const

/** Mnemonics by number; 0 is 'invalid'. */
export const names: string[] = ['invalid']

/** Int32s per form: operand codes (a byte each); op | flags << 16; size code | size2 code << 8. */
export const FORM_WORDS = 4

/** `roots[space << 8 | opcode]`: a tree. A tree ≥ 0 is a form (0 is invalid); −n is a branch at `branches[n]`. */
export const roots = new Int16Array(SPACES << 8)
/** A branch: its axis, then one tree for each value of the axis. */
export let branches: Int16Array = new Int16Array(0)
export let forms: Int32Array = new Int32Array(0)
/**
 * A form with ModRM and immediates as an undefined encoding at that root has them, or 0 when it ends at the opcode. The
 * length of an instruction depends on its map and opcode alone and is found out before #UD: an undefined encoding may
 * run into a page that is not present, or over 15 bytes.
 */
export const shapes = new Int16Array(SPACES << 8)

function compileForm(line: Line, at: number): void {
  let op = names.indexOf(line.name)
  if (op < 0) op = names.push(line.name) - 1
  let codes = 0
  line.operands.forEach((code, index) => { codes |= code << (index * 8) })
  if (line.operands.length > 4) throw new Error(`opcode table: "${line.text}": more than four operands`)
  forms[at * FORM_WORDS] = codes
  forms[at * FORM_WORDS + 1] = op | line.flags << 16
  forms[at * FORM_WORDS + 2] = line.size | line.size2 << 8
}

interface Candidate { line: Line, form: number }

/** The tree that tells `candidates` apart, looking at axis `axis` and those behind it. */
function buildTree(candidates: Candidate[], axis: number, out: number[], seen: Map<string, number>): number {
  if (candidates.length === 0) return 0
  if (axis === AXIS_WAYS.length) {
    const [first, second] = candidates
    if (second !== undefined) throw new Error(`opcode table: "${first.line.text}" and "${second.line.text}" overlap`)
    return candidates[0].form
  }
  const all = (1 << AXIS_WAYS[axis]) - 1
  if (candidates.every(({ line }) => line.accept[axis] === all)) return buildTree(candidates, axis + 1, out, seen)
  const ways: number[] = []
  for (let value = 0; value < AXIS_WAYS[axis]; value++) {
    ways.push(buildTree(candidates.filter(({ line }) => line.accept[axis] >> value & 1), axis + 1, out, seen))
  }
  if (ways.every((way) => way === ways[0])) return ways[0]
  const key = `${axis}:${ways.join()}`
  const known = seen.get(key)
  if (known !== undefined) return known
  const at = out.length
  out.push(axis, ...ways)
  seen.set(key, -at)
  return -at
}

function compile(): void {
  const lines = LINES.map(parseLine)
  forms = new Int32Array((lines.length + 1) * FORM_WORDS)
  const byOpcode: Candidate[][] = Array.from(roots, () => [])
  lines.forEach((line, index) => {
    const form = index + 1
    compileForm(line, form)
    if (index < BUILT_IN.length) return
    for (const opcode of line.opcodes) byOpcode[line.space << 8 | opcode].push({ line, form })
  })
  const out = [0]
  const seen = new Map<string, number>()
  byOpcode.forEach((candidates, slot) => { roots[slot] = buildTree(candidates, 0, out, seen) })
  branches = Int16Array.from(out)
  byOpcode.forEach((candidates, slot) => { shapes[slot] = candidates[0]?.form ?? emptyShape(slot) })
  // VEX map 1 is as long as the legacy map where it has nothing of its own.
  for (let opcode = 0; opcode < 256; opcode++) {
    if (byOpcode[0x500 | opcode].length === 0 && opcode >> 3 !== 7) shapes[0x500 | opcode] = shapes[0x100 | opcode]
  }
}

/** Shapes of opcodes without a line, as tried on a processor (Sapphire Rapids). */
function emptyShape(slot: number): number {
  const opcode = slot & 255
  switch (slot >> 8) {
    case 1: return opcode === 0x39 || opcode >= 0x3b && opcode < 0x40 || opcode >= 0x78 ? MODRM_SHAPE : 0
    case 2: case 6: return MODRM_SHAPE
    case 3: case 7: return MODRM_IMM8_SHAPE
    default: return 0
  }
}

compile()

