/** Descriptor-table registers and the instructions that look at descriptors (SDM vol. 2; vol. 3 §2.4). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { GDTR, IDTR, LDTR, TR } from '../state.ts'
import {
  changeFlags, cpl, gpr32, in64, isLongMode, operandReg, readOperand, readU32, readU64, requireCpl0, requireProtected,
  segSelector, setGpr, writeOperand, writeSelectorOperand, writeU32, writeU64,
} from './access.ts'
import { FLAG, SYSTEM_TYPE } from './bits.ts'
import { checkUmip } from './control.ts'
import type { Descriptor } from './descriptor.ts'
import {
  base64, createDescriptor, dplOf, isConforming, isNull, isPresent, isReadable, isSystem, isWritableData, linear,
  readDescriptor, readUpperHalf, requireCanonical, selectorError, setNullSegment, setSegment,
} from './descriptor.ts'

const d = createDescriptor()

/** LGDT and LIDT: limit and base; the base has 24 bits with 16-bit operands, 64 in 64-bit mode. */
const loadTable = (register: number): Meaning => (cpu, insn) => {
  requireCpl0(cpu)
  const is64 = in64(insn)
  const address = cpu.operandAddress(insn, is64 ? 10 : 6, false)
  const limit = cpu.load(address, 2)
  let base = is64 ? cpu.load64(address + 2n) : BigInt(cpu.load(address + 2n, 4))
  if (is64) requireCanonical(cpu, base)
  else if (insn.size === 2) base &= 0xff_ffffn
  writeU32(cpu, register, limit)
  writeU64(cpu, register + 8, base)
}

/** SGDT and SIDT: all 32 bits of the base are stored whatever the operand size, as processors since the 386 do. */
const storeTable = (register: number): Meaning => (cpu, insn) => {
  checkUmip(cpu)
  const is64 = in64(insn)
  const size = is64 ? 10 : 6
  const address = cpu.operandAddress(insn, size, true)
  const image = new DataView(new ArrayBuffer(10))
  image.setUint16(0, readU32(cpu, register), true)
  image.setBigUint64(2, readU64(cpu, register + 8), true)
  cpu.storeBytes(address, new Uint8Array(image.buffer, 0, size))
}

export const lgdt = loadTable(GDTR)
export const lidt = loadTable(IDTR)
export const sgdt = storeTable(GDTR)
export const sidt = storeTable(IDTR)

/** Reads a system descriptor from the GDT for LLDT and LTR; 16 bytes in long mode. */
function readSystemDescriptor(cpu: Cpu, selector: number): number {
  const error = selectorError(selector)
  if ((selector & 4) !== 0 || !readDescriptor(cpu, selector, d)) raise(VECTOR.GP, error)
  return error
}

/** LLDT. A null selector makes the LDT unusable. */
export const lldt: Meaning = (cpu, insn) => {
  requireProtected(cpu)
  requireCpl0(cpu)
  const selector = readOperand(cpu, insn, 0, 2)
  if (isNull(selector)) {
    setNullSegment(cpu, LDTR, selector)
    return
  }
  const error = readSystemDescriptor(cpu, selector)
  if ((d.attributes & 0x1f) !== SYSTEM_TYPE.LDT) raise(VECTOR.GP, error)
  if (!isPresent(d.attributes)) raise(VECTOR.NP, error)
  if (isLongMode(cpu)) {
    if (!readUpperHalf(cpu, selector, d)) raise(VECTOR.GP, error)
    requireCanonical(cpu, base64(d))
  }
  setSegment(cpu, LDTR, selector, d.attributes, d.limit, base64(d))
}

/** LTR: an available TSS, which becomes busy. 16-bit TSSs are not valid in long mode. */
export const ltr: Meaning = (cpu, insn) => {
  requireProtected(cpu)
  requireCpl0(cpu)
  const selector = readOperand(cpu, insn, 0, 2)
  if (isNull(selector)) raise(VECTOR.GP, 0)
  const error = readSystemDescriptor(cpu, selector)
  const type = d.attributes & 0x1f
  const long = isLongMode(cpu)
  if (type !== SYSTEM_TYPE.TSS_AVAILABLE && (long || type !== SYSTEM_TYPE.TSS16_AVAILABLE)) raise(VECTOR.GP, error)
  if (!isPresent(d.attributes)) raise(VECTOR.NP, error)
  if (long) {
    if (!readUpperHalf(cpu, selector, d)) raise(VECTOR.GP, error)
    requireCanonical(cpu, base64(d))
  }
  const busy = 1 << 1
  cpu.storeSystem(linear(cpu, d.address + 4n), 4, (d.hi | (busy << 8)) >>> 0)
  setSegment(cpu, TR, selector, d.attributes | busy, d.limit, base64(d))
}

const storeSelector = (seg: number): Meaning => (cpu, insn) => {
  requireProtected(cpu)
  checkUmip(cpu)
  writeSelectorOperand(cpu, insn, 0, segSelector(cpu, seg))
}

export const sldt = storeSelector(LDTR)
export const str = storeSelector(TR)

const setZf = (cpu: Cpu, on: boolean): void => { changeFlags(cpu, on ? FLAG.ZF : 0, FLAG.ZF) }

/** System types that LAR and LSL accept (SDM vol. 2, LAR table 3-54, LSL table 3-55). */
const LAR_TYPES = new Set([1, 2, 3, 4, 5, 9, 11, 12])
const LAR_TYPES_LONG = new Set([2, 9, 11, 12])
const LSL_TYPES = new Set([1, 2, 3, 9, 11])
const LSL_TYPES_LONG = new Set([2, 9, 11])

/** Whether a selector names a descriptor that the present privilege may see and, for system types, one of `types`. */
function isVisible(cpu: Cpu, selector: number, types: ReadonlySet<number>, out: Descriptor): boolean {
  if (isNull(selector) || !readDescriptor(cpu, selector, out)) return false
  const { attributes } = out
  if (isSystem(attributes) && !types.has(attributes & 0xf)) return false
  return isConforming(attributes) || dplOf(attributes) >= Math.max(cpl(cpu), selector & 3)
}

/**
 * LAR: the second word of a descriptor but for its base, and ZF. (Bits 19:16 are undefined; processors leave the
 * limit's there.)
 */
export const lar: Meaning = (cpu, insn) => {
  requireProtected(cpu)
  const selector = readOperand(cpu, insn, 1, 2)
  const ok = isVisible(cpu, selector, isLongMode(cpu) ? LAR_TYPES_LONG : LAR_TYPES, d)
  setZf(cpu, ok)
  if (ok) setGpr(cpu, operandReg(insn, 0), insn.size === 2 ? 2 : 4, d.hi & (insn.size === 2 ? 0xff00 : 0x00ff_ff00))
}

/** LSL: the byte limit of a segment, and ZF. */
export const lsl: Meaning = (cpu, insn) => {
  requireProtected(cpu)
  const selector = readOperand(cpu, insn, 1, 2)
  const ok = isVisible(cpu, selector, isLongMode(cpu) ? LSL_TYPES_LONG : LSL_TYPES, d)
  setZf(cpu, ok)
  if (ok) setGpr(cpu, operandReg(insn, 0), insn.size === 2 ? 2 : 4, d.limit)
}

const verify = (allows: (attributes: number) => boolean): Meaning => (cpu, insn) => {
  requireProtected(cpu)
  const selector = readOperand(cpu, insn, 0, 2)
  let ok = !isNull(selector) && readDescriptor(cpu, selector, d)
  ok &&= !isSystem(d.attributes) && allows(d.attributes)
  ok &&= isConforming(d.attributes) || dplOf(d.attributes) >= Math.max(cpl(cpu), selector & 3)
  setZf(cpu, ok)
}

export const verr = verify(isReadable)
export const verw = verify(isWritableData)

/** ARPL: raises the RPL of a selector to that of another. */
export const arpl: Meaning = (cpu, insn) => {
  requireProtected(cpu)
  if (in64(insn)) raise(VECTOR.UD)
  const target = readOperand(cpu, insn, 0, 2)
  const rpl = gpr32(cpu, operandReg(insn, 1)) & 3
  const raises = (target & 3) < rpl
  // What stays as it is is not written (observed on Intel processors).
  if (raises) writeOperand(cpu, insn, 0, 2, (target & ~3) | rpl)
  setZf(cpu, raises)
}
