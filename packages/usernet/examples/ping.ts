/** A guest by hand: it asks who the gateway is (ARP), and what its name's address is (DNS). */
import { createGateway, formatMac, type NetClock } from '@cofferdam/usernet'

const clock: NetClock = { now: () => 0, at: () => ({ cancel: () => undefined }) }
const guest = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56]
const address = [10, 0, 2, 15]

const gateway = createGateway({
  clock,
  seed: 1,
  transmit: (frame) => {
    const type = new DataView(frame.buffer).getUint16(12).toString(16).padStart(4, '0')
    console.log(`${frame.length} bytes, type ${type}h`)
    if (frame[13] === 0x06) console.log(`10.0.2.2 is at ${formatMac(frame.subarray(22))}`)
    else console.log(`gateway.internal is ${frame.subarray(-4).join('.')}`)
  },
})

const broadcast = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
gateway.receive(Uint8Array.from([
  ...broadcast, ...guest, 0x08, 0x06, // Ethernet: ARP
  0, 1, 8, 0, 6, 4, 0, 1, ...guest, ...address, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2, // who has 10.0.2.2?
]))

const name = ['gateway', 'internal'].flatMap((label) => [label.length, ...new TextEncoder().encode(label)])
const question = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 0, 1, 0, 1]
const length = 20 + 8 + question.length
const header = [0x45, 0, 0, length, 0, 1, 0, 0, 64, 17, 0, 0, ...address, 10, 0, 2, 2]
const sum = header.reduce((total, byte, i) => total + (i % 2 === 0 ? byte << 8 : byte), 0)
const checksum = ~((sum & 0xffff) + (sum >>> 16)) & 0xffff
header.splice(10, 2, checksum >>> 8, checksum & 0xff)
gateway.receive(Uint8Array.from([
  0x52, 0x55, 10, 0, 2, 2, ...guest, 0x08, 0x00, // Ethernet: IPv4
  ...header, 0x10, 0, 0, 53, 0, 8 + question.length, 0, 0, ...question, // UDP to port 53
]))
