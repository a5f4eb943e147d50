import { GhcbError } from '@cofferdam/spec'
import { generalProtection, type GhcbServer } from '../types.ts'

const LOW = 0xffff_ffffn

/** RDMSR (EXITINFO1 0) and WRMSR (1) (7Ch): RCX is the register, RDX:RAX its value. */
export const msrExit: GhcbServer = {
  name: 'msr',
  serve({ info1, page }, _guest, { cpu }) {
    const index = Number(page.peek('rcx') & LOW)
    if (info1 === 0n) {
      const value = cpu.readMsr(index)
      return value === undefined ? generalProtection() : { registers: { rax: value & LOW, rdx: value >> 32n } }
    }
    if (info1 !== 1n) return { error: GhcbError.INVALID_INPUT }
    const value = (page.peek('rdx') & LOW) << 32n | page.peek('rax') & LOW
    return cpu.writeMsr(index, value) ? {} : generalProtection()
  },
}
