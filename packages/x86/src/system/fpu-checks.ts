/** Checks of the FXSAVE and XSAVE families; those of x87, SSE and AVX instructions are in `fp/checks.ts`. */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { CR0, CR4 } from '../state.ts'
import { CR0_BITS, CR4_BITS } from './bits.ts'

/** FXSAVE and FXRSTOR: #NM when CR0.EM or CR0.TS is set. They do not look at pending x87 exceptions. */
export function checkFxsave(cpu: Cpu): void {
  if ((cpu.views.u32[CR0 >>> 2] & (CR0_BITS.EM | CR0_BITS.TS)) !== 0) raise(VECTOR.NM)
}

/** XSAVE family: #UD without CR4.OSXSAVE, #NM when CR0.TS is set. */
export function checkXsave(cpu: Cpu): void {
  if ((cpu.views.u32[CR4 >>> 2] & CR4_BITS.OSXSAVE) === 0) raise(VECTOR.UD)
  if ((cpu.views.u32[CR0 >>> 2] & CR0_BITS.TS) !== 0) raise(VECTOR.NM)
}

/** Whether FCS and FDS can be loaded: where CPUID says that they are deprecated they are 0 (SDM vol. 1 §8.1.8). */
export const keepsSelectors = (cpu: Cpu): boolean => cpu.system?.model.features.has('zero_fcs_fds') !== true
