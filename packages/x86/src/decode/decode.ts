/**
 * The instruction decoder: prefixes, opcode, form; `operands.ts` and `modrm.ts` do the rest. What an instruction is
 * comes from the tables alone (`notation.ts` says how to read and extend them).
 *
 * Sources: SDM vol. 2, chapter 2 (formats, REX, VEX) and appendix A.
 */
import {
  DECODED, INVALID, MODE16, MODE32, MODE64, TOO_LONG, TRUNCATED, type CodeWidth, type Insn,
} from '../insn.ts'
import { branches, forms, NOP_FORM, PAUSE_FORM, roots, shapes } from './compile.ts'
import { createCursor } from './cursor.ts'
import { parseMemory } from './modrm.ts'
import { AXIS, FORM } from './notation.ts'
import { operand } from './operands.ts'
import { checkForm } from './checks.ts'
import { CONTEXT_64, CONTEXT_L, CONTEXT_W, WIDTHS } from './widths.ts'

/** SDM vol. 2, section 2.3.11: an instruction of more than 15 bytes is #GP(0). */
const MAX_LENGTH = 15
const DS = 3

/** An empty record for `decode` to fill. */
export function createInsn(): Insn {
  return {
    status: INVALID, op: 0, len: 0, size: 0, size2: 0, addrSize: 0, mode: MODE64,
    kind0: 0, kind1: 0, kind2: 0, kind3: 0, reg0: 0, reg1: 0, reg2: 0, reg3: 0,
    base: -1, index: -1, scale: 0, disp: 0, dispHi: 0, ripRelative: 0, absolute64: 0, seg: DS, segOverride: -1,
    immLo: 0, immHi: 0, imm2: 0, rel: 0, cc: 0, lock: 0, rep: 0, vex: 0,
  }
}

function reset(out: Insn): void {
  out.op = 0
  out.size = 0
  out.size2 = 0
  out.kind0 = 0
  out.kind1 = 0
  out.kind2 = 0
  out.kind3 = 0
  out.reg0 = 0
  out.reg1 = 0
  out.reg2 = 0
  out.reg3 = 0
  out.base = -1
  out.index = -1
  out.scale = 0
  out.disp = 0
  out.dispHi = 0
  out.ripRelative = 0
  out.absolute64 = 0
  out.seg = DS
  out.segOverride = -1
  out.immLo = 0
  out.immHi = 0
  out.imm2 = 0
  out.rel = 0
  out.cc = 0
  out.lock = 0
  out.rep = 0
  out.vex = 0
}

/** Kinds of bytes before the opcode: 0 opcode, 1–6 segment + 1, then the others. */
const P_66 = 7
const P_67 = 8
const P_LOCK = 9
const P_REPEAT = 10
const P_REX = 11

/** By byte, and byte + 256 for 64-bit mode. */
const PREFIX_KINDS = new Uint8Array(512)
for (const at of [0, 256]) {
  for (const [seg, byte] of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].entries()) PREFIX_KINDS[at + byte] = seg + 1
  PREFIX_KINDS[at + 0x66] = P_66
  PREFIX_KINDS[at + 0x67] = P_67
  PREFIX_KINDS[at + 0xf0] = P_LOCK
  PREFIX_KINDS[at + 0xf2] = P_REPEAT
  PREFIX_KINDS[at + 0xf3] = P_REPEAT
}
PREFIX_KINDS.fill(P_REX, 256 + 0x40, 256 + 0x50)

const c = createCursor()

/**
 * Decodes the instruction at `bytes[offset]` into `out`; bytes up to `end` (exclusive) are there to read. `width` is
 * that of the code segment. Never throws; `out.status` says what the bytes are. `out.len` counts the bytes of the
 * instruction, also when `out.status` is `INVALID`; when `TRUNCATED` those that were there. Only `status`, `len` and
 * `mode` mean anything when it is not `DECODED`.
 *
 * VEX in real and virtual-8086 mode, feature bits and privilege are for the caller to check.
 */
export function decode(bytes: Uint8Array, offset: number, end: number, width: CodeWidth, out: Insn): void {
  reset(out)
  const limit = end - offset > MAX_LENGTH ? offset + MAX_LENGTH : end
  c.bytes = bytes
  const status = decodePrefixes(offset, limit, width, out)
  if (c.pos > limit) {
    out.op = 0
    out.len = limit - offset
    out.status = out.len === MAX_LENGTH ? TOO_LONG : TRUNCATED
    return
  }
  out.len = c.pos - offset
  out.status = status
  if (status !== DECODED) out.op = 0
}

type Status = Insn['status']

function decodePrefixes(offset: number, limit: number, width: CodeWidth, out: Insn): Status {
  const { bytes } = c
  const mode64 = width === MODE64 ? 1 : 0
  const kinds = mode64 << 8
  let pos = offset
  let opcode = 0
  let rex = 0
  let prefix66 = 0
  let prefix67 = 0
  let repeat = 0
  for (;;) {
    // One past the limit: the opcode is missing.
    if (pos >= limit) { c.pos = limit + 1; return INVALID }
    opcode = bytes[pos++]
    const kind = PREFIX_KINDS[kinds | opcode]
    if (kind === 0) break
    if (kind === P_REX) { rex = opcode; continue }
    // REX counts only directly before the opcode (SDM vol. 2, section 2.2.1).
    rex = 0
    if (kind === P_66) prefix66 = 1
    else if (kind === P_67) prefix67 = 1
    else if (kind === P_LOCK) out.lock = 1
    else if (kind === P_REPEAT) repeat = opcode
    // In 64-bit mode ES, CS, SS and DS prefixes do nothing, not even undo FS or GS.
    else if (mode64 === 0 || kind >= 5) out.seg = out.segOverride = kind - 1
  }
  c.pos = pos
  c.mode64 = mode64
  c.prefix66 = prefix66
  c.prefix = repeat === 0 ? prefix66 : repeat === 0xf3 ? 2 : 3
  c.hasRex = rex === 0 ? 0 : 1
  c.w = rex >> 3 & 1
  c.rexR = rex << 1 & 8
  c.rexX = rex << 2 & 8
  c.rexB = rex << 3 & 8
  c.l = 0
  c.vvvv = 0
  out.mode = width
  out.addrSize = mode64 ? 8 >> prefix67 : (width === MODE16) === (prefix67 === 0) ? 2 : 4
  return decodeOpcode(opcode, repeat, out)
}

function decodeOpcode(opcode: number, repeat: number, out: Insn): Status {
  if (opcode === 0x0f) return decodeEscape(repeat, out)
  if (opcode === 0xc4 || opcode === 0xc5) {
    // Outside 64-bit mode C4 and C5 with a memory operand are LES and LDS.
    if (c.mode64 === 1 || c.bytes[c.pos] >= 0xc0) {
      // 66, F2, F3, LOCK and REX may not stand before VEX (SDM vol. 2, section 2.3.2 to 2.3.4).
      const legal = c.prefix === 0 && c.hasRex === 0 && out.lock === 0
      const status = decodeVex(opcode, out)
      return legal ? status : INVALID
    }
  }
  c.opcode = opcode
  if (opcode === 0x90) {
    // F3 makes it PAUSE whatever REX says (tried on a processor); XCHG rAX,rAX alone is NOP.
    if (repeat === 0xf3) return decodeForm(PAUSE_FORM, repeat, out)
    if (c.rexB === 0) return decodeForm(NOP_FORM, repeat, out)
  }
  return decodeTree(opcode, repeat, out)
}

/** Opcodes behind 0F, 0F 38 and 0F 3A. */
function decodeEscape(repeat: number, out: Insn): Status {
  const { bytes } = c
  let opcode = bytes[c.pos++]
  let space = 0x100
  if (opcode === 0x38) {
    space = 0x200
    opcode = bytes[c.pos++]
  } else if (opcode === 0x3a) {
    space = 0x300
    opcode = bytes[c.pos++]
  }
  c.opcode = opcode
  return decodeTree(space | opcode, repeat, out)
}

/** VEX (SDM vol. 2, section 2.3.5); `c.pos` is behind C4 or C5. The bits R, X, B and vvvv are inverted in it. */
function decodeVex(first: number, out: Insn): Status {
  const { bytes } = c
  let space = 5
  let last = bytes[c.pos++]
  c.rexR = ~last >> 4 & 8
  if (first === 0xc4) {
    space = 4 + (last & 31)
    c.rexX = ~last >> 3 & 8
    c.rexB = c.mode64 ? ~last >> 2 & 8 : 0
    last = bytes[c.pos++]
    c.w = last >> 7 & 1
    if (space < 5 || space > 7) return INVALID
  }
  c.vvvv = ~last >> 3 & 15
  c.l = last >> 2 & 1
  // pp: 0 none, 1 66, 2 F3, 3 F2, as `Cursor.prefix`
  c.prefix = last & 3
  out.vex = 1
  c.opcode = bytes[c.pos++]
  return decodeTree(space << 8 | c.opcode, 0, out)
}

/** Decodes the form that the tree at `roots[slot]` leads to. */
function decodeTree(slot: number, repeat: number, out: Insn): Status {
  const form = resolve(roots[slot])
  if (form !== 0) return decodeForm(form, repeat, out)
  const shape = shapes[slot]
  if (shape !== 0) decodeForm(shape, repeat, out)
  return INVALID
}

/** Goes down a decision tree to a form. */
function resolve(root: number): number {
  let tree = root
  while (tree < 0) {
    const at = -tree
    let value = 0
    switch (branches[at]) {
      case AXIS.MODE: value = c.mode64; break
      case AXIS.PREFIX: value = c.prefix; break
      case AXIS.REG: value = c.bytes[c.pos] >> 3 & 7; break
      case AXIS.MOD: value = c.bytes[c.pos] >= 0xc0 ? 1 : 0; break
      case AXIS.RM: value = c.bytes[c.pos] & 7; break
      case AXIS.L: value = c.l; break
      default: value = c.w
    }
    tree = branches[at + 1 + value]
  }
  return tree
}

/** Operand size in bytes (SDM vol. 1, table 3-4). */
function operandSize(mode: number, flags: number): number {
  if (mode !== MODE64) return (mode === MODE32) === (c.prefix66 === 0) ? 4 : 2
  if (c.w !== 0 || (flags & FORM.F64) !== 0) return 8
  if (c.prefix66 !== 0) return 2
  return (flags & FORM.D64) !== 0 ? 8 : 4
}

/** Fills `out` for the form whose opcode ends before `c.pos`. */
function decodeForm(form: number, repeat: number, out: Insn): Status {
  const codes = forms[form * 4]
  const opAndFlags = forms[form * 4 + 1]
  const widths = forms[form * 4 + 2]
  const flags = opAndFlags >> 16
  out.op = opAndFlags & 0xffff
  const opSize = operandSize(out.mode, flags)
  c.opSize = opSize
  const vectorBit = (flags & FORM.LIG) === 0 ? c.l * CONTEXT_L : 0
  const context = opSize >> 2 | c.w * CONTEXT_W | c.mode64 * CONTEXT_64 | vectorBit
  out.size = WIDTHS[(widths & 255) << 5 | context]
  out.size2 = WIDTHS[widths >> 8 << 5 | context]
  c.modrm = 0xff
  if ((flags & FORM.MODRM) !== 0) {
    c.modrm = c.bytes[c.pos++]
    c.sibIndex = -1
    if (c.modrm < 0xc0 && (flags & FORM.REG_ONLY) === 0) parseMemory(c, out)
  }
  if (codes !== 0) decodeOperands(codes, out)
  if ((flags & FORM.REP) !== 0) out.rep = repeat
  if ((flags & FORM.CC) !== 0) out.cc = c.opcode & 15
  if (out.lock !== 0 && ((flags & FORM.LOCK) === 0 || c.modrm >= 0xc0)) return INVALID
  if (out.vex !== 0 && (flags & FORM.VVVV) === 0 && c.vvvv !== 0) return INVALID
  return (flags & FORM.CHECKED) === 0 || checkForm(c, flags, out) ? DECODED : INVALID
}

function decodeOperands(codes: number, out: Insn): void {
  let found = operand(codes & 255, c, out)
  out.kind0 = found & 255
  out.reg0 = found >> 8
  if (codes >>> 8 === 0) return
  found = operand(codes >> 8 & 255, c, out)
  out.kind1 = found & 255
  out.reg1 = found >> 8
  if (codes >>> 16 === 0) return
  found = operand(codes >> 16 & 255, c, out)
  out.kind2 = found & 255
  out.reg2 = found >> 8
  if (codes >>> 24 === 0) return
  found = operand(codes >>> 24, c, out)
  out.kind3 = found & 255
  out.reg3 = found >> 8
}
