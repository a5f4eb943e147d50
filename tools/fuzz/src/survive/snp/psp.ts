/**
 * The PSP's firmware under a host that means harm: commands of the right shape with anything in their fields, in any
 * order and state, buffers and pages anywhere, an RMP that changes under way, and a machine that is set up wrongly.
 * Whatever it is asked for, it answers a status, and no page that a guest has validated changes.
 */
import type { Random } from '@cofferdam/oracle'
import { sealMessage, VLEK_SEED_BYTES, wrapVlek } from '@cofferdam/sev'
import {
  GuestMessageType, KeyFieldSelect, KeyRequest, PspCommand, PspStatus, ReportRequest, SevGetId, SevInit, SevInitEx,
  SnpActivate,
  SnpActivateEx, SnpAddress, SnpCommit, SnpConfig, SnpDebug, SnpFeatureInfo, SnpGuestRequest, SnpGuestStatus, SnpIdAuth,
  SnpIdBlock, SnpInitEx, SnpLaunchFinish, SnpLaunchStart, SnpLaunchUpdate, SnpLaunchUpdatePage, SnpPageSetState,
  SnpPageType, SnpPlatformState, SnpPolicy, SnpRange, SnpRangeListHeader, SnpShutdownEx, SnpVlekLoad,
} from '@cofferdam/spec'
import {
  chip, CONTEXT, POLICY, pspFixture, REQUEST, RESPONSE, RMP_BASE, RMP_BYTES, type PspFixture,
} from '../../inside.ts'
import type { Survivor } from '../processor.ts'
import { createSeries } from '../series.ts'

/** Cases that one firmware sees. */
const CASES = 50
const PAGE = 4096
const RAM_PAGES = 32 * 2 ** 20 / PAGE

type Name = keyof typeof PspCommand
const NAMES = Object.keys(PspCommand) as Name[]
const STATUSES = new Set<number>(Object.values(PspStatus))

/** Pages of a running guest that nobody else may change: in the RMP they are its own, and validated. */
const OWN = { first: 0x320, pages: 4, asid: 9 } as const
/** Pages that cases use: contexts, guests' pages small and large, the firmware's, the RMP, the ends of RAM. */
const PAGES: readonly number[] = [
  CONTEXT, CONTEXT, CONTEXT, CONTEXT, CONTEXT + 0x20, CONTEXT + 0x21, RESPONSE, REQUEST, 0x300, 0x300, 0x301, 0x302,
  0x303, 0x400, 0x400, 0x600, 0x710, 0x711, 0x712, OWN.first, OWN.first + 1, RMP_BASE / PAGE, RMP_BASE / PAGE + 4,
  (RMP_BASE + RMP_BYTES) / PAGE, 0, 8, RAM_PAGES - 1, RAM_PAGES, 2 ** 28, 2 ** 39, 2 ** 40 - 1, 2 ** 40,
]
/** Where the buffer of most commands lies. */
const BUFFER = 0x8000

const anyPage = (random: Random): number => (random.below(12) === 0 ? random.below(2 * RAM_PAGES) : random.pick(PAGES))
function anyAddress(random: Random): bigint {
  if (random.below(24) === 0) return random.u64()
  const low = random.below(10) === 0 ? random.pick([1, 2, 8, 16, 0x800, 0xfff, random.below(PAGE)]) : 0
  return BigInt(anyPage(random)) << 12n | BigInt(low)
}
/** Mostly 0, as reserved fields and flags want it. */
const rarely = (random: Random, value: () => number): number => (random.below(8) === 0 ? value() >>> 0 : 0)
const context = (random: Random): bigint =>
  (random.below(8) === 0 ? anyAddress(random) : BigInt(random.pick([CONTEXT, CONTEXT, CONTEXT + 0x20])) << 12n)
const pageOf = (random: Random): bigint =>
  (random.below(8) === 0 ? anyAddress(random) : BigInt(random.pick([0x300, 0x301, 0x302, 0x303, 0x400])) << 12n)
const exact = (random: Random, size: number): number =>
  (random.below(10) === 0 ? random.pick([0, size - 1, size + 1, 0xffff_ffff, random.u32()]) : size)
const anyPolicy = (random: Random): bigint => (random.below(3) !== 0
  ? POLICY | (random.below(2) === 0 ? SnpPolicy.mask.DEBUG : 0n)
  : POLICY ^ 1n << BigInt(random.below(64)))

/** The buffer of a command, nearly right; others have none, or get random bytes. */
const BUFFERS: Readonly<Partial<Record<Name, (random: Random) => Uint8Array>>> = {
  INIT: (r) => SevInit.create({
    flags: r.below(2), reserved: rarely(r, r.u32), tmrAddress: anyAddress(r),
    tmrLength: r.pick([0, 2 ** 20, 2 ** 20 - 1, 2 ** 21, r.u32()]),
  }),
  INIT_EX: (r) => SevInitEx.create({
    length: exact(r, SevInitEx.size), flags: r.below(2), tmrAddress: anyAddress(r),
    tmrLength: r.pick([0, 2 ** 20, r.u32()]),
    nvAddress: anyAddress(r), nvLength: r.pick([0, 32 * 1024, 32 * 1024, 0xffff_ffff]),
  }),
  GET_ID: (r) => SevGetId.create({ address: anyAddress(r), length: r.pick([0, 63, 64, 0xffff_ffff]) }),
  SNP_INIT_EX: (r) => SnpInitEx.create({
    flags: r.pick([0, 1, 1, 1, 3, 3, r.u32()]), listPaddr: anyAddress(r),
    maxSnpAsid: r.pick([0, 0, 1, 99, 100, r.below(0x1_0000)]), reserved1: rarely(r, r.u32),
  }),
  SNP_SHUTDOWN_EX: (r) => SnpShutdownEx.create({ length: exact(r, SnpShutdownEx.size), flags: r.below(5) }),
  SNP_PLATFORM_STATUS: (r) => SnpAddress.create({ address: anyAddress(r) }),
  SNP_FEATURE_INFO: (r) => SnpFeatureInfo.create({
    length: exact(r, SnpFeatureInfo.size), ecxIn: rarely(r, r.u32), featureInfoPaddr: anyAddress(r),
  }),
  SNP_CONFIG: (r) => SnpConfig.create({ reportedTcb: r.pick([0n, 0n, 1n, r.u64()]), flags: r.below(4) }),
  SNP_COMMIT: (r) => SnpCommit.create({ length: exact(r, SnpCommit.size) }),
  SNP_VLEK_LOAD: (r) => SnpVlekLoad.create({
    length: exact(r, SnpVlekLoad.size), wrappedVersion: rarely(r, () => r.below(256)) & 0xff,
    wrappedPaddr: r.below(2) === 0 ? BigInt(REQUEST) << 12n : anyAddress(r),
  }),
  SNP_GCTX_CREATE: (r) => SnpAddress.create({ address: context(r) }),
  SNP_DECOMMISSION: (r) => SnpAddress.create({ address: context(r) }),
  SNP_ACTIVATE: (r) =>
    SnpActivate.create({ gctxPaddr: context(r), asid: r.pick([1, 1, 2, 3, OWN.asid, 0, 99, 100, r.u32()]) }),
  SNP_ACTIVATE_EX: (r) => SnpActivateEx.create({
    length: exact(r, SnpActivateEx.size), gctxPaddr: context(r), asid: r.pick([1, 1, 2, r.u32()]),
    numIds: r.pick([0, 1, 2, 3, r.u32()]), idPaddr: anyAddress(r),
  }),
  SNP_GUEST_STATUS: (r) => SnpGuestStatus.create({ gctxPaddr: context(r), statusPaddr: anyAddress(r) }),
  SNP_LAUNCH_START: (r) => SnpLaunchStart.create({
    gctxPaddr: context(r), policy: anyPolicy(r), maGctxPaddr: context(r),
    flags: rarely(r, () => r.pick([1, 2, 3, r.u32()])), desiredTscKhz: r.pick([0, 0, 1, 1000, 0xffff_ffff]),
  }),
  SNP_LAUNCH_UPDATE: (r) => SnpLaunchUpdate.create({
    gctxPaddr: context(r), pagePaddr: pageOf(r), permissions: r.below(3) === 0 ? r.u32() & 0x0f0f_0f00 : 0,
    page: SnpLaunchUpdatePage.pack({
      pageType: r.pick([...Object.values(SnpPageType), 0, 7]), pageSize: rarely(r, () => 1),
      IMI_PAGE: rarely(r, () => 1),
    }),
  }),
  SNP_LAUNCH_FINISH: (r) => SnpLaunchFinish.create({
    gctxPaddr: context(r), idBlockPaddr: r.below(3) === 0 ? anyAddress(r) : BigInt(REQUEST) << 12n,
    idAuthPaddr: r.below(3) === 0 ? anyAddress(r) : BigInt(REQUEST + 1) << 12n,
    flags: r.pick([0, 0, 1, 3, 4, r.below(256)]),
  }),
  SNP_GUEST_REQUEST: (r) => SnpGuestRequest.create({
    gctxPaddr: context(r), requestPaddr: r.below(8) === 0 ? anyAddress(r) : BigInt(REQUEST) << 12n,
    responsePaddr: r.below(8) === 0 ? anyAddress(r) : BigInt(RESPONSE) << 12n,
  }),
  SNP_PAGE_RECLAIM: (r) =>
    SnpAddress.create({ address: r.below(2) === 0 ? pageOf(r) | BigInt(r.below(2)) : anyAddress(r) }),
  SNP_PAGE_UNSMASH: (r) => SnpAddress.create({ address: r.below(2) === 0 ? 0x40_0000n : anyAddress(r) }),
  SNP_PAGE_MD_INIT: (r) => SnpAddress.create({ address: anyAddress(r) }),
  SNP_PAGE_SET_STATE: (r) => SnpPageSetState.create({
    length: exact(r, SnpPageSetState.size), listPaddr: r.below(3) === 0 ? anyAddress(r) : BigInt(REQUEST) << 12n,
  }),
  SNP_PAGE_SWAP_OUT: (r) => SnpAddress.create({ address: context(r) }),
  SNP_PAGE_SWAP_IN: (r) => SnpAddress.create({ address: context(r) }),
  SNP_PAGE_MOVE: (r) => SnpAddress.create({ address: context(r) }),
  SNP_DBG_DECRYPT: (r) => SnpDebug.create({ gctxPaddr: context(r), srcPaddr: pageOf(r), dstPaddr: anyAddress(r) }),
  SNP_DBG_ENCRYPT: (r) => SnpDebug.create({ gctxPaddr: context(r), srcPaddr: anyAddress(r), dstPaddr: pageOf(r) }),
}

const bytesOf = (random: Random, length: number): Uint8Array => Uint8Array.from({ length }, () => random.below(256))

/** Changes bytes of a buffer that is right so far. */
function spoil(random: Random, bytes: Uint8Array): Uint8Array {
  for (let times = random.below(4) === 0 ? 1 + random.below(3) : 0; times > 0 && bytes.length > 0; times--) {
    bytes[random.below(bytes.length)] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)])
  }
  return bytes
}

function command(f: PspFixture, random: Random, name: Name): number {
  const buffer = spoil(random, BUFFERS[name]?.(random) ?? bytesOf(random, 64))
  const at = random.below(20) === 0 ? Number(anyAddress(random)) : BUFFER
  if (at + buffer.length <= RAM_PAGES * PAGE && ours(f, at, buffer.length)) f.memory.write(at, buffer)
  return f.psp.command(random.below(50) === 0 ? random.below(0x200) : PspCommand[name], at)
}

/** Whether the host may write there: the rest is behind the RMP, and no part of the firmware. */
function ours({ rmp }: PspFixture, at: number, length: number): boolean {
  const inside = (start: number, bytes: number): boolean => at + length > start && at < start + bytes
  return !rmp.enabled || !inside(OWN.first * PAGE, OWN.pages * PAGE) && !inside(RMP_BASE, RMP_BYTES)
}

/** A message that the guest's key seals, mostly in turn; or bytes. */
function request(f: PspFixture, random: Random): Uint8Array {
  const guest = f.psp.state.guests.get(CONTEXT)
  if (guest === undefined || random.below(8) === 0) return bytesOf(random, PAGE)
  const vmpck = random.below(4)
  const payload = random.pick([
    () => ReportRequest.create({ vmpl: random.below(5), flags: rarely(random, () => random.below(8)) }),
    () => KeyRequest.create({
      keySelect: random.below(8),
      guestFieldSelect: random.below(3) === 0 ? random.u64() : BigInt(random.below(256)) & KeyFieldSelect.used,
      vmpl: random.below(5), guestSvn: rarely(random, random.u32), tcbVersion: random.pick([0n, 0n, random.u64()]),
    }),
    () => new Uint8Array(128), () => bytesOf(random, random.below(200)),
  ])()
  return spoil(random, sealMessage(guest.vmpck[vmpck], {
    type: random.pick([
      GuestMessageType.REPORT_REQ, GuestMessageType.KEY_REQ, GuestMessageType.KEY_REQ, GuestMessageType.TSC_INFO_REQ,
      random.below(256),
    ]),
    version: random.pick([1, 1, 2, 0, random.below(256)]), vmpck, payload,
    sequence: random.below(6) === 0 ? random.u64() : guest.messages[vmpck] + 1n,
  }))
}

function rangeList(random: Random): Uint8Array {
  const page = new Uint8Array(PAGE)
  const view = new DataView(page.buffer)
  const count = random.pick([0, 1, 2, 255, 256, random.u32()])
  SnpRangeListHeader.write(view, { count, reserved: rarely(random, random.u32) })
  for (let i = 0; i < Math.min(count, 255); i++) {
    SnpRange.write(view, {
      base: i < 4 ? anyAddress(random) & ~0xfffn : BigInt(random.below(RAM_PAGES)) << 12n,
      pageCount: random.pick([0, 1, 16, 0xffff_ffff, random.below(RAM_PAGES)]),
    }, SnpRangeListHeader.size + i * SnpRange.size)
  }
  return page
}

/** What lies in memory for commands to read. */
function fill(f: PspFixture, random: Random): void {
  const page = random.pick([REQUEST, REQUEST, REQUEST + 1, 0x300, 0x301, 0x302, 0x400])
  const bytes = random.pick([
    () => request(f, random), () => request(f, random), () => rangeList(random),
    () => wrapVlek(chip, bytesOf(random, VLEK_SEED_BYTES), random.pick([0n, f.psp.state.committedTcb, random.u64()])),
    () => SnpIdBlock.create({
      version: random.below(3), policy: anyPolicy(random), launchDigest: f.psp.state.guests.get(CONTEXT)?.digest,
    }),
    () => SnpIdAuth.create({
      idKeyAlgorithm: 1, authorKeyAlgorithm: random.below(3), idKey: bytesOf(random, 150),
      idBlockSignature: bytesOf(random, 144),
    }),
    () => bytesOf(random, PAGE),
  ])()
  f.memory.write(page * PAGE, spoil(random, bytes))
}

/** RMPUPDATE, by a host that forgets none of its own pages. */
function update(f: PspFixture, random: Random): void {
  const page = random.pick(PAGES)
  if (page >= OWN.first && page < OWN.first + OWN.pages) return
  f.assign(page, {
    gpa: random.pick([0, 0x10, 0x200, random.below(0x1_0000)]), asid: random.pick([0, 0, 1, 1, 2, 509]),
    immutable: random.below(2),
    assigned: random.below(5) === 0 ? 0 : 1, large: page % 512 === 0 && random.below(3) === 0,
  })
}

/** The steps of a guest's life, so that what comes at its end is reached; each may be refused. */
function life(f: PspFixture, random: Random): void {
  f.psp.wbinvd(0)
  f.psp.wbinvd(1)
  f.run('SNP_DF_FLUSH')
  f.assign(CONTEXT, { immutable: 1 })
  f.assign(RESPONSE, { immutable: 1 })
  const gctxPaddr = BigInt(CONTEXT) << 12n
  f.run('SNP_GCTX_CREATE', SnpAddress.create({ address: gctxPaddr }))
  f.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr, policy: anyPolicy(random) }))
  f.run('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr, asid: 1 }))
  for (const page of [0x300, 0x301, 0x302]) f.assign(page, { gpa: page, asid: 1, immutable: 1 })
  f.assign(0x400, { gpa: 0x400, asid: 1, immutable: 1, large: true })
  for (let times = random.below(4); times > 0; times--) command(f, random, 'SNP_LAUNCH_UPDATE')
  if (random.below(3) === 0) return
  f.run('SNP_LAUNCH_FINISH', SnpLaunchFinish.create({ gctxPaddr }))
  for (let times = random.below(5); times > 0; times--) {
    f.memory.write(REQUEST * PAGE, request(f, random))
    command(f, random, 'SNP_GUEST_REQUEST')
  }
  command(f, random, random.pick(['SNP_DBG_DECRYPT', 'SNP_DBG_ENCRYPT', 'SNP_PAGE_SWAP_OUT', 'SNP_GUEST_STATUS']))
}

/** The machine is set up otherwise, on some processors; mostly it is put right again. */
function machine({ machine: m, psp }: PspFixture, random: Random): void {
  const right = m.syscfg[0] | m.syscfg[1]
  if (random.below(2) === 0) {
    Object.assign(m, {
      syscfg: [right, right], hsave: [0n, 0n], rmpBase: BigInt(RMP_BASE), rmpEnd: BigInt(RMP_BASE + RMP_BYTES - 1),
      iommu: true,
    })
    psp.wbinvd(random.below(2))
    return
  }
  switch (random.below(5)) {
    case 0: m.syscfg = [right, random.u64()]; break
    case 1: m.hsave = [0n, random.u64()]; break
    case 2: m.iommu = false; break
    case 3: m.rmpBase = anyAddress(random); break
    default: m.rmpEnd = anyAddress(random) - 1n & 0xffff_ffff_ffff_ffffn
  }
}

/** What it keeps goes out as JSON and back in. */
function saved({ psp }: PspFixture): void {
  const before = JSON.stringify(psp.snapshot())
  psp.restore(JSON.parse(before) as ReturnType<typeof psp.snapshot>)
  if (JSON.stringify(psp.snapshot()) !== before) throw new Error('another state comes back from a snapshot')
}

const ownBytes = (f: PspFixture): Uint8Array => f.bytes(OWN.first * PAGE, OWN.pages * PAGE)
const differ = (one: Uint8Array, other: Uint8Array): boolean => one.some((byte, at) => byte !== other[at])

/** A firmware that is initialised, and a guest's page that it may not touch. */
function begin(random: Random): PspFixture {
  const f = pspFixture({ raw: random.below(8) === 0 })
  if (!f.rmp.enabled) return f
  f.memory.write(OWN.first * PAGE, bytesOf(random, OWN.pages * PAGE))
  for (let i = 0; i < OWN.pages; i++) {
    f.assign(OWN.first + i, { gpa: 0x50 + i, asid: OWN.asid })
    f.rmp.change(OWN.first + i, { validated: true })
  }
  return f
}
/** Whether the pages are the guest's still: the whole RMP may have been set up anew, by a host that shut SNP down. */
const isOwned = ({ rmp }: PspFixture): boolean =>
  rmp.enabled && Array.from({ length: OWN.pages }, (_, i) => rmp.read(OWN.first + i)).every((entry) =>
    entry?.asid === OWN.asid && entry.validated)

/** Whether a guest whose policy allows debugging has got the pages' ASID. */
const isDebugged = ({ psp }: PspFixture): boolean =>
  [...psp.state.guests.values()].some(({ asid, policy }) => asid === OWN.asid && (policy & SnpPolicy.mask.DEBUG) !== 0n)

function runCase(f: PspFixture, random: Random): string {
  let owned = isOwned(f) && !isDebugged(f)
  const before = owned ? ownBytes(f) : null
  const used = new Set<number>()
  const steps = 4 + random.below(24)
  for (let step = 0; step < steps; step++) {
    const kind = random.below(40)
    if (kind < 26) {
      const name = random.pick(NAMES)
      const status = command(f, random, name)
      if (!STATUSES.has(status)) throw new Error(`${name} answers ${status}`)
      used.add(status)
    } else if (kind < 31) update(f, random)
    else if (kind < 36) fill(f, random)
    else if (kind < 37) life(f, random)
    else if (kind < 38) machine(f, random)
    else if (kind < 39) saved(f)
    else f.psp.wbinvd(random.below(3))
    f.forgotten.length = 0
    // A firmware that is off has no guests; and one whose policy allows debugging lets its host write.
    owned &&= f.psp.state.snp === SnpPlatformState.INIT && !isDebugged(f)
  }
  if (owned && before !== null && isOwned(f) && differ(before, ownBytes(f))) {
    throw new Error('a page that a guest has validated has changed')
  }
  const state = f.psp.state.snp === SnpPlatformState.INIT ? 'initialised' : 'off'
  return `${state}, ${used.has(0) ? 'something done' : 'all refused'}`
}

/** Commands to the PSP, by hosts that mean harm. */
export const createPspSurvivor = (): Survivor => createSeries({ length: CASES, begin, run: runCase })
