import { addressOf, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'
import { entryOf } from '../table-entry.ts'

export const replacedPage: SevRule = {
  id: 'snp-replaced-page',
  title: 'A page that the host has replaced is never validated again at the same address',
  sources: [
    { text: 'APM vol. 2 (24593), §15.36.6, Page Validation: each guest page is validated once, at one place' },
    { text: 'AMD, "SEV-SNP: Strengthening VM Isolation with Integrity Protection and More" (2020), page remapping' },
  ],
  why: 'The host can take a page away and put another one, or an old copy, in its place. The guest is safe because the '
    + 'new page is not validated: its access is #VC. A guest that answers that with PVALIDATE, or validates what it '
    + 'has validated before, accepts the host\'s page for its own.',
  outcome: 'corruption',
  hardware: 'PVALIDATE succeeds, with CF = 0. The guest works on with contents that the host has chosen.',
  advice: 'Nobody may validate an address twice without having taken the validation back in between: look for handlers '
    + 'of #VC 404h that validate, and for acceptance without a record.',
  judge(fact, history) {
    if (fact.kind !== 'pvalidate' || fact.result !== 'done' || !fact.validate) return null
    const before = history.taken(fact.guestPage)
    if (before === undefined) return null
    const gpa = addressOf(fact.guestPage)
    return {
      what: `PVALIDATE of ${hex(gpa)}, which the guest had validated and the host has replaced since.`,
      gva: fact.gva, gpa, spa: addressOf(fact.page), entry: entryOf(before),
    }
  },
}
