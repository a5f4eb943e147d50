import { RmpCheck } from '../../rmp/check.ts'
import { accessName, hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const vmsaTouched: SevRule = {
  id: 'snp-vmsa-touched',
  title: 'Nobody touches a VMSA while its processor runs',
  sources: [
    { text: 'APM vol. 2 (24593), §15.36.10: accesses to an in-use VMSA page fail the RMP check' },
    { text: 'Linux d2062cc1b1c3: do not touch VMSA pages during SNP guest memory kdump' },
  ],
  why: 'The page that a virtual processor runs from holds its registers, and the processor keeps it locked between '
    + 'VMRUN and #VMEXIT. It looks like ordinary kernel memory to whoever copies or clears all of it.',
  outcome: 'hang',
  hardware: '#VMEXIT(NPF) with RMP set, again and again as long as the other processor runs: the host can do nothing '
    + 'about it, and the guest never gets past this instruction.',
  advice: 'Code that goes over all memory (kdump, hibernation, memory tests) has to leave VMSA pages out, or stop '
    + 'their processors and clear the VMSA attribute by RMPADJUST first.',
  judge(fact) {
    if (fact.kind !== 'denied' || fact.verdict !== RmpCheck.IN_USE) return null
    const what = `${accessName(fact.access)} went to ${hex(fact.gpa)}, the VMSA that a processor runs from.`
    return { what: what[0].toUpperCase() + what.slice(1), gva: fact.gva, gpa: fact.gpa }
  },
}
