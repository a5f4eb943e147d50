/** What hostile guests ask their host for through the GHCB page: every exit, with fields that are nearly right. */
import { Q35_MMIO, Q35_PORTS } from '@cofferdam/devices'
import type { Random } from '@cofferdam/oracle'
import { sealMessage } from '@cofferdam/sev'
import {
  ApCreationInfo, Ghcb, GuestMessageType, IoioInfo, KeyRequest, PSC_MAX_ENTRIES, PscEntry, PscHeader, ReportRequest,
  SecretsPage, SvmExit, VmgExit,
} from '@cofferdam/spec'
import { AT, MEMORY, type SnpBench } from './bench.ts'

const PAGE = 4096

const PAGES: readonly number[] = [
  AT.play / PAGE, AT.play / PAGE, AT.play / PAGE + 1, AT.play / PAGE + 2, AT.play / PAGE + 3, AT.play / PAGE + 511,
  AT.ghcb / PAGE, AT.ghcb / PAGE + 1, MEMORY / PAGE - 1, MEMORY / PAGE, 0xa0, 0xff, 2 ** 20 - 1, 2 ** 20, 2 ** 36,
  2 ** 40 - 1,
]
/** Those that a case cannot do without, now and then only. */
const NEEDED: readonly number[] =
  [AT.code, AT.stack, AT.idt, AT.alias, AT.data, AT.vmsa, 0x80_0000, 0x100_0000, 0].map((at) => at / PAGE)

/** A guest page: mostly of those to play with. */
export function anyPage(random: Random): number {
  const kind = random.below(400)
  if (kind === 0) return random.pick(NEEDED)
  if (kind < 8) return MEMORY / PAGE + random.below(2 ** 20)
  return kind < 200 ? AT.play / PAGE + random.below(16) : random.pick(PAGES)
}
/** A guest physical address. */
export function anyGpa(random: Random): bigint {
  if (random.below(24) === 0) return random.u64()
  return BigInt(anyPage(random)) << 12n
    | BigInt(random.below(10) === 0 ? random.pick([1, 8, 16, 0x800, 0xff8, 0xfff]) : 0)
}
/** Mostly the value; at times an edge, or anything. */
export const nearly = (random: Random, value: bigint): bigint =>
  (random.below(12) !== 0
    ? value
    : 0xffff_ffff_ffff_ffffn
      & random.pick([0n, 1n, value + 1n, value - 1n, value ^ 1n << BigInt(random.below(64)), random.u64()]))

const below = (random: Random, n: number): bigint => BigInt(random.below(n))

type Field = 'rax' | 'rbx' | 'rcx' | 'rdx' | 'xcr0' | 'cpl' | 'swScratch' | 'swExitCode' | 'swExitInfo1' | 'swExitInfo2'
/** A request: its fields, and what lies in the page's shared buffer. */
export interface GhcbRequestDraft {
  readonly code: number
  readonly info1?: bigint
  readonly info2?: bigint
  readonly fields?: Partial<Record<Field, bigint>>
  readonly buffer?: Uint8Array
}

export const bytesOf = (random: Random, length: number): Uint8Array =>
  Uint8Array.from({ length }, () => random.below(256))

const SCRATCH = BigInt(AT.ghcb + Ghcb.offset.sharedBuffer)
const BUFFER_BYTES = Ghcb.fields.sharedBuffer[1]
const scratch = (random: Random): bigint => (random.below(8) !== 0 ? SCRATCH : random.pick([
  SCRATCH - 1n, SCRATCH + 1n, SCRATCH + BigInt(BUFFER_BYTES), SCRATCH + BigInt(BUFFER_BYTES - 8),
  SCRATCH + BigInt(random.below(BUFFER_BYTES)), BigInt(AT.ghcb), BigInt(AT.ghcb + PAGE), anyGpa(random), 0n,
  2n ** 64n - 8n,
]))

const PORTS = Object.values(Q35_PORTS)
/** Those that end the machine; now and then only. */
const FINAL = new Set([0x64, 0x92, 0xf4, 0x604, 0xcf9])
function ioio(random: Random): GhcbRequestDraft {
  const range = random.pick(PORTS)
  const drawn = random.below(10) === 0 ? random.below(0x1_0000) : range.start + random.below(Math.min(range.length, 64))
  const port = FINAL.has(drawn) && random.below(60) !== 0 ? 0x80 : drawn
  const { IN, STR, REP, SZ8, SZ16, SZ32 } = IoioInfo.mask
  const size = random.below(12) === 0 ? random.below(8) * SZ8 : random.pick([SZ8, SZ16, SZ32])
  const info = port << 16 | size | random.below(2) * IN | (random.below(3) === 0 ? STR | random.below(2) * REP : 0)
  return {
    code: SvmExit.IOIO, info1: nearly(random, BigInt(info >>> 0)),
    info2: random.pick([0n, 1n, 2n, 500n, 508n, 2032n, 2033n, 4096n, 4097n, 0xffff_ffffn, random.u64()]),
    fields: { rax: random.u64(), swScratch: scratch(random) },
  }
}

const MMIO_PLACES = [
  ...Object.values(Q35_MMIO).map(({ start }) => start), 0xfee0_0000, 0xfee0_0000, AT.play, MEMORY, 0xffff_f000, 2 ** 39,
]
const mmio = (random: Random): GhcbRequestDraft => ({
  code: random.pick([VmgExit.MMIO_READ, VmgExit.MMIO_WRITE]),
  info1: nearly(random, BigInt(random.pick(MMIO_PLACES)) + BigInt(random.pick([
    random.below(0x400), 16 * random.below(0x40), random.below(0x1_0000),
  ]))),
  info2: random.pick([1n, 2n, 4n, 4n, 8n, 0n, 3n, 7n, 9n, random.u64()]), fields: { swScratch: scratch(random) },
  buffer: bytesOf(random, 16),
})

const MSRS: readonly (readonly [first: number, count: number])[] = [
  [0, 0x40], [0x10, 1], [0x1b, 1], [0x174, 3], [0x200, 0x20], [0x250, 0x30], [0x277, 1], [0x2ff, 1], [0x6e0, 1],
  [0x800, 0x40], [0xd90, 0x20], [0xda0, 1], [0xc000_0080, 8], [0xc000_0100, 4], [0xc001_0000, 0x70],
  [0xc001_0100, 0x50], [0xc001_1000, 0x40], [0x4b56_4d00, 8],
]
const msr = (random: Random): GhcbRequestDraft => {
  const [first, count] = random.pick(MSRS)
  return {
    code: SvmExit.MSR, info1: random.below(20) === 0 ? random.u64() : below(random, 2),
    fields: {
      rcx: nearly(random, BigInt(first + random.below(count))),
      rax: random.below(3) === 0 ? random.u64() : below(random, 16), rdx: random.below(2) === 0 ? 0n : random.u64(),
    },
  }
}

/** A list of page state changes in the shared buffer, its header right or wrong. */
function pageStates(random: Random): GhcbRequestDraft {
  const buffer = new Uint8Array(BUFFER_BYTES)
  const view = new DataView(buffer.buffer)
  const count = random.pick([1, 1, 2, 5, 64, 65, PSC_MAX_ENTRIES])
  const end = random.below(8) === 0
    ? random.pick([PSC_MAX_ENTRIES, PSC_MAX_ENTRIES - 1, 0xffff, 0x7fff, 252, 253, 254])
    : count - 1
  PscHeader.write(view, {
    currentEntry: random.below(6) === 0 ? random.pick([1, end, end + 1, 0xffff, 253]) & 0xffff : 0, endEntry: end,
    reserved: random.below(20) === 0 ? random.u32() : 0,
  })
  for (let i = 0; i < Math.min(count, (BUFFER_BYTES - PscHeader.size) / 8); i++) {
    const large = random.below(4) === 0
    const gfn = BigInt(anyPage(random))
    const entry = PscEntry.pack({
      gfn: (large && random.below(6) !== 0 ? gfn & ~511n : gfn) & 0xff_ffff_ffffn,
      operation: random.below(10) === 0 ? below(random, 16) : 1n + below(random, 4),
      pageSize: large ? 1n : 0n, currentPage: random.below(8) === 0 ? random.pick([1n, 511n, 512n, 513n, 4095n]) : 0n,
    })
    view.setBigUint64(PscHeader.size + 8 * i, nearly(random, entry), true)
  }
  return { code: VmgExit.PAGE_STATE_CHANGE, buffer, fields: { swScratch: scratch(random) } }
}

/** A message to the firmware in shared memory, as the guest's driver seals it, or damaged. */
export function guestMessage(random: Random, { secretsPage, sent }: SnpBench): Uint8Array {
  const vmpck = random.below(4)
  const key = SecretsPage.get(
    new DataView(secretsPage.buffer, secretsPage.byteOffset, secretsPage.length), `vmpck${vmpck as 0 | 1 | 2 | 3}`,
  )
  const payload = random.pick([
    () => ReportRequest.create({ vmpl: random.below(5), flags: random.below(3) === 0 ? random.below(8) : 0 }),
    () => KeyRequest.create({ keySelect: random.below(4), guestFieldSelect: below(random, 64), vmpl: random.below(4) }),
    () => new Uint8Array(128), () => bytesOf(random, random.below(300)),
  ])()
  const page = sealMessage(key, {
    type: random.pick([
      GuestMessageType.KEY_REQ, GuestMessageType.TSC_INFO_REQ, GuestMessageType.REPORT_REQ, random.below(256),
    ]),
    version: random.pick([1, 1, 2, random.below(256)]), vmpck, payload,
    sequence: random.below(8) === 0 ? random.u64() : (sent[vmpck] ?? 0n) + 1n,
  })
  for (let times = random.below(4) === 0 ? 1 + random.below(4) : 0; times > 0; times--) {
    page[random.below(0x90)] = random.below(256)
  }
  return page
}

/** Pages for a message and its answer: shared ones are made so by other steps. */
export const MESSAGE = {
  request: AT.ghcb + 2 * PAGE, response: AT.ghcb + 3 * PAGE, certificates: AT.ghcb + 4 * PAGE,
} as const
export const guestRequest = (random: Random): GhcbRequestDraft => ({
  code: random.pick([VmgExit.GUEST_REQUEST, VmgExit.EXT_GUEST_REQUEST]),
  info1: random.below(8) === 0 ? anyGpa(random) : nearly(random, BigInt(MESSAGE.request)),
  info2: random.below(8) === 0 ? anyGpa(random) : nearly(random, BigInt(MESSAGE.response)),
  fields: {
    rax: random.below(4) === 0 ? anyGpa(random) : BigInt(MESSAGE.certificates),
    rbx: random.pick([0n, 1n, 2n, 3n, 4n, random.u64()]),
  },
})

const apCreation = (random: Random): GhcbRequestDraft => ({
  code: VmgExit.AP_CREATION,
  info1: nearly(random, ApCreationInfo.pack({
    request: random.below(12) === 0 ? below(random, 0x1_0000) : below(random, 3),
    vmpl: random.below(3) === 0 ? below(random, 5) : 0n,
    // Its own processor goes on with another VMSA then, or not at all.
    apicId: random.below(30) === 0 ? 0n : random.below(8) === 0 ? random.u64() >> 32n : 1n + below(random, 2),
  })),
  info2: random.below(3) === 0 ? anyGpa(random) : BigInt(AT.vmsa + PAGE * random.below(4)),
  fields: { rax: nearly(random, 1n) },
})

/** Waits that only another processor or an interrupt ends, and ends of the guest: seldom. */
const last = (random: Random): GhcbRequestDraft => (random.below(40) !== 0 ? { code: VmgExit.HV_FEATURES } : {
  code: random.pick([VmgExit.TERMINATION, VmgExit.UNSUPPORTED_EVENT, VmgExit.AP_RESET_HOLD]), info1: random.u64(),
  info2: random.u64(),
})

const SIMPLE = [
  SvmExit.DR0_READ + 7, SvmExit.DR0_WRITE + 7, SvmExit.RDTSC, SvmExit.RDPMC, SvmExit.INVD, SvmExit.VMMCALL,
  SvmExit.RDTSCP, SvmExit.WBINVD, SvmExit.MONITOR, SvmExit.MWAIT, VmgExit.NMI_COMPLETE, VmgExit.AP_JUMP_TABLE,
  VmgExit.HV_FEATURES, VmgExit.HV_DOORBELL, VmgExit.HV_IPI, VmgExit.HV_TIMER, VmgExit.SECURE_AVIC,
  VmgExit.CONFIGURE_INT_INJ, VmgExit.DISABLE_ALT_INJ, VmgExit.SPECIFIC_EOI,
] as const
const simple = (random: Random): GhcbRequestDraft => ({
  code: random.below(10) === 0 ? random.u32() : random.pick(SIMPLE), info1: random.u64(), info2: random.u64(),
  fields: { rax: random.u64(), rcx: random.u64(), rdx: random.u64(), cpl: below(random, 4) },
})
const cpuid = (random: Random): GhcbRequestDraft => ({
  code: SvmExit.CPUID,
  fields: {
    rax: nearly(random, BigInt(random.pick([0, 0x4000_0000, 0x8000_0000]) + random.below(0x30))),
    rcx: nearly(random, below(random, 20)), xcr0: random.pick([0n, 1n, 3n, 7n, 0xe7n, random.u64()]),
  },
})
const runVmpl = (random: Random): GhcbRequestDraft =>
  ({ code: VmgExit.SNP_RUN_VMPL, info1: nearly(random, below(random, 4)) })
const apicIds = (random: Random): GhcbRequestDraft =>
  ({ code: VmgExit.APIC_ID_LIST, info1: anyGpa(random), fields: { rax: random.pick([0n, 1n, 2n, random.u64()]) } })

const KINDS: readonly ((random: Random) => GhcbRequestDraft)[] = [
  ioio, ioio, mmio, mmio, msr, msr, pageStates, pageStates, pageStates, guestRequest, apCreation, apCreation, simple,
  simple, cpuid, runVmpl, apicIds, last,
]
const TO_CODE: readonly Field[] = ['swExitCode', 'swExitInfo1', 'swExitInfo2']
const BITMAP = Ghcb.offset.validBitmap

/** A GHCB page with a request: in one of four cases something is wrong with the page itself. */
export function ghcbImage(random: Random, draft = random.pick(KINDS)(random)): Uint8Array {
  const page = random.below(8) === 0 ? bytesOf(random, PAGE) : new Uint8Array(PAGE)
  const view = new DataView(page.buffer)
  page.fill(0, BITMAP, BITMAP + 16)
  const values: Partial<Record<Field, bigint>> = {
    swExitCode: BigInt(draft.code), swExitInfo1: draft.info1 ?? 0n, swExitInfo2: draft.info2 ?? 0n, ...draft.fields,
  }
  for (const [name, value] of Object.entries(values) as [Field, bigint][]) {
    view.setBigUint64(Ghcb.offset[name], value & 0xffff_ffff_ffff_ffffn, true)
    const bit = Ghcb.offset[name] >> 3
    if (random.below(TO_CODE.includes(name) ? 60 : 16) !== 0) page[BITMAP + (bit >> 3)] |= 1 << (bit & 7)
  }
  if (random.below(10) === 0) page.set(bytesOf(random, 16), BITMAP)
  if (draft.buffer !== undefined) page.set(draft.buffer, Ghcb.offset.sharedBuffer)
  view.setUint16(Ghcb.offset.protocolVersion, random.below(24) === 0 ? random.below(0x1_0000) : 2, true)
  view.setUint32(Ghcb.offset.usage, random.below(24) === 0 ? random.u32() : 0, true)
  if (random.below(100) === 0) page.set(bytesOf(random, PAGE))
  return page
}
