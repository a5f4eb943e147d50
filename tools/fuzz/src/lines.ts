/** Which lines of the decoder's tables are fuzzed, in groups, and why the others are not. */
import { standardMeanings, createInsn, OPS } from '@cofferdam/x86'
import { AXIS, FORM, LINES, OPERAND, parseLine, wasmMeanings, type Line } from './inside.ts'

export type Group =
  | 'integer' | 'flags' | 'branch' | 'string' | 'stack' | 'bmi' | 'x87' | 'mmx' | 'sse' | 'avx' | 'gather' | 'other'

export interface FuzzLine {
  readonly line: Line
  readonly group: Group
}

const names = (text: string): string[] => text.trim().split(/\s+/)

/** Left out, by reason. */
export const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  'answers depend on the machine or on time': names('cpuid rdtsc rdtscp rdpmc rdrand rdseed rdpid rdpkru wrpkru xgetbv lar lsl verr verw'),
  'enter the kernel': names('syscall sysenter int int3 int1 into'),
  'privileged, or another guest software\'s to serve': names(`hlt cli sti clts invd wbinvd wbnoinvd invlpg invpcid lgdt lidt lldt ltr lmsw rdmsr wrmsr
    swapgs sysret sysexit rsm xsetbv monitor mwait clac stac vmcall vmlaunch vmresume vmxoff tdcall seamret seamops seamcall vmfunc vmrun vmmcall vmgexit
    vmload vmsave stgi clgi skinit invlpga rmpquery rmpread rmpadjust rmpupdate psmash pvalidate vmread vmwrite vmptrld vmclear vmxon vmptrst invept invvpid
    sldt str sgdt sidt smsw in out ins outs xsaves xrstors`),
  'segment registers need descriptors': names('callf jmpf retf iret lds les lfs lgs lss arpl bound'),
  'state that the harness needs or has no room for': names('popf fxsave fxrstor xsave xsaveopt xsavec xrstor'),
  'nothing to see': names('ud'),
}
const leftOut = new Set(Object.values(LEFT_OUT).flat())

const BRANCHES = new Set(names('jcc jmp call ret loop loope loopne jcxz'))
const STACK = new Set(names('push pop pushf leave enter'))
const CONSUMERS = new Set(names('setcc cmovcc adc sbb lahf sahf clc stc cmc cld std'))

function groupOf(line: Line): Group {
  const { operands } = line
  if (/^[a-z0-9 ]*\bd[89a-f]\b/.test(line.text.split(':')[0]) && line.space === 0) return 'x87'
  if ((line.flags & FORM.VSIB) !== 0) return 'gather'
  if (operands.includes(OPERAND.P) || operands.includes(OPERAND.Q)) return 'mmx'
  if ([OPERAND.V, OPERAND.W, OPERAND.H].some((code) => operands.includes(code))) return line.space >= 4 ? 'avx' : 'sse'
  if (line.space >= 4) return line.name.startsWith('v') ? 'avx' : 'bmi'
  if ((line.flags & FORM.REP) !== 0) return 'string'
  if (BRANCHES.has(line.name)) return 'branch'
  if (STACK.has(line.name)) return 'stack'
  if (CONSUMERS.has(line.name)) return 'flags'
  return line.space === 0 || !['emms', 'ldmxcsr', 'stmxcsr', 'fninit'].includes(line.name) ? 'integer' : 'other'
}

const hasMeaning = (name: string): boolean => {
  const insn = createInsn()
  insn.op = OPS.indexOf(name)
  return wasmMeanings.has(name) || standardMeanings(insn) !== undefined
}

/** Segment, control and debug registers as operands. */
const special = (line: Line): boolean =>
  line.operands.some((code) => code === OPERAND.S || code === OPERAND.C || code === OPERAND.D || (code >= OPERAND.SEG && code < OPERAND.SEG + 6))

/** Lines for 64-bit mode, and the mnemonics without a meaning. */
export function fuzzLines(): { lines: FuzzLine[]; missing: string[] } {
  const missing = new Set<string>()
  const lines: FuzzLine[] = []
  for (const text of LINES) {
    const line = parseLine(text)
    if (line.text.startsWith('00: ') && !line.text.startsWith('00: add')) continue
    if ((line.accept[AXIS.MODE] & 2) === 0 || leftOut.has(line.name) || special(line)) continue
    if (!hasMeaning(line.name)) missing.add(line.name)
    else lines.push({ line, group: groupOf(line) })
  }
  return { lines, missing: [...missing] }
}
