// The console as web streams, events as an iterator, in Node as in a page. The guest adds one to each byte that it
// gets, and powers off at `q`.
/// <reference types="node" />
/// <reference lib="dom.asynciterable" />
import { createEventStream, createMachine, createSerialStreams, inspectProcessor, runMachine } from '@cofferdam/machine'

const code = [
  0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, // wait: mov dx, 3FDh; in al, dx; test al, 1; jz wait
  0x66, 0xba, 0xf8, 0x03, 0xec, 0x3c, 0x71, 0x74, 0x04, // mov dx, 3F8h; in al, dx; cmp al, 'q'; je off
  0x40, 0xee, 0xeb, 0xea, /*                         */ // inc eax; out dx, al; jmp wait
  0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0, 0x20, 0x66, 0xef, // off: mov dx, 604h; mov ax, 2000h; out dx, ax
]
const at = 0x10_0000
const header = Int32Array.of(0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), at, at, 0, 0, at + 0x20)
const kernel = { name: 'add', bytes: Uint8Array.of(...new Uint8Array(header.buffer), ...code) }

const serial = createSerialStreams()
const events = createEventStream({ filter: ({ kind }) => kind === 'machine' })
const machine = createMachine({
  kernel, append: '', memory: 64 * 2 ** 20, vcpus: 1, cpu: 'intel', engine: 'auto', seed: 1,
  onSerial: serial.onSerial, onEvent: events.onEvent,
})

const print = async (): Promise<void> => {
  let text = ''
  for await (const part of serial.readable.pipeThrough(new TextDecoderStream())) text += part
  console.log(`guest: ${text}`)
}
const tell = async (): Promise<void> => {
  for await (const event of events) console.log(`event: ${event.kind === 'dropped' ? event.count : event.name}`)
}
const done = Promise.all([print(), tell()])

const writer = serial.writable.getWriter()
void writer.write(new TextEncoder().encode('GDKKN\u001fVNQKC'))
await runMachine(machine, { serial, events, until: () => !serial.waiting })

// Between two runs: registers, memory by virtual addresses, and a copy that goes its own way.
const cpu = inspectProcessor(machine)
const bytes = [...cpu.read(BigInt(at + 0x20), 4)].map((byte) => byte.toString(16))
console.log(`rip ${cpu.get('rip').toString(16)}, code ${bytes.join(' ')}`)
const copy = machine.snapshot().fork()
copy.run({ instructions: 1000 })
console.log(`instructions ahead: ${copy.stats().instructions - machine.stats().instructions}`)

void writer.write(new TextEncoder().encode('q'))
console.log(`ended: ${(await runMachine(machine, { serial, events })).reason}`)
await done
