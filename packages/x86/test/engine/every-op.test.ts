/** Every operation that the decoder knows has a meaning, or a reason to have none. */
import { describe, expect, it } from 'vitest'
import { createInsn } from '../../src/decode/decode.ts'
import { wasmMeanings } from '../../src/engine/meanings.ts'
import { standardMeanings } from '../../src/engine/standard-meanings.ts'
import { OPS } from '../../src/ops.ts'

/** #UD on a plain machine; an extension (SVM, VMX, SEV-SNP, TDX) brings their meanings. */
const EXTENSIONS = [
  'vmcall', 'vmlaunch', 'vmresume', 'vmxoff', 'vmxon', 'vmread', 'vmwrite', 'vmptrld', 'vmptrst', 'vmclear', 'vmfunc',
  'invept', 'invvpid',
  'vmrun', 'vmmcall', 'vmload', 'vmsave', 'stgi', 'clgi', 'skinit', 'invlpga',
  'vmgexit', 'rmpquery', 'rmpread', 'rmpadjust', 'rmpupdate', 'psmash', 'pvalidate',
  'tdcall', 'seamcall', 'seamret', 'seamops',
]
/** x87 and floating point of SSE and AVX. */
const isFloatingPoint = (name: string): boolean =>
  /^f(?!xsave|xrstor)/.test(name)
  || /^(add|sub|mul|div|min|max|sqrt|rsqrt|rcp|round|cmp|hadd|hsub|addsub|dp|comi|ucomi)(ps|pd|ss|sd)$/.test(name)
  || /^v?cvt/.test(name) || /^vfn?m(add|sub)/.test(name)

const hasMeaning = (op: number): boolean => {
  if (wasmMeanings.has(OPS[op])) return true
  const insn = createInsn()
  insn.op = op
  return standardMeanings(insn) !== undefined
}

describe('operations', () => {
  it.each(OPS.map((name, op) => [name, op] as const))('%s has a meaning or belongs to an extension', (name, op) => {
    const expected = EXTENSIONS.includes(name)
    if (isFloatingPoint(name) && !hasMeaning(op)) return
    expect(hasMeaning(op)).toBe(!expected)
  })
})
