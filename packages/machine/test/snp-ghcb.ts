/** A GHCB of small kernels: shared, registered, filled and used, in machine code. */
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { Ghcb, GhcbMsr, PscOperation } from '@cofferdam/spec'
import { msrProtocol, pageState } from './snp-code.ts'

const { rax, rbx, rcx, rdx, rsi } = Reg

/**
 * Where the direct boot maps the page that was its GHCB without C-bit. The page is private again when a kernel
 * starts.
 */
export const GHCB_SHARED = 0x7fff_ffff_f000

/** RBX: that page, by a walk of the page tables. */
export function findGhcb(asm: Assembler): void {
  asm.set(rdx, 0x7_ffff_ffff_f000n)
  asm.bytes(0x0f, 0x20, 0xdb) // mov rbx, cr3
  for (const index of [255, 511, 511, 511]) {
    asm.alu('and', rbx, rdx)
    asm.load(rbx, rbx, index * 8)
  }
  asm.alu('and', rbx, rdx)
}

/** A request of the MSR protocol about the page in RBX. */
function requestForPage(asm: Assembler, value: bigint): void {
  asm.set(rax, value)
  asm.alu('or', rax, rbx)
  asm.move(rdx, rax)
  asm.shiftRight(rdx, 32)
  msrProtocol(asm)
}

/** RBX: a GHCB of the guest's, shared and registered. */
export function openGhcb(asm: Assembler): void {
  findGhcb(asm)
  asm.move(rax, rbx)
  asm.set(rcx, 0)
  asm.set(rdx, 0)
  asm.plain('pvalidate')
  requestForPage(asm, pageState(0, PscOperation.SHARED))
  requestForPage(asm, BigInt(GhcbMsr.REGISTER_GPA_REQ))
}

/** A VMGEXIT with the GHCB MSR as RBX says. */
export function exitThrough(asm: Assembler): void {
  asm.move(rax, rbx)
  asm.set(rdx, 0)
  msrProtocol(asm)
}

/** A field of the GHCB with the value that it gets. */
export type GhcbValue = readonly ['swExitInfo1' | 'swExitInfo2' | 'rax' | 'rbx' | 'rcx' | 'rdx' | 'r8', bigint]

/** Fills the GHCB with an exit's code, RSI maps it; the scratch address is valid, and another's to set. */
export function fillGhcb(asm: Assembler, code: number, version = 2, more: readonly GhcbValue[] = []): void {
  const values = [['swExitCode', BigInt(code)], ['swExitInfo1', 0n], ['swExitInfo2', 0n], ...more] as const
  const valid = [...values.map(([field]) => field), 'swScratch' as const]
    .reduce((bits, field) => bits | 1n << BigInt(Ghcb.offset[field] / 8), 0n)
  asm.set(rsi, GHCB_SHARED)
  for (const [field, value] of values) {
    asm.set(rax, value)
    asm.store(rsi, Ghcb.offset[field], rax)
  }
  asm.set(rax, 0)
  asm.store(rsi, Ghcb.offset.usage, rax, 4)
  asm.set(rax, BigInt.asUintN(64, valid))
  asm.store(rsi, Ghcb.offset.validBitmap, rax)
  asm.set(rax, valid >> 64n)
  asm.store(rsi, Ghcb.offset.validBitmap + 8, rax)
  asm.set(rax, version)
  asm.store(rsi, Ghcb.offset.protocolVersion, rax, 2)
}
