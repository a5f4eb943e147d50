import { hex } from '../rule.ts'
import type { SevRule } from '../rule.ts'

export const msrUndefinedBits: SevRule = {
  id: 'snp-msr-undefined-bits',
  title: 'A request of the GHCB MSR protocol sets only the bits that its code defines',
  sources: [
    { text: 'AMD 56421 (GHCB), §2.3.1, table 2' },
    { text: 'Linux f7387eff4bad: fix operator precedence in GHCB_MSR_VMPL_REQ_LEVEL macro' },
  ],
  why: 'What the bits of the MSR mean depends on its low 12 bits. Others are reserved: a value there has gone astray, '
    + 'usually by a shift or a precedence that is wrong, and with it the field that it was meant for.',
  outcome: 'luck',
  hardware: 'Hosts ignore the bits, or use them in a later version of the protocol. What was asked for is not what was '
    + 'meant.',
  advice: 'The expression that computes the value of the MSR: parentheses, shifts, sign extension.',
  judge(fact) {
    if (fact.kind !== 'msr-request') return null
    const { value, code, known, undefinedBits } = fact
    if (!known) return { what: `The GHCB MSR had ${hex(value)}: code ${hex(code)} is no request of the protocol.` }
    if (undefinedBits === 0n) return null
    return { what: `The GHCB MSR had ${hex(value)}: request ${hex(code)} does not define bits ${hex(undefinedBits)}.` }
  },
}
