// Loads a kernel of a few bytes into a sparse memory and shows what a boot loader has to put where.
import { createAcpiTables, loadKernel, PC, type MemoryRegion } from '@cofferdam/boot'

const hex = (n: number | bigint): string => `0x${n.toString(16)}`
const types = ['', 'RAM', 'reserved', 'ACPI']

// A flat Multiboot kernel: the header, then "hlt; jmp -3".
const kernel = new Uint8Array(0x40)
const view = new DataView(kernel.buffer)
const header = [0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), 0x10_0000, 0x10_0000, 0, 0, 0x10_0020]
header.forEach((word, i) => { view.setUint32(4 * i, word >>> 0, true) })
kernel.set([0xf4, 0xeb, 0xfd], 0x20)

const written: string[] = []
const boot = loadKernel({
  kernel,
  names: { kernel: 'halt.bin' },
  cmdline: 'quiet',
  memory: 4 * 2 ** 30,
  acpi: { apicIds: [0, 1] },
  write: (address, bytes) => { written.push(`${bytes.length} bytes at ${hex(address)}`) },
})

console.log('memory map')
boot.map.forEach((r: MemoryRegion) => {
  console.log(`  ${hex(r.start).padEnd(12)} + ${hex(r.length).padEnd(12)} ${types[r.type]}`)
})
console.log('placed')
boot.placed.forEach((p) => { console.log(`  ${hex(p.start).padEnd(12)} ${p.name}`) })
const { rip, registers, cr0 } = boot.state
console.log(`starts at ${hex(rip)} with EAX ${hex(registers.rax ?? 0n)} and CR0 ${hex(cr0)}; ${written.length} writes`)

const acpi = createAcpiTables({ apicIds: [0, 1] }, { address: PC.acpi, length: PC.acpiLength })
console.log(`ACPI: ${acpi.tables.map((t) => `${t.signature.trim()} ${t.bytes.length}`).join(', ')}`)
