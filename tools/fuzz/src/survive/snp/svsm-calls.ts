/** Calls to an SVSM with hostile registers, lists and buffers (58019 §6 to §8). */
import type { Random } from '@cofferdam/oracle'
import {
  guidBytes, SvsmAttestCall, SvsmAttestRequest, SvsmCallId, SvsmCoreCall, SvsmLocation, SvsmProtocol,
  SvsmPvalidateEntry, SvsmPvalidateHeader, SvsmQueryProtocol, SvsmServiceGuid, SvsmVtpmCall, SvsmVtpmSendCommand,
} from '@cofferdam/spec'
import { AT } from './bench.ts'
import { anyGpa, anyPage, bytesOf, nearly } from './requests.ts'

const PAGE = 4096

/** A call: its id, registers, and what lies in the page that `at` names for it. */
export interface SvsmCallDraft {
  readonly id: bigint
  readonly rcx?: bigint
  readonly rdx?: bigint
  readonly r8?: bigint
  readonly data?: Uint8Array
}

const call = (protocol: number, number: number): bigint =>
  SvsmCallId.pack({ protocol: BigInt(protocol), call: BigInt(number) })
const core = (name: keyof typeof SvsmCoreCall): bigint => call(SvsmProtocol.CORE, SvsmCoreCall[name])

/** A list of pages: header right or wrong, entries small and large, of pages that are the guest's or not. */
function pageList(random: Random): Uint8Array {
  const page = new Uint8Array(PAGE)
  const view = new DataView(page.buffer)
  const count = random.pick([1, 1, 2, 8, 64, 511])
  SvsmPvalidateHeader.write(view, {
    entries: random.below(10) === 0 ? random.pick([0, 511, 512, 0xffff]) : count,
    next: random.below(10) === 0 ? random.pick([count - 1, count, 0xffff]) : 0,
    reserved: random.below(30) === 0 ? random.u32() : 0,
  })
  for (let i = 0; i < count; i++) {
    const large = random.below(5) === 0
    const pfn = BigInt(anyPage(random))
    view.setBigUint64(8 + 8 * i, nearly(random, SvsmPvalidateEntry.pack({
      pageSize: large ? 1n : random.below(30) === 0 ? BigInt(random.below(4)) : 0n, validate: BigInt(random.below(2)),
      ignoreCf: BigInt(random.below(2)),
      pfn: (large && random.below(6) !== 0 ? pfn & ~511n : pfn) & 0xf_ffff_ffff_ffffn,
    })), true)
  }
  return page
}

const location = (random: Random, own: bigint, bytes: number): Uint8Array => SvsmLocation.create({
  gpa: random.below(4) === 0 ? anyGpa(random) : own,
  bytes: random.below(6) === 0 ? random.pick([0, 1, bytes >>> 1, 0xffff_ffff]) : bytes,
  reserved: random.below(30) === 0 ? random.u32() : 0,
})

const attest = (random: Random, at: bigint): SvsmCallDraft => {
  const data = new Uint8Array(PAGE)
  const play = BigInt(AT.play)
  data.set(SvsmAttestRequest.create({
    report: location(random, play, 0x4a0), nonce: location(random, at + 0x800n, 64),
    manifest: location(random, play + 0x1000n, PAGE),
    certificates: location(random, play + 0x4000n, random.pick([0, 0x1000, 0x4000])),
    serviceGuid: guidBytes(random.pick(Object.values(SvsmServiceGuid))),
    manifestVersion: random.below(8) === 0 ? random.u32() : 0,
  }))
  return { id: call(SvsmProtocol.ATTESTATION, random.pick(Object.values(SvsmAttestCall))), rcx: at, data }
}

function vtpm(random: Random, at: bigint): SvsmCallDraft {
  const data = new Uint8Array(PAGE)
  const size = random.pick([10, 12, 64, 0, 9, PAGE - 9, PAGE - 8, 0xffff_ffff])
  data.set(SvsmVtpmSendCommand.create({
    command: random.below(8) === 0 ? random.u32() : 8, locality: random.below(12) === 0 ? 1 : 0, size,
  }))
  new DataView(data.buffer).setUint32(SvsmVtpmSendCommand.size + 2, random.below(4) === 0 ? random.u32() : size)
  return { id: call(SvsmProtocol.VTPM, random.pick(Object.values(SvsmVtpmCall))), rcx: at, data }
}

const list = (random: Random, at: bigint): SvsmCallDraft =>
  ({
    id: core(random.pick(['PVALIDATE', 'PVALIDATE', 'PVALIDATE', 'DEPOSIT_MEM', 'WITHDRAW_MEM'])), rcx: at,
    data: pageList(random),
  })

/** A calling area that moves, now and then; a case begins with it where it was. */
const remap = (random: Random): SvsmCallDraft =>
  ({ id: core('REMAP_CA'), rcx: random.below(2) === 0 ? anyGpa(random) : BigInt(AT.play + 0x8000) })
const vcpu = (random: Random): SvsmCallDraft => ({
  id: core(random.pick(['CREATE_VCPU', 'CREATE_VCPU', 'DELETE_VCPU'])),
  rcx: random.below(4) === 0 ? anyGpa(random) : BigInt(AT.vmsa + PAGE * random.below(4)),
  rdx: random.below(4) === 0 ? anyGpa(random) : BigInt(AT.play + 0x9000 + PAGE * random.below(3)),
  r8: nearly(random, BigInt(1 + random.below(2))),
})
const query = (random: Random): SvsmCallDraft => ({
  id: core('QUERY_PROTOCOL'),
  rcx: nearly(random, SvsmQueryProtocol.pack({ protocol: BigInt(random.below(5)), version: BigInt(random.below(3)) })),
})
const unknown = (random: Random): SvsmCallDraft =>
  ({ id: random.below(3) === 0 ? random.u64() : call(random.below(5), random.below(10)), data: bytesOf(random, 64) })
const vtom = (random: Random): SvsmCallDraft => ({ id: core('CONFIGURE_VTOM'), rcx: nearly(random, 1n) })

const KINDS: readonly ((random: Random, at: bigint) => SvsmCallDraft)[] = [
  list, list, list, list, list, list, vcpu, vcpu, vcpu, remap, query, unknown, vtom, vtpm, vtpm, attest,
]

/** A call whose data, if any, lie at `at`. */
export function svsmCall(random: Random, at: bigint): Required<SvsmCallDraft> {
  const { id, rcx = random.u64(), rdx = random.u64(), r8 = random.u64(), data = new Uint8Array(0) } =
    random.pick(KINDS)(random, at)
  const odd = (value: bigint): bigint => (random.below(20) === 0 ? anyGpa(random) : nearly(random, value))
  return { id, rcx: odd(rcx), rdx: odd(rdx), r8, data }
}
