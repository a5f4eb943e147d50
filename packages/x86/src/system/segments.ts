/** Loading ES, SS, DS, FS and GS: MOV, POP, LDS/LES/LFS/LGS/LSS, and the checks that far transfers share. */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MEM, REG, SEG_REG } from '../insn.ts'
import { CS, DS, ES, FS, GS, SEG, SEG_BASE, SEG_SIZE, SHADOW, SS } from '../state.ts'
import {
  cpl, in64, is64Bit, isProtected, loadStack32, operandKind, operandReg, readOperand, segSelector, setGpr, setGpr64,
  setStackOffset, stackOffset, storeStack, writeU32,
} from './access.ts'
import type { Descriptor } from './descriptor.ts'
import { selectorAddress } from './parts.ts'
import {
  createDescriptor, dplOf, isConforming, isNull, isPresent, isReadable, isWritableData, markAccessed, readDescriptor,
  selectorError, setNullSegment, setSegmentFrom,
} from './descriptor.ts'

const target = createDescriptor()

/**
 * Checks a selector for SS (SDM vol. 2, MOV, "Operation"). A stack segment must sit exactly at the CPL, and be
 * writable. Null is allowed only in 64-bit mode below CPL 3.
 */
export function checkStackSelector(cpu: Cpu, selector: number, level: number, in64Bit: boolean, out: Descriptor): void {
  if (isNull(selector)) {
    if (in64Bit && level !== 3 && (selector & 3) === level) return
    raise(VECTOR.GP, 0)
  }
  const error = selectorError(selector)
  if (!readDescriptor(cpu, selector, out)) raise(VECTOR.GP, error)
  if ((selector & 3) !== level || !isWritableData(out.attributes) || dplOf(out.attributes) !== level) {
    raise(VECTOR.GP, error)
  }
  if (!isPresent(out.attributes)) raise(VECTOR.SS, error)
  markAccessed(cpu, out)
}

/** Checks a selector for DS, ES, FS or GS: readable, and max(CPL, RPL) ≤ DPL unless it is conforming code. */
export function checkDataSelector(cpu: Cpu, selector: number, out: Descriptor): void {
  if (isNull(selector)) return
  const error = selectorError(selector)
  if (!readDescriptor(cpu, selector, out)) raise(VECTOR.GP, error)
  const { attributes } = out
  if (!isReadable(attributes)) raise(VECTOR.GP, error)
  if (!isConforming(attributes) && Math.max(cpl(cpu), selector & 3) > dplOf(attributes)) raise(VECTOR.GP, error)
  if (!isPresent(attributes)) raise(VECTOR.NP, error)
  markAccessed(cpu, out)
}

/** Real mode: only selector and base change; limit and rights stay ("unreal mode" depends on it). */
export function loadRealSegment(cpu: Cpu, seg: number, selector: number): void {
  const at = SEG + seg * SEG_SIZE
  cpu.views.u16[at >>> 1] = selector
  cpu.views.u32[(at + SEG_BASE) >>> 2] = selector << 4
  cpu.views.u32[((at + SEG_BASE) >>> 2) + 1] = 0
}

/** All the checks that loading `selector` into `seg` needs, in the present mode; leaves the descriptor in `target`. */
function checkSegmentLoad(cpu: Cpu, insn: Insn, seg: number, selector: number): void {
  if (!isProtected(cpu)) return
  if (seg === SS) checkStackSelector(cpu, selector, cpl(cpu), in64(insn), target)
  else checkDataSelector(cpu, selector, target)
}

/** Loads the segment that `checkSegmentLoad` has let pass. */
function commitSegmentLoad(cpu: Cpu, seg: number, selector: number): void {
  if (!isProtected(cpu)) loadRealSegment(cpu, seg, selector)
  else if (isNull(selector)) setNullSegment(cpu, seg, selector, seg === SS ? cpl(cpu) << 5 : 0)
  else setSegmentFrom(cpu, seg, selector, target)
  // Interrupts and debug traps wait for the instruction after a load of SS (SDM vol. 3 §6.8.3).
  if (seg === SS) writeU32(cpu, SHADOW, 1)
  if (seg === SS || !is64Bit(cpu)) cpu.modeChanged()
}

/** MOV Sreg, r/m16: CS cannot be loaded (#UD). */
export const movToSegment: Meaning = (cpu, insn) => {
  const seg = insn.reg0
  if (seg === CS || seg > GS) raise(VECTOR.UD)
  const selector = readOperand(cpu, insn, 1, 2)
  checkSegmentLoad(cpu, insn, seg, selector)
  commitSegmentLoad(cpu, seg, selector)
}

/** MOV r/m, Sreg: a 16-bit store; a register of 32 or 64 bits is zero-extended. */
export const movFromSegment: Meaning = (cpu, insn) => {
  if (insn.reg1 > GS) raise(VECTOR.UD)
  const selector = segSelector(cpu, insn.reg1)
  if (insn.kind0 === MEM) cpu.store(cpu.operandAddress(insn, 2, true), 2, selector)
  else if (insn.size === 2) setGpr(cpu, insn.reg0, 2, selector)
  else setGpr64(cpu, insn.reg0, BigInt(selector))
}

/** MOV with a segment register on either side. */
export const movSegment: Meaning = (cpu, insn) => {
  if (insn.kind0 === SEG_REG) movToSegment(cpu, insn)
  else movFromSegment(cpu, insn)
}

/** Width of a push or pop of a segment register: the operand size, 8 bytes in 64-bit mode unless it is 2. */
const slotSize = (insn: Insn): 2 | 4 | 8 => (insn.size === 2 ? 2 : in64(insn) ? 8 : 4)

/** POP Sreg. */
export const popSegment: Meaning = (cpu, insn) => {
  const seg = operandReg(insn, 0)
  if (seg === CS || seg > GS) raise(VECTOR.UD)
  const size = slotSize(insn)
  // Two bytes are read whatever the size of the slot (observed on Intel processors, by #AC).
  const selector = loadStack32(cpu, 0, 2)
  checkSegmentLoad(cpu, insn, seg, selector)
  const after = stackOffset(cpu, size)
  // The stack pointer moves by the old stack's width: POP SS changes SS.B only afterwards.
  setStackOffset(cpu, after)
  commitSegmentLoad(cpu, seg, selector)
}

/** PUSH Sreg: of a slot of four bytes only two are written (SDM vol. 2, PUSH: "recent Intel Core processors"). */
export const pushSegment: Meaning = (cpu, insn) => {
  const size = slotSize(insn)
  storeStack(cpu, -size, size === 4 ? 2 : size, BigInt(segSelector(cpu, operandReg(insn, 0))))
  setStackOffset(cpu, stackOffset(cpu, -size))
}

/** LDS, LES, LFS, LGS, LSS: loads a far pointer from memory into `seg` and the destination register. */
const loadFarPointer = (seg: number): Meaning => (cpu, insn) => {
  if (operandKind(insn, 1) !== MEM || operandKind(insn, 0) !== REG) raise(VECTOR.UD)
  const { size } = insn
  const address = cpu.operandAddress(insn, size, false)
  const offset64 = size === 8 ? cpu.load64(address) : 0n
  const offset = size === 8 ? 0 : cpu.load(address, size === 2 ? 2 : 4)
  const selector = cpu.load(selectorAddress(cpu, insn), 2)
  checkSegmentLoad(cpu, insn, seg, selector)
  if (size === 8) setGpr64(cpu, insn.reg0, offset64)
  else setGpr(cpu, insn.reg0, size, offset)
  commitSegmentLoad(cpu, seg, selector)
  // Only MOV SS and POP SS hold off interrupts; LSS does not need to (SDM vol. 3 §6.8.3).
  if (seg === SS) writeU32(cpu, SHADOW, 0)
}

export const lds = loadFarPointer(DS)
export const les = loadFarPointer(ES)
export const lfs = loadFarPointer(FS)
export const lgs = loadFarPointer(GS)
export const lss = loadFarPointer(SS)
