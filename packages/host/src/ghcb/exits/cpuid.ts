import type { GhcbServer } from '../types.ts'

const LOW = 0xffff_ffffn

/** CPUID (72h): RAX is the leaf, RCX the subleaf; leaf 0Dh needs XCR0. */
export const cpuidExit: GhcbServer = {
  name: 'cpuid',
  serve({ page, register }, guest, { cpu, index }) {
    const leaf = Number(page.peek('rax') & LOW)
    const subleaf = Number(page.peek('rcx') & LOW)
    guest.fact(index, { kind: 'cpuid', leaf, subleaf, inTable: guest.inCpuidPage(leaf) })
    const [eax, ebx, ecx, edx] = cpu.cpuid(leaf, subleaf, register('xcr0') ?? 1n)
    return { registers: { rax: BigInt(eax), rbx: BigInt(ebx), rcx: BigInt(ecx), rdx: BigInt(edx) } }
  },
}
