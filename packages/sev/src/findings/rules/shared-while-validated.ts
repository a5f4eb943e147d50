import { addressOf, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'
import { entryOf } from '../table-entry.ts'

export const sharedWhileValidated: SevRule = {
  id: 'snp-shared-while-validated',
  title: 'A guest takes the validation of a page back before it makes the page shared',
  sources: [{ text: 'AMD 56421 (GHCB), §4.1.6: PVALIDATE rescinds before a page state change to shared' }],
  why: 'The guest\'s own record of what is validated and the RMP must say the same. A page that goes to the host while '
    + 'it is validated is one that the guest would not miss if the host had taken it by itself.',
  outcome: 'luck',
  hardware: 'RMPUPDATE clears the Validated bit, and the guest goes on. When the page becomes private again, nothing '
    + 'tells this from a page that the host has replaced.',
  advice: 'The path that shares this page: PVALIDATE with EDX = 0 comes before the page state change.',
  judge(fact, history) {
    if (fact.kind !== 'psc' || fact.answer !== 'done' || fact.operation !== 'shared') return null
    for (let page = fact.guestPage; page < fact.guestPage + fact.pages; page++) {
      const before = history.taken(page)
      if (before === undefined) continue
      return {
        what: `${hex(addressOf(page))} was made shared while it was validated.`, gpa: addressOf(page),
        entry: entryOf(before),
      }
    }
    return null
  },
}
