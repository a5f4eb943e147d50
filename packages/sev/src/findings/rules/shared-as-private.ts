import { RmpCheck } from '../../rmp/check.ts'
import { accessName, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const sharedAsPrivate: SevRule = {
  id: 'snp-shared-as-private',
  title: 'A page that is shared with the host is mapped without the C-bit',
  sources: [
    { text: 'APM vol. 2 (24593), §15.36.10: an access with C = 1 needs a page that is assigned to the guest' },
    { text: 'Linux d54d610243a4: avoid shared GHCB page for early memory acceptance' },
  ],
  why: 'The C-bit of a mapping says whether an access is private. The RMP says whose the page is. When a guest has '
    + 'made a page shared and uses it through a mapping with the C-bit, it means memory that is not there any more.',
  outcome: 'hang',
  hardware: '#VMEXIT(NPF) with RMP and ENC set, each time. A host that turns the page back into a private one loses '
    + 'what was shared in it, and the access ends in #VC because nobody has validated the page; another host never '
    + 'lets it go on.',
  advice: 'A page state change and a change of page tables that belong together: which of both was left out, came too '
    + 'early, or went to an alias of the mapping that was used here?',
  judge(fact, history) {
    if (fact.kind !== 'denied' || !fact.encrypted || fact.table) return null
    if (fact.verdict !== RmpCheck.REVERSE_MAP) return null
    const page = Number(fact.gpa / 4096n)
    // A page that the host took, or said to have made private, is not the guest's mistake.
    if (history.taken(page) !== undefined || history.promised(page)) return null
    const what = `With the C-bit set, ${accessName(fact.access)} went to ${hex(fact.gpa)}, `
      + 'which is not assigned to the guest: it is shared.'
    return { what, gva: fact.gva, gpa: fact.gpa }
  },
}
