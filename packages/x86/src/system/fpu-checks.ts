/** Which faults x87, SSE and AVX instructions raise before they begin (SDM vol. 3 §2.5, vol. 2 §2.4 exception classes). */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { CR0, CR4, XCR0 } from '../state.ts'
import { isProtected } from './access.ts'
import { CR0_BITS, CR4_BITS } from './bits.ts'

/** x87 (but WAIT): #NM when CR0.EM or CR0.TS is set. */
export function checkFpu(cpu: Cpu): void {
  if ((cpu.views.u32[CR0 >>> 2] & (CR0_BITS.EM | CR0_BITS.TS)) !== 0) raise(VECTOR.NM)
}

/** WAIT: #NM when CR0.MP and CR0.TS are both set. */
export function checkWait(cpu: Cpu): void {
  const both = CR0_BITS.MP | CR0_BITS.TS
  if ((cpu.views.u32[CR0 >>> 2] & both) === both) raise(VECTOR.NM)
}

/** MMX: #UD when CR0.EM is set, then #NM when CR0.TS is. */
export function checkMmx(cpu: Cpu): void {
  const cr0 = cpu.views.u32[CR0 >>> 2]
  if ((cr0 & CR0_BITS.EM) !== 0) raise(VECTOR.UD)
  if ((cr0 & CR0_BITS.TS) !== 0) raise(VECTOR.NM)
}

/** SSE: #UD when CR0.EM is set or CR4.OSFXSR is clear, then #NM when CR0.TS is set. */
export function checkSse(cpu: Cpu): void {
  if ((cpu.views.u32[CR4 >>> 2] & CR4_BITS.OSFXSR) === 0) raise(VECTOR.UD)
  checkMmx(cpu)
}

/** AVX (VEX): #UD outside protected mode, without CR4.OSXSAVE, and unless XCR0 enables SSE and AVX; then #NM. */
export function checkAvx(cpu: Cpu): void {
  const { u32 } = cpu.views
  if (!isProtected(cpu) || (u32[CR4 >>> 2] & CR4_BITS.OSXSAVE) === 0 || (u32[XCR0 >>> 2] & 6) !== 6) raise(VECTOR.UD)
  if ((u32[CR0 >>> 2] & CR0_BITS.TS) !== 0) raise(VECTOR.NM)
}

/** XSAVE family: #UD without CR4.OSXSAVE, #NM when CR0.TS is set. */
export function checkXsave(cpu: Cpu): void {
  if ((cpu.views.u32[CR4 >>> 2] & CR4_BITS.OSXSAVE) === 0) raise(VECTOR.UD)
  if ((cpu.views.u32[CR0 >>> 2] & CR0_BITS.TS) !== 0) raise(VECTOR.NM)
}
