/**
 * Whether floating-point and vector instructions may run at all: SDM vol. 2, table 2-18 and following (exception
 * classes), vol. 3, table 2-2 (EM, MP, TS) and table 24-1 (MMX).
 */
import { Cr0, Cr4, Xcr0 } from '@cofferdam/spec'
import { raise, VECTOR, type Cpu } from '../cpu.ts'
import { MMX_REG, type Insn } from '../insn.ts'
import { CR0, CR4, FSW, XCR0 } from '../state.ts'

const { MP: CR0_MP, EM: CR0_EM, TS: CR0_TS, NE: CR0_NE } = Cr0.mask
const VECTORS = Xcr0.mask.SSE | Xcr0.mask.AVX
const { OSFXSR: CR4_OSFXSR, OSXMMEXCPT: CR4_OSXMMEXCPT, OSXSAVE: CR4_OSXSAVE } = Cr4.mask
/** FSW.ES: an unmasked x87 exception is pending. */
export const FSW_ES = 0x80

/** Legacy SSE: #UD with CR0.EM or without CR4.OSFXSR, #NM with CR0.TS. */
export function checkSse(cpu: Cpu): void {
  const cr0 = cpu.views.u32[CR0 >> 2]
  if (cr0 & CR0_EM || !(cpu.views.u32[CR4 >> 2] & CR4_OSFXSR)) raise(VECTOR.UD)
  if (cr0 & CR0_TS) raise(VECTOR.NM)
}

/** VEX: #UD unless CR4.OSXSAVE is set and XCR0 enables SSE and AVX state, #NM with CR0.TS. CR0.EM plays no part. */
export function checkAvx(cpu: Cpu): void {
  const { u32 } = cpu.views
  if (!(u32[CR4 >> 2] & CR4_OSXSAVE) || (u32[XCR0 >> 2] & VECTORS) !== VECTORS) raise(VECTOR.UD)
  if (u32[CR0 >> 2] & CR0_TS) raise(VECTOR.NM)
}

/** MMX: #UD with CR0.EM, #NM with CR0.TS, #MF when an x87 exception is pending. */
export function checkMmx(cpu: Cpu): void {
  const cr0 = cpu.views.u32[CR0 >> 2]
  if (cr0 & CR0_EM) raise(VECTOR.UD)
  if (cr0 & CR0_TS) raise(VECTOR.NM)
  deliverPending(cpu)
}

/** SSE, AVX or MMX, as the instruction has it. An instruction with XMM and MMX operands is checked for both. */
export function checkVector(cpu: Cpu, insn: Insn): void {
  if (insn.vex) return checkAvx(cpu)
  const mmx = insn.kind0 === MMX_REG || insn.kind1 === MMX_REG
  if (mmx) return checkMmx(cpu)
  checkSse(cpu)
}

/** x87: #NM with CR0.EM or CR0.TS. Waiting instructions also deliver a pending exception first. */
export function checkX87(cpu: Cpu, waiting: boolean): void {
  if (cpu.views.u32[CR0 >> 2] & (CR0_EM | CR0_TS)) raise(VECTOR.NM)
  if (waiting) deliverPending(cpu)
}

/** WAIT/FWAIT: #NM only when both CR0.MP and CR0.TS are set. */
export function checkWait(cpu: Cpu): void {
  const cr0 = cpu.views.u32[CR0 >> 2]
  if (cr0 & CR0_MP && cr0 & CR0_TS) raise(VECTOR.NM)
  deliverPending(cpu)
}

/**
 * #MF for a pending unmasked x87 exception when CR0.NE is set. With NE clear real machines assert FERR# and the
 * chipset answers with IRQ 13 (SDM vol. 1, §8.7.2); no machine here wires FERR#, so the exception stays pending.
 */
function deliverPending(cpu: Cpu): void {
  const { u32 } = cpu.views
  if (u32[FSW >> 2] & FSW_ES && u32[CR0 >> 2] & CR0_NE) raise(VECTOR.MF)
}

/** Raises #XM, or #UD where the system has not said that it handles it (CR4.OSXMMEXCPT). */
export function raiseSimd(cpu: Cpu): never {
  return raise(cpu.views.u32[CR4 >> 2] & CR4_OSXMMEXCPT ? VECTOR.XM : VECTOR.UD)
}
