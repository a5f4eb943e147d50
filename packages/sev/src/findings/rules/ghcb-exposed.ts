import type { SevRule } from '../rule.ts'

export const ghcbExposed: SevRule = {
  id: 'snp-ghcb-exposed-register',
  title: 'A request through the GHCB shows the host no register that the exit does not need',
  sources: [
    { text: 'AMD 56421 (GHCB), §2.6 and §4.1, table 6: the guest exposes only the state that the hypervisor needs for '
      + 'the exit' },
    { text: 'Linux b6fb565a2d15: the same mistake in TDX guests, register values that leak through TDVMCALL' },
  ],
  why: 'The registers of the guest are encrypted so that the host does not see them; what lies in the GHCB is in the '
    + 'clear. A register that is copied there without need may hold a key, a pointer that undoes KASLR, or the data of '
    + 'a process.',
  outcome: 'leak',
  hardware: 'Nothing is noticed: the host reads what it was not meant to see.',
  advice: 'The code that fills the GHCB before this VMGEXIT: is the valid bitmap cleared before each request, is only '
    + 'what table 6 lists copied, and is RAX cut to the size of an OUT?',
  judge(fact) {
    if (fact.kind !== 'ghcb-exposed') return null
    return { what: `A request for ${fact.exit} showed the host ${fact.registers.join(', ')}.`, gpa: fact.gpa }
  },
}
