// A guest's launch with an SVSM under it: what is measured, and what the guest's own pages become.
import { svsmImage } from '@cofferdam/svsm'

const page = 4096
const { launch, region } = svsmImage({
  launch: [
    { name: 'kernel', start: 0x100_0000, length: 16 * page, type: 'normal' },
    { name: 'secrets', start: 0x80_0000, length: page, type: 'secrets' },
    { name: 'CPUID', start: 0x80_1000, length: page, type: 'cpuid' },
    { name: 'calling area', start: 0x80_2000, length: page, type: 'zero' },
    { name: 'VMSA', start: 0xffff_ffff_f000, length: page, type: 'vmsa', bytes: new Uint8Array(page) },
  ],
  callingArea: 0x80_2000, ram: [{ start: 0, length: 2 ** 30 }],
  vmpl: 2, apicIds: [0, 1], cBit: 51,
})

for (const { name, start, length, type } of launch) {
  console.log(
    `0x${start.toString(16).padStart(12, '0')} ${String(length / page).padStart(3)} ${type.padEnd(7)} ${name}`
  )
}
console.log(`the SVSM has ${region.length / 1024} KiB from 0x${region.start.toString(16)} on`)
