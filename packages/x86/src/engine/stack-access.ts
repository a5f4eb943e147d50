/** Which accesses of 64-bit mode go to the stack segment: their faults are #SS where others are #GP. */
import { OP } from '../ops.ts'
import type { Insn } from '../insn.ts'
import { MEM } from '../insn.ts'
import { SS } from '../state.ts'

const RSP = 4
const RBP = 5
const implicit = new Set<number>([OP.push, OP.pop, OP.call, OP.ret, OP.leave, OP.enter, OP.pushf, OP.popf])
/** The furthest from the stack pointer that an instruction reaches by itself. */
const REACH = 16n

/** Whether `insn` touched `address` through SS. `register` reads a general register as it was before. */
export function isStackAccess(insn: Insn, address: bigint, register: (number: number) => bigint): boolean {
  const hasMemory = insn.kind0 === MEM || insn.kind1 === MEM || insn.kind2 === MEM
  if (hasMemory && insn.seg === SS) return true
  if (!implicit.has(insn.op)) return false
  const distance = BigInt.asIntN(64, address - register(insn.op === OP.leave ? RBP : RSP))
  return distance >= -REACH && distance <= REACH
}
