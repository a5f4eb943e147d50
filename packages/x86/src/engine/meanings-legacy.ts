/**
 * Stack, branch and string instructions in TypeScript: for 16- and 32-bit modes with their segments and limits, and for
 * what the WebAssembly meanings of 64-bit mode leave (67h, FS and GS before string instructions). SDM vol. 2, by name.
 */
import type { Cpu, Meaning } from '../cpu.ts'
import { VECTOR, raise } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { IMM, MEM, REL } from '../insn.ts'
import { OP } from '../ops.ts'
import { CC_A, CC_B, CC_OP, CS, DS, ES, SS } from '../state.ts'
import {
  RAX, RBP, RCX, RDI, RSI, RSP, addressRegister, gpr32, gpr64, in64, loadStack, operandKind, readOperand, readOperand64,
  segLimit, setGpr, setGpr64, setStackOffset, stackOffset, stackSize, storeStack, writeOperand, writeOperand64,
} from '../system/access.ts'
import { FLAG } from '../system/bits.ts'
import { requireCanonical } from '../system/descriptor.ts'
import { effectiveOffset } from '../system/effective.ts'
import { KIND, ccOp } from './flags.ts'

type Narrow = 1 | 2 | 4

/** An operand of any width, zero-extended. */
function read(cpu: Cpu, insn: Insn, n: number): bigint {
  const { size } = insn
  return size === 8 ? readOperand64(cpu, insn, n) : BigInt(readOperand(cpu, insn, n, size as Narrow))
}

function write(cpu: Cpu, insn: Insn, n: number, value: bigint): void {
  const { size } = insn
  if (size === 8) writeOperand64(cpu, insn, n, value)
  else writeOperand(cpu, insn, n, size as Narrow, Number(value))
}

/** An immediate at the operand size. */
const immediate = (insn: Insn): bigint =>
  BigInt.asUintN(insn.size * 8, (BigInt(insn.immHi) << 32n) | BigInt(insn.immLo >>> 0))

/** PUSH r, m, imm. */
const push: Meaning = (cpu, insn) => {
  const value = insn.kind0 === IMM ? immediate(insn) : read(cpu, insn, 0)
  storeStack(cpu, -insn.size, insn.size, value)
  setStackOffset(cpu, stackOffset(cpu, -insn.size))
}

/** POP r, m: an address based on RSP takes its value after the pop; POP of the stack pointer keeps what was popped. */
const pop: Meaning = (cpu, insn) => {
  const { size } = insn
  const value = loadStack(cpu, 0, size)
  const before = gpr64(cpu, RSP)
  setStackOffset(cpu, stackOffset(cpu, size))
  if (operandKind(insn, 0) !== MEM) {
    write(cpu, insn, 0, value)
    return
  }
  let done = false
  try {
    write(cpu, insn, 0, value)
    done = true
  } finally {
    if (!done) setGpr64(cpu, RSP, before)
  }
}

/** LEAVE: the frame pointer is read at the stack's width, what it points to at the operand size. */
const leave: Meaning = (cpu, insn) => {
  const { size } = insn
  const width = stackSize(cpu)
  const frame = BigInt.asUintN(width * 8, gpr64(cpu, RBP))
  const address = cpu.segmentAddress(SS, frame, size, false)
  const value = size === 8 ? cpu.load64(address) : BigInt(cpu.load(address, size as Narrow))
  setStackOffset(cpu, BigInt.asUintN(width * 8, frame + BigInt(size)))
  if (size === 8) setGpr64(cpu, RBP, value)
  else setGpr(cpu, RBP, size, Number(value))
}

/** The target of a near branch, cut to the operand size; #GP(0) at the branch when it lies outside the code segment. */
function checkTarget(cpu: Cpu, insn: Insn, target: bigint): bigint {
  if (in64(insn)) {
    requireCanonical(cpu, BigInt.asUintN(64, target))
    return BigInt.asUintN(64, target)
  }
  const cut = BigInt.asUintN(insn.size === 2 ? 16 : 32, target)
  if (cut > BigInt(segLimit(cpu, CS))) raise(VECTOR.GP, 0)
  return cut
}

const relativeTarget = (cpu: Cpu, insn: Insn): bigint => checkTarget(cpu, insn, cpu.nextRip() + BigInt(insn.rel))
const branchTarget = (cpu: Cpu, insn: Insn): bigint =>
  insn.kind0 === REL ? relativeTarget(cpu, insn) : checkTarget(cpu, insn, read(cpu, insn, 0))

const call: Meaning = (cpu, insn) => {
  const wanted = insn.kind0 === REL ? cpu.nextRip() + BigInt(insn.rel) : read(cpu, insn, 0)
  // The return address is stored even where the target is then refused (observed on Intel processors).
  storeStack(cpu, -insn.size, insn.size, cpu.nextRip())
  const target = checkTarget(cpu, insn, wanted)
  setStackOffset(cpu, stackOffset(cpu, -insn.size))
  cpu.setNextRip(target)
}

const jmp: Meaning = (cpu, insn) => { cpu.setNextRip(branchTarget(cpu, insn)) }

/** RET, and RET imm16, which releases parameters. */
const ret: Meaning = (cpu, insn) => {
  const target = checkTarget(cpu, insn, loadStack(cpu, 0, insn.size))
  const release = insn.kind0 === IMM ? insn.immLo & 0xffff : 0
  setStackOffset(cpu, stackOffset(cpu, insn.size + release))
  cpu.setNextRip(target)
}

/** Condition codes (SDM vol. 2, appendix B.1.4.7). */
function holds(flags: number, cc: number): boolean {
  const bit = (mask: number): boolean => (flags & mask) !== 0
  const less = bit(FLAG.SF) !== bit(FLAG.OF)
  const conditions = [
    bit(FLAG.OF), bit(FLAG.CF), bit(FLAG.ZF), bit(FLAG.CF | FLAG.ZF), bit(FLAG.SF), bit(FLAG.PF), less,
    bit(FLAG.ZF) || less,
  ]
  return conditions[cc >> 1] !== ((cc & 1) !== 0)
}

const jcc: Meaning = (cpu, insn) => {
  if (holds(cpu.getFlags(), insn.cc)) cpu.setNextRip(relativeTarget(cpu, insn))
}

/** Counts RCX down at the address size; answers what is left. */
function countDown(cpu: Cpu, insn: Insn): bigint {
  const left = BigInt.asUintN(insn.addrSize * 8, addressRegister(cpu, insn, RCX) - 1n)
  setAddressRegister(cpu, insn, RCX, left)
  return left
}

function setAddressRegister(cpu: Cpu, insn: Insn, reg: number, value: bigint): void {
  if (insn.addrSize === 8) setGpr64(cpu, reg, value)
  else setGpr(cpu, reg, insn.addrSize, Number(value))
}

/** LOOP, LOOPE (`zero` true), LOOPNE (false). */
const loop = (zero: boolean | null): Meaning => (cpu, insn) => {
  const more = BigInt.asUintN(insn.addrSize * 8, addressRegister(cpu, insn, RCX) - 1n) !== 0n
  const taken = more && (zero === null || ((cpu.getFlags() & FLAG.ZF) !== 0) === zero)
  const target = taken ? relativeTarget(cpu, insn) : cpu.nextRip()
  countDown(cpu, insn)
  cpu.setNextRip(target)
}

const jcxz: Meaning = (cpu, insn) => {
  if (addressRegister(cpu, insn, RCX) === 0n) cpu.setNextRip(relativeTarget(cpu, insn))
}

const source = (cpu: Cpu, insn: Insn, write: boolean): bigint =>
  cpu.segmentAddress(insn.segOverride >= 0 ? insn.segOverride : DS, addressRegister(cpu, insn, RSI), insn.size, write)
const destination = (cpu: Cpu, insn: Insn, write: boolean): bigint =>
  cpu.segmentAddress(ES, addressRegister(cpu, insn, RDI), insn.size, write)

const loadSized = (cpu: Cpu, address: bigint, size: number): bigint =>
  size === 8 ? cpu.load64(address) : BigInt(cpu.load(address, size as Narrow))
function storeSized(cpu: Cpu, address: bigint, size: number, value: bigint): void {
  if (size === 8) cpu.store64(address, value)
  else cpu.store(address, size as Narrow, Number(value))
}
const accumulator = (cpu: Cpu, size: number): bigint => BigInt.asUintN(size * 8, gpr64(cpu, RAX))

function advance(cpu: Cpu, insn: Insn, reg: number): void {
  const step = BigInt((cpu.getFlags() & FLAG.DF) !== 0 ? -insn.size : insn.size)
  setAddressRegister(cpu, insn, reg, BigInt.asUintN(insn.addrSize * 8, addressRegister(cpu, insn, reg) + step))
}

/** Sets the lazy flags to those of `a` − `b`. */
function compareFlags(cpu: Cpu, size: number, a: bigint, b: bigint): void {
  const { u64, i32 } = cpu.views
  u64[CC_A >>> 3] = a
  u64[CC_B >>> 3] = b
  i32[CC_OP >>> 2] = ccOp(KIND.SUB, size)
}

/**
 * What processors do before the first iteration with 67H in 64-bit mode, even if it faults or there is none (observed).
 */
function cutRegisters(cpu: Cpu, insn: Insn): void {
  const cut = (reg: number): void => { setGpr64(cpu, reg, BigInt(gpr32(cpu, reg))) }
  cut(RCX)
  if (insn.op === OP.movs) cut(RSI)
  if (insn.op === OP.movs || insn.op === OP.stos) cut(RDI)
}

/**
 * A string instruction. With a repeat prefix one call is one iteration, and counts as one instruction: while there is
 * more to do the next instruction is this one again, so that interrupts and faults see the registers as they are then.
 * `iteration` answers what it compared, or null; the last iteration sets the flags (a fault before it leaves them as
 * they were before the instruction: SDM vol. 2, REP).
 */
type Compared = readonly [bigint, bigint] | null
const string = (iteration: (cpu: Cpu, insn: Insn) => Compared): Meaning => (cpu, insn) => {
  if (insn.rep !== 0) {
    if (insn.addrSize === 4 && in64(insn)) cutRegisters(cpu, insn)
    if (addressRegister(cpu, insn, RCX) === 0n) return
  }
  const compared = iteration(cpu, insn)
  const left = insn.rep === 0 ? 0n : countDown(cpu, insn)
  const more = left !== 0n && (compared === null || (compared[0] === compared[1]) === (insn.rep === 0xf3))
  if (more) cpu.setNextRip(cpu.rip())
  else if (compared !== null) compareFlags(cpu, insn.size, compared[0], compared[1])
}

const movs = string((cpu, insn) => {
  const value = loadSized(cpu, source(cpu, insn, false), insn.size)
  storeSized(cpu, destination(cpu, insn, true), insn.size, value)
  advance(cpu, insn, RSI)
  advance(cpu, insn, RDI)
  return null
})

const stos = string((cpu, insn) => {
  storeSized(cpu, destination(cpu, insn, true), insn.size, accumulator(cpu, insn.size))
  advance(cpu, insn, RDI)
  return null
})

const lods = string((cpu, insn) => {
  const value = loadSized(cpu, source(cpu, insn, false), insn.size)
  if (insn.size === 8) setGpr64(cpu, RAX, value)
  else setGpr(cpu, RAX, insn.size, Number(value))
  advance(cpu, insn, RSI)
  return null
})

const scas = string((cpu, insn) => {
  const value = loadSized(cpu, destination(cpu, insn, false), insn.size)
  advance(cpu, insn, RDI)
  return [accumulator(cpu, insn.size), value]
})

const cmps = string((cpu, insn) => {
  const right = loadSized(cpu, destination(cpu, insn, false), insn.size)
  const left = loadSized(cpu, source(cpu, insn, false), insn.size)
  advance(cpu, insn, RSI)
  advance(cpu, insn, RDI)
  return [left, right]
})

/** BT, BTS, BTR, BTC in memory with the bit's number in a register: the address wraps at the address size. */
const bitTest = (change: (value: bigint, bit: bigint) => bigint, writes: boolean): Meaning => (cpu, insn) => {
  const { size } = insn
  const bits = BigInt(size * 8)
  const reg = insn.reg1
  const number = BigInt.asIntN(size * 8, size === 8 ? gpr64(cpu, reg) : BigInt(gpr32(cpu, reg)))
  const far = number >> (size === 8 ? 6n : size === 4 ? 5n : 4n)
  const offset = BigInt.asUintN(insn.addrSize * 8, effectiveOffset(cpu, insn) + far * BigInt(size))
  const address = cpu.segmentAddress(insn.seg, offset, size, writes)
  if (writes) cpu.checkWrite(address, size)
  const value = loadSized(cpu, address, size)
  const bit = 1n << (BigInt.asUintN(64, number) % bits)
  if (writes) storeSized(cpu, address, size, change(value, bit))
  cpu.setFlags((value & bit) !== 0n ? FLAG.CF : 0, FLAG.CF)
}

/** By mnemonic. */
export const legacyMeanings: Readonly<Record<string, Meaning>> = {
  push, pop, leave, call, jmp, ret, jcc, loop: loop(null), loope: loop(true), loopne: loop(false), jcxz,
  movs, stos, lods, scas, cmps,
  bt: bitTest((value) => value, false),
  bts: bitTest((value, bit) => value | bit, true),
  btr: bitTest((value, bit) => value & ~bit, true),
  btc: bitTest((value, bit) => value ^ bit, true),
}
