import { ACCESS_FETCH, ACCESS_WRITE } from '@cofferdam/paging'
import { RmpCheck } from '../../rmp/check.ts'
import type { DeniedFact } from '../facts.ts'
import { accessName, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

/** The access is a load that began on the page before: a rule of its own. */
export const isUnacceptedLoad = ({ before, table, access }: DeniedFact): boolean =>
  before > 0 && !table && (access & (ACCESS_WRITE | ACCESS_FETCH)) === 0

export const unvalidatedAccess: SevRule = {
  id: 'snp-unvalidated-access',
  title: 'A guest touches private memory only after it has validated it',
  sources: [
    { text: 'APM vol. 2 (24593), §15.36.10, RMP and VMPL access checks: #VC PAGE_NOT_VALIDATED' },
    { text: 'Linux Documentation/arch/x86/amd-memory-encryption.rst: SEV-SNP, page validation' },
  ],
  why: 'The host gives a guest its pages, and may give others in their place at any time. PVALIDATE is how the guest '
    + 'says that it expects a new page at an address, once; the Validated bit in the RMP is what tells a page that the '
    + 'guest knows from one that the host has slipped in. Memory that was never accepted has no contents, and its '
    + 'first use must not be an ordinary access.',
  outcome: 'fault',
  hardware: 'The access is #VC with error code 404h (PAGE_NOT_VALIDATED). No kernel goes on from there: it panics, or '
    + 'asks its host to end it.',
  advice: 'Who should have accepted this page: look at the ranges of unaccepted memory around it, and at their ends '
    + 'that are no multiple of 2 MiB.',
  judge(fact, history) {
    if (fact.kind !== 'denied' || fact.verdict !== RmpCheck.NOT_VALIDATED) return null
    if (isUnacceptedLoad(fact) || !history.isOwnDoing(fact.gpa)) return null
    const how = fact.table ? 'The processor walked page tables that lie in' : `${accessName(fact.access)} went to`
    const text = `${how[0].toUpperCase()}${how.slice(1)} private memory at ${hex(fact.gpa)} that is not validated.`
    return { what: text, gva: fact.gva, gpa: fact.gpa }
  },
}
