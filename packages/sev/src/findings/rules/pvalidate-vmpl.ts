import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const pvalidateVmpl: SevRule = {
  id: 'snp-pvalidate-vmpl',
  title: 'PVALIDATE is executed at VMPL0; others ask the SVSM',
  sources: [
    { text: 'APM vol. 3 (24594), PVALIDATE: #GP(0) when VMPL is not 0' },
    { text: 'AMD 58019 (SVSM), §7.1.2, SVSM_CORE_PVALIDATE' },
    { text: 'Linux 8ed12ab1319b: acceptance in the EFI stub under an SVSM' },
  ],
  why: 'Under an SVSM the guest runs at a lower privilege, and the Validated bits are the SVSM\'s. Code that was '
    + 'written for VMPL0 and runs before the kernel has found its SVSM is where this breaks.',
  outcome: 'fault',
  hardware: '#GP(0). Before there is an IDT that is a triple fault: the guest is gone without a word.',
  advice: 'Does this code run before the calling area is known (svsm_ca, snp_vmpl)? Both must be set before the first '
    + 'page is accepted.',
  judge(fact) {
    if (fact.kind !== 'pvalidate' || fact.result !== 'refused') return null
    return { what: `PVALIDATE of linear address ${hex(fact.gva)} at VMPL${fact.vmpl}.`, gva: fact.gva }
  },
}
