import type { SevRule } from '../rule.ts'

export const unacceptedTable: SevRule = {
  id: 'snp-unaccepted-table',
  title: 'The table of unaccepted memory belongs to nobody else: bits of its bitmap are cleared, and nothing else is written there',
  sources: [
    { text: 'Linux 0862438c9048: efi: Fix reservation of unaccepted memory table' },
    { text: 'Linux drivers/firmware/efi/unaccepted_memory.c: a set bit is a unit that nobody has accepted yet' },
  ],
  why: 'The bitmap is all that a kernel knows of what it has accepted. It lies in memory like any other, found by an EFI table: if its '
    + 'last page is not reserved, somebody gets it for data. Then units count as accepted that are not, or are accepted a second time.',
  outcome: 'corruption',
  hardware: 'Nothing at first. Later, #VC for memory that the bitmap calls accepted, or PVALIDATE that changes nothing and ends the '
    + 'guest, far from the write that did it.',
  advice: 'Who got this memory: is the whole table reserved, its header and a start that is no multiple of 4 KiB counted in?',
  judge(fact) {
    if (fact.kind !== 'table-write') return null
    const changed = [
      ...(fact.header ? ['changed its header'] : []), ...(fact.bits > 0 ? [`set ${fact.bits} bits that were clear`] : []),
    ]
    return { what: `A write to the table of unaccepted memory ${changed.join(' and ')}.`, gpa: fact.gpa }
  },
}
