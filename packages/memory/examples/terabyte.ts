// A terabyte of RAM that costs what is touched, a watched page, and a device on the port bus.
import { createPhysicalMemory } from '@cofferdam/memory'

const memory = createPhysicalMemory({
  ram: [{ start: 0, length: 3 * 2 ** 30 }, { start: 2 ** 32, length: 2 ** 40 - 3 * 2 ** 30 }],
  overhead: 2 ** 20,
})
memory.onWrite((address, length) => {
  console.log(`watched: ${length} bytes written at 0x${address.toString(16)}`)
})
memory.watchPage(0x100_0000_0000 / 4096, true)

memory.write(0x7000, Uint8Array.of(1, 2, 3)) // a page without a watcher
memory.write(0xff_ffff_fffe, Uint8Array.of(4, 5, 6, 7)) // over a page's end, into the watched one
console.log(`${memory.backedBytes() / 1024} KiB in use`)

const out = new Uint8Array(8)
memory.read(0xff_ffff_fffc, out)
console.log(`read: ${out.join(' ')}`)

const post = {
  read: () => 0,
  write: (_offset: number, _size: number, value: number) => { console.log(`POST code ${value.toString(16)}`) },
}
memory.ports.attach({ name: 'POST', start: 0x80, length: 1, handlers: post })
memory.ports.write(0x80, 1, 0xa5)
console.log(`nobody at port 81h: ${memory.ports.read(0x81, 1).toString(16)}`)
try {
  memory.ports.attach({ name: 'DMA pages', start: 0x80, length: 16, handlers: post })
} catch (error) {
  console.log((error as Error).message)
}
