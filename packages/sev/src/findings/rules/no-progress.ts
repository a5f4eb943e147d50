import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const noProgress: SevRule = {
  id: 'snp-no-progress',
  title: 'A nested page fault is resolved, or the guest is told',
  sources: [
    { text: 'APM vol. 2 (24593), §15.25.6 and §15.36.10, nested page faults and the RMP' },
    { text: 'Linux d2062cc1b1c3: repeated #NPF at one address' },
  ],
  why: 'A fault that neither the host\'s tables nor its RMP entries can help comes back as soon as the guest runs. Nothing in '
    + 'the guest learns of it: no exception, no log, one processor that stands still.',
  outcome: 'hang',
  hardware: 'The host enters the guest and gets the same #VMEXIT(NPF) for ever. Here the guest is ended after a thousand.',
  advice: 'The RMP entry below says why the access fails. Compare its owner, guest address, size and VMPL permissions with the access.',
  judge(fact) {
    if (fact.kind !== 'stuck') return null
    return { what: `The guest made no progress at ${hex(fact.gpa)}: ${fact.text}.`, gpa: fact.gpa }
  },
}
