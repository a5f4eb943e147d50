/** All meanings in TypeScript that a plain processor has. */
import type { Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { OPS } from '../ops.ts'
import { systemMeaningOf, systemMeanings } from '../system/meanings.ts'
import { x87Meanings } from '../fp/x87.ts'
import { vectorMeanings } from '../vector/index.ts'
import { hostMeanings } from './meanings-host.ts'
import { legacyMeanings } from './meanings-legacy.ts'

const byName: Readonly<Record<string, Meaning>> = {
  ...vectorMeanings, ...x87Meanings, ...systemMeanings, ...legacyMeanings, ...hostMeanings,
}

/** The meaning of an instruction: MOV, PUSH and POP of special registers share their names with the general forms. */
export function standardMeanings(insn: Insn): Meaning | undefined {
  const name = OPS[insn.op]
  return systemMeaningOf(name, insn) ?? byName[name]
}
