/** A rule, one occurrence of its breach, and what is said of it. */
import { createFindings, describeFinding, type Rule } from '@cofferdam/findings'

const rule: Rule = {
  id: 'snp-unvalidated-access', title: 'A guest touches private memory only after it has validated it',
  sources: [{ text: 'APM vol. 2, §15.36.10' }], why: '…', outcome: 'fault',
  hardware: '#VC with error code 404h.', advice: 'Who should have accepted this page?',
}
const findings = createFindings()
for (const at of [1_500_000, 1_750_000]) {
  const what = 'A read went to 0x2000018, which is not validated.'
  findings.add({ rule, what, gpa: 0x200_0018n, spa: 0x1234_5018n }, {
    at, vmpl: 0, rip: 0xffff_ffff_8100_0042n,
    scene: () => ({
      cpu: 0, vmpl: 0, cpl: 0, mode: '64-bit', linked: null, noSymbols: '',
      rip: { address: 0xffff_ffff_8100_0042n, symbol: 'memcpy+0x2/0x10' },
      backtrace: [{ address: 0xffff_ffff_8100_1234n, symbol: 'start_kernel+0x34/0x200', certain: false }],
    }),
    entryAt: () => ({ table: 'RMP', words: [1n, 0n], text: 'guest-invalid, 4K, asid 1, gpa 0x2000000' }),
  })
}
for (const finding of findings.list()) console.log(describeFinding(finding, rule).join('\n'))
