/** What small kernels of SNP tests have in common, in machine code. */
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { GhcbMsr, GhcbMsrTermination, Msr, PscEntry, PscOperation } from '@cofferdam/spec'

const { rax, rbx, rcx, rdx, rsp, rsi, rdi, r8, r9 } = Reg

/** A reason set of nobody's; its reasons are what a kernel found. */
export const OWN = 9

/** A request by the MSR protocol: EDX:EAX. */
export function msrProtocol(asm: Assembler): void {
  asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
  asm.plain('wrmsr')
  asm.plain('vmgexit')
}

/** A request by the MSR protocol with a value known beforehand. */
export function request(asm: Assembler, value: bigint): void {
  asm.set(rax, value & 0xffff_ffffn)
  asm.set(rdx, value >> 32n)
  msrProtocol(asm)
}

/** The request to change the state of a page. */
export const pageState = (address: number, operation: number): bigint =>
  BigInt(address) | PscEntry.pack({ operation: BigInt(operation) }) | BigInt(GhcbMsr.PSC_REQ)

/** PVALIDATE of 4 KiB at a linear address. */
export function pvalidate(asm: Assembler, address: number, validate: 0 | 1): void {
  asm.set(rax, address)
  asm.set(rcx, 0)
  asm.set(rdx, validate)
  asm.plain('pvalidate')
}

/** Termination with a reason of set {@link OWN}: the low byte of RBX. */
export function report(asm: Assembler): void {
  asm.set(rax, 0xff)
  asm.alu('and', rbx, rax)
  asm.shiftLeft(rbx, 16)
  asm.set(rax, Number(GhcbMsrTermination.pack({ info: 0x100n, reasonSet: BigInt(OWN), reason: 0n })))
  asm.alu('or', rax, rbx)
  asm.set(rdx, 0)
  msrProtocol(asm)
}

/** The reason that {@link report} gave, by what the machine ended with; NaN where it was something else. */
export const reasonOf = (message: string): number =>
  Number(message.includes(`set ${OWN}`) ? /reason (0x[\da-f]+|\d+)/.exec(message)?.[1] : NaN)

const [IDT, STACK] = [0x190_0000, 0x18f_f000]

const [GDT, TSS, VC_STACK] = [0x191_0000, 0x191_1000, 0x191_3000]

/** Gives #VC a stack of its own: loads a GDT with a TSS behind the descriptors that there are, and the TSS. */
function loadTss(asm: Assembler): void {
  const selector = 0x20
  const base = BigInt(TSS)
  asm.set(rdi, GDT)
  asm.bytes(0x0f, 0x01, 0x47, 0xf0) // sgdt [rdi - 10h]
  asm.load(rsi, rdi, -14)
  for (let at = 0; at < selector; at += 8) {
    asm.load(rax, rsi, at)
    asm.store(rdi, at, rax)
  }
  asm.set(rax, 0x67n | (base & 0xff_ffffn) << 16n | 0x89n << 40n | (base >> 24n) << 56n)
  asm.store(rdi, selector, rax)
  asm.set(rax, 0)
  asm.store(rdi, selector + 8, rax)
  asm.set(rax, selector + 15)
  asm.store(rdi, -16, rax, 2)
  asm.store(rdi, -14, rdi)
  asm.bytes(0x0f, 0x01, 0x57, 0xf0) // lgdt [rdi - 10h]
  asm.set(rdi, TSS)
  asm.set(rax, VC_STACK)
  asm.store(rdi, 0x24, rax) // IST1
  asm.set(rax, selector)
  asm.bytes(0x0f, 0x00, 0xd8) // ltr ax
}

/**
 * Loads an IDT whose #VC goes to `handler`; the error code is on top of its stack.
 * @param elsewhere an address that it goes to instead, with a stack of its own
 */
export function handleVc(asm: Assembler, handler: (asm: Assembler) => void, elsewhere?: number): void {
  asm.set(rsp, STACK)
  if (elsewhere !== undefined) loadTss(asm)
  asm.call('set up')
  handler(asm)
  asm.label('set up')
  asm.bytes(0x58) // pop rax: where the handler is
  if (elsewhere !== undefined) asm.set(rax, elsewhere)
  asm.set(rdi, IDT + 29 * 16)
  asm.store(rdi, 0, rax, 2)
  asm.move(rdx, rax)
  asm.shiftRight(rdx, 16)
  asm.store(rdi, 6, rdx, 2)
  asm.bytes(0x8c, 0xca) // mov edx, cs
  asm.store(rdi, 2, rdx, 2)
  asm.set(rdx, elsewhere === undefined ? 0x8e00 : 0x8e01)
  asm.store(rdi, 4, rdx, 2)
  asm.shiftRight(rax, 32)
  asm.store(rdi, 8, rax)
  asm.set(rax, 29 * 16 + 15)
  asm.store(rdi, 0x1000, rax, 2)
  asm.set(rax, IDT)
  asm.store(rdi, 0x1002, rax)
  asm.bytes(0x0f, 0x01, 0x9f, 0x00, 0x10, 0x00, 0x00) // lidt [rdi + 1000h]
}

/** A page that `restless` gives away and takes back. */
const RESTLESS = 0x180_0000
/**
 * For ever: a page given away and taken back, memory that is accepted page by page, exits, random numbers, and a page
 * that is validated twice, which is a finding.
 */
export function restless(asm: Assembler): void {
  asm.set(r8, 0x200_0000)
  asm.set(rbx, 0)
  asm.label('again')
  asm.aluImmediate('add', rbx, 1)
  pvalidate(asm, RESTLESS, 0)
  request(asm, pageState(RESTLESS, PscOperation.SHARED))
  request(asm, pageState(RESTLESS, PscOperation.PRIVATE))
  pvalidate(asm, RESTLESS, 1)
  pvalidate(asm, RESTLESS, 1)
  asm.set(r9, RESTLESS)
  asm.store(r9, 0, rbx)
  asm.bytes(0x48, 0x0f, 0xc7, 0xf0) // rdrand rax
  asm.store(r9, 8, rax)
  asm.bytes(0x0f, 0x31) // rdtsc
  asm.store(r9, 16, rax)
  asm.move(rax, r8)
  asm.set(rcx, 0)
  asm.set(rdx, 1)
  asm.plain('pvalidate')
  asm.store(r8, 0, rbx)
  asm.aluImmediate('add', r8, 4096)
  request(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
  asm.jump('again')
}
