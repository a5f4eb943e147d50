import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const earlyReference: SevRule = {
  id: 'startup-absolute-reference',
  title: 'Start-up code that runs from the 1:1 mapping uses no address of the kernel\'s own mapping',
  sources: [
    { text: 'Linux, arch/x86/boot/startup: built position-independent, and checked for absolute references (objtool '
      + '--noabs)' },
    { text: 'Linux Documentation/arch/x86/x86_64/mm.rst: the kernel\'s text mapping begins at ffffffff80000000' },
  ],
  why: 'The first code of a kernel runs at the address that it was loaded to, from a mapping where linear and physical '
    + 'addresses are the same. What the compiler takes from a jump table, a list of pointers or a static call is where '
    + 'the linker has put it, in a mapping that is not there yet, or that KASLR has moved. Code for confidential '
    + 'guests runs there before all other, and few can test it.',
  outcome: 'fault',
  hardware: '#PF without a handler that could help: a triple fault, and the guest is gone without a word; or garbage, '
    + 'where something else is mapped there.',
  advice: 'Compile that file as start-up code (-fPIC, RIP-relative references only), or reach the object by '
    + 'rip_rel_ptr(). A switch that became a jump table, an initialised table of pointers and an exported symbol are '
    + 'what to look for.',
  judge(fact) {
    if (fact.kind !== 'early-reference') return null
    const how = fact.fetch ? 'jumped' : 'referred'
    return {
      what: `Code outside of the kernel's mapping ${how} to ${hex(fact.gva)} inside, where nothing is mapped.`,
      gva: fact.gva,
    }
  },
}
