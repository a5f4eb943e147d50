// A machine in 15 lines. `node hello.ts KERNEL` boots a bzImage, a PVH or a Multiboot kernel; without one, it boots 96
// bytes that are here.
/// <reference types="node" />
import { readFileSync } from 'node:fs'
import { createMachine } from '@cofferdam/machine'

/** A flat Multiboot kernel: writes the text at its end to the serial port and turns the machine off. */
function tinyKernel(text: string): Uint8Array {
  const at = 0x10_0000
  const header = Int32Array.of(0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), at, at, 0, 0, at + 0x20)
  const code = [
    0xbe, 0x3e, 0x00, 0x10, 0x00, /*       */ // mov esi, text
    0xac, 0x84, 0xc0, 0x74, 0x07, /*       */ // next: lodsb; test al, al; jz off
    0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf4, // mov dx, 3F8h; out dx, al; jmp next
    0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0, 0x20, // off: mov dx, 604h; mov ax, 2000h (SLP_EN)
    0x66, 0xef, 0xf4, 0xeb, 0xfd, /*       */ // out dx, ax; hlt; jmp $ - 1
  ]
  return Uint8Array.of(...new Uint8Array(header.buffer), ...code, ...new TextEncoder().encode(`${text}\0`))
}

const file = process.argv[2]
const kernel = file === undefined
  ? { name: 'tiny', bytes: tinyKernel('Hello from 32-bit protected mode\n') }
  : { name: file, bytes: new Uint8Array(readFileSync(file)) }

const machine = createMachine({
  kernel, append: 'console=ttyS0,115200 panic=-1',
  memory: 512 * 2 ** 20, vcpus: 1, cpu: 'intel', engine: 'auto', seed: 1,
  onSerial: (bytes) => process.stdout.write(bytes),
})
let result = machine.run({ instructions: 1e6 })
while (result.reason === 'budget' || (result.reason === 'idle' && result.idleUntil !== undefined)) {
  result = machine.run({ instructions: 1e6 }) // after `idle`, time leaps to the next timer
}
const { instructions, virtualTime } = machine.stats()
console.log(`${result.reason} after ${instructions} instructions and ${virtualTime} ns`)
