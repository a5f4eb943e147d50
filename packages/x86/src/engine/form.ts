/**
 * Forms: what of an instruction its handler must know when it is generated (the operation, widths, kinds of operands,
 * where flags come from); everything else is read from the micro-op.
 */
import { OPS } from '../ops.ts'
import type { Insn } from '../insn.ts'
import { IMM, MEM, NONE, REG, REG_HIGH, XMM_REG } from '../insn.ts'
import { FS, GS } from '../state.ts'

export const MEM_NONE = 0
export const MEM_BASE = 1
export const MEM_INDEX = 2
export const MEM_ABSOLUTE = 3

export interface Form {
  readonly op: string
  readonly size: number
  readonly size2: number
  readonly kinds: readonly number[]
  readonly memory: number
  /** 0, or the state address of the segment base to add: FS or GS. */
  readonly segment: number
  readonly cc: number
  readonly vex: boolean
  readonly rep: number
  readonly flagsNeeded: boolean
  /** CC_OP of the producer when it is known at decoding, else −1. */
  readonly source: number
  /** The immediate, for operations that need it when generated. */
  readonly immediate: number
  /** A conditional branch fused behind, or null. */
  readonly then: Form | null
}

/**
 * Bits of `Form` in one number, so that looking one up is cheap: 30 bits of operands and widths, 11 of the operation,
 * 9 of the flag source or the immediate (no form has both: see the translator).
 */
export function formKey(insn: Insn, flagsNeeded: boolean, source: number, immediate: number): number {
  const segment = insn.seg === FS ? 1 : insn.seg === GS ? 2 : 0
  const low = kindOf(insn.kind0) | (kindOf(insn.kind1) << 3) | (kindOf(insn.kind2) << 6) | (kindOf(insn.kind3) << 9)
    | (sizeCode(insn.size) << 12) | (sizeCode(insn.size2) << 15) | (memoryKind(insn) << 18) | (segment << 20)
    | (insn.cc << 22) | (insn.vex << 26) | ((insn.rep === 0 ? 0 : insn.rep - 0xf1) << 27) | (flagsNeeded ? 1 << 29 : 0)
  const extra = immediate >= 0 ? 64 + immediate : source + 1
  return low + 0x4000_0000 * (insn.op + 2048 * extra)
}

const sizeCode = (n: number): number => (n === 0 ? 0 : 32 - Math.clz32(n))
/** High-byte registers differ from others by an offset in the micro-op only. */
const kindOf = (k: number): number => (k === REG_HIGH ? REG : k > XMM_REG ? 7 : k)

export function memoryKind(insn: Insn): number {
  if (insn.kind0 !== MEM && insn.kind1 !== MEM && insn.kind2 !== MEM) return MEM_NONE
  if (insn.absolute64 !== 0) return MEM_ABSOLUTE
  return insn.index >= 0 ? MEM_INDEX : MEM_BASE
}

export function makeForm(insn: Insn, flagsNeeded: boolean, source: number, immediate: number): Form {
  const memory = memoryKind(insn)
  return {
    op: OPS[insn.op], size: insn.size, size2: insn.size2,
    kinds: [insn.kind0, insn.kind1, insn.kind2, insn.kind3].map(kindOf),
    memory, segment: memory === MEM_NONE ? 0 : insn.seg === FS ? FS : insn.seg === GS ? GS : 0,
    cc: insn.cc, vex: insn.vex !== 0, rep: insn.rep, flagsNeeded, source, immediate, then: null,
  }
}

const KIND_LETTERS = new Map([[NONE, ''], [REG, 'r'], [MEM, 'm'], [IMM, 'i'], [XMM_REG, 'x']])

/** The form as text: `add.8.rm.fs.f` and the like; stable, so that profiles can be kept. */
export function formName(form: Form): string {
  const kinds = form.kinds.map((k) => KIND_LETTERS.get(k) ?? '?').join('')
  const parts = [form.op, String(form.size), kinds + ['', 'b', 'x', 'a'][form.memory]]
  if (form.size2 !== 0) parts.push(`s${form.size2}`)
  if (form.segment !== 0) parts.push(form.segment === FS ? 'fs' : 'gs')
  if (form.op === 'jcc' || form.op === 'setcc' || form.op === 'cmovcc') parts.push(`c${form.cc}`)
  if (form.source >= 0) parts.push(`@${form.source}`)
  if (form.vex) parts.push('v')
  if (form.rep !== 0) parts.push(form.rep === 0xf3 ? 'repe' : 'repne')
  if (form.flagsNeeded) parts.push('f')
  if (form.immediate >= 0) parts.push(`#${form.immediate}`)
  return parts.join('.') + (form.then === null ? '' : `+${formName(form.then)}`)
}
