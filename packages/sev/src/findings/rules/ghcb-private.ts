import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const ghcbPrivate: SevRule = {
  id: 'snp-ghcb-private',
  title: 'A GHCB page is shared before it is used',
  sources: [
    { text: 'AMD 56421 (GHCB), §2.3 and §4: the GHCB is a page shared with the hypervisor' },
    { text: 'Linux d54d610243a4: avoid shared GHCB page for early memory acceptance' },
  ],
  why: 'Through a private page the host sees ciphertext, and can answer nothing. Before ExitBootServices the page '
    + 'tables are the firmware\'s, so that a kernel\'s stub can make no page shared: it has the MSR protocol, or the '
    + 'firmware\'s own calls.',
  outcome: 'hang',
  hardware: 'The host cannot read the request. KVM enters the guest again with nothing done, or ends it.',
  advice: 'Was the page made shared (a page state change, and the C-bit out of its mapping) before this VMGEXIT, and '
    + 'is it this page?',
  judge(fact) {
    if (fact.kind !== 'ghcb' || fact.problem !== 'private') return null
    return { what: `VMGEXIT through the GHCB at ${hex(fact.gpa)}, which is not shared with the host.`, gpa: fact.gpa }
  },
}
