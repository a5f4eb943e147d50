/** What small kernels of SNP tests have in common, in machine code. */
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { GhcbMsrTermination, Msr } from '@cofferdam/spec'

const { rax, rbx, rcx, rdx, rsp, rdi } = Reg

/** A reason set of nobody's; its reasons are what a kernel found. */
export const OWN = 9

/** A request by the MSR protocol: EDX:EAX. */
export function msrProtocol(asm: Assembler): void {
  asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
  asm.plain('wrmsr')
  asm.plain('vmgexit')
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

/** Loads an IDT whose #VC goes to `handler`; the error code is on top of its stack. */
export function handleVc(asm: Assembler, handler: (asm: Assembler) => void): void {
  asm.set(rsp, STACK)
  asm.call('set up')
  handler(asm)
  asm.label('set up')
  asm.bytes(0x58) // pop rax: where the handler is
  asm.set(rdi, IDT + 29 * 16)
  asm.store(rdi, 0, rax, 2)
  asm.move(rdx, rax)
  asm.shiftRight(rdx, 16)
  asm.store(rdi, 6, rdx, 2)
  asm.bytes(0x8c, 0xca) // mov edx, cs
  asm.store(rdi, 2, rdx, 2)
  asm.set(rdx, 0x8e00)
  asm.store(rdi, 4, rdx, 2)
  asm.shiftRight(rax, 32)
  asm.store(rdi, 8, rax)
  asm.set(rax, 29 * 16 + 15)
  asm.store(rdi, 0x1000, rax, 2)
  asm.set(rax, IDT)
  asm.store(rdi, 0x1002, rax)
  asm.bytes(0x0f, 0x01, 0x9f, 0x00, 0x10, 0x00, 0x00) // lidt [rdi + 1000h]
}
