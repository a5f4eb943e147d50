/** Reads the names that `formName` writes. */
import { IMM, MEM, NONE, REG, XMM_REG } from '../insn.ts'
import { FS, GS } from '../state.ts'
import { MEM_ABSOLUTE, MEM_BASE, MEM_INDEX, MEM_NONE } from './form.ts'
import type { Form } from './form.ts'

const KINDS: Readonly<Record<string, number>> = { r: REG, m: MEM, i: IMM, x: XMM_REG, '?': 7 }
const MEMORY: Readonly<Record<string, number>> = { b: MEM_BASE, x: MEM_INDEX, a: MEM_ABSOLUTE }

/** @throws SyntaxError for a name that `formName` cannot have written. */
export function parseForm(name: string): Form {
  const [first, second] = name.split('+')
  const form = parseOne(first)
  return second === undefined ? form : { ...form, then: parseOne(second) }
}

function parseOne(name: string): Form {
  const [op, size, operands, ...rest] = name.split('.')
  if (rest.length > 8 || operands === undefined) throw new SyntaxError(`no form is named ${name}`)
  const { kinds, memory } = parseOperands(operands)
  const find = (prefix: string): string | undefined => rest.find((p) => p.startsWith(prefix))?.slice(prefix.length)
  const number = (text: string | undefined, otherwise: number): number =>
    (text === undefined ? otherwise : Number(text))
  const conditional = op === 'jcc' || op === 'setcc' || op === 'cmovcc'
  return {
    op, kinds, memory,
    size: Number(size),
    size2: number(rest.find((p) => /^s\d+$/.test(p))?.slice(1), 0),
    segment: rest.includes('fs') ? FS : rest.includes('gs') ? GS : 0,
    cc: conditional ? number(rest.find((p) => /^c\d+$/.test(p))?.slice(1), 0) : 0,
    vex: rest.includes('v'),
    rep: rest.includes('repe') ? 0xf3 : rest.includes('repne') ? 0xf2 : 0,
    flagsNeeded: rest.includes('f'),
    source: number(find('@'), -1),
    immediate: number(find('#'), -1),
    then: null,
  }
}

/**
 * Operands are letters; the addressing mode's letter follows when one of them is memory. `x` is also a vector register.
 */
function parseOperands(text: string): { kinds: number[]; memory: number } {
  const withMemory = text.includes('m')
  const letters = withMemory ? text.slice(0, -1) : text
  const kinds = [...letters].map((letter) => {
    const kind = KINDS[letter] as number | undefined
    if (kind === undefined) throw new SyntaxError(`no operand is written ${letter}`)
    return kind
  })
  while (kinds.length < 4) kinds.push(NONE)
  return { kinds, memory: withMemory ? MEMORY[text[text.length - 1]] : MEM_NONE }
}
