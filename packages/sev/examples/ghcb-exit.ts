// Says what a guest asks for: by the GHCB MSR alone, and by a GHCB page.
import { SvmExit, VmgExit } from '@cofferdam/spec'
import { describeGhcb, describeGhcbMsr, encodePsc, ghcbFlaw, ghcbPage, ghcbScratch } from '@cofferdam/sev'

for (const value of [0x2n, 0x8000_001f_4000_0004n, 0x0020_0000_1234_5014n, 0x2_1100n, 0x1_0010_0016n]) {
  console.log(`MSR 0x${value.toString(16)}: ${describeGhcbMsr(value)}`)
}

const page = ghcbPage(new Uint8Array(4096))
page.start(2)
page.set('swExitCode', BigInt(SvmExit.IOIO))
page.set('swExitInfo1', 0x3f8_0010n)
page.set('swExitInfo2', 0n)
console.log(`page: ${describeGhcb(page)}; flaw: ${ghcbFlaw(page)?.text ?? 'none'}`)

page.clearValid()
page.set('swExitCode', BigInt(VmgExit.PAGE_STATE_CHANGE))
page.set('swExitInfo1', 0n)
page.set('swExitInfo2', 0n)
page.set('swScratch', 0x7800n)
page.bytes.set(encodePsc([{ gfn: 0x400n, large: true }, { gfn: 0x600n }]), 0x800)
console.log(`page: ${describeGhcb(page)}; flaw: ${ghcbFlaw(page)?.text ?? 'none'}`)
console.log('scratch:', ghcbScratch(page, 0x7000n, 24))
