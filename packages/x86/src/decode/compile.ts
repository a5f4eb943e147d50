/**
 * The opcode tables as typed arrays: for each map and opcode the root of a small decision tree whose leaves are forms.
 */
import { AXIS_WAYS, SPACES, parseLine, type Line } from './notation.ts'
import { ONE_BYTE } from './tables-onebyte.ts'
import { TWO_BYTE } from './tables-0f.ts'
import { X87 } from './tables-x87.ts'
import { SSE } from './tables-sse.ts'
import { VEX } from './tables-vex.ts'

/** Forms that the decoder itself chooses: 90 is XCHG, NOP or PAUSE. Their encodings are never looked up. */
const BUILT_IN = ['00: nop', '00: pause'] as const
export const NOP_FORM = 1
export const PAUSE_FORM = 2

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
}

compile()

