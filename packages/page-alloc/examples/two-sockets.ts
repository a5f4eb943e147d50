// A guest with two nodes whose firmware accepted 2 GiB and left the rest: boots, uses memory, goes idle.
import { bootMemory, createPageAllocator, Gfp, mapFromEfi, mapTotals } from '@cofferdam/page-alloc'

const MiB = 2 ** 20
const GiB = 2 ** 30
const efi = (type: number, start: number, end: number) => ({ type, start, pages: (end - start) / 4096 })

const map = mapFromEfi([
  efi(7, 0x1000, 0xa0000), // EfiConventionalMemory
  efi(7, MiB, 2 * GiB - 16 * MiB),
  efi(9, 2 * GiB - 16 * MiB, 2 * GiB), // EfiACPIReclaimMemory
  efi(15, 4 * GiB, 34 * GiB), // EfiUnacceptedMemoryType
])
const totals = mapTotals(map)
console.log(`usable ${totals.usable / MiB} MiB, unaccepted ${totals.unaccepted / MiB} MiB`)

let accepted = 0
const memory = bootMemory(map, {
  nodes: [{ start: 0, end: 18 * GiB, node: 0 }, { start: 18 * GiB, end: 34 * GiB, node: 1 }],
  // How a page is accepted is the port's: PVALIDATE here, TDG.MEM.PAGE.ACCEPT there, a counter in an example.
  accept: {
    accept(start, end) {
      accepted += end - start
      return undefined
    },
    isAccepted: () => true,
  },
})
memory.memblock.reserve(16 * MiB, 80 * MiB) // the kernel

const pages = createPageAllocator({ ...memory, cpus: 16, policy: { kind: 'background', budget: 8 * GiB } })
console.log('\nafter boot:')
console.log(pages.format())

for (let i = 0; i < 4 * 65536; i++) pages.alloc(0, Gfp.movable, i % 2, i % 16) // 1 GiB, page by page, on both nodes
const pamt = pages.allocContig((64 * MiB) / 4096, { node: 1, flags: Gfp.thisNode }) // 64 MiB in one piece
console.log(`\n1 GiB and a run at 0x${(pamt * 4096).toString(16)} in use, ${accepted / MiB} MiB accepted:`)
console.log(pages.format())

while (pages.background(256 * MiB) > 0); // idle
const left = () => `${pages.meminfo().Unaccepted / 1024} MiB unaccepted`
console.log(`\nthe background worker stopped when its budget was spent: ${left()}`)
pages.setPolicy({ kind: 'eager' })
console.log(`eager: ${left()}, ${accepted / MiB} MiB accepted in all`)
