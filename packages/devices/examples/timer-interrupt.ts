/** A PC's timer interrupt without a processor: PIT, PIC pair and UART on one virtual clock and one port bus. */
import { createIoBus } from '@cofferdam/memory'
import {
  createPicPair, createPit8254, createUart16550, createVirtualClock, Q35_IRQ, Q35_PORTS,
} from '@cofferdam/devices'

const clock = createVirtualClock()
const ports = createIoBus(0x1_0000)
let text = ''

const pic = createPicPair({ output: { set: () => undefined } })
const pit = createPit8254({ clock: clock.ranked(1), irq: pic.line(Q35_IRQ.pit) })
const uart = createUart16550({
  clock: clock.ranked(2),
  irq: pic.line(Q35_IRQ.serial1),
  onTransmit: (byte) => { text += String.fromCharCode(byte) },
})
ports.attach({ name: 'PIC', ...Q35_PORTS.picMaster, handlers: pic.master })
ports.attach({ name: 'PIT', ...Q35_PORTS.pit, handlers: pit.handlers })
ports.attach({ name: 'UART', ...Q35_PORTS.serial1, handlers: uart.handlers })

// What a kernel does: vectors from 30h, then 1000 interrupts a second.
for (const [port, value] of [[0x20, 0x11], [0x21, 0x30], [0x21, 0x04], [0x21, 0x01], [0x21, 0xee]]) {
  ports.write(port, 1, value)
}
for (const [port, value] of [[0x43, 0x34], [0x40, 1193 & 0xff], [0x40, 1193 >> 8]]) ports.write(port, 1, value)

let ticks = 0
while (clock.next() <= 100_000_000) {
  clock.advanceTo(clock.next())
  if (!pic.pending()) continue
  const vector = pic.acknowledge()
  ports.write(0x20, 1, 0x20)
  ticks += 1
  if (ticks % 25 === 0) {
    const line = `tick ${ticks} at ${(clock.now() / 1e6).toFixed(3)} ms, vector ${vector.toString(16)}h\n`
    for (const c of line) ports.write(0x3f8, 1, c.charCodeAt(0))
  }
}
console.log(text.trimEnd())
