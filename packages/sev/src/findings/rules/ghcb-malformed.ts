import { printable } from '@cofferdam/findings'
import type { SevRule } from '../rule.ts'

export const ghcbMalformed: SevRule = {
  id: 'snp-ghcb-malformed',
  title: 'A request through the GHCB has the fields that its exit code needs, valid and in range',
  sources: [{ text: 'AMD 56421 (GHCB), §4.1, table 6; §4.1.1 for the errors of malformed input' }],
  why: 'The host takes only what the valid bitmap names, and the scratch area only from shared memory.',
  outcome: 'fault',
  hardware: 'The host answers SW_EXITINFO1 = 2 and the reason in SW_EXITINFO2. Linux panics, or ends itself.',
  advice: 'The code that fills the GHCB before this VMGEXIT: the valid bitmap, the protocol version, the scratch '
    + 'address.',
  judge(fact) {
    if (fact.kind !== 'ghcb' || fact.problem !== 'malformed') return null
    return { what: `A request through the GHCB was malformed: ${printable(fact.text)}.`, gpa: fact.gpa }
  },
}
