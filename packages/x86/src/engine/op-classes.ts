/** What an instruction is to the translator: who carries it out, and whether it ends a block. */
import { DECODED, IMM, MEM, MODE64, REG, REL, XMM_REG } from '../insn.ts'
import type { Insn } from '../insn.ts'
import { OP, OPS } from '../ops.ts'
import { FS, GS } from '../state.ts'
import { wasmMeanings } from './meanings.ts'
import { POP_RSP_BASED } from './meanings-move.ts'
import { IMMEDIATE_OPS, vectorWasmMeanings } from './meanings-vector.ts'
import { MODE_AVX, MODE_SSE, MODE_TRAPS } from './mode.ts'

const RSP = 4

const isWasm: readonly boolean[] = OPS.map((name) => wasmMeanings.has(name))
const needsImmediate: readonly boolean[] = OPS.map((name) => IMMEDIATE_OPS.has(name))
const counted = new Set([OP.loop, OP.loope, OP.loopne, OP.jcxz])
const vectorNames = new Set(vectorWasmMeanings.map(([name]) => name))
const isVector: readonly boolean[] = OPS.map((name) => vectorNames.has(name))
/** Operations that always leave the block. */
const terminators = new Set<number>([
  OP.jcc, OP.jmp, OP.call, OP.ret, OP.loop, OP.loope, OP.loopne, OP.jcxz, OP.callf, OP.jmpf, OP.retf, OP.iret,
  OP.syscall, OP.sysret, OP.sysenter, OP.sysexit, OP.int, OP.int3, OP.int1, OP.into, OP.hlt, OP.ud, OP.vmrun, OP.rsm,
  OP.invalid,
])
export const isTerminator: readonly boolean[] = OPS.map((_, op) => terminators.has(op))
/** Producers of flags that a following JCC is fused with. */
const fusable = new Set<number>([OP.add, OP.sub, OP.cmp, OP.and, OP.or, OP.xor, OP.test, OP.inc, OP.dec, OP.neg])
export const isFusable: readonly boolean[] = OPS.map((_, op) => fusable.has(op))
/** Stack, branch and other operations whose WebAssembly meaning is that of 64-bit mode. */
const only64 = new Set<number>([
  OP.push, OP.pop, OP.call, OP.ret, OP.leave, OP.pushf, OP.popf, OP.movs, OP.stos, OP.lods, OP.scas, OP.cmps,
  OP.vzeroupper,
])
const isOnly64: readonly boolean[] = OPS.map((_, op) => only64.has(op))
const lines = new Set<number>([OP.clflush, OP.clflushopt, OP.clwb])
const isLine: readonly boolean[] = OPS.map((_, op) => lines.has(op))
const trapped = new Set<number>([OP.rdtsc, OP.rdtscp, OP.pushf, OP.popf, OP.pause])
const isBitTest: readonly boolean[] = OPS.map((_, op) => ([OP.bt, OP.bts, OP.btr, OP.btc] as number[]).includes(op))
const strings = new Set<number>([OP.movs, OP.stos, OP.lods, OP.scas, OP.cmps])
const isString: readonly boolean[] = OPS.map((_, op) => strings.has(op))
/** Operations that look at flags; only their forms name the source. */
const readers = new Set<number>([
  OP.jcc, OP.setcc, OP.cmovcc, OP.adc, OP.sbb, OP.inc, OP.dec, OP.bt, OP.bts, OP.btr,
  OP.btc, OP.rol, OP.ror, OP.rcl, OP.rcr, OP.pushf, OP.lahf, OP.sahf,
  OP.clc, OP.stc, OP.cmc, OP.loope, OP.loopne, OP.adcx, OP.adox,
])
const isReader: readonly boolean[] = OPS.map((_, op) => readers.has(op))
export const readsFlags = (insn: Insn): boolean => isReader[insn.op]

/** Whether the instruction must be run by a meaning in TypeScript; `hearsLines`: somebody listens to cache lines. */
export function runsOnHost(insn: Insn, mode: number, hearsLines: boolean): boolean {
  if (insn.status !== DECODED || !isWasm[insn.op]) return true
  if ((mode & MODE_TRAPS) !== 0 && trapped.has(insn.op)) return true
  if (isVector[insn.op] && !vectorAllowed(insn, mode)) return true
  if (isBitTest[insn.op] && insn.kind0 === MEM && insn.kind1 === REG && insn.addrSize !== 8) return true
  if (insn.op === OP.mov && (insn.kind0 > XMM_REG || insn.kind1 > XMM_REG)) return true
  if (isLine[insn.op] && (hearsLines || insn.mode !== MODE64)) return true
  if (insn.mode !== MODE64) return isOnly64[insn.op] || (insn.op === OP.jmp && insn.kind0 !== REL)
  if (isString[insn.op]) return insn.addrSize !== 8 || insn.segOverride === FS || insn.segOverride === GS
  switch (insn.op) {
    case OP.push: case OP.pop: return insn.kind0 !== REG && insn.kind0 !== MEM && insn.kind0 !== IMM
    case OP.pushf: case OP.popf: return insn.size !== 8
    case OP.jmp: case OP.call: case OP.ret: return false
    default: return false
  }
}

/** MMX operands, and vector instructions while CR0, CR4 or XCR0 forbid them, are the host's. */
function vectorAllowed(insn: Insn, mode: number): boolean {
  for (const kind of [insn.kind0, insn.kind1, insn.kind2, insn.kind3]) if (kind > XMM_REG) return false
  return (mode & (insn.vex !== 0 ? MODE_AVX : MODE_SSE)) !== 0
}

/** What a form depends on besides kinds of operands: an immediate byte, an address size; −1: nothing. */
export function immediateOf(insn: Insn): number {
  if (counted.has(insn.op)) return insn.addrSize
  if (insn.op === OP.pop && insn.kind0 === MEM) return insn.base === RSP ? POP_RSP_BASED : 0
  if (!needsImmediate[insn.op]) return -1
  return insn.kind2 === IMM || insn.kind1 === IMM || insn.kind3 === IMM ? insn.immLo & 0xff : -1
}

/** Whether the address must be computed by the host first: legacy segments, 32- and 16-bit addresses. */
export const needsAddress = (insn: Insn): boolean =>
  (insn.mode !== MODE64 || insn.addrSize !== 8) && (insn.kind0 === MEM || insn.kind1 === MEM || insn.kind2 === MEM)
  && !(insn.op === OP.nop)
