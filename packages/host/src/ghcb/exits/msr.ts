import { GhcbError } from '@cofferdam/spec'
import { generalProtection, type GhcbExit } from '../types.ts'

const LOW = 0xffff_ffffn

/** RDMSR (EXITINFO1 0) and WRMSR (1) (7Ch): RCX is the register, RDX:RAX its value. */
export const msrExit: GhcbExit = {
  name: 'msr',
  needs: ['rcx'],
  serve({ info1, registers }, _guest, { cpu }) {
    const { rax, rcx = 0n, rdx } = registers
    const index = Number(rcx & LOW)
    if (info1 === 0n) {
      const value = cpu.readMsr(index)
      return value === undefined ? generalProtection() : { registers: { rax: value & LOW, rdx: value >> 32n } }
    }
    if (info1 !== 1n) return { error: GhcbError.INVALID_INPUT }
    if (rax === undefined || rdx === undefined) return { error: GhcbError.MISSING_INPUT }
    return cpu.writeMsr(index, (rdx & LOW) << 32n | rax & LOW) ? {} : generalProtection()
  },
}
