/** The system instructions by mnemonic, as the decoder names them. */
import type { Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { CR_REG, DR_REG, SEG_REG } from '../insn.ts'
import { clts, lmsw, movControl, smsw } from './control.ts'
import { aaa, aad, aam, aas, daa, das, enter, popa, pusha, salc, xlat } from './decimal.ts'
import { retf } from './far-return.ts'
import { callf, jmpf } from './far-transfer.ts'
import { clac, cli, hlt, lahf, popf, pushf, sahf, stac, sti } from './flags.ts'
import { fxrstor, fxsave, ldmxcsr, stmxcsr } from './fxsave.ts'
import { inPort, ins, outPort, outs } from './io.ts'
import { iret } from './iret.ts'
import {
  cmpxchg16b, cmpxchg8b, cpuid, monitor, movdir64b, mwait, rdfsbase, rdgsbase, rdpid, rdpkru, rdpmc, rdrand, rdseed,
  rdtsc,
  rdtscp, serialize, wrfsbase, wrgsbase, wrpkru, xgetbv, xsetbv,
} from './misc.ts'
import { rdmsr, wrmsr } from './msr/table.ts'
import { lds, les, lfs, lgs, lss, movSegment, popSegment, pushSegment } from './segments.ts'
import { bound, int, int1, int3, into, ud } from './software-interrupts.ts'
import { swapgs, syscall, sysenter, sysexit, sysret } from './syscall.ts'
import { arpl, lar, lgdt, lidt, lldt, lsl, ltr, sgdt, sidt, sldt, str, verr, verw } from './tables.ts'
import { clflush, clflushopt, clwb, invd, invlpg, invpcid, wbinvd, wbnoinvd } from './translation.ts'
import { xrstor, xrstors, xsave, xsavec, xsaveopt, xsaves } from './xsave.ts'

/**
 * Meanings by mnemonic. MOV, PUSH and POP with segment, control and debug registers share their mnemonic with the
 * general forms: `systemMeaningOf` looks at the operands and finds them.
 */
export const systemMeanings: Readonly<Record<string, Meaning>> = {
  callf, jmpf, retf, iret, int, int3, into, int1, bound, ud, invalid: ud, rsm: ud,
  syscall, sysret, sysenter, sysexit, swapgs,
  lds, les, lfs, lgs, lss,
  lgdt, lidt, sgdt, sidt, lldt, ltr, sldt, str, lar, lsl, verr, verw, arpl,
  clts, lmsw, smsw, invlpg, invpcid, wbinvd, invd, wbnoinvd, clflush, clflushopt, clwb, xgetbv, xsetbv,
  rdmsr, wrmsr, cpuid, rdtsc, rdtscp, rdpmc, rdrand, rdseed, rdpid, rdfsbase, rdgsbase, wrfsbase, wrgsbase, rdpkru,
  wrpkru,
  fxsave, fxrstor, xsave, xsaveopt, xsavec, xsaves, xrstor, xrstors, ldmxcsr, stmxcsr,
  pushf, popf, cli, sti, stac, clac, hlt, lahf, sahf, monitor, mwait, in: inPort, out: outPort, ins, outs,
  cmpxchg8b, cmpxchg16b, movdir64b, serialize,
  xlat, aam, aad, aaa, aas, daa, das, salc, enter, pusha, popa,
}

const isSystemRegister = (kind: number): boolean => kind === SEG_REG || kind === CR_REG || kind === DR_REG

/** The meaning of an instruction when it belongs here: by its name, and for MOV, PUSH and POP by its operands. */
export function systemMeaningOf(name: string, insn: Insn): Meaning | undefined {
  if (name === 'mov') {
    if (insn.kind0 === SEG_REG || insn.kind1 === SEG_REG) return movSegment
    return isSystemRegister(insn.kind0) || isSystemRegister(insn.kind1) ? movControl : undefined
  }
  if (name === 'push') return insn.kind0 === SEG_REG ? pushSegment : undefined
  if (name === 'pop') return insn.kind0 === SEG_REG ? popSegment : undefined
  return systemMeanings[name]
}
