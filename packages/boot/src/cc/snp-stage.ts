/**
 * The program that the direct boot measures and starts at VMPL0 (or above it, under an SVSM): it accepts the memory
 * that a boot loader would have accepted, through page state changes and PVALIDATE, and enters the kernel.
 *
 * What the host can write is not trusted: requests are kept in private memory, answers are read once and checked. Where
 * something fails the guest ends itself with a reason of {@link STAGE_TERMINATION_SET}.
 * Protocols: AMD 56421 (GHCB) §2.3.1, §4.1.6; AMD 58019 (SVSM) §7.1.2.
 */
import {
  CpuidFunction, CpuidPageHeader, Ghcb, GhcbMsr, HvFeatures, layout, Msr, PSC_MAX_ENTRIES, PscEntry, PscOperation,
  RmpPageSize, RmpStatus, SecretsPage, SvsmCallingArea, SvsmCoreCall, SvsmPvalidateEntry, SvsmResult, VmgExit,
} from '@cofferdam/spec'
import { createAssembler, Reg, type Assembler } from './assembler.ts'

/** The page of parameters; ranges to accept follow from `RANGES` on, the last one with 0 pages. */
export const StageParameters = layout(0x30, {
  /** Where the kernel is entered, and boot_params for RSI. */
  entry: [0x00, 8],
  bootParams: [0x08, 8],
  secrets: [0x10, 8],
  cpuid: [0x18, 8],
  /** Guest physical address of the page that becomes the GHCB, and the linear address that maps it without C-bit. */
  ghcb: [0x20, 8],
  ghcbShared: [0x28, 8],
})
const RANGES = 0x40
/** A range to accept: first page and number of pages. */
export const StageRange = layout(16, { page: [0, 8], pages: [8, 8] })
/** Ranges that fit in the page, without the one that ends the list. */
export const STAGE_RANGES = (4096 - RANGES) / StageRange.size - 1

/** Reason set of our termination requests (56421 §2.3.1 leaves sets from 2 on to vendors), and the reasons. */
export const STAGE_TERMINATION_SET = 0xc
/** Why the boot stage gave up, by the reason code of its set ({@link STAGE_TERMINATION_SET}). */
export const STAGE_TERMINATION: Readonly<Record<number, string>> = {
  1: 'the host speaks no GHCB protocol version 2',
  2: 'the host does not support SEV-SNP guests',
  3: 'the host refused to register the GHCB page',
  4: 'the host refused a page state change',
  5: 'PVALIDATE failed: a page is not what the host said, or was validated before',
  6: 'the SVSM refused to validate a page',
}
const REASON = { protocol: 1, snp: 2, register: 3, psc: 4, pvalidate: 5, svsm: 6 } as const

/** Parameters and ranges as a page. @throws RangeError when there are more than {@link STAGE_RANGES} ranges */
export function stageParameters(
  values: Parameters<typeof StageParameters.create>[0], ranges: readonly { start: number, length: number }[],
): Uint8Array {
  if (ranges.length > STAGE_RANGES) throw new RangeError(`boot stage: ${ranges.length} ranges of memory to accept`)
  const page = new Uint8Array(4096)
  page.set(StageParameters.create(values))
  const view = new DataView(page.buffer)
  ranges.forEach(({ start, length }, i) => {
    StageRange.write(view, { page: BigInt(start / 4096), pages: BigInt(length / 4096) }, RANGES + i * StageRange.size)
  })
  return page
}

/** A word of the parameter page that the program keeps for itself: not 0 when validated pages need no touch. */
const NEEDS_NO_TOUCH = StageParameters.size
/** Another one: where it is in the list of ranges. */
const NEXT_RANGE = NEEDS_NO_TOUCH + 8

const { rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 } = Reg

/** Where the program finds its pages: it runs mapped one to one. */
export interface StagePlaces {
  readonly parameters: number
  /** A private page for the list of a page state change. */
  readonly batch: number
}

/** RAX to the GHCB MSR, VMGEXIT, the answer in RAX. RCX and RDX are lost. */
function msrCall(a: Assembler): void {
  a.label('msr call')
  a.move(rdx, rax)
  a.shiftRight(rdx, 32)
  a.set(rcx, Msr.AMD_SEV_ES_GHCB)
  a.plain('wrmsr')
  a.plain('vmgexit')
  a.plain('rdmsr')
  a.shiftLeft(rdx, 32)
  a.alu('or', rax, rdx)
  a.plain('ret')
}

/** Goes to `failure` unless bits 11:0 of RAX are `code`. */
function expectCode(a: Assembler, code: number, failure: string): void {
  a.move(rcx, rax)
  a.aluImmediate('and', rcx, 0xfff)
  a.aluImmediate('cmp', rcx, code)
  a.jumpIf('ne', failure)
}

/** Asks the host for its protocol version and features. */
function negotiate(a: Assembler): void {
  a.set(rax, GhcbMsr.SEV_INFO_REQ)
  a.call('msr call')
  expectCode(a, GhcbMsr.SEV_INFO_RESP, 'fail protocol')
  a.shiftRight(rax, 48)
  a.aluImmediate('cmp', rax, 2)
  a.jumpIf('b', 'fail protocol')
  a.set(rax, GhcbMsr.HV_FEATURES_REQ)
  a.call('msr call')
  expectCode(a, GhcbMsr.HV_FEATURES_RESP, 'fail snp')
  a.shiftRight(rax, 12)
  a.aluImmediate('and', rax, Number(HvFeatures.mask.SNP))
  a.jumpIf('e', 'fail snp')
}

/** R15: the SVSM's calling area, 0 at VMPL0 (58019 §4: the secrets page names the SVSM). */
function findSvsm(a: Assembler): void {
  a.load(rsi, rbx, StageParameters.offset.secrets)
  a.set(r15, 0)
  a.load(rax, rsi, SecretsPage.offset.svsmSize)
  a.aluImmediate('cmp', rax, 0)
  a.jumpIf('e', 'svsm known')
  a.load(r15, rsi, SecretsPage.offset.svsmCaa)
  a.label('svsm known')
}

/**
 * R8: bit 31 of CPUID Fn8000_001F EBX from the CPUID page, COHERENCY_SFW_NO: clear on processors where a page must be
 * evicted from the caches after it was validated (Linux 7b306dfa326f).
 */
function findCoherency(a: Assembler): void {
  a.load(rsi, rbx, StageParameters.offset.cpuid)
  a.load(rcx, rsi, CpuidPageHeader.offset.count, 4)
  a.set(r8, 0)
  a.aluImmediate('cmp', rcx, 64)
  a.jumpIf('a', 'coherency known')
  a.label('next function')
  a.aluImmediate('sub', rcx, 1)
  a.jumpIf('b', 'coherency known')
  a.load(rax, rsi, CpuidPageHeader.size + CpuidFunction.offset.eaxIn, 4)
  a.load(r8, rsi, CpuidPageHeader.size + CpuidFunction.offset.ebx, 4)
  a.aluImmediate('add', rsi, CpuidFunction.size)
  a.set(rdx, 0x8000_001f)
  a.alu('cmp', rax, rdx)
  a.jumpIf('e', 'coherency found')
  a.set(r8, 0)
  a.jump('next function')
  a.label('coherency found')
  a.shiftRight(r8, 31)
  a.label('coherency known')
  a.store(rbx, NEEDS_NO_TOUCH, r8)
}

/** The page of the GHCB to state `operation` by the MSR protocol. */
function changeGhcbPage(a: Assembler, operation: number): void {
  a.load(rax, rbx, StageParameters.offset.ghcb)
  a.set(rcx, PscEntry.pack({ operation: BigInt(operation) }) | BigInt(GhcbMsr.PSC_REQ))
  a.alu('or', rax, rcx)
  a.call('msr call')
  expectCode(a, GhcbMsr.PSC_RESP, 'fail psc')
  a.shiftRight(rax, 32)
  a.aluImmediate('cmp', rax, 0)
  a.jumpIf('ne', 'fail psc')
}

/** Validates the GHCB's page, or takes that back. */
function validateGhcbPage(a: Assembler, validate: 0 | 1): void {
  a.load(rdi, rbx, StageParameters.offset.ghcb)
  a.shiftRight(rdi, 12)
  a.set(r10, RmpPageSize.SIZE_4K)
  a.set(r11, validate)
  a.call('validate')
}

function shareGhcb(a: Assembler): void {
  validateGhcbPage(a, 0)
  changeGhcbPage(a, PscOperation.SHARED)
  a.load(rax, rbx, StageParameters.offset.ghcb)
  a.aluImmediate('or', rax, GhcbMsr.REGISTER_GPA_REQ)
  a.call('msr call')
  a.load(rcx, rbx, StageParameters.offset.ghcb)
  a.aluImmediate('or', rcx, GhcbMsr.REGISTER_GPA_RESP)
  a.alu('cmp', rax, rcx)
  a.jumpIf('ne', 'fail register')
  a.move(rdi, rbp)
  a.set(rcx, 512)
  a.set(rax, 0)
  a.plain('repStosq')
}

/** Offset of the list in the GHCB. */
const LIST = Ghcb.offset.sharedBuffer
const HEADER_BYTES = 8

/**
 * Takes entries off the range R13 (page), R14 (pages left) into the batch, 2 MiB ones where they fit; R8 counts them.
 */
function fillBatch(a: Assembler, batch: number): void {
  a.set(rdi, batch + HEADER_BYTES)
  a.set(r8, 0)
  a.label('next entry')
  a.aluImmediate('cmp', r14, 0)
  a.jumpIf('e', 'batch full')
  a.aluImmediate('cmp', r8, PSC_MAX_ENTRIES)
  a.jumpIf('ae', 'batch full')
  a.move(rax, r13)
  a.shiftLeft(rax, 12)
  a.set(rcx, PscEntry.pack({ operation: BigInt(PscOperation.PRIVATE) }))
  a.alu('or', rax, rcx)
  a.set(rdx, 1)
  a.move(rcx, r13)
  a.aluImmediate('and', rcx, 511)
  a.jumpIf('ne', 'put entry')
  a.aluImmediate('cmp', r14, 512)
  a.jumpIf('b', 'put entry')
  a.set(rdx, 512)
  a.set(rcx, PscEntry.pack({ pageSize: 1n }))
  a.alu('or', rax, rcx)
  a.label('put entry')
  a.alu('add', r13, rdx)
  a.alu('sub', r14, rdx)
  a.store(rdi, 0, rax)
  a.aluImmediate('add', rdi, 8)
  a.aluImmediate('add', r8, 1)
  a.jump('next entry')
  a.label('batch full')
}

/** The qword of the GHCB's valid bitmap that names the exit's four fields. */
const VALID = ['swExitCode', 'swExitInfo1', 'swExitInfo2', 'swScratch'] as const
const validBits = VALID.reduce((bitmap, field) => bitmap | 1n << BigInt(Ghcb.offset[field] / 8), 0n)

/** Has the host change the pages of the batch. It may stop halfway and be asked again (56421 §4.1.6). */
function changeBatch(a: Assembler, batch: number): void {
  // The header: current entry 0, end entry R8 - 1.
  a.move(rax, r8)
  a.aluImmediate('sub', rax, 1)
  a.move(r9, rax)
  a.shiftLeft(rax, 16)
  a.set(rsi, batch)
  a.store(rsi, 0, rax)
  a.move(rdi, rbp)
  a.aluImmediate('add', rdi, LIST)
  a.move(rcx, r8)
  a.aluImmediate('add', rcx, 1)
  a.plain('repMovsq')
  a.label('ask again')
  a.set(rax, 0)
  a.store(rbp, Ghcb.offset.swExitInfo1, rax)
  a.store(rbp, Ghcb.offset.swExitInfo2, rax)
  a.store(rbp, Ghcb.offset.usage, rax, 4)
  a.store(rbp, Ghcb.offset.validBitmap, rax)
  a.set(rax, validBits >> 64n)
  a.store(rbp, Ghcb.offset.validBitmap + 8, rax)
  a.set(rax, 2)
  a.store(rbp, Ghcb.offset.protocolVersion, rax, 2)
  a.set(rax, VmgExit.PAGE_STATE_CHANGE)
  a.store(rbp, Ghcb.offset.swExitCode, rax)
  a.load(rax, rbx, StageParameters.offset.ghcb)
  a.aluImmediate('add', rax, LIST)
  a.store(rbp, Ghcb.offset.swScratch, rax)
  a.aluImmediate('sub', rax, LIST)
  a.call('msr call')
  a.load(rax, rbp, Ghcb.offset.swExitInfo1, 4)
  a.load(rcx, rbp, Ghcb.offset.swExitInfo2)
  a.alu('or', rax, rcx)
  a.aluImmediate('cmp', rax, 0)
  a.jumpIf('ne', 'fail psc')
  // Both entry numbers in one load; the end may not have moved.
  a.load(rax, rbp, LIST, 4)
  a.move(rcx, rax)
  a.shiftRight(rcx, 16)
  a.alu('cmp', rcx, r9)
  a.jumpIf('ne', 'fail psc')
  a.aluImmediate('and', rax, 0xffff)
  a.alu('cmp', rax, r9)
  a.jumpIf('be', 'ask again')
}

/** Validates what the batch (not the shared copy) lists. */
function validateBatch(a: Assembler, batch: number): void {
  a.set(rsi, batch + HEADER_BYTES)
  a.label('validate next')
  a.load(rdi, rsi)
  a.move(r10, rdi)
  a.shiftRight(r10, PscEntry.shift.pageSize)
  a.shiftLeft(rdi, 12)
  a.shiftRight(rdi, 24)
  a.set(r11, 1)
  a.call('validate')
  a.aluImmediate('add', rsi, 8)
  a.aluImmediate('sub', r8, 1)
  a.jumpIf('ne', 'validate next')
}

/** Validates page RDI of size R10 (R11 1), or takes it back (R11 0): by PVALIDATE or by the SVSM. */
function validate(a: Assembler): void {
  a.label('validate')
  a.aluImmediate('cmp', r15, 0)
  a.jumpIf('ne', 'by svsm')
  a.move(rax, rdi)
  a.shiftLeft(rax, 12)
  a.move(rcx, r10)
  a.move(rdx, r11)
  a.plain('pvalidate')
  // CF: nothing changed, so the page was validated before, at another address perhaps (APM vol. 3, PVALIDATE).
  a.jumpIf('b', 'fail pvalidate')
  a.aluImmediate('cmp', rax, RmpStatus.SUCCESS)
  a.jumpIf('e', 'validated')
  a.aluImmediate('cmp', rax, RmpStatus.FAIL_SIZEMISMATCH)
  a.jumpIf('ne', 'fail pvalidate')
  a.label('smaller')
  a.aluImmediate('cmp', r10, RmpPageSize.SIZE_2M)
  a.jumpIf('ne', 'fail pvalidate')
  a.set(r10, RmpPageSize.SIZE_4K)
  a.set(r12, 512)
  a.label('smaller next')
  a.call('validate')
  a.aluImmediate('add', rdi, 1)
  a.aluImmediate('sub', r12, 1)
  a.jumpIf('ne', 'smaller next')
  a.plain('ret')
  touch(a)
}

/** First and last line of each page that was validated, unless the processor says that they need not be touched. */
function touch(a: Assembler): void {
  a.label('validated')
  a.aluImmediate('cmp', r11, 0)
  a.jumpIf('e', 'touched')
  a.load(rax, rbx, NEEDS_NO_TOUCH)
  a.aluImmediate('cmp', rax, 0)
  a.jumpIf('ne', 'touched')
  a.move(rdx, rdi)
  a.shiftLeft(rdx, 12)
  a.set(rcx, 1)
  a.aluImmediate('cmp', r10, RmpPageSize.SIZE_4K)
  a.jumpIf('e', 'touch next')
  a.set(rcx, 512)
  a.label('touch next')
  a.load(rax, rdx, 0, 1)
  a.load(rax, rdx, 4095, 1)
  a.aluImmediate('add', rdx, 4096)
  a.aluImmediate('sub', rcx, 1)
  a.jumpIf('ne', 'touch next')
  a.label('touched')
  a.plain('ret')
}

/** SVSM_CORE_PVALIDATE of one entry through the calling area at R15, by the MSR protocol (58019 §5 and §7.1.2). */
function validateBySvsm(a: Assembler): void {
  const buffer = SvsmCallingArea.offset.buffer
  a.label('by svsm')
  a.set(rax, 1)
  a.store(r15, buffer, rax)
  a.move(rax, rdi)
  a.shiftLeft(rax, 12)
  a.alu('or', rax, r10)
  a.move(rcx, r11)
  a.shiftLeft(rcx, SvsmPvalidateEntry.shift.validate)
  a.alu('or', rax, rcx)
  a.store(r15, buffer + HEADER_BYTES, rax)
  a.label('svsm again')
  a.set(rax, GhcbMsr.RUN_VMPL_REQ)
  a.set(rdx, 0)
  a.set(rcx, Msr.AMD_SEV_ES_GHCB)
  a.plain('wrmsr')
  a.set(rax, 1)
  a.store(r15, SvsmCallingArea.offset.callPending, rax, 1)
  a.set(rax, SvsmCoreCall.PVALIDATE)
  a.move(rcx, r15)
  a.aluImmediate('add', rcx, buffer)
  a.plain('vmgexit')
  // A call that is still pending did not reach the SVSM.
  a.set(rdx, 0)
  a.exchangeByte(r15, SvsmCallingArea.offset.callPending, rdx)
  a.aluImmediate('cmp', rdx, 0)
  a.jumpIf('ne', 'fail svsm')
  a.aluImmediate('cmp', rax, SvsmResult.SUCCESS)
  a.jumpIf('e', 'validated')
  for (const retried of [SvsmResult.INCOMPLETE, SvsmResult.BUSY]) {
    a.set(rcx, retried)
    a.alu('cmp', rax, rcx)
    a.jumpIf('e', 'svsm again')
  }
  a.set(rcx, SvsmResult.PROTOCOL_BASE + RmpStatus.FAIL_SIZEMISMATCH)
  a.alu('cmp', rax, rcx)
  a.jumpIf('e', 'smaller')
  a.jump('fail svsm')
}

function failures(a: Assembler): void {
  for (const [name, reason] of Object.entries(REASON)) {
    a.label(`fail ${name}`)
    a.set(rax, GhcbMsr.TERMINATION_REQ | STAGE_TERMINATION_SET << 12 | reason << 16)
    a.jump('terminate')
  }
  a.label('terminate')
  a.call('msr call')
  a.label('dead')
  a.plain('hlt')
  a.jump('dead')
}

/**
 * The program for a parameter page at `parameters`. It is entered at its first byte in 64-bit mode, with a stack, and
 * all memory that it accepts mapped one to one with the C-bit.
 */
export function snpStage({ parameters, batch }: StagePlaces): Uint8Array {
  const a = createAssembler()
  a.plain('cld')
  a.set(rbx, parameters)
  a.load(rbp, rbx, StageParameters.offset.ghcbShared)
  negotiate(a)
  findSvsm(a)
  findCoherency(a)
  shareGhcb(a)
  a.set(r12, parameters + RANGES)
  a.label('next range')
  a.load(r13, r12, StageRange.offset.page)
  a.load(r14, r12, StageRange.offset.pages)
  a.aluImmediate('cmp', r14, 0)
  a.jumpIf('e', 'accepted')
  a.aluImmediate('add', r12, StageRange.size)
  a.store(rbx, NEXT_RANGE, r12)
  a.label('next batch')
  fillBatch(a, batch)
  changeBatch(a, batch)
  validateBatch(a, batch)
  a.aluImmediate('cmp', r14, 0)
  a.jumpIf('ne', 'next batch')
  a.load(r12, rbx, NEXT_RANGE)
  a.jump('next range')
  a.label('accepted')
  // The kernel gets the page back as all others are: private and validated.
  changeGhcbPage(a, PscOperation.PRIVATE)
  validateGhcbPage(a, 1)
  a.load(rax, rbx, StageParameters.offset.entry)
  a.load(rsi, rbx, StageParameters.offset.bootParams)
  a.jumpTo(rax)
  msrCall(a)
  validate(a)
  validateBySvsm(a)
  failures(a)
  return a.assemble()
}
