import type { GhcbServer } from '../types.ts'

const LOW = 0xffff_ffffn
const TSC_AUX = 0xc000_0103

/** RDTSC (6Eh). */
export const rdtscExit: GhcbServer = {
  name: 'rdtsc',
  serve(_request, _guest, { cpu }) {
    const tsc = cpu.timestamp()
    return { registers: { rax: tsc & LOW, rdx: tsc >> 32n } }
  },
}

/** RDTSCP (87h): TSC_AUX in RCX as well. */
export const rdtscpExit: GhcbServer = {
  name: 'rdtscp',
  serve(_request, _guest, { cpu }) {
    const tsc = cpu.timestamp()
    return { registers: { rax: tsc & LOW, rcx: (cpu.readMsr(TSC_AUX) ?? 0n) & LOW, rdx: tsc >> 32n } }
  },
}
