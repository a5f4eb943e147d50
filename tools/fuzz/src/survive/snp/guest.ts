/**
 * SNP guests that mean harm, against the silicon, the host that serves their exits, and an SVSM: GHCB pages and MSR
 * protocol requests with anything in them, RMP instructions on any address, VMSAs of their own making, and calls.
 */
import { createAssembler, Reg, type Assembler } from '@cofferdam/boot'
import type { Random } from '@cofferdam/oracle'
import {
  GhcbMsr, GhcbMsrCpuid, GhcbMsrPscReq, GhcbMsrRunVmplReq, Msr, PscOperation, RmpAdjustAttributes, SvsmCallingArea,
} from '@cofferdam/spec'
import type { Survivor } from '../processor.ts'
import { createSeries } from '../series.ts'
import { AT, createSnpBench, SHARED, type SnpBench } from './bench.ts'
import { anyGpa, anyPage, bytesOf, ghcbImage, guestMessage, guestRequest, MESSAGE, nearly } from './requests.ts'
import { svsmCall } from './svsm-calls.ts'

/** Cases that one guest lives through, if it does. */
const CASES = 40
const PAGE = 4096
const STEPS = 28
/** Pages that are made shared at the beginning of each case: the GHCB, and the messages'. */
const SHARED_PAGES = 5

type Code = (asm: Assembler) => void
/** A step: what is put into its page of data, and its code. */
type Step = (bench: SnpBench, random: Random, data: number) => Code

const { rax, rbx, rcx, rdx, rsi, rdi, r8 } = Reg

/** RDX:RAX to an MSR. */
function writeMsr(asm: Assembler, index: number, value: bigint): void {
  asm.set(rax, value & 0xffff_ffffn)
  asm.set(rdx, value >> 32n)
  asm.set(rcx, index)
  asm.plain('wrmsr')
}
const request = (asm: Assembler, value: bigint): void => {
  writeMsr(asm, Msr.AMD_SEV_ES_GHCB, value)
  asm.plain('vmgexit')
}
/** Copies whole qwords to where they are shared. */
function share(asm: Assembler, from: number, to: number): void {
  asm.set(rsi, from)
  asm.set(rdi, SHARED + to)
  asm.set(rcx, PAGE / 8)
  asm.plain('cld')
  asm.plain('repMovsq')
}

const pageState = (gpa: number, operation: number): bigint =>
  BigInt(GhcbMsr.PSC_REQ) | GhcbMsrPscReq.pack({ gfn: BigInt(gpa / PAGE), operation: BigInt(operation) })

/** The pages that requests go through, as they should be. */
const prelude: Code = (asm) => {
  for (let n = 0; n < SHARED_PAGES; n++) request(asm, pageState(AT.ghcb + n * PAGE, PscOperation.SHARED))
  request(asm, BigInt(AT.ghcb | GhcbMsr.REGISTER_GPA_REQ))
}

/** A request through the page, mostly the one that is registered. */
const ghcb: Step = (bench, random, data) => {
  bench.put(data, ghcbImage(random))
  const to = random.below(16) === 0 ? Number(anyGpa(random) & 0xf_ffff_ffff_f000n) : AT.ghcb
  return (asm) => {
    if (to < 2 ** 32) share(asm, data, to)
    request(asm, BigInt(to))
  }
}

/** A message to the firmware, and mostly the request that has it answered. */
const message: Step = (bench, random, data) => {
  bench.put(data, guestMessage(random, bench))
  bench.put(data + PAGE, ghcbImage(random, guestRequest(random)))
  const asks = random.below(4) !== 0
  return (asm) => {
    share(asm, data, random.below(10) === 0 ? AT.ghcb : MESSAGE.request)
    if (!asks) return
    share(asm, data + PAGE, AT.ghcb)
    request(asm, BigInt(AT.ghcb))
  }
}

const INFO = [
  GhcbMsr.SEV_INFO_REQ, GhcbMsr.CPUID_REQ, GhcbMsr.PREFERRED_GPA_REQ, GhcbMsr.REGISTER_GPA_REQ, GhcbMsr.PSC_REQ,
  GhcbMsr.PSC_REQ, GhcbMsr.PSC_REQ, GhcbMsr.PSC_REQ, GhcbMsr.PSC_REQ, GhcbMsr.RUN_VMPL_REQ, GhcbMsr.HV_FEATURES_REQ,
] as const
/** A request of the MSR protocol; those that end or stop the processor seldom. */
function msrValue(random: Random): bigint {
  if (random.below(300) === 0) {
    return random.u64() & ~0xfffn | BigInt(random.pick([GhcbMsr.TERMINATION_REQ, GhcbMsr.AP_RESET_HOLD_REQ]))
  }
  if (random.below(10) === 0) {
    const any = random.u64()
    return (any & 0xfffn) === 0x100n || (any & 0xfffn) === 6n ? any ^ 1n : any
  }
  const info = BigInt(random.pick(INFO))
  switch (Number(info)) {
    case GhcbMsr.CPUID_REQ:
      return nearly(random, GhcbMsrCpuid.pack({ info, register: BigInt(random.below(4)), value: BigInt(random.u32()) }))
    case GhcbMsr.PSC_REQ: return nearly(random, pageState(anyPage(random) * PAGE, random.below(6)))
    case GhcbMsr.RUN_VMPL_REQ: return nearly(random, GhcbMsrRunVmplReq.pack({ info, vmpl: BigInt(random.below(5)) }))
    case GhcbMsr.REGISTER_GPA_REQ:
      return nearly(random, BigInt(random.below(3) === 0 ? anyPage(random) * PAGE : AT.ghcb) | info)
    default: return nearly(random, info)
  }
}
const msrProtocol: Step = (_bench, random) => {
  const value = msrValue(random)
  return (asm) => { request(asm, value) }
}

/** PVALIDATE, RMPADJUST, RMPQUERY; and those that only hosts may. */
const RMP: readonly (readonly number[])[] = [
  [0xf2, 0x0f, 0x01, 0xff], [0xf2, 0x0f, 0x01, 0xff], [0xf3, 0x0f, 0x01, 0xfe], [0xf3, 0x0f, 0x01, 0xfe],
  [0xf3, 0x0f, 0x01, 0xfd], [0xf2, 0x0f, 0x01, 0xfd], [0xf2, 0x0f, 0x01, 0xfe], [0xf3, 0x0f, 0x01, 0xff],
]
const linear = (random: Random): bigint => {
  const gpa = anyGpa(random)
  return random.below(6) === 0 ? BigInt.asUintN(64, gpa + BigInt(SHARED)) : gpa
}
const rmp: Step = (_bench, random) => {
  const address = linear(random)
  const size = nearly(random, BigInt(random.below(2)))
  const attributes = nearly(random, RmpAdjustAttributes.pack({
    targetVmpl: BigInt(random.below(5)), permissions: BigInt(random.below(16)),
    vmsa: BigInt(random.below(6) === 0 ? 1 : 0),
  }))
  const large = size === 1n && random.below(4) !== 0
  const operation = random.pick(RMP)
  return (asm) => {
    asm.set(rax, large ? address & ~0x1f_ffffn : address)
    asm.set(rcx, size)
    asm.set(rdx, operation[3] === 0xff ? BigInt(random.below(2)) : attributes)
    asm.bytes(...operation)
  }
}

/** Private again and validated, as guests do it. */
const takeBack: Step = (_bench, random) => {
  const gpa = AT.play + PAGE * random.below(16)
  return (asm) => {
    request(asm, pageState(gpa, PscOperation.PRIVATE))
    asm.set(rax, gpa)
    asm.set(rcx, 0)
    asm.set(rdx, 1)
    asm.plain('pvalidate')
  }
}

/** A VMSA, right or damaged, that another processor or level may be given. */
const saveArea: Step = (bench, random) => {
  const at = AT.vmsa + PAGE * random.below(4)
  const image = bench.save(bench.vmpl > 0 ? bench.vmpl : random.below(4))
  for (let times = random.below(2) === 0 ? random.below(6) : 0; times > 0; times--) {
    image[random.below(0x400)] = random.below(256)
  }
  bench.put(at, random.below(20) === 0 ? bytesOf(random, PAGE) : image)
  const target = 1 + random.below(3)
  return (asm) => {
    asm.set(rax, at)
    asm.set(rcx, 0)
    asm.set(rdx, RmpAdjustAttributes.pack({
      targetVmpl: BigInt(target), permissions: BigInt(random.below(16)), vmsa: 1n,
    }))
    asm.plain('rmpadjust')
  }
}

/** Instructions that are intercepted or privileged. */
const INSTRUCTIONS: readonly (readonly number[])[] = [
  [0x0f, 0xa2], [0x0f, 0x31], [0x0f, 0x01, 0xf9], [0x0f, 0x33], [0x0f, 0x08], [0x0f, 0x09], [0x0f, 0x01, 0xc8],
  [0x0f, 0x01, 0xc9], [0xf3, 0x90], [0x0f, 0x01, 0xd8], [0x0f, 0x01, 0xd9], [0x0f, 0x01, 0xda], [0x0f, 0x01, 0xdb],
  [0x0f, 0x01, 0xdc], [0x0f, 0x01, 0xdd], [0x0f, 0x01, 0xde], [0x0f, 0x01, 0xdf], [0x0f, 0x01, 0xfe],
  [0x0f, 0x01, 0xff], [0x0f, 0x21, 0xf8], [0x0f, 0x23, 0xf8], [0x0f, 0x23, 0xc0], [0x0f, 0x01, 0xd1],
  [0x0f, 0x20, 0xc0], [0x0f, 0x20, 0xe0], [0xec], [0xee], [0xed], [0xef], [0xe4, 0x71], [0x6c], [0x6e], [0xcc],
  [0x0f, 0x0b], [0xfb], [0xfa],
]
const instruction: Step = (_bench, random) => {
  const bytes = random.pick(INSTRUCTIONS)
  const values = [random.u64(), nearly(random, 0n), nearly(random, 0x80n)]
  return (asm) => {
    asm.set(rax, random.below(2) === 0 ? values[0] : anyGpa(random))
    asm.set(rcx, values[1])
    asm.set(rdx, values[2])
    asm.bytes(...bytes)
    asm.plain('cli')
  }
}
const MSRS = [
  0x10, 0x1b, 0x277, 0x830, 0x80b, 0x808, 0xda0, 0xc000_0080, 0xc000_0103, 0xc001_0010, 0xc001_0130, 0xc001_0131,
  0xc001_0132, 0xc001_0114, 0xc001_0117, 0xc001_011b, 0xc001_f000,
]
const msr: Step = (_bench, random) => {
  const index = random.below(4) === 0 ? random.u32() : random.pick(MSRS)
  const value = random.below(3) === 0 ? random.u64() : BigInt(random.below(0x1000))
  const reads = random.below(2) === 0
  return (asm) => {
    if (!reads) return writeMsr(asm, index, value)
    asm.set(rcx, index)
    asm.plain('rdmsr')
  }
}
const access: Step = (_bench, random) => {
  const [address, size] = [linear(random), random.pick([1, 2, 4, 8] as const)]
  const writes = random.below(2) === 0
  return (asm) => {
    asm.set(rbx, address)
    if (writes) asm.store(rbx, 0, rax, size)
    else asm.load(rax, rbx, 0, size)
  }
}
/** Control registers with a bit that changes; and HLT: seldom, as the case mostly ends there. */
const drastic: Step = (_bench, random) => {
  if (random.below(12) !== 0) return () => undefined
  const register = random.pick([0, 3, 4])
  const bit = 1n << BigInt(random.below(64))
  return random.below(4) === 0 ? (asm) => { asm.plain('hlt') } : (asm) => {
    asm.bytes(0x0f, 0x20, 0xc0 | register << 3)
    asm.set(rbx, bit)
    asm.alu('xor', rax, rbx)
    asm.bytes(0x0f, 0x22, 0xc0 | register << 3)
  }
}

/** A call to the SVSM; without one the host finds no VMPL0 to run but the guest's own. */
const svsm: Step = (bench, random, data) => {
  const call = svsmCall(random, BigInt(data))
  bench.put(data, call.data)
  return (asm) => {
    writeMsr(asm, Msr.AMD_SEV_ES_GHCB, GhcbMsrRunVmplReq.pack({ info: BigInt(GhcbMsr.RUN_VMPL_REQ) }))
    asm.set(rbx, bench.callingArea)
    asm.set(rax, random.below(20) === 0 ? random.below(256) : 1)
    asm.store(rbx, SvsmCallingArea.offset.callPending, rax, 1)
    asm.set(rax, call.id)
    asm.set(rcx, call.rcx)
    asm.set(rdx, call.rdx)
    asm.set(r8, call.r8)
    asm.plain('vmgexit')
  }
}

const ALONE: readonly Step[] = [
  ghcb, ghcb, ghcb, ghcb, ghcb, ghcb, message, msrProtocol, msrProtocol, msrProtocol, rmp, rmp, rmp, takeBack, takeBack,
  saveArea, instruction, instruction, msr, access, drastic,
]
const UNDER_SVSM: readonly Step[] = [...ALONE, ...Array.from({ length: 12 }, () => svsm)]

/** What another processor runs, once somebody has given it a VMSA. */
function otherCode(random: Random): Uint8Array {
  const asm = createAssembler()
  asm.label('again')
  const value = msrValue(random)
  const kinds: readonly Code[] = [
    () => undefined, () => { asm.plain('hlt') }, () => { asm.plain('ud2') }, () => { request(asm, value) },
    () => { asm.bytes(0xf3, 0x90) },
    () => {
      asm.set(rdi, SHARED + AT.ghcb + 8 * random.below(512))
      asm.set(rax, random.u64())
      asm.store(rdi, 0, rax)
      asm.bytes(0xf3, 0x90)
    },
  ]
  random.pick(kinds)(asm)
  asm.jump('again')
  return asm.assemble()
}

/** Bytes: more than the guest's RAM, its SVSM and what is launched beside, in regions of 2 MiB. */
const MOST = 64 * 2 ** 20
/** Ends after which the guest goes on with the next case. */
const GOES_ON = new Set(['done', 'goes on'])

function runCase(bench: SnpBench, random: Random, again: () => void): string {
  const kinds = bench.vmpl > 0 ? UNDER_SVSM : ALONE
  bench.put(AT.otherCode, otherCode(random))
  const steps = Array.from({ length: 2 + random.below(STEPS - 2) }, (_, i) =>
    random.pick(kinds)(bench, random, AT.data + 2 * i * PAGE))
  const ended = bench.run(random.below(10) === 0 ? steps : [prelude, ...steps], createAssembler)
  bench.learn(MESSAGE.response)
  if (!GOES_ON.has(ended)) again()
  const { snp, memoryBacked } = bench.machine.stats()
  if (snp === undefined || snp.memory.backed > MOST || memoryBacked > MOST * 2) {
    throw new Error(`the guest has ${snp?.memory.backed} bytes, the machine ${memoryBacked}`)
  }
  return `${bench.vmpl > 0 ? 'under an SVSM' : 'alone'}: ${ended}`
}
/** Guests of the host, one in three under an SVSM. */
export const createSnpSurvivor = (): Survivor => createSeries({
  length: CASES, begin: (random) => createSnpBench(random, random.below(3) === 0), run: runCase,
})
