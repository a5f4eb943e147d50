/** Compares the operands that the two decoders found. */
import iced from 'iced-x86'
import {
  CR_REG, DR_REG, FAR, IMM, IMM2, MEM, MMX_REG, MODE64, NONE, REG, REG_HIGH, REL, SEG_REG, ST_REG, XMM_REG, type Insn,
} from '../src/insn.ts'
import { OP, OPS } from '../src/ops.ts'

const { Register, OpKind } = iced
// As numbers: iced's enumerations and what its instructions answer are of different types.
const NO_REGISTER: number = Register.None
const NO_MEMORY_SIZE: number = iced.MemorySize.Unknown

/** Operands of iced that the manuals' syntax leaves out, or that this decoder gives another way. */
const IMPLICIT = new Set([
  'movs', 'stos', 'lods', 'cmps', 'scas', 'ins', 'outs', 'xlat', 'maskmovq', 'maskmovdqu', 'nop', 'pause', 'ud',
  'monitor', 'mwait', 'invlpga', 'vmrun', 'vmload', 'vmsave', 'skinit', 'pvalidate', 'rmpquery', 'rmpadjust',
  'rmpupdate', 'psmash',
])
/** Memory operands as wide as the instruction says, not `size2 || size`. */
const OWN_WIDTH = new Set([
  'lea', 'bound', 'sgdt', 'sidt', 'lgdt', 'lidt', 'lds', 'les', 'lss', 'lfs', 'lgs', 'callf', 'jmpf', 'fldenv',
  'fnstenv', 'fnsave', 'frstor',
  'fxsave', 'fxrstor', 'xsave', 'xsaveopt', 'xsavec', 'xsaves', 'xrstor', 'xrstors', 'invlpg', 'clflush',
  'clflushopt', 'clwb',
  'vpgatherdd', 'vpgatherdq', 'vpgatherqd', 'vpgatherqq', 'vgatherdps', 'vgatherdpd', 'vgatherqps', 'vgatherqpd',
])
/** FCOM and FUCOM compare with ST(0) without saying so; iced says so. FXCH, FNSTCW … likewise. */
const ST0_FIRST = new Set(['fcom', 'fcomp', 'fucom', 'fucomp', 'fxch'])
/**
 * iced says 32 or 64 bits where only 8 or 16 are read, or where the upper half becomes 0 anyway; DX in OUT; and the
 * address that MOVDIR64B has in a register.
 */
const NARROW = new Set([
  'verr', 'verw', 'lldt', 'ltr', 'lmsw', 'pextrb', 'pextrw', 'extractps', 'movmskps', 'movmskpd', 'pmovmskb', 'out',
  'arpl', 'movdir64b',
])

const MOVES_ST = new Set([OP.fld, OP.fst, OP.fstp, OP.fstpnce])

interface Named { kind: number, number: number, size: number }

const REGISTERS = new Map<number, Named>()
function nameRange(first: string, count: number, kind: number, size: number, from = 0): void {
  const base = Register[first as keyof typeof Register] as number
  for (let i = 0; i < count; i++) REGISTERS.set(base + i, { kind, number: from + i, size })
}
nameRange('AL', 4, REG, 1)
nameRange('AH', 4, REG_HIGH, 1)
nameRange('SPL', 4, REG, 1, 4)
nameRange('R8L', 8, REG, 1, 8)
nameRange('AX', 16, REG, 2)
nameRange('EAX', 16, REG, 4)
nameRange('RAX', 16, REG, 8)
nameRange('ES', 6, SEG_REG, 2)
nameRange('CR0', 16, CR_REG, 0)
nameRange('DR0', 16, DR_REG, 0)
nameRange('MM0', 8, MMX_REG, 8)
nameRange('XMM0', 16, XMM_REG, 16)
nameRange('YMM0', 16, XMM_REG, 32)
nameRange('ST0', 8, ST_REG, 10)

function number(register: number): number {
  return register === NO_REGISTER ? -1 : REGISTERS.get(register)?.number ?? -2
}

function immediate(insn: Insn): bigint {
  return BigInt.asUintN(64, BigInt(insn.immHi) << 32n | BigInt(insn.immLo >>> 0))
}

function compareMemory(theirs: iced.Instruction, insn: Insn): string | null {
  const base = theirs.memoryBase
  const rip = base === Register.RIP || base === Register.EIP
  if (rip !== (insn.ripRelative === 1)) return 'RIP-relative'
  if (!rip && number(base) !== insn.base) return `base ${insn.base}`
  if (number(theirs.memoryIndex) !== insn.index) return `index ${insn.index}`
  if (insn.index >= 0 && theirs.memoryIndexScale !== 1 << insn.scale) return `scale ${insn.scale}`
  // iced shows ES, CS, SS and DS prefixes in 64-bit mode; there they do nothing.
  const segment = number(theirs.memorySegment)
  if (segment !== insn.seg && (insn.mode !== MODE64 || segment >= 4 || insn.seg >= 4)) return `segment ${insn.seg}`
  let disp = insn.absolute64 ? BigInt(insn.dispHi) << 32n | BigInt(insn.disp) : BigInt(insn.disp)
  if (rip) disp += BigInt(insn.len)
  const bits = insn.addrSize * 8
  if (BigInt.asUintN(bits, theirs.memoryDisplacementU64) !== BigInt.asUintN(bits, disp)) return `displacement ${disp}`
  if ((theirs.memorySize as number) !== NO_MEMORY_SIZE && !OWN_WIDTH.has(OPS[insn.op])) {
    const width = iced.MemorySizeExt.size(theirs.memorySize)
    if (width !== (insn.size2 || insn.size)) return `memory width ${insn.size2 || insn.size}, iced ${width}`
  }
  const size = REGISTERS.get(base)?.size ?? (base === Register.EIP ? 4 : base === Register.RIP ? 8 : 0)
  if (size !== 0 && size !== insn.addrSize) return `address size ${insn.addrSize}`
  return null
}

function compareBranch(theirs: iced.Instruction, insn: Insn): string | null {
  const target = BigInt.asUintN(insn.size * 8, BigInt(insn.rel + insn.len))
  return theirs.nearBranchTarget === target ? null : `target ${target}, iced ${theirs.nearBranchTarget}`
}

function compareOne(
  theirs: iced.Instruction, at: number, insn: Insn, kind: number, register: number, first: boolean,
): string | null {
  switch (theirs.opKind(at)) {
    case OpKind.Register: {
      const found = REGISTERS.get(theirs.opRegister(at))
      if (found?.kind !== kind || found.number !== register) return `operand ${kind} ${register}`
      const sized = first && (kind === REG || kind === REG_HIGH) && !NARROW.has(OPS[insn.op])
      return sized && found.size !== insn.size ? `register width ${insn.size}, iced ${found.size}` : null
    }
    case OpKind.Memory: return kind === MEM ? compareMemory(theirs, insn) : `operand kind ${kind}`
    case OpKind.NearBranch16: case OpKind.NearBranch32: case OpKind.NearBranch64:
      return kind === REL ? compareBranch(theirs, insn) : `operand kind ${kind}`
    case OpKind.FarBranch16: case OpKind.FarBranch32: {
      const offset = theirs.opKind(at) === OpKind.FarBranch16 ? theirs.farBranch16 : theirs.farBranch32
      const same = offset === insn.immLo >>> 0 && theirs.farBranchSelector === insn.imm2
      return kind === FAR && same ? null : 'far pointer'
    }
    case OpKind.Immediate8_2nd: return kind === IMM2 && insn.imm2 === theirs.immediate8_2nd ? null : 'second immediate'
    default: {
      const bits = Math.max(insn.size, 1) * 8
      if (kind !== IMM) return `operand kind ${kind}`
      const [a, b] = [theirs.immediate(at), immediate(insn)].map((value) => BigInt.asUintN(Math.min(bits, 64), value))
      return a === b ? null : `immediate ${b}, iced ${a}`
    }
  }
}

/** What differs between the operands, or null. */
export function compareOperands(theirs: iced.Instruction, insn: Insn): string | null {
  if (theirs.hasLockPrefix !== (insn.lock === 1)) return 'LOCK'
  const name = OPS[insn.op]
  if (insn.rep !== 0 && !theirs.hasRepePrefix && !theirs.hasRepnePrefix) return 'REP'
  if (IMPLICIT.has(name)) return null
  const kinds = [insn.kind0, insn.kind1, insn.kind2, insn.kind3].filter((kind) => kind !== NONE)
  const registers = [insn.reg0, insn.reg1, insn.reg2, insn.reg3]
  const skip = ST0_FIRST.has(name) && theirs.opCount > kinds.length ? 1 : 0
  const count = theirs.opCount - skip
  // iced names ST(0) too in the register forms of the moves
  if (MOVES_ST.has(insn.op) && insn.kind0 === ST_REG) {
    const named: number[] = [theirs.op0Register, theirs.op1Register]
    return named.includes(Register.ST0 + insn.reg0) ? null : 'ST'
  }
  if (count !== kinds.length) return `${kinds.length} operands, iced ${theirs.opCount}`
  for (const [at, kind] of kinds.entries()) {
    const detail = compareOne(theirs, at + skip, insn, kind, registers[at], at === 0)
    if (detail !== null) return detail
  }
  return null
}
