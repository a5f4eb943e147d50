import { RmpCheck } from '../../rmp/check.ts'
import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'
import { isUnacceptedLoad } from './unvalidated-access.ts'

export const loadPastEnd: SevRule = {
  id: 'snp-load-past-end',
  title: 'A load that begins in accepted memory does not end in memory that is not',
  sources: [
    { text: 'Linux c211c19e80d0 and 948a013a54c4: load_unaligned_zeropad() into unaccepted memory' },
    { text: 'APM vol. 2 (24593), §15.36.10, RMP and VMPL access checks: #VC PAGE_NOT_VALIDATED' },
  ],
  why: 'Code that compares or copies strings by whole words reads past their end, and counts on a fixup when the next '
    + 'page is not mapped (load_unaligned_zeropad()). In the direct map the next page is mapped, and it may be memory '
    + 'that nobody has accepted yet: that is no page fault but #VC, which has no fixup.',
  outcome: 'fault',
  hardware: '#VC with error code 404h in the middle of innocent code, once in many boots: it depends on what lies at '
    + 'the end of accepted memory. The kernel panics.',
  advice: 'Whoever accepts memory for use has to accept the unit of 2 MiB behind it as well, and keep unaccepted '
    + 'memory a unit away from what is in use: compare the end of the range that was accepted last with the address.',
  judge(fact, history) {
    if (fact.kind !== 'denied' || fact.verdict !== RmpCheck.NOT_VALIDATED || !isUnacceptedLoad(fact)) return null
    if (!history.isOwnDoing(fact.gpa)) return null
    return {
      what: `A read of memory that ends at ${hex(fact.gva)} began ${fact.before} bytes before, `
        + `and the rest of it lies in memory at ${hex(fact.gpa)} that is not validated.`,
      gva: fact.gva, gpa: fact.gpa,
    }
  },
}
