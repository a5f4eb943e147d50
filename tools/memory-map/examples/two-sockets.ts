// Draws the memory of a two-socket machine with TDX: zones, what is unaccepted, TDMRs, reserved areas and PAMTs.
// `node --conditions=@cofferdam/source tools/memory-map/examples/two-sockets.ts [FILE]`; without FILE to stdout.
import { writeFileSync } from 'node:fs'
import { bootMemory, createPageAllocator, Gfp, normaliseMap } from '@cofferdam/page-alloc'
import { buildTdmrs, describeTdmrError } from '@cofferdam/tdmr'
import { drawMemory, pictureOf } from '@cofferdam/tool-memory-map'

const MiB = 2 ** 20
const GiB = 2 ** 30

const map = normaliseMap([
  { start: 0x1000, end: 0xa0000, kind: 'usable' },
  { start: MiB, end: 1920 * MiB, kind: 'usable' },
  { start: 1920 * MiB, end: 2 * GiB, kind: 'acpi' },
  { start: 4 * GiB, end: 6 * GiB, kind: 'usable' },
  { start: 6 * GiB, end: 10 * GiB, kind: 'unaccepted' },
  { start: 10 * GiB, end: 13 * GiB, kind: 'unaccepted' },
  { start: 13 * GiB + 384 * MiB, end: 18 * GiB, kind: 'unaccepted' },
])
const memory = bootMemory(map, {
  nodes: [{ start: 0, end: 10 * GiB, node: 0 }, { start: 10 * GiB, end: 18 * GiB, node: 1 }],
  accept: { accept: () => undefined, isAccepted: () => true },
})
memory.memblock.reserve(0, MiB)
memory.memblock.reserve(16 * MiB, 112 * MiB) // the kernel
const pages = createPageAllocator({ ...memory, movableStart: [undefined, 15 * GiB] })
for (let i = 0; i < 200; i++) pages.alloc(10, Gfp.movable) // 800 MiB in large runs
for (let i = 0; i < 50_000; i++) pages.alloc(0, Gfp.movable, i % 2) // 195 MiB page by page

const built = buildTdmrs({
  memory: memory.memblock.memory(),
  cmrs: memory.memblock.memory().filter((r) => r.end > MiB).map((r) => ({ base: r.start, size: r.end - r.start })),
  limits: { maxTdmrs: 64, maxReservedPerTdmr: 16, entrySize: { size4k: 16, size2m: 16, size1g: 16 } },
  // PAMTs come from the page allocator, which accepts them on the way.
  pamts: {
    alloc(size, node) {
      const pfn = pages.allocContig(size / 4096, node === undefined ? {} : { node, flags: Gfp.thisNode })
      return pfn < 0 ? -1 : pfn * 4096
    },
    free: (start, size) => pages.freeContig(start / 4096, size / 4096),
  },
})
if (!built.ok) throw new Error(describeTdmrError(built.error))

const picture = drawMemory(pictureOf('Memory of a two-socket machine with TDX, 15.6 GiB', pages, built.value))
const [, , file] = process.argv
if (file === undefined) process.stdout.write(picture)
else writeFileSync(file, picture)
