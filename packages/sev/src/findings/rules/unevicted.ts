import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const unevicted: SevRule = {
  id: 'snp-unevicted-page',
  title: 'Where the processor asks for it, a page is evicted from the caches between its validation and its use',
  sources: [
    { text: 'Linux 7b306dfa326f: evict cache lines during SNP memory validation' },
    { text: 'CPUID Fn8000_001F EBX bit 31, COHERENCY_SFW_NO: software need not do that' },
  ],
  why: 'Some processors keep lines that the host has written, under its own key, when the page becomes a guest\'s. '
    + 'Written back later, they replace what the guest has there. A read of the first and of the last line of each '
    + 'page of 4 KiB with the guest\'s key makes the processor drop them all; it has to come before the page is used, '
    + 'and after PVALIDATE.',
  outcome: 'corruption',
  hardware: 'Once in a while a line of the page turns into garbage, long after it was validated, and nobody is told.',
  advice: 'The code behind that PVALIDATE: does it look at COHERENCY_SFW_NO (in the CPUID page: the flags of the boot '
    + 'processor may not be known yet), and touch every page of 4 KiB, also of 2 MiB and of what an SVSM has validated '
    + 'for it?',
  judge(fact) {
    if (fact.kind !== 'unevicted') return null
    return {
      what: `Memory at ${hex(fact.gpa)} was used before the first and the last line of its page were touched, `
        + `which the PVALIDATE at RIP ${hex(fact.validatedAt)} has validated.`,
      gpa: fact.gpa,
    }
  },
}
