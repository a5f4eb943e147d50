import { RmpCheck } from '../../rmp/check.ts'
import { accessName, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const vmplAccess: SevRule = {
  id: 'snp-vmpl-access',
  title: 'A VMPL touches only pages that it was given permissions on',
  sources: [{ text: 'APM vol. 2 (24593), §15.36.7 and §15.36.10, Virtual Machine Privilege Levels' }],
  why: 'Each page has permissions for each VMPL in its RMP entry. Memory of an SVSM, and pages that it has not handed '
    + 'down yet, have none for the guest\'s level.',
  outcome: 'hang',
  hardware: '#VMEXIT(NPF) with RMP and VMPL set. The host cannot give permissions; a host that goes on sees the same '
    + 'exit again.',
  advice: 'Is the page the SVSM\'s (the secrets page names its range)? Else the SVSM has validated it without '
    + 'RMPADJUST for this level.',
  judge(fact) {
    if (fact.kind !== 'denied' || fact.verdict !== RmpCheck.VMPL) return null
    const what = `${accessName(fact.access)} went to ${hex(fact.gpa)}, which the RMP does not let this VMPL do.`
    return { what: what[0].toUpperCase() + what.slice(1), gva: fact.gva, gpa: fact.gpa }
  },
}
