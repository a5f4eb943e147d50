/** How the boot stage talks to its host: the MSR protocol, the GHCB's page, and changes of pages in batches. */
import {
  Ghcb, GhcbMsr, HvFeatures, Msr, PSC_MAX_ENTRIES, PscEntry, PscOperation, RmpPageSize, VmgExit,
} from '@cofferdam/spec'
import { Reg, type Assembler } from './assembler.ts'
import { StageParameters } from './stage-parameters.ts'

const { rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r13, r14 } = Reg

/** RAX to the GHCB MSR, VMGEXIT, the answer in RAX. RCX and RDX are lost. */
export function msrCall(a: Assembler): void {
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
export function negotiate(a: Assembler): void {
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

/** The page of the GHCB to state `operation` by the MSR protocol. */
export function changeGhcbPage(a: Assembler, operation: number): void {
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
export function validateGhcbPage(a: Assembler, validate: 0 | 1): void {
  a.load(rdi, rbx, StageParameters.offset.ghcb)
  a.shiftRight(rdi, 12)
  a.set(r10, RmpPageSize.SIZE_4K)
  a.set(r11, validate)
  a.call('validate')
}

/** Makes the GHCB's page shared, registers and clears it. */
export function shareGhcb(a: Assembler): void {
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
/** Bytes before the entries of a list, of pages to change and of pages to validate. */
export const HEADER_BYTES = 8

/**
 * Takes entries off the range R13 (page), R14 (pages left) into the batch, 2 MiB ones where they fit; R8 counts them.
 */
export function fillBatch(a: Assembler, batch: number): void {
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
export function changeBatch(a: Assembler, batch: number): void {
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
export function validateBatch(a: Assembler, batch: number): void {
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
