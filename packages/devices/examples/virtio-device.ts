/** A virtio device of one's own, and a driver of 20 lines that sends it a request through a split ring. */
import { createVirtioTransport, createVirtualClock, type VirtioDevice, type VirtioPort } from '@cofferdam/devices'

/** Answers each request with its bytes in upper case. */
function createShouter(): VirtioDevice {
  let port: VirtioPort
  return {
    name: 'shouter', type: 63, classCode: 0xff_0000, features: 0n, queueSizes: [8], latency: 1000, configSize: 0,
    attach(given) { port = given },
    readConfig: () => 0,
    writeConfig: () => undefined,
    notify(index) {
      const queue = port.queue(index)
      for (let request = queue.pop(); request !== undefined; request = queue.pop()) {
        const bytes = new Uint8Array(Math.min(request.readable, 4096))
        request.read(bytes)
        queue.push(request, request.write(bytes.map((byte) => (byte >= 97 && byte <= 122 ? byte - 32 : byte))))
      }
    },
    reset: () => undefined,
    snapshot: () => null,
    restore: () => undefined,
  }
}

const ram = new Uint8Array(0x1_0000)
const view = new DataView(ram.buffer)
/** Carries an access out if all of it is memory. */
const inRam = (address: number, length: number, access: () => void): boolean => {
  const fits = address + length <= ram.length
  if (fits) access()
  return fits
}
const clock = createVirtualClock()
const device = createVirtioTransport({
  device: createShouter(), clock,
  memory: {
    read: (address, target) =>
      inRam(address, target.length, () => { target.set(ram.subarray(address, address + target.length)) }),
    write: (address, bytes) => inRam(address, bytes.length, () => { ram.set(bytes, address) }),
  },
  interruptQueue: (queue) => { console.log(`interrupt of queue ${queue} at ${clock.now()} ns`) },
  interruptConfig: () => { console.log(`status ${device.status().toString(16)}h`) },
  onBroken: (name, reason) => { console.log(`${name}: ${reason}`) },
})

// The driver: VIRTIO_F_VERSION_1, a queue with its three areas, DRIVER_OK.
device.setStatus(3)
device.setDriverFeatures(1, 1)
device.setStatus(11)
Object.assign(device.queues[0].state, { descriptors: [0, 0], driver: [0x1000, 0], device: [0x2000, 0], enabled: true })
device.setStatus(15)

const describe = (index: number, address: number, length: number, flags: number, next: number): void => {
  view.setUint32(16 * index, address, true)
  view.setUint32(16 * index + 8, length, true)
  view.setUint16(16 * index + 12, flags, true)
  view.setUint16(16 * index + 14, next, true)
}
ram.set(new TextEncoder().encode('hello, device'), 0x4000)
describe(0, 0x4000, 13, 1, 1) // to read, and goes on
describe(1, 0x5000, 64, 2, 0) // to write
view.setUint16(0x1002, 1, true) // the available ring has one request: descriptor 0
device.notify(0)
clock.advanceTo(1000)
console.log(new TextDecoder().decode(ram.subarray(0x5000, 0x5000 + view.getUint32(0x2008, true))))

// Rings are hostile: this one announces more than it has entries.
view.setUint16(0x1002, 100, true)
device.notify(0)
clock.advanceTo(2000)
