/** XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS (SDM vol. 1 chapter 13). */
import type { Cpu, Meaning } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { MXCSR, PKRU, XCR0, XSS, YMMH } from '../state.ts'
import { gpr32, in64, RAX, readU32, requireCpl0, writeU32 } from './access.ts'
import { XCR0_BITS } from './bits.ts'
import { systemOf } from './cpu-system.ts'
import { checkXsave } from './fpu-checks.ts'
import { checkMxcsr, loadX87, loadXmm, MXCSR_MASK, MXCSR_RESET, saveX87, saveXmm } from './fxsave.ts'
import { areaAddress, checkEnd, checkStore, loadFrom, openArea, storeTo, type SaveArea } from './save-area.ts'
import { EXTENDED_START, LEGACY_SIZE, xsaveArea } from './xsave-layout.ts'
import type { XsaveArea } from './xsave-layout.ts'
import { inUse, initAvx, initMxcsr, initX87, initXmm, setPkru } from './xsave-state.ts'

/** The area is put together here, and then stored part by part; nothing else is written. */
const image = new Uint8Array(4096)
const view = new DataView(image.buffer)

/** XCOMP_BV bit 63: compacted form. It is bit 31 of the upper word. */
const COMPACTED = 0x8000_0000
const XSTATE_BV = LEGACY_SIZE
const XCOMP_BV = LEGACY_SIZE + 8

const areaOf = (cpu: Cpu): XsaveArea => xsaveArea(systemOf(cpu).model)

/** Requested-feature bitmap: EDX:EAX and the enabled states. All of ours are in the low word. */
const requested = (cpu: Cpu, supervisor: boolean): number =>
  gpr32(cpu, RAX) & (readU32(cpu, XCR0) | (supervisor ? readU32(cpu, XSS) : 0))

/**
 * Puts the components of `mask` into the image; `offsetOf` places the extended ones. Reports each part that was filled.
 */
function collect(
  cpu: Cpu, insn: Insn, mask: number, offsetOf: (index: number) => number, part: (at: number, bytes: number) => void,
): void {
  const is64 = in64(insn)
  if ((mask & XCR0_BITS.X87) !== 0) {
    saveX87(cpu, view, is64 && insn.size === 8)
    part(0, 24)
    part(32, 128)
  }
  if ((mask & XCR0_BITS.SSE) !== 0) {
    saveXmm(cpu, image, is64)
    part(160, is64 ? 256 : 128)
  }
  if ((mask & XCR0_BITS.AVX) !== 0) {
    const bytes = is64 ? 256 : 128
    image.set(cpu.views.u8.subarray(YMMH, YMMH + bytes), offsetOf(2))
    part(offsetOf(2), bytes)
  }
  if ((mask & XCR0_BITS.PKRU) !== 0) {
    view.setUint32(offsetOf(9), readU32(cpu, PKRU), true)
    view.setUint32(offsetOf(9) + 4, 0, true)
    part(offsetOf(9), 8)
  }
}

/** Which of `mask` is saved when the init optimisation applies: what differs from the initial state. */
function used(cpu: Cpu, mask: number): number {
  const modified = inUse(cpu)
  // XSAVEC and XSAVES treat SSE as in use when MXCSR is not initial (SDM vol. 1 §13.10, §13.11).
  const sse = readU32(cpu, MXCSR) !== MXCSR_RESET ? XCR0_BITS.SSE : 0
  return mask & (modified | sse)
}

/** XSAVE and XSAVEOPT: standard form. XSTATE_BV keeps the bits that were not asked for. */
const saveStandard = (optimised: boolean): Meaning => (cpu, insn) => {
  checkXsave(cpu)
  const mask = requested(cpu, false)
  const area = areaOf(cpu)
  const size = area.standardSize(mask)
  const to = openArea(cpu, insn, size, 64n, true)
  checkEnd(cpu, to, size)
  const old = cpu.load(areaAddress(cpu, to, XSTATE_BV, 4), 4)
  const modified = inUse(cpu)
  const saved = optimised ? mask & modified : mask
  const parts: Part[] = []
  const part = (at: number, bytes: number): void => { parts.push({ at, bytes }) }
  const standard = (index: number): number => area.components.find((c) => c.index === index)?.offset ?? EXTENDED_START
  collect(cpu, insn, saved, standard, part)
  // MXCSR goes with SSE or AVX, whether or not their registers are in use (SDM vol. 1 §13.7).
  if ((mask & (XCR0_BITS.SSE | XCR0_BITS.AVX)) !== 0) saveMxcsr(cpu, part)
  view.setUint32(XSTATE_BV, ((old & ~mask) | (mask & modified)) >>> 0, true)
  part(XSTATE_BV, 4)
  storeParts(cpu, to, parts)
}

/** Bytes of the image that are stored. */
interface Part {
  readonly at: number
  readonly bytes: number
}

/** Stores all of them, or none where one faults. */
function storeParts(cpu: Cpu, to: SaveArea, parts: readonly Part[]): void {
  for (const { at, bytes } of parts) checkStore(cpu, to, at, bytes)
  for (const { at, bytes } of parts) storeTo(cpu, to, at, image.subarray(at, at + bytes))
}

function saveMxcsr(cpu: Cpu, part: (at: number, bytes: number) => void): void {
  view.setUint32(24, readU32(cpu, MXCSR), true)
  view.setUint32(28, MXCSR_MASK, true)
  part(24, 8)
}

/** XSAVEC and XSAVES: compacted form, with the init optimisation. The header is written whole in its first 16 bytes. */
const saveCompacted = (supervisor: boolean): Meaning => (cpu, insn) => {
  checkXsave(cpu)
  if (supervisor) requireCpl0(cpu)
  const mask = requested(cpu, supervisor)
  const area = areaOf(cpu)
  const size = area.compactedSize(mask)
  const to = openArea(cpu, insn, size, 64n, true)
  checkEnd(cpu, to, size)
  const saved = used(cpu, mask)
  const parts: Part[] = []
  const part = (at: number, bytes: number): void => { parts.push({ at, bytes }) }
  collect(cpu, insn, saved, (index) => area.compactedOffset(mask, index), part)
  if ((saved & XCR0_BITS.SSE) !== 0) saveMxcsr(cpu, part)
  view.setUint32(XSTATE_BV, saved, true)
  view.setUint32(XSTATE_BV + 4, 0, true)
  view.setUint32(XCOMP_BV, mask, true)
  view.setUint32(XCOMP_BV + 4, COMPACTED, true)
  part(XSTATE_BV, 16)
  storeParts(cpu, to, parts)
}

export const xsave = saveStandard(false)
export const xsaveopt = saveStandard(true)
export const xsavec = saveCompacted(false)
export const xsaves = saveCompacted(true)

/** Checks the header in the image (SDM vol. 1 §13.8.1, §13.8.2, §13.12); returns whether the form is compacted. */
function checkHeader(cpu: Cpu, supervisor: boolean): boolean {
  const gp = (): never => raise(VECTOR.GP, 0)
  const enabled = readU32(cpu, XCR0) | (supervisor ? readU32(cpu, XSS) : 0)
  const state = view.getUint32(XSTATE_BV, true)
  const form = view.getUint32(XCOMP_BV, true)
  const formHigh = view.getUint32(XCOMP_BV + 4, true)
  if (view.getUint32(XSTATE_BV + 4, true) !== 0) gp()
  const compacted = formHigh === COMPACTED
  if (!compacted && (supervisor || formHigh !== 0 || form !== 0)) gp()
  if (compacted) {
    if ((form & ~enabled) !== 0 || (state & ~form) !== 0) gp()
  } else if ((state & ~enabled) !== 0) gp()
  // Bytes 63:16 of the header must be zero; the standard form checks only 23:16 (XSTATE_BV and XCOMP_BV come before).
  const last = compacted ? 64 : 24
  for (let at = 16; at < last; at += 4) if (view.getUint32(LEGACY_SIZE + at, true) !== 0) gp()
  return compacted
}

/**
 * XCOMP_BV is read first; it and the mask say where the area ends, whatever XSTATE_BV says that it holds. Its last byte
 * is looked at before anything else of it (observed on Intel's processors).
 */
function openRestored(cpu: Cpu, insn: Insn, mask: number): SaveArea {
  const area = areaOf(cpu)
  const from = openArea(cpu, insn, EXTENDED_START, 64n, false)
  const form = cpu.load64(areaAddress(cpu, from, XCOMP_BV, 8))
  const size = form >> 63n === 0n ? area.standardSize(mask) : area.restoredSize(Number(form & 0xffff_ffffn), mask)
  if (size <= EXTENDED_START) return from
  const whole = openArea(cpu, insn, size, 64n, false)
  cpu.load(areaAddress(cpu, whole, size - 1, 1), 1)
  return whole
}

/** XRSTOR and XRSTORS. Components that were asked for and are absent from XSTATE_BV are initialised. */
const restore = (supervisor: boolean): Meaning => (cpu, insn) => {
  checkXsave(cpu)
  if (supervisor) requireCpl0(cpu)
  const mask = requested(cpu, supervisor)
  const area = areaOf(cpu)
  const from = openRestored(cpu, insn, mask)
  const take = (at: number, end: number): void => { loadFrom(cpu, from, at, image.subarray(at, end)) }
  // The standard form's header is not read further.
  take(XSTATE_BV, XSTATE_BV + 24)
  if (view.getUint32(XCOMP_BV + 4, true) === COMPACTED) take(XSTATE_BV + 24, EXTENDED_START)
  const compacted = checkHeader(cpu, supervisor)
  const form = compacted ? view.getUint32(XCOMP_BV, true) : readU32(cpu, XCR0)
  const present = view.getUint32(XSTATE_BV, true) & mask
  const offsetOf = (index: number): number => compacted
    ? area.compactedOffset(form, index)
    : area.components.find((c) => c.index === index)?.offset ?? EXTENDED_START
  // The standard form takes MXCSR with SSE or AVX whatever XSTATE_BV says; the compacted form with SSE alone.
  const vector = compacted ? present & XCR0_BITS.SSE : mask & (XCR0_BITS.SSE | XCR0_BITS.AVX)
  if ((present & XCR0_BITS.X87) !== 0) {
    take(0, 24)
    take(32, 160)
  }
  if (vector !== 0) take(24, 32)
  if ((present & XCR0_BITS.SSE) !== 0) take(160, in64(insn) ? 416 : 288)
  for (const c of area.components) {
    if (((present >>> c.index) & 1) === 0) continue
    const at = offsetOf(c.index)
    take(at, at + c.size)
  }
  const mxcsr = view.getUint32(24, true)
  if (vector !== 0) checkMxcsr(mxcsr)

  // Nothing faults from here on.
  if (vector !== 0) writeU32(cpu, MXCSR, mxcsr)
  else if (compacted && (mask & XCR0_BITS.SSE) !== 0) initMxcsr(cpu)
  apply(cpu, insn, mask, present, offsetOf)
}

/** Loads the components of `present` and initialises the others of `mask`. */
function apply(cpu: Cpu, insn: Insn, mask: number, present: number, offsetOf: (index: number) => number): void {
  const is64 = in64(insn)
  if ((present & XCR0_BITS.X87) !== 0) loadX87(cpu, view, is64 && insn.size === 8)
  else if ((mask & XCR0_BITS.X87) !== 0) initX87(cpu)
  if ((present & XCR0_BITS.SSE) !== 0) loadXmm(cpu, image, is64)
  else if ((mask & XCR0_BITS.SSE) !== 0) initXmm(cpu, is64)
  if ((present & XCR0_BITS.AVX) !== 0) {
    const at = offsetOf(2)
    cpu.views.u8.set(image.subarray(at, at + (is64 ? 256 : 128)), YMMH)
  } else if ((mask & XCR0_BITS.AVX) !== 0) initAvx(cpu, is64)
  if ((mask & XCR0_BITS.PKRU) !== 0) {
    setPkru(cpu, (present & XCR0_BITS.PKRU) !== 0 ? view.getUint32(offsetOf(9), true) : 0)
  }
}

export const xrstor = restore(false)
export const xrstors = restore(true)
