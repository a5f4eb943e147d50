// Builds page tables in a little memory, then translates addresses through them.
import { createPageTables, createWalkContext, createWalker, createWalkResult, configureWalk, ENTRY_NAMES,
  ACCESS_USER, ACCESS_WRITE, WALK_OK, type PageTablePort } from '@cofferdam/paging'

const memory = new DataView(new ArrayBuffer(0x10_0000))

const port: PageTablePort = {
  high: 0,
  refused: 0,
  load64(pa) {
    port.high = memory.getInt32(pa + 4, true)
    return memory.getInt32(pa, true)
  },
  load32: (pa) => memory.getInt32(pa, true),
  setBits(pa, _key, bits) {
    memory.setInt32(pa, memory.getInt32(pa, true) | bits, true)
    return true
  },
}

let free = 0x1000
const tables = createPageTables({
  levels: 4,
  memory: {
    allocate: () => (free += 4096) - 4096,
    load64: (pa) => memory.getBigUint64(pa, true),
    store64: (pa, value) => { memory.setBigUint64(pa, value, true) },
  },
})
tables.map({ from: 0, length: 0x4000_0000 }) // 1 GiB one to one
tables.map({ from: 0x7fff_0000_0000n, to: 0x20_0000, length: 0x5000, user: true, writable: false })

const ctx = createWalkContext({ physicalBits: 46 })
configureWalk(ctx, { cr0: 0x8001_0001, cr3Low: tables.root, cr3High: 0, cr4: 0x20, efer: 0xd00, ac: false, pkru: 0 })

const walker = createWalker(port)
const found = createWalkResult()
const show = (what: string, high: number, low: number, access: number): void => {
  walker.walk(ctx, low, high, access, found)
  console.log(what.padEnd(28), found.status === WALK_OK
    ? `page 0x${found.page.toString(16)}, ${2 ** (found.shift - 10)} KiB pages`
    : `#PF(0x${found.errorCode.toString(16)}) at the ${ENTRY_NAMES[found.level]}`)
}
show('supervisor read 0x1234567', 0, 0x123_4567, 0)
show('user read 0x7fff00003000', 0x7fff, 0x3000, ACCESS_USER)
show('user write 0x7fff00003000', 0x7fff, 0x3000, ACCESS_USER | ACCESS_WRITE)
show('user read 0x7fff00005000', 0x7fff, 0x5000, ACCESS_USER)
