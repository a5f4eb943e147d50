/**
 * The decoder against iced-x86: lengths, rejects and mnemonics. Differences are either in the table of claims below,
 * with a reason, or a bug in one of the two.
 */
import iced from 'iced-x86'
import { createInsn, decode } from '../src/decode/decode.ts'
import { DECODED, TOO_LONG, type CodeWidth } from '../src/insn.ts'
import { compareOperands } from './operands.ts'
import { OP, OPS } from '../src/ops.ts'

/** Extensions that iced decodes and that this processor does not have: their encodings are #UD here. */
const NOT_CLAIMED = new Set([
  // vector extensions behind AVX2, and AVX2's younger VEX siblings
  ...Object.keys(iced.CpuidFeature).filter((name) => name.startsWith('AVX512')),
  'AVX_VNNI', 'AVX_IFMA', 'AVX_NE_CONVERT', 'AVX_VNNI_INT8', 'AVX_VNNI_INT16', 'VAES', 'VPCLMULQDQ', 'GFNI',
  'SHA512', 'SM3', 'SM4',
  'AMX_TILE', 'AMX_INT8', 'AMX_BF16', 'AMX_FP16', 'AMX_COMPLEX', 'CMPCCXADD', 'RAO_INT',
  // AMD's dropped ones
  'XOP', 'FMA4', 'SSE4A', 'TBM', 'LWP', 'D3NOW', 'D3NOWEXT', 'CYRIX_D3NOW',
  // AMD instructions whose CPUID bits the machine leaves clear
  'INVLPGB', 'MONITORX', 'CLZERO', 'MCOMMIT', 'RDPRU', 'PREFETCHWT1',
  // Intel instructions whose CPUID bits the machine leaves clear
  'RTM', 'HLE', 'HLE_or_RTM', 'TSXLDTRK', 'SGX1', 'SMX', 'CET_SS', 'PTWRITE', 'WAITPKG', 'ENQCMD', 'PCONFIG', 'KL',
  'AESKLE', 'WIDE_KL', 'UINTR',
  'HRESET', 'FRED', 'LKGS', 'MSRLIST', 'WRMSRNS', 'TSE',
  'OSS',
  // VIA and other makers
  'PADLOCK_ACE', 'PADLOCK_PHE', 'PADLOCK_PMM', 'PADLOCK_RNG', 'PADLOCK_GMI', 'PADLOCK_UNDOC', 'CENTAUR_AIS',
  'CYRIX_FPU', 'CYRIX_SMM', 'CYRIX_SHR', 'CYRIX_DDI', 'CYRIX_EMMI',
])
/** The members of an enumeration of iced by number. */
function namesOf(enumeration: object): Map<number, string> {
  const members = Object.entries(enumeration) as [string, string | number][]
  return new Map(members.flatMap(([name, number]) => typeof number === 'number' ? [[number, name]] : []))
}
const FEATURE_NAMES = namesOf(iced.CpuidFeature)
const MNEMONIC_NAMES = namesOf(iced.Mnemonic)

/** Names of iced that this decoder spells otherwise (see `ops.ts`). */
const RENAMED: Record<string, string> = {
  ud0: 'ud', ud1: 'ud', ud2: 'ud', movsxd: 'movsx', cwde: 'cbw', cdqe: 'cbw', cdq: 'cwd', cqo: 'cwd', wait: 'fwait',
  xlatb: 'xlat',
  sal: 'shl', iretd: 'iret', iretq: 'iret', pushfd: 'pushf', pushfq: 'pushf', popfd: 'popf', popfq: 'popf',
  pushad: 'pusha',
  popad: 'popa', jecxz: 'jcxz', jrcxz: 'jcxz', sysretq: 'sysret', sysexitq: 'sysexit', retnq: 'ret',
  fxsave64: 'fxsave', fxrstor64: 'fxrstor',
  xsave64: 'xsave', xsaveopt64: 'xsaveopt', xsavec64: 'xsavec', xsaves64: 'xsaves', xrstor64: 'xrstor',
  xrstors64: 'xrstors',
  pextrq: 'pextrd', pinsrq: 'pinsrd', vpextrq: 'pextrd', vpinsrq: 'pinsrd',
  reservednop: 'nop', endbr64: 'nop', endbr32: 'nop', rdsspd: 'nop', rdsspq: 'nop', cldemote: 'nop',
  prefetchw: 'nop', prefetch: 'nop', prefetchwt1: 'nop', prefetcht0: 'nop', prefetcht1: 'nop', prefetcht2: 'nop',
  prefetchnta: 'nop',
  prefetchit0: 'nop', prefetchit1: 'nop', prefetchreserved_0f0d: 'nop',
  fneni: 'fnop', fndisi: 'fnop', fnsetpm: 'fnop',
}
for (const name of ['movs', 'stos', 'lods', 'cmps', 'scas']) for (const size of 'bwdq') RENAMED[name + size] ??= name
for (const name of ['ins', 'outs']) for (const size of 'bwd') RENAMED[name + size] = name
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g']
for (const name of ['j', 'set', 'cmov']) for (const cc of CONDITIONS) RENAMED[name + cc] = `${name}cc`

const out = createInsn()
const theirs = new iced.Instruction()

/** The op that iced's instruction has here, or a name with '?' when there is none. */
function opOf(instruction: iced.Instruction): string {
  const name = MNEMONIC_NAMES.get(instruction.mnemonic)?.toLowerCase() ?? '?'
  if (name === 'movsd' || name === 'cmpsd') return instruction.isStringInstruction ? name.slice(0, 4) : name
  if (instruction.isJmpFar || instruction.isJmpFarIndirect) return 'jmpf'
  if (instruction.isCallFar || instruction.isCallFarIndirect) return 'callf'
  if (name === 'movq' || name === 'vmovq') return out.op === OP.movd && out.size === 8 ? 'movd' : 'movq'
  const renamed = RENAMED[name] ?? name
  if (renamed in OP) return renamed
  if (name.startsWith('v') && name.slice(1) in OP) return name.slice(1)
  return name + '?'
}

/** Differences that are right as they are, by what iced says. */
function explained(instruction: iced.Instruction): string | null {
  for (const feature of instruction.cpuidFeatures()) {
    const name = FEATURE_NAMES.get(feature) ?? ''
    if (NOT_CLAIMED.has(name)) return `${name} is not claimed`
  }
  return null
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

export interface Verdict {
  /** What is different, or null. */
  difference: string | null
  /** Why it may be. */
  reason: string | null
}

const SAME: Verdict = { difference: null, reason: null }

/** Compares the two decoders on the instruction at the start of `bytes` (at least 15 of them). */
export function compare(bytes: Uint8Array, width: CodeWidth): Verdict {
  decode(bytes, 0, bytes.length, width, out)
  const decoder = new iced.Decoder(width * 8, bytes, iced.DecoderOptions.None)
  decoder.decodeOut(theirs)
  decoder.free()
  const valid = !theirs.isInvalid
  if (!valid && out.status !== DECODED) return SAME
  const name = valid ? opOf(theirs) : 'invalid'
  const shown = `${width * 8} bit: ${hex(bytes.subarray(0, 15))}`
  if (out.status === DECODED && name === OPS[out.op] && theirs.length === out.len) {
    const detail = compareOperands(theirs, out)
    if (detail === null) return SAME
    return { difference: `${shown}: here ${name}: ${detail}`, reason: null }
  }
  const rejected = out.status === TOO_LONG ? 'too long' : 'invalid'
  const ours = out.status === DECODED ? `${OPS[out.op]} (${out.len} bytes)` : rejected
  const iceds = valid ? `${name} (${theirs.length} bytes)` : 'invalid'
  const difference = `${shown}: here ${ours}, iced ${iceds}`
  if (OPS[out.op] === 'rmpread' && !valid) return { difference, reason: 'RMPREAD (APM vol. 3) is younger than iced' }
  return { difference, reason: out.status !== DECODED && valid ? explained(theirs) : null }
}
