import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

/** Leaves with fields of each processor, or of its XCR0: guests complete what their page says of these by asking. */
const COMPLETED: ReadonlySet<number> = new Set([0x1, 0xb, 0xd, 0x1f, 0x8000_001e, 0x8000_0026])

export const cpuidOutsideTable: SevRule = {
  id: 'snp-cpuid-outside-table',
  title: 'CPUID comes from the page that the firmware has checked; the host is asked only to complete it',
  sources: [
    { text: 'AMD 56860 (SNP firmware ABI), §8.18.2.6, CPUID pages' },
    { text: 'Linux, snp_cpuid(): leaves that are not in the table are zero; some are completed by the host' },
  ],
  why: 'A host that answers CPUID decides which instructions and protections a guest believes in. The firmware has checked the '
    + 'leaves of the CPUID page; a leaf that is not there was checked by nobody, and the guest must take it for zero.',
  outcome: 'luck',
  hardware: 'The host answers what it likes.',
  advice: 'The caller should look the leaf up in the CPUID page, and take zeros if it is not there.',
  judge(fact) {
    if (fact.kind !== 'cpuid' || fact.inTable || COMPLETED.has(fact.leaf)) return null
    return {
      what: `The guest asked its host for CPUID leaf ${hex(fact.leaf >>> 0)}, subleaf ${hex(fact.subleaf >>> 0)}, which is not in its CPUID page.`,
    }
  },
}
