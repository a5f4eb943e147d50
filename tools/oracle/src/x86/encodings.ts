/** Bytes for every line of the opcode tables, to compare meanings with the real processor. */
import { createInsn, decode, DECODED, LINES, MODE64, OPS, type Insn } from './inside.ts'

export interface Encoding {
  /** The table line it comes from. */
  line: string
  name: string
  memory: boolean
  /**
   * Makes the bytes: registers 0–15 where the form has them; memory is [RBX+disp8]. An immediate is appended by
   * need.
   */
  bytes(reg: number, rm: number, vvvv: number, imm: number, disp: number): number[]
}

interface Parsed {
  line: string, name: string, vex: boolean, prefixes: number[], map: string, opcode: number, plus: boolean
  regField: number, mod: 'any' | 'mem' | 'reg', fixed: number, plusI: boolean, l: number[], w: number[]
  modrm: boolean, vsib: boolean, immediates: number, usesV: boolean
}

const PREFIX: Record<string, number> = { np: 0, '66': 0x66, f3: 0xf3, f2: 0xf2 }

/** Understands as much of the notation as vector and x87 lines use (`decode/notation.ts`). */
function parse(line: string): Parsed {
  const colon = line.indexOf(': ')
  const tokens = line.slice(0, colon).split(' ')
  const [name, operands = '', ...attributes] = line.slice(colon + 2).split(' ')
  const x87 = /^d[89a-f]/.test(tokens[0])
  const p: Parsed = {
    line, name: name, vex: false, prefixes: [], map: '', opcode: -1, plus: false, regField: -1, mod: 'any', fixed: -1,
    plusI: false, l: [0], w: [0], modrm: false, vsib: attributes.includes('vsib'), usesV: false,
    immediates: (operands.match(/\bUb\b|\bIb\b|\bL\b/g) ?? []).length,
  }
  if (/\b[EVWUGPQNMR]/.test(operands)) p.modrm = true
  p.usesV = /\bH/.test(operands)
  if (/y\b/.test(operands) || attributes.includes('size=y') || attributes.includes('src=y')) p.w = [0, 1]
  for (const token of tokens) {
    if (token === 'vex') p.vex = true
    else if (p.map === '' && !x87 && token in PREFIX) p.prefixes.push(PREFIX[token])
    else if (token === '0f' && p.map === '') p.map = '0f'
    else if (token === '0f38' || token === '0f3a') p.map = token
    else if (p.opcode < 0) p.opcode = parseInt(token, 16)
    else if (token.startsWith('/')) p.regField = Number(token[1])
    else if (token === 'mem' || token === 'reg') p.mod = token
    else if (token === 'l0') p.l = [0]
    else if (token === 'l1') p.l = [1]
    else if (token === 'lig') p.l = [0, 1]
    else if (token === 'w0') p.w = [0]
    else if (token === 'w1') p.w = [1]
    else if (/^[c-f][0-9a-f]\+i$/.test(token)) { p.fixed = parseInt(token, 16); p.plusI = true }
    else if (/^[c-f][0-9a-f]$/.test(token)) p.fixed = parseInt(token, 16)
  }
  if (p.vex && !tokens.some(t => /^l0$|^l1$|^lig$/.test(t))) p.l = [0, 1]
  if (/\bM/.test(operands)) p.mod = 'mem'
  if (/\b[UN]\b/.test(operands)) p.mod = 'reg'
  if (p.regField >= 0) p.modrm = true
  if (p.prefixes.length === 0) p.prefixes = [0]
  return p
}

const MAPS: Record<string, number> = { '0f': 1, '0f38': 2, '0f3a': 3 }
const PP: Record<number, number> = { 0: 0, 0x66: 1, 0xf3: 2, 0xf2: 3 }

function emit(p: Parsed, memory: boolean, prefix: number, l: number, w: number): Encoding['bytes'] {
  return (reg, rm, vvvv, imm, disp) => {
    if (p.regField >= 0) reg = p.regField
    const out: number[] = []
    const r = reg >> 3 & 1
    const x = p.vsib ? rm >> 3 & 1 : 0
    const b = memory ? 0 : rm >> 3 & 1
    if (p.vex) {
      out.push(0xc4, (r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | MAPS[p.map],
        w << 7 | ((p.usesV ? vvvv : 0) ^ 15) << 3 | l << 2 | PP[prefix])
    } else {
      if (prefix) out.push(prefix)
      const rex = w << 3 | r << 2 | b
      if (rex && p.fixed < 0) out.push(0x40 | rex)
      if (p.map) out.push(0x0f)
      if (p.map.length > 2) out.push(parseInt(p.map.slice(2), 16))
    }
    out.push(p.opcode)
    if (p.fixed >= 0) out.push(p.fixed + (p.plusI ? rm & 7 : 0))
    else if (p.vsib) out.push(0x44 | (reg & 7) << 3, (imm & 3) << 6 | (rm & 7) << 3 | 3, disp & 0xff)
    else if (p.modrm) {
      if (memory) out.push(0x43 | (reg & 7) << 3, disp & 0xff)
      else out.push(0xc0 | (reg & 7) << 3 | rm & 7)
    }
    if (p.immediates) out.push(imm & 0xff)
    return out
  }
}

/** All encodings whose mnemonic `wanted` accepts: register and memory forms, both lengths, both widths. */
export function encodings(wanted: (name: string) => boolean): Encoding[] {
  const result: Encoding[] = []
  for (const line of LINES as readonly string[]) {
    const p = parse(line)
    if (!wanted(p.name) || line.includes(' no64')) continue
    const forms = p.fixed >= 0 || !p.modrm ? [false] : p.mod === 'any' ? [false, true] : [p.mod === 'mem']
    for (const memory of forms) for (const prefix of p.prefixes) for (const l of p.l) for (const w of p.w) {
      result.push({ line, name: p.name, memory, bytes: emit(p, memory, prefix, l, w) })
    }
  }
  return result
}

/** Decodes in 64-bit mode; undefined when the bytes are no instruction of that name. */
export function decodeAs(name: string, bytes: readonly number[]): Insn | undefined {
  const insn = createInsn()
  const padded = new Uint8Array(32)
  padded.set(bytes)
  decode(padded, 0, bytes.length, MODE64, insn)
  return insn.status === DECODED && OPS[insn.op] === name && insn.len === bytes.length ? insn : undefined
}
