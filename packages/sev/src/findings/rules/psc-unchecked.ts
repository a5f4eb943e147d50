import { addressOf, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const pscUnchecked: SevRule = {
  id: 'snp-psc-unchecked',
  title: 'A guest goes on with a page only when the host says that its state was changed',
  sources: [{ text: 'AMD 56421 (GHCB), §4.1.6, SNP Page State Change: current entry and SW_EXITINFO2' }],
  why: 'A host may refuse a page state change, or do only a part of the list and be asked again. Who does not look at '
    + 'the answer believes in pages that are not what it takes them for, and what it shares or validates then is luck.',
  outcome: 'luck',
  hardware: 'PVALIDATE of a page that is not assigned leaves for the host (#VMEXIT(NPF)); a host that gives the page '
    + 'then hides the error, another one does not go on.',
  advice: 'After VMGEXIT: is SW_EXITINFO2 checked, and does the loop go on until the current entry has passed the end?',
  judge(fact, history) {
    if (fact.kind !== 'pvalidate' || fact.result === 'refused') return null
    const answer = history.unanswered(fact.guestPage)
    if (answer === undefined) return null
    const gpa = addressOf(fact.guestPage)
    const said =
      answer === 'failed' ? 'after the host refused to change its state' : 'before the host came to it in the list'
    return { what: `PVALIDATE of ${hex(gpa)}, ${said}.`, gva: fact.gva, gpa, spa: addressOf(fact.page) }
  },
}
