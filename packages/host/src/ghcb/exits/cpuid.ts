import type { GhcbServer } from '../types.ts'

const LOW = 0xffff_ffffn

/** CPUID (72h): RAX is the leaf, RCX the subleaf; leaf 0Dh needs XCR0. */
export const cpuidExit: GhcbServer = {
  name: 'cpuid',
  serve({ page, register }, _guest, { cpu }) {
    const leaf = Number(page.peek('rax') & LOW)
    const [eax, ebx, ecx, edx] = cpu.cpuid(leaf, Number(page.peek('rcx') & LOW), register('xcr0') ?? 1n)
    return { registers: { rax: BigInt(eax), rbx: BigInt(ebx), rcx: BigInt(ecx), rdx: BigInt(edx) } }
  },
}
