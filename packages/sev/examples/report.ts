// Launches a guest of one page through the firmware, asks for a report as the guest would, and verifies it.
import { createPhysicalMemory } from '@cofferdam/memory'
import {
  GuestMessageType, PspCommand, ReportRequest, ReportResponseHeader, RmpState, SnpActivate, SnpAddress,
  SnpGuestRequest, SnpInitEx, SnpInitExFlags, SnpLaunchFinish, SnpLaunchStart, SnpLaunchUpdate, SnpLaunchUpdatePage,
  SnpPageType, SysCfg,
} from '@cofferdam/spec'
import {
  createPsp, createRmpTable, createSevIdentity, describeReport, openMessage, parseReport, rmpupdate, sealMessage,
  verifyReport,
} from '@cofferdam/sev'

const memory = createPhysicalMemory({ ram: [{ start: 0, length: 32 * 2 ** 20 }], overhead: 2 ** 17 })
const rmp = createRmpTable(memory)
const identity = createSevIdentity(new TextEncoder().encode('a machine'), 'Milan')
const psp = createPsp({
  memory, rmp, identity,
  platform: {
    processors: 1, hsavePa: () => 0n,
    syscfg: () => SysCfg.pack({ MtrrFixDramModEn: 1n, SecureNestedPagingEn: 1n, VMPLEn: 1n }),
    rmpMsrs: () => ({ base: 0x10_0000n, end: 0x1f_ffffn, cfg: 0n }), iommuReady: () => true,
    cpuid: () => [0, 0, 0, 0],
  },
})

/** Gives a command with its buffer at 8000h. */
const run = (name: keyof typeof PspCommand, buffer: Uint8Array): void => {
  memory.write(0x8000, buffer)
  const status = psp.command(PspCommand[name], 0x8000)
  if (status !== 0) throw new Error(`${name}: 0x${status.toString(16)}`)
}
/** RMPUPDATE by the host: to the firmware (ASID 0), or to a guest that is being launched. */
const give = (page: number, gpa: bigint, asid: number): void => {
  const state = RmpState.create({ gpa, assigned: 1, immutable: 1, asid })
  const agent = { asid: 0, vmpl: 0, cpl: 0, snp: false }
  rmpupdate(rmp, { agent, address: BigInt(page) << 12n, state, maxAsid: 509 })
}

const gctxPaddr = 0x30_0000n
run('SNP_INIT_EX', SnpInitEx.create({ flags: SnpInitExFlags.mask.INIT_RMP }))
run('SNP_DF_FLUSH', new Uint8Array())
give(0x300, 0n, 0)
run('SNP_GCTX_CREATE', SnpAddress.create({ address: gctxPaddr }))
run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr, policy: 0x3_0000n }))
run('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr, asid: 1 }))
memory.write(0x40_0000, new TextEncoder().encode('a guest'))
give(0x400, 0n, 1)
const page = SnpLaunchUpdatePage.pack({ pageType: SnpPageType.NORMAL })
run('SNP_LAUNCH_UPDATE', SnpLaunchUpdate.create({ gctxPaddr, pagePaddr: 0x40_0000n, page }))
run('SNP_LAUNCH_FINISH', SnpLaunchFinish.create({ gctxPaddr }))

// A guest finds its keys in its secrets page; here they are taken from the firmware's own state.
const key = psp.state.guests.get(0x300)?.vmpck[0] ?? new Uint8Array(32)
const payload = ReportRequest.create({ reportData: new TextEncoder().encode('a nonce') })
const type = GuestMessageType.REPORT_REQ
memory.write(0x9000, sealMessage(key, { type, version: 1, sequence: 1n, vmpck: 0, payload }))
give(0x301, 0n, 0)
run('SNP_GUEST_REQUEST', SnpGuestRequest.create({ gctxPaddr, requestPaddr: 0x9000n, responsePaddr: 0x30_1000n }))
const answer = new Uint8Array(4096)
memory.read(0x30_1000, answer)
const report = openMessage(key, answer)?.slice(ReportResponseHeader.size) ?? new Uint8Array()

console.log(describeReport(parseReport(report)))
const verdict = verifyReport({
  report, endorsement: identity.vcekCertificate(psp.state.reportedTcb), intermediate: identity.ask(),
  root: identity.ark(),
})
console.log(verdict.ok ? `accepted: the ${verdict.signer} of a ${verdict.product}` : `refused: ${verdict.reason}`)
