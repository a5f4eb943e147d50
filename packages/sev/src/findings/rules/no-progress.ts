import type { SevRule } from '../rule.ts'

export const noProgress: SevRule = {
  id: 'snp-no-progress',
  title: 'A fault of memory is resolved, or ends the guest: none comes back for ever',
  sources: [
    { text: 'APM vol. 2 (24593), §15.25.6 and §15.36.10, nested page faults and the RMP' },
    { text: 'Linux d2062cc1b1c3: repeated #NPF at one address' },
  ],
  why: 'A nested page fault that neither the host\'s tables nor its RMP entries can help comes back as soon as the '
    + 'guest runs, and nothing in the guest learns of it. #VC for a page that is not validated comes back when the '
    + 'handler returns to the access, or touches that page itself: to log what happened, or because its own code or '
    + 'stack is there.',
  outcome: 'hang',
  hardware: 'One processor goes round for ever: no log, no end, and in the case of #VC no exit that its host would '
    + 'notice. Here the guest is ended after a thousand nested page faults, or ten thousand #VCs, without progress.',
  advice: 'The RMP entry says why the access fails: compare its owner, guest address, size, Validated bit and VMPL '
    + 'permissions with the access. A #VC handler has to ask its host for termination before it touches anything else.',
  judge(fact) {
    if (fact.kind !== 'stuck') return null
    return { what: `No progress: ${fact.text}.`, gpa: fact.gpa }
  },
}
