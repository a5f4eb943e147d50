import { RmpCheck } from '../../rmp/check.ts'
import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const privateAsShared: SevRule = {
  id: 'snp-private-as-shared',
  title: 'A private page is mapped with the C-bit',
  sources: [
    { text: 'APM vol. 2 (24593), §15.36.10: a write with C = 0 needs a page of the hypervisor' },
  ],
  why: 'A write without the C-bit means memory that the host may read. When the page is private still, the host has '
    + 'not been asked for it, or has not given it.',
  outcome: 'hang',
  hardware: '#VMEXIT(NPF) with RMP set. A host that makes the page shared for the guest\'s sake throws its private '
    + 'contents away; a read in the same place would have seen ciphertext, and no fault at all.',
  advice: 'The page state change to shared before this access: was it asked for, answered, and for this page?',
  judge(fact) {
    if (fact.kind !== 'denied' || fact.encrypted) return null
    if (fact.verdict !== RmpCheck.HYPERVISOR_OWNED && fact.verdict !== RmpCheck.OVERLAP) return null
    return {
      what: `Without the C-bit, a write went to ${hex(fact.gpa)}, which is private.`, gva: fact.gva, gpa: fact.gpa,
    }
  },
}
