import { addressOf, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const doubleValidation: SevRule = {
  id: 'snp-double-validation',
  title: 'PVALIDATE changes the state of a page: nothing is validated, or taken back, twice',
  sources: [
    { text: 'APM vol. 3 (24594), PVALIDATE: CF = 1 when the RMP entry was not changed' },
    { text: 'APM vol. 2 (24593), §15.36.6, Page Validation' },
  ],
  why: 'A guest must know of each page whether it has validated it. One that validates "to be sure" accepts whatever '
    + 'page the host has put there meanwhile: the host can replace a page by an old copy, and the second PVALIDATE '
    + 'makes it good. CF tells that the RMP entry had the wanted state already, so that what the guest believes of its '
    + 'memory was wrong.',
  outcome: 'luck',
  hardware: 'EAX is 0 and CF is 1. Who checks EAX alone goes on; Linux ends the guest (GHCB_TERM_PVALIDATE).',
  advice: 'Two owners of one page: firmware, boot stage and kernel each with a list of what is accepted. Compare their '
    + 'ranges at this address, and see that the caller looks at CF.',
  judge(fact) {
    if (fact.kind !== 'pvalidate' || fact.result !== 'unchanged') return null
    const { validate, guestPage, page, gva, large } = fact
    const size = large ? 'the 2 MiB at' : 'the page at'
    const what = validate
      ? `PVALIDATE of ${size} ${hex(addressOf(guestPage))}, which is validated already (CF = 1).`
      : `PVALIDATE takes the validation of ${size} ${hex(addressOf(guestPage))} back, which is not validated (CF = 1).`
    return { what, gva, gpa: addressOf(guestPage), spa: addressOf(page) }
  },
}
