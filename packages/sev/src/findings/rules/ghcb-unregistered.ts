import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const ghcbUnregistered: SevRule = {
  id: 'snp-ghcb-unregistered',
  title: 'An SNP guest registers a GHCB page before it uses it, on each processor',
  sources: [{ text: 'AMD 56421 (GHCB), §2.3.2, GHCB GPA registration: required for SEV-SNP guests' }],
  why: 'The host takes requests from one page for each processor, which the guest has named by the MSR protocol (code '
    + '012h). A page that was not named could be anything that looks like a request.',
  outcome: 'fault',
  hardware: 'The host answers SW_EXITINFO1 = 2 with GHCB_ERR_NOT_REGISTERED, or ends the guest.',
  advice: 'Each virtual processor registers its own page, also after a hand-over from firmware or another kernel '
    + '(kexec).',
  judge(fact) {
    if (fact.kind !== 'ghcb' || fact.problem !== 'unregistered') return null
    return { what: `VMGEXIT through the GHCB at ${hex(fact.gpa)}: ${fact.text}.`, gpa: fact.gpa }
  },
}
