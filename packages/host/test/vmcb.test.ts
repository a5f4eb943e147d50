import { InterceptDr, SevFeatures } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { setUpVmcb } from '../src/guest/vmcb.ts'
import { looseVmcb } from './guest.ts'

const [DB, AC] = [1 << 1, 1 << 17]

describe("a guest's VMCB (Linux arch/x86/kvm/svm/sev.c, sev_es_init_vmcb)", () => {
  it('intercepts DR7, #DB and #AC; with debug swap the guest has its breakpoints for itself', () => {
    const intercepts = (sevFeatures: bigint) => {
      const vmcb = looseVmcb()
      setUpVmcb(vmcb, { asid: 1, nestedCr3: 0, msrpm: 0, iopm: 0, sevFeatures, hasOthers: false })
      return { exceptions: vmcb.get('interceptException'), dr: InterceptDr.unpack(vmcb.get('interceptDr')) }
    }
    expect(intercepts(SevFeatures.mask.SNPActive)).toEqual({ exceptions: DB | AC, dr: { reads: 0x80, writes: 0x80 } })
    expect(intercepts(SevFeatures.mask.SNPActive | SevFeatures.mask.DebugSwap))
      .toEqual({ exceptions: AC, dr: { reads: 0, writes: 0 } })
  })
})
