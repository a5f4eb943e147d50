/** What each operation does with the status flags, for liveness and for naming the source of a condition. */
import { OPS } from '../ops.ts'
import type { Insn } from '../insn.ts'
import { IMM, MEM } from '../insn.ts'
import { KIND, ccOp } from './flags.ts'

/**
 * Writes nothing, writes all flags with a kind known when decoding, or writes flags of a kind that only shows at run
 * time.
 */
const NOTHING = 0
const WRITES = 1
const MAY_WRITE = 2

interface FlagUse {
  readonly write: number
  readonly kind: number
  readonly reads: boolean
  /** It reads flags for its result, and not only to hand them on. */
  readonly uses: boolean
}

const none: FlagUse = { write: NOTHING, kind: -1, reads: false, uses: false }
const writes = (kind: number, reads = false): FlagUse => ({ write: WRITES, kind, reads, uses: false })
/** Whether it writes only shows at run time: shifts by CL, ADC, repeated comparisons. */
const maybe: FlagUse = { write: MAY_WRITE, kind: -1, reads: true, uses: true }
const byName = new Map<string, FlagUse>([
  ['add', writes(KIND.ADD)], ['xadd', writes(KIND.ADD)],
  ...['sub', 'cmp', 'neg', 'cmpxchg'].map((n) => [n, writes(KIND.SUB)] as const),
  ...['and', 'or', 'xor', 'test', 'bsf', 'bsr'].map((n) => [n, writes(KIND.LOGIC)] as const),
  ['inc', writes(KIND.INC, true)], ['dec', writes(KIND.DEC, true)],
  ['mul', writes(KIND.RESULT)], ['imul', writes(KIND.RESULT)],
  ...[
    'popcnt', 'tzcnt', 'lzcnt', 'andn', 'bzhi', 'bextr', 'blsr', 'blsi', 'blsmsk', 'ptest', 'pcmpistri', 'pcmpistrm',
  ].map((n) => [n, writes(KIND.IMAGE)] as const),
  ...['bt', 'bts', 'btr', 'btc', 'clc', 'stc', 'cmc', 'sahf'].map((n) => [n, writes(KIND.IMAGE, true)] as const),
  ...['adcx', 'adox'].map((n) => [n, { ...writes(KIND.IMAGE, true), uses: true }] as const),
  ['popf', writes(KIND.IMAGE)],
  ...['adc', 'sbb', 'rcl', 'rcr'].map((n) => [n, maybe] as const),
  ...['jcc', 'setcc', 'cmovcc', 'pushf', 'lahf', 'loope', 'loopne'].map(
    (n) => [n, { ...none, reads: true, uses: true }] as const
  ),
])
const shifts = new Map([
  ['shl', KIND.SHL], ['shr', KIND.SHR], ['sar', KIND.SHR], ['shld', KIND.SHL], ['shrd', KIND.SHL], ['rol', KIND.IMAGE],
  ['ror', KIND.IMAGE],
])
const strings = new Set(['cmps', 'scas'])

const uses: readonly FlagUse[] = OPS.map((name) => byName.get(name) ?? none)
const shiftKinds: readonly (number | undefined)[] = OPS.map((name) => shifts.get(name))
const isString: readonly boolean[] = OPS.map((name) => strings.has(name))

/** Uses by instruction: shifts depend on the count, string comparisons on the prefix. */
export function flagUse(insn: Insn): FlagUse {
  const shiftKind = shiftKinds[insn.op]
  if (shiftKind !== undefined) return shiftUse(insn, shiftKind)
  if (isString[insn.op]) return insn.rep === 0 ? subtraction : maybe
  return uses[insn.op]
}
const subtraction = writes(KIND.SUB)
const rotation = writes(KIND.IMAGE, true)
const shiftLeft = writes(KIND.SHL)
const shiftRight = writes(KIND.SHR)

function shiftUse(insn: Insn, kind: number): FlagUse {
  const double = insn.kind2 !== 0
  const countKind = double ? insn.kind2 : insn.kind1
  if (countKind !== IMM) return maybe
  if ((insn.immLo & (insn.size === 8 ? 63 : 31)) === 0) return none
  return kind === KIND.IMAGE ? rotation : kind === KIND.SHL ? shiftLeft : shiftRight
}

/** The host's instructions: what they do with flags is theirs, so they are taken to read and to write all. */
export const hostUse: FlagUse = maybe

const touchesMemory = new Set([
  'push', 'pop', 'call', 'ret', 'leave', 'movs', 'stos', 'lods', 'scas', 'cmps', 'pushf', 'popf', 'div', 'idiv',
])
const noAccess = new Set(['lea', 'nop'])
const alwaysFaults: readonly boolean[] = OPS.map((n) => touchesMemory.has(n))
const neverFaults: readonly boolean[] = OPS.map((n) => noAccess.has(n))

/** Whether the instruction may fault, so that flags must be exact before it. */
export const mayFault = (insn: Insn): boolean =>
  alwaysFaults[insn.op] || (!neverFaults[insn.op] && (insn.kind0 === MEM || insn.kind1 === MEM || insn.kind2 === MEM))

/**
 * Fills, for `n` instructions, whether the flags each sets are needed, and the CC_OP that is in force before each (or
 * −1).
 */
export function analyseFlags(
  n: number, insn: (i: number) => Insn, isHost: (i: number) => boolean, needed: Uint8Array, source: Int8Array,
): void {
  let live = true
  for (let i = n - 1; i >= 0; i--) {
    const at = insn(i)
    const use = isHost(i) ? hostUse : flagUse(at)
    const fault = isHost(i) || mayFault(at)
    needed[i] = use.write !== NOTHING && (live || fault) ? 1 : 0
    if (use.write === WRITES) live = false
    // INC and DEC read CF only to hand it on; an instruction whose flags nobody wants reads none.
    if (use.uses || (use.reads && needed[i] !== 0)) live = true
    if (fault) live = true
  }
  let known = -1
  for (let i = 0; i < n; i++) {
    source[i] = known
    const use = isHost(i) ? hostUse : flagUse(insn(i))
    if (use.write === MAY_WRITE) known = -1
    else if (use.write === WRITES) {
      known = needed[i] !== 0 ? ccOp(use.kind, use.kind === KIND.IMAGE ? 4 : insn(i).size) : -1
    }
  }
}

