/**
 * How the opcode tables are written. One line is one encoding:
 *
 *     '66 0f38 f6: adcx Gy,Ey'         '80 /0: add Eb,Ib lock'        'vex 66 0f 58: addpd V,H,W'
 *      ^encoding   ^mnemonic, operands, attributes
 *
 * **Encoding**, in this order:
 *   - `vex` when the form has a VEX prefix;
 *   - mandatory prefixes: any of `np` (none), `66`, `f3`, `f2`. No token: prefixes do not select the instruction
 *     (66 is then the operand size, F2/F3 are ignored or repeat). Several tokens: any of these, anything else is #UD.
 *     F2 and F3 go before 66; of F2 and F3 the later one counts;
 *   - map: nothing (one-byte opcodes), `0f`, `0f38` or `0f3a`;
 *   - opcode: `04`, a range `18-1f`, `50+r` (register in the low three bits), `70+c` (condition in the low four bits);
 *   - ModRM: `/n` (the reg field), `mem` or `reg` (mod ≠ 3 or = 3), a whole byte `c8`, or `c0+i` (ST(i) in the low
 *     bits);
 *   - `m64` or `no64`: only in, or only outside, 64-bit mode;
 *   - `l0`, `l1`, `w0`, `w1`: VEX.L and VEX.W (or REX.W) must be so; `lig`: VEX.L is ignored (scalar instructions).
 *   What no line claims is #UD; two lines that claim the same encoding are an error when the tables are loaded.
 *
 * **Operands**, in Intel order, separated by commas: a letter (SDM vol. 2, appendix A.2.1) and a width.
 *   - `E` general register or memory by ModRM; `G` register by reg; `Z` register by the opcode; `B` register by
 *     VEX.vvvv; `R` register by rm whatever mod says (MOV CR); `M` memory only; `S` `C` `D` segment, control, debug
 *     register by reg;
 *   - `V` XMM by reg; `W` XMM or memory; `U` XMM by rm, registers only; `H` XMM by vvvv; `L` XMM by imm8[7:4];
 *   - `P` MMX by reg; `Q` MMX or memory; `N` MMX by rm, registers only;
 *   - `Ib` imm8 sign-extended; `Ub` imm8 zero-extended; `Iw` imm16 zero-extended; `Iz` imm16/32 sign-extended;
 *     `Iv` imm16/32/64; `I2` a second imm8; `Jb`, `Jz` branch distance; `A` far pointer; `O` moffs;
 *   - by name: `AL AX CL DX 1 ES CS SS DS FS GS ST0 STi` (AX means the accumulator of the width `size=` says).
 *
 *   Widths: `b w d q t o` = 1 2 4 8 10 16; `v` operand size (2, 4, 8); `z` the same but 4 for 8; `y` 4, or 8 with W;
 *   `p` 8 in 64-bit mode, else 4; `x` the vector (16, or 32 with VEX.L; what V, W, U, H mean alone), `h f e` a half, a
 *   fourth, an eighth of it. `P Q N` alone mean `q`.
 *
 *   `Insn.size` is the width of the first operand that has one; but when that is memory or part of a vector
 *   (`Mq`, `Wd`, `Vh`) and the instruction has vector registers, `size` is the vector. `Insn.size2` is the first other
 *   width among the operands. A memory operand is thus `size2` bytes wide when that is not 0, else `size`; but the
 *   instruction itself knows how wide an operand `M` without a width is (far pointers, XSAVE areas …).
 *
 * **Attributes**: `lock` (LOCK may stand before the memory form); `d64` (operand size 64 by default in 64-bit mode);
 * `f64` (always 64 there: 66 is ignored); `rep` (F2/F3 repeat); `size=w`, `src=w` (set `size`, `size2` by hand; with
 * `size=` alone `size2` is 0); `vsib` (the index is a vector register; all registers must differ); `nocs` (CS is #UD).
 */

/** The mnemonic of one table line. */
export type MnemonicOf<Line extends string> = Line extends `${string}: ${infer Rest}`
  ? Rest extends `${infer Name} ${string}` ? Name : Rest
  : never

/** How one operand is found. Codes below `OPERAND.IB` never read bytes behind ModRM. */
export const OPERAND = {
  NONE: 0, E: 1, EB: 2, G: 3, GB: 4, Z: 5, ZB: 6, B: 7, R: 8, M: 9, S: 10, C: 11, D: 12,
  V: 13, W: 14, H: 15, P: 16, Q: 17, ACC: 18, CL: 19, DX: 20, ONE: 21, SEG: 22, ST0: 28, STI: 29,
  IB: 30, UB: 31, IW: 32, IZ: 33, IV: 34, I2: 35, JB: 36, JZ: 37, A: 38, O: 39, L: 40,
} as const

/** Widths, as indices into the table that `widths.ts` builds. */
export const WIDTH_CODES = '0bwdqtovzypxhfe6'

/** Properties of a form (bits). */
export const FORM = {
  MODRM: 1, REG_ONLY: 2, LOCK: 4, D64: 8, F64: 16, REP: 32, VVVV: 64, VSIB: 128, NOCS: 256, CC: 512, LIG: 1024,
  CHECKED: 2048,
} as const

/** What chooses among the lines of one opcode, and how many ways it goes. */
export const AXIS = { MODE: 0, PREFIX: 1, REG: 2, MOD: 3, RM: 4, L: 5, W: 6 } as const
export const AXIS_WAYS = [2, 4, 8, 2, 8, 2, 2] as const

/** Opcode maps: legacy 0–3, VEX 4–7 (map numbers as in VEX.mmmmm). */
export const SPACES = 8

/** One parsed table line. */
export interface Line {
  text: string
  space: number
  opcodes: number[]
  /** One bit per accepted value of each axis, in the order of `AXIS`. */
  accept: number[]
  name: string
  operands: number[]
  size: number
  size2: number
  flags: number
}

const FIXED: Record<string, number> = {
  AL: OPERAND.ACC, AX: OPERAND.ACC, CL: OPERAND.CL, DX: OPERAND.DX, 1: OPERAND.ONE, ST0: OPERAND.ST0, STi: OPERAND.STI,
  ES: OPERAND.SEG, CS: OPERAND.SEG + 1, SS: OPERAND.SEG + 2, DS: OPERAND.SEG + 3,
  FS: OPERAND.SEG + 4, GS: OPERAND.SEG + 5,
  Ib: OPERAND.IB, Ub: OPERAND.UB, Iw: OPERAND.IW, Iz: OPERAND.IZ, Iv: OPERAND.IV, I2: OPERAND.I2,
  Jb: OPERAND.JB, Jz: OPERAND.JZ, A: OPERAND.A,
}
const LETTERS: Record<string, number> = {
  E: OPERAND.E, G: OPERAND.G, Z: OPERAND.Z, B: OPERAND.B, R: OPERAND.R, M: OPERAND.M, S: OPERAND.S, C: OPERAND.C,
  D: OPERAND.D, V: OPERAND.V, W: OPERAND.W, U: OPERAND.W, H: OPERAND.H, L: OPERAND.L, P: OPERAND.P, Q: OPERAND.Q,
  N: OPERAND.Q, O: OPERAND.O,
}
const BYTE_FORMS: Record<string, number> = { Eb: OPERAND.EB, Gb: OPERAND.GB, Zb: OPERAND.ZB }
const DEFAULT_WIDTH: Record<string, string> = { V: 'x', W: 'x', U: 'x', H: 'x', L: 'x', P: 'q', Q: 'q', N: 'q' }
const ATTRIBUTES: Record<string, number> = {
  lock: FORM.LOCK, d64: FORM.D64, f64: FORM.F64, rep: FORM.REP,
  vsib: FORM.VSIB | FORM.CHECKED, nocs: FORM.NOCS | FORM.CHECKED,
}
const MAPS: Record<string, number> = { '0f': 1, '0f38': 2, '0f3a': 3 }
const PREFIXES = ['np', '66', 'f3', 'f2']

function fail(text: string, expected: string): never {
  throw new Error(`opcode table: "${text}": ${expected}`)
}

/** Reads one line; throws on a line that does not follow the notation (a mistake in the tables, never a guest's). */
export function parseLine(text: string): Line {
  const [encoding, meaning, more] = text.split(': ')
  if (meaning === undefined || more !== undefined) fail(text, 'expected "encoding: mnemonic …"')
  const line: Line = {
    text, space: 0, opcodes: [], accept: AXIS_WAYS.map((ways) => (1 << ways) - 1),
    name: '', operands: [], size: 0, size2: 0, flags: 0,
  }
  parseEncoding(line, encoding.split(' '))
  parseMeaning(line, meaning.split(' '))
  return line
}

function parseEncoding(line: Line, tokens: string[]): void {
  let at = 0
  if (tokens[at] === 'vex') { line.space = 4; at++ }
  let prefixes = 0
  for (; PREFIXES.includes(tokens[at]); at++) prefixes |= 1 << PREFIXES.indexOf(tokens[at])
  if (prefixes !== 0) line.accept[AXIS.PREFIX] = prefixes
  if (tokens[at] in MAPS && at + 1 < tokens.length) line.space += MAPS[tokens[at++]]
  parseOpcode(line, tokens[at++])
  for (; at < tokens.length; at++) parseConstraint(line, tokens[at])
}

function parseOpcode(line: Line, token: string): void {
  const match = /^([0-9a-f]{2})(?:-([0-9a-f]{2})|\+([rc]))?$/.exec(token)
  if (!match) fail(line.text, `"${token}" is no opcode`)
  const first = Number.parseInt(match[1], 16)
  let last = match[2] === undefined ? first : Number.parseInt(match[2], 16)
  if (match[3] === 'r') last = first + 7
  if (match[3] === 'c') { last = first + 15; line.flags |= FORM.CC }
  for (let opcode = first; opcode <= last; opcode++) line.opcodes.push(opcode)
}

function parseConstraint(line: Line, token: string): void {
  const { accept } = line
  const byte = /^([0-9a-f]{2})(\+i)?$/.exec(token)
  if (byte) {
    const value = Number.parseInt(byte[1], 16)
    if (value < 0xc0) fail(line.text, 'a whole ModRM byte must have mod = 3')
    accept[AXIS.MOD] = 2
    accept[AXIS.REG] = 1 << (value >> 3 & 7)
    if (byte[2] === undefined) accept[AXIS.RM] = 1 << (value & 7)
  } else if (/^\/[0-7]$/.test(token)) accept[AXIS.REG] = 1 << Number(token[1])
  else if (token === 'mem') accept[AXIS.MOD] = 1
  else if (token === 'reg') accept[AXIS.MOD] = 2
  else if (token === 'm64') accept[AXIS.MODE] = 2
  else if (token === 'no64') accept[AXIS.MODE] = 1
  else if (token === 'l0' || token === 'l1') accept[AXIS.L] = token === 'l1' ? 2 : 1
  else if (token === 'w0' || token === 'w1') accept[AXIS.W] = token === 'w1' ? 2 : 1
  else if (token === 'lig') line.flags |= FORM.LIG
  else fail(line.text, `"${token}" is no constraint`)
  if (accept[AXIS.MOD] !== 3 || accept[AXIS.REG] !== 255) line.flags |= FORM.MODRM
}

function parseMeaning(line: Line, tokens: string[]): void {
  line.name = tokens[0]
  let at = 1
  let given = false
  if (at < tokens.length && !(tokens[at] in ATTRIBUTES) && !tokens[at].includes('=')) parseOperands(line, tokens[at++])
  for (; at < tokens.length; at++) {
    const [key, width] = tokens[at].split('=')
    if (key in ATTRIBUTES) line.flags |= ATTRIBUTES[key]
    else if (key === 'size' && width !== undefined) {
      line.size = widthCode(line, width)
      if (!given) line.size2 = 0
      given = true
    } else if (key === 'src' && width !== undefined) {
      line.size2 = widthCode(line, width)
      given = true
    } else fail(line.text, `"${tokens[at]}" is no attribute`)
  }
}

function widthCode(line: Line, width: string): number {
  const code = width.length === 1 ? WIDTH_CODES.indexOf(width) : -1
  return code >= 0 ? code : fail(line.text, `"${width}" is no width`)
}

function parseOperands(line: Line, list: string): void {
  const widths: string[] = []
  let vector = false
  let first = ''
  for (const token of list.split(',')) {
    const fixed = FIXED[token]
    if (fixed !== undefined) {
      line.operands.push(fixed)
      if (fixed === OPERAND.STI) line.flags |= FORM.MODRM
      if (fixed === OPERAND.ST0 || fixed === OPERAND.STI) widths.push('t')
      continue
    }
    const letter = token[0]
    if (!(letter in LETTERS) || token.length > 2) fail(line.text, `"${token}" is no operand`)
    line.operands.push(BYTE_FORMS[token] ?? LETTERS[letter])
    constrainByOperand(line, letter)
    const width = token[1] ?? DEFAULT_WIDTH[letter]
    if (width === undefined) continue
    if ('VWUHL'.includes(letter)) vector = true
    if (first === '') first = letter
    widths.push(width)
  }
  if (vector && 'MVWUHL'.includes(first)) widths.unshift('x')
  line.size = widths.length === 0 ? 0 : widthCode(line, widths[0])
  const other = widths.find((width) => width !== widths[0])
  line.size2 = other === undefined ? 0 : widthCode(line, other)
}

/** Letters that say something about ModRM.mod, VEX.vvvv or checks after decoding. */
function constrainByOperand(line: Line, letter: string): void {
  if (!'ZBHLO'.includes(letter)) line.flags |= FORM.MODRM
  if (letter === 'M') line.accept[AXIS.MOD] &= 1
  if (letter === 'U' || letter === 'N') line.accept[AXIS.MOD] &= 2
  if (letter === 'R') line.flags |= FORM.REG_ONLY
  if (letter === 'B' || letter === 'H') line.flags |= FORM.VVVV
  if ('SCD'.includes(letter)) line.flags |= FORM.CHECKED
}
