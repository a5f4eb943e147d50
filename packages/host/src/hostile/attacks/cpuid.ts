/** CPUID that is not the processor's. */
import { CpuidFunction, CpuidPageHeader } from '@cofferdam/spec'
import { hex } from '../../errors.ts'
import { remembered } from '../types.ts'
import type { Attack } from '../types.ts'

const REGISTERS = ['EAX', 'EBX', 'ECX', 'EDX'] as const
/** The leaf whose ECX claims features: all ones claim what no processor has. */
const FEATURES = 7

/** Sets all feature bits of leaf 7 ECX in the page. Answers whether there is such a function. */
function claimFeatures(page: Uint8Array): boolean {
  const view = new DataView(page.buffer, page.byteOffset, page.length)
  const count = CpuidPageHeader.get(view, 'count')
  for (let i = 0; i < count; i++) {
    const at = CpuidPageHeader.size + i * CpuidFunction.size
    if (CpuidFunction.get(view, 'eaxIn', at) !== FEATURES || CpuidFunction.get(view, 'ecxIn', at) !== 0) continue
    CpuidFunction.set(view, 'ecx', 0xffff_ffff, at)
    return true
  }
  return false
}

/**
 * Claims features at the launch, which the firmware checks, and changes each answer that the guest asks the host for.
 */
export const cpuid: Attack = {
  about: 'claims features in the CPUID page, and changes a bit of each CPUID answer',
  early: true,
  create({ below, due, did }) {
    let claimed = false
    return {
      snapshot: () => ({ claimed }),
      restore(saved) { claimed = remembered(saved, 'claimed', claimed) },
      cpuidPage(page) { claimed = claimFeatures(page) },
      cpuid(answer, leaf) {
        if (!due()) return
        const [register, bit] = [below(4), below(32)]
        answer[register] = (answer[register] ^ 1 << bit) >>> 0
        const launch = claimed ? 'claimed features that there are not in the CPUID page, and ' : ''
        did(`${launch}changed a bit of each CPUID answer, `
          + `of leaf ${hex(leaf)} bit ${bit} of ${REGISTERS[register]} first`)
      },
    }
  },
}
