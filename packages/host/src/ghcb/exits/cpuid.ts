import { GhcbError } from '@cofferdam/spec'
import type { GhcbExit } from '../types.ts'

const LOW = 0xffff_ffffn

/** CPUID (72h): RAX is the leaf, RCX the subleaf; leaf 0Dh needs XCR0. */
export const cpuidExit: GhcbExit = {
  name: 'cpuid',
  needs: ['rax', 'rcx'],
  serve({ registers }, _guest, { cpu }) {
    const { rax = 0n, rcx = 0n, xcr0 } = registers
    if (rax === 0xdn && xcr0 === undefined) return { error: GhcbError.MISSING_INPUT }
    const [eax, ebx, ecx, edx] = cpu.cpuid(Number(rax & LOW), Number(rcx & LOW), xcr0 ?? 1n)
    return { registers: { rax: BigInt(eax), rbx: BigInt(ebx), rcx: BigInt(ecx), rdx: BigInt(edx) } }
  },
}
