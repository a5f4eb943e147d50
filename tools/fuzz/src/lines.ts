/** Which lines of the decoder's tables are fuzzed in which mode, in groups, and why the others are not. */
import { standardMeanings, createInsn, OPS } from '@cofferdam/x86'
import type { Mode } from './encode.ts'
import { AXIS, FORM, LINES, OPERAND, parseLine, wasmMeanings, type Line } from './inside.ts'

export type Group =
  | 'integer' | 'flags' | 'branch' | 'far' | 'segment' | 'string' | 'stack' | 'decimal' | 'bmi'
  | 'x87' | 'mmx' | 'sse' | 'avx' | 'gather' | 'state' | 'privileged' | 'other'

export interface FuzzLine {
  readonly line: Line
  readonly group: Group
}

const names = (text: string): string[] => text.trim().split(/\s+/)

/** Left out, by reason. */
export const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  'answers depend on the machine or on time': names(
    'cpuid rdtsc rdtscp rdpmc rdrand rdseed rdpid rdpkru wrpkru xgetbv'
  ),
  'enter the kernel, or its emulation (UMIP)': names('syscall sysenter sldt str sgdt sidt smsw'),
  'another guest software\'s to serve': names(`vmcall vmlaunch vmresume vmxoff tdcall seamret seamops
    seamcall vmfunc vmrun vmmcall vmgexit vmload vmsave stgi clgi skinit invlpga rmpquery rmpread rmpadjust rmpupdate
    psmash pvalidate vmread vmwrite vmptrld vmclear vmxon vmptrst invept invvpid`),
  'nothing to see': names('ud serialize'),
}
const leftOut = new Set(Object.values(LEFT_OUT).flat())

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  branch: names('jcc jmp call ret loop loope loopne jcxz'),
  far: names('callf jmpf retf iret int int3 int1 into bound'),
  segment: names('lds les lss lfs lgs arpl lar lsl verr verw rdfsbase rdgsbase wrfsbase wrgsbase'),
  stack: names('push pop pushf popf leave enter pusha popa'),
  flags: names('setcc cmovcc adc sbb lahf sahf clc stc cmc cld std salc'),
  decimal: names('aaa aas aam aad daa das'),
  state: names('fxsave fxrstor xsave xsaveopt xsavec xrstor'),
  privileged: names(`hlt cli sti clts invd wbinvd wbnoinvd invlpg invpcid lgdt lidt lldt ltr lmsw rdmsr wrmsr swapgs
    sysret sysexit rsm xsetbv monitor mwait clac stac in out ins outs xsaves xrstors`),
  other: names('emms ldmxcsr stmxcsr fninit'),
}
const groupOfName = new Map(
  Object.entries(GROUPS).flatMap(([group, list]) => list.map((name) => [name, group as Group]))
)

function groupOf(line: Line): Group {
  const { operands } = line
  const named = groupOfName.get(line.name)
  if (operands.some((code) => code === OPERAND.C || code === OPERAND.D)) return 'privileged'
  if (operands.some((code) => code === OPERAND.S || (code >= OPERAND.SEG && code < OPERAND.SEG + 6))) return 'segment'
  if (named !== undefined) return named
  if (/^[a-z0-9 ]*\bd[89a-f]\b/.test(line.text.split(':')[0]) && line.space === 0) return 'x87'
  if ((line.flags & FORM.VSIB) !== 0) return 'gather'
  if (operands.includes(OPERAND.P) || operands.includes(OPERAND.Q)) return 'mmx'
  if ([OPERAND.V, OPERAND.W, OPERAND.H].some((code) => operands.includes(code))) return line.space >= 4 ? 'avx' : 'sse'
  if (line.space >= 4) return line.name.startsWith('v') ? 'avx' : 'bmi'
  if ((line.flags & FORM.REP) !== 0) return 'string'
  return 'integer'
}

const hasMeaning = (name: string): boolean => {
  const insn = createInsn()
  insn.op = OPS.indexOf(name)
  return wasmMeanings.has(name) || standardMeanings(insn) !== undefined
}

const all = LINES.map((text) => parseLine(text)).filter(
  ({ text }) => !text.startsWith('00: ') || text.startsWith('00: add')
)
  .map((line): FuzzLine => ({ line, group: groupOf(line) }))

/** Whether a line exists in a mode. */
const inMode = ({ accept }: Line, mode: Mode): boolean => (accept[AXIS.MODE] & (mode === 64 ? 2 : 1)) !== 0

/** Lines for a mode. */
export const fuzzLines = (mode: Mode): FuzzLine[] =>
  all.filter(({ line }) => inMode(line, mode) && !leftOut.has(line.name) && hasMeaning(line.name))

/** Mnemonics of the tables without a meaning. */
export const missingMeanings = (): string[] =>
  [...new Set(all.filter(({ line }) => !leftOut.has(line.name) && !hasMeaning(line.name)).map(({ line }) => line.name))]

/** Mnemonics that are left out, with the reason. */
export const leftOutReasons = (): [string, readonly string[]][] => Object.entries(LEFT_OUT)
