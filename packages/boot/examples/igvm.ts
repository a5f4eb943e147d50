// Packs a guest of one page as an IGVM file, reads it back, and shows what a host would launch.
import { flatSegments, igvmLaunch, parseIgvm, VMSA_GPA, vmsaOf, writeIgvm } from '@cofferdam/boot'

const hex = (n: number): string => `0x${n.toString(16)}`

// "hlt; jmp -3" at 1 MiB, in 32-bit protected mode without paging.
const code = Uint8Array.of(0xf4, 0xeb, 0xfd)
const vmsa = vmsaOf({
  registers: {}, rip: 0x10_0000n, rflags: 2n, cr0: 0x11n, cr3: 0n, cr4: 0n, efer: 0n,
  gdtr: { base: 0n, limit: 0 }, idtr: { base: 0n, limit: 0 }, segments: flatSegments(0x10, 0x18, false),
})

const bytes = writeIgvm({
  policy: 0x3_0000n,
  directives: [
    { kind: 'area', index: 0, length: 4096 },
    { kind: 'parameter', what: 'VP count', index: 0, offset: 0 },
    { kind: 'parameter', what: 'memory map', index: 0, offset: 0x10 },
    { kind: 'page', gpa: 0x10_0000, length: 4096, type: 'normal', bytes: code },
    { kind: 'insert', gpa: 0x10_1000, index: 0 },
    { kind: 'vp', gpa: VMSA_GPA, vp: 0, vmsa },
  ],
})
console.log(`${bytes.length} bytes, ${parseIgvm(bytes, 'guest.igvm').directives.length} directives`)

const { launch } = igvmLaunch({
  file: { name: 'guest.igvm', bytes }, vcpus: 2, cmdline: '', acpi: { apicIds: [0, 1] },
  ram: [{ start: 0, length: 2 ** 26 }],
  mmio: [{ start: 2 ** 31, length: 2 ** 30 }, { start: 2 ** 32, length: 2 ** 32 }],
})
for (const { name, type, start, length } of launch) console.log(`${type} at ${hex(start)}, ${length} bytes: ${name}`)

// Every mistake is told with its place.
bytes[20] ^= 1
try {
  parseIgvm(bytes, 'guest.igvm')
} catch (error) {
  console.log((error as Error).message.replace(/0x[\da-f]+/g, '…'))
}
