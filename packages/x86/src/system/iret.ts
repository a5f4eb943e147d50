/** IRET in every mode (SDM vol. 2, IRET; the checks in its order). */
import type { Cpu, Meaning } from '../cpu.ts'
import { guestFault, raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { CPL, CS, DR, DS, ES, FS, GPR, GS, SS } from '../state.ts'
import {
  changeFlags, cpl, in64, isLongMode, isProtected, loadStack, loadStack32, RSP, segAttributes, setGpr,
  setStackOffset, stackAddress, stackOffset, writeU32,
} from './access.ts'
import { ATTR, FLAG } from './bits.ts'
import type { CpuSystem } from './cpu-system.ts'
import type { Descriptor } from './descriptor.ts'
import {
  checkCodeOffset, createDescriptor, dplOf, isCode, isConforming, isNull, isPresent, isSystem, markAccessed,
  readDescriptor, selectorError,
  setNullSegment, setSegmentFrom,
} from './descriptor.ts'
import { checkStackSelector, loadRealSegment } from './segments.ts'

const code = createDescriptor()
const stack = createDescriptor()

/** What a far return pops. Reused. */
const popped = { rip: 0n, cs: 0, flags: 0, rsp: 0n, ss: 0, stackRead: false }
const frame64 = new BigUint64Array(5)
const frame32 = new Uint32Array(frame64.buffer)
const frameBytes = new Uint8Array(frame64.buffer)

/** Flags that IRET and POPF change at any privilege. */
const USER_FLAGS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.TF | FLAG.DF | FLAG.OF | FLAG.NT

/** Mask of the flags that a load of `size` bytes may change at the present privilege. */
export function flagMask(cpu: Cpu, size: number): number {
  const level = cpl(cpu)
  const iopl = (cpu.getFlags() >>> 12) & 3
  let mask = USER_FLAGS
  if (size > 2) mask |= FLAG.AC | FLAG.ID
  if (level <= iopl) mask |= FLAG.IF
  if (level === 0) mask |= FLAG.IOPL
  return mask
}

/**
 * Whether RF can matter: it lives until the end of the next instruction, and does nothing but hold off instruction
 * breakpoints. Without any, IRET leaves it clear, so that nobody needs to clear it after every instruction.
 */
const breakpointsArmed = (cpu: Cpu): boolean => (cpu.views.u32[(DR + 7 * 8) >>> 2] & 0xff) !== 0

/** Checks the code segment that a far return goes to, and leaves it in `out` (SDM vol. 2, RET and IRET). */
export function checkReturnCode(cpu: Cpu, selector: number, out: Descriptor): void {
  if (isNull(selector)) raise(VECTOR.GP, 0)
  const error = selectorError(selector)
  const rpl = selector & 3
  if (!readDescriptor(cpu, selector, out)) raise(VECTOR.GP, error)
  const { attributes } = out
  if (!isCode(attributes) || rpl < cpl(cpu)) raise(VECTOR.GP, error)
  if (isConforming(attributes) ? dplOf(attributes) > rpl : dplOf(attributes) !== rpl) raise(VECTOR.GP, error)
  if (isLongMode(cpu) && (attributes & (ATTR.L | ATTR.DB)) === (ATTR.L | ATTR.DB)) raise(VECTOR.GP, error)
  if (!isPresent(attributes)) raise(VECTOR.NP, error)
}

/** After a return to an outer ring: data segments that the new level may not use become null. */
export function dropInnerSegments(cpu: Cpu, level: number): void {
  for (const seg of [ES, DS, FS, GS]) {
    const attributes = segAttributes(cpu, seg)
    if (!isPresent(attributes)) continue
    if (isSystem(attributes) || isConforming(attributes)) continue
    if (dplOf(attributes) < level) setNullSegment(cpu, seg, 0)
  }
}

/**
 * Loads the stack of a return; `segment` holds its descriptor unless the selector is null. Outside 64-bit mode the
 * segment tells how much of the stack pointer is loaded: of 16 bits the rest stays, whatever was popped (observed on
 * Intel processors; Linux's espfix is about it).
 */
export function commitReturnStack(
  cpu: Cpu, selector: number, rsp: bigint, level: number, segment: Descriptor, to64: boolean,
): void {
  if (isNull(selector)) setNullSegment(cpu, SS, selector, level << ATTR.DPL_SHIFT)
  else setSegmentFrom(cpu, SS, selector, segment)
  if (to64) cpu.views.u64[(GPR >>> 3) + RSP] = rsp
  else setGpr(cpu, RSP, isNull(selector) || (segment.attributes & ATTR.DB) !== 0 ? 4 : 2, Number(rsp & 0xffff_ffffn))
}

function iretReal(cpu: Cpu, insn: Insn): void {
  const size = insn.size === 4 ? 4 : 2
  const rip = loadStack(cpu, 0, size)
  const selector = loadStack32(cpu, size, size) & 0xffff
  const flags = loadStack32(cpu, size * 2, size)
  if (rip > 0xffffn) raise(VECTOR.GP, 0)
  setStackOffset(cpu, stackOffset(cpu, size * 3))
  loadRealSegment(cpu, CS, selector)
  cpu.setFlags(flags, flagMask(cpu, size) | (size === 4 ? FLAG.RF : 0))
  cpu.modeChanged()
  cpu.setNextRip(rip)
}

/** Pops RIP, CS and RFLAGS; of eight bytes each RSP and SS as well. */
function popFrame(cpu: Cpu, size: number, is64: boolean): void {
  if (is64 && size === 8) {
    popped.stackRead = true
    try {
      const at = stackAddress(cpu, 0, 40, false)
      cpu.checkAlignment?.(at, 8)
      cpu.loadBytes(at, frameBytes)
    } catch (fault) {
      if (fault !== guestFault) throw fault
      // Which part faults, and whether CS does before, shows when they are read in the processor's order.
      popParts(cpu, size)
      popped.stackRead = false
      return
    }
    popped.rip = frame64[0]
    popped.cs = frame32[2] & 0xffff
    popped.flags = frame32[4]
    popped.rsp = frame64[3]
    popped.ss = frame32[8] & 0xffff
    return
  }
  popParts(cpu, size)
  popped.stackRead = false
}

/**
 * The flags are read first, as a fault's address shows; RSP and SS, two bytes of it, after CS is checked (observed on
 * Intel processors).
 */
function popParts(cpu: Cpu, size: number): void {
  popped.flags = Number(loadStack(cpu, size * 2, size) & 0xffff_ffffn)
  popped.cs = loadStack32(cpu, size, size) & 0xffff
  popped.rip = loadStack(cpu, 0, size)
}

function popStack(cpu: Cpu, size: number): void {
  popped.ss = loadStack32(cpu, size * 4, 2)
  popped.rsp = loadStack(cpu, size * 3, size)
}

function unblockNmis(system: CpuSystem): void {
  if (!system.nmiBlocked) return
  system.nmiBlocked = false
  system.nmiUnblocked?.()
}

/** IRET, IRETD, IRETQ. Task returns (NT) and VM86 are not supported and shut the processor down. */
export const iret: Meaning = (cpu, insn) => {
  const system = cpu.system
  if (!isProtected(cpu)) {
    iretReal(cpu, insn)
    if (system !== undefined) unblockNmis(system)
    return
  }
  const is64 = in64(insn)
  const { size } = insn
  if ((cpu.getFlags() & FLAG.NT) !== 0) {
    if (isLongMode(cpu)) raise(VECTOR.GP, 0)
    cpu.shutdown('IRET with NT set: task switches are not supported')
    return
  }
  popFrame(cpu, size, is64)
  const oldLevel = cpl(cpu)
  if (!isLongMode(cpu) && oldLevel === 0 && size === 4 && (popped.flags & FLAG.VM) !== 0) {
    cpu.shutdown('IRET into virtual-8086 mode, which is not supported')
    return
  }
  checkReturnCode(cpu, popped.cs, code)
  const newLevel = popped.cs & 3
  const to64 = isLongMode(cpu) && (code.attributes & ATTR.L) !== 0
  const takesStack = is64 || newLevel !== oldLevel
  if (takesStack) {
    if (!popped.stackRead) popStack(cpu, size)
    checkStackSelector(cpu, popped.ss, newLevel, to64, stack)
  }
  checkCodeOffset(cpu, popped.rip, code)
  markAccessed(cpu, code)

  // Nothing faults from here on. Flags go by the privilege that executes IRET.
  const mask = flagMask(cpu, size) | (size === 2 ? 0 : FLAG.RF | (oldLevel === 0 ? FLAG.VIF | FLAG.VIP : 0))
  const flags = breakpointsArmed(cpu) ? popped.flags : popped.flags & ~FLAG.RF
  const modeChanges = newLevel !== oldLevel || segAttributes(cpu, CS) !== code.attributes || !is64
  if (takesStack) commitReturnStack(cpu, popped.ss, popped.rsp, newLevel, stack, to64)
  else setStackOffset(cpu, stackOffset(cpu, size * 3))
  setSegmentFrom(cpu, CS, popped.cs, code)
  writeU32(cpu, CPL, newLevel)
  if (newLevel > oldLevel) dropInnerSegments(cpu, newLevel)
  if (modeChanges) {
    cpu.setFlags(flags, mask)
    cpu.modeChanged()
  } else changeFlags(cpu, flags, mask)
  if (system !== undefined) unblockNmis(system)
  cpu.setNextRip(to64 ? popped.rip : popped.rip & 0xffff_ffffn)
}

