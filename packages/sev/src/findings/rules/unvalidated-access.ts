import { RmpCheck } from '../../rmp/check.ts'
import { accessName, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const unvalidatedAccess: SevRule = {
  id: 'snp-unvalidated-access',
  title: 'A guest touches private memory only after it has validated it',
  sources: [
    { text: 'APM vol. 2 (24593), §15.36.10, RMP and VMPL access checks: #VC PAGE_NOT_VALIDATED' },
    { text: 'Linux c211c19e80d0 and 948a013a54c4: load_unaligned_zeropad() into unaccepted memory' },
  ],
  why: 'The host gives a guest its pages, and may give others in their place at any time. PVALIDATE is how the guest says '
    + 'that it expects a new page at an address, once; the Validated bit in the RMP is what tells a page that the guest knows from '
    + 'one that the host has slipped in. Memory that was never accepted has no contents, and its first use must not be '
    + 'an ordinary access.',
  outcome: 'fault',
  hardware: 'The access is #VC with error code 404h (PAGE_NOT_VALIDATED). No kernel goes on from there: it panics, or '
    + 'asks its host to end it.',
  advice: 'Who should have accepted this page: look at the ranges of unaccepted memory around it, at their ends that are no '
    + 'multiple of 2 MiB, and at loads that read past the end of a buffer.',
  judge(fact, history) {
    if (fact.kind !== 'denied' || fact.verdict !== RmpCheck.NOT_VALIDATED) return null
    const page = Number(fact.gpa / 4096n)
    // A page that the host has taken away is the host's doing, and #VC is what the guest should get.
    if (history.taken(page) !== undefined || history.mistaken(page)) return null
    const how = fact.table ? 'The processor walked page tables that lie in' : `${accessName(fact.access)} went to`
    const text = `${how[0].toUpperCase()}${how.slice(1)} private memory at ${hex(fact.gpa)} that is not validated.`
    return { what: text, gva: fact.gva, gpa: fact.gpa }
  },
}
