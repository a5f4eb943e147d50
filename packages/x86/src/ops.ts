/**
 * Mnemonics and their numbers, taken from the opcode tables: adding a table line with a new name adds the op.
 *
 * Names are Intel's in lower case, with these differences: `jcc`, `setcc`, `cmovcc` (condition in `Insn.cc`); string
 * instructions without their size letter; `cbw` and `cwd` for all widths (`size`); `movsx` also for MOVSXD; `callf`,
 * `jmpf`, `retf` for far transfers; `iret`, `pushf`, `popf`, `pusha`, `popa` for all sizes; `jcxz` for JECXZ and JRCXZ;
 * `movd` for MOVQ with a 64-bit general register, `pextrd`/`pinsrd` for PEXTRQ/PINSRQ; the same name with and without
 * VEX where an SSE form exists; `ud` for UD0, UD1, UD2; `nop` for every hint and prefetch; `fxsave`, `xsave` … with
 * `size` 8 for their 64-bit forms; `cmpxchg8b` and `cmpxchg16b` apart.
 */
import { LINES, names } from './decode/compile.ts'
import type { MnemonicOf } from './decode/notation.ts'

/** Every mnemonic. */
export type OpName = 'invalid' | MnemonicOf<(typeof LINES)[number]>

/** Mnemonics by number, dense from 0; 0 is 'invalid'. */
export const OPS: readonly string[] = names

/** Numbers by mnemonic. */
export const OP: Readonly<Record<OpName, number>> =
  Object.fromEntries(names.map((name, number) => [name, number])) as Record<OpName, number>
