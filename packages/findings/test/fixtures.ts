import type { Occurrence, Rule, Violation } from '../src/index.ts'

export const rule: Rule = {
  id: 'snp-test-rule', title: 'Nobody does <this> & that', sources: [{ text: 'A manual, §1', url: 'https://example.com/' }],
  why: 'Because.', outcome: 'hang', hardware: 'It hangs.', advice: 'Look.',
}

export const violation = (gpa: bigint, what = 'It was done.'): Violation => ({ rule, what, gpa })

export const occurrence = (at: number, rip: bigint, vmpl = 0): Occurrence & { readonly asked: () => number } => {
  let asked = 0
  return {
    at, vmpl, rip, asked: () => asked,
    scene() {
      asked++
      return {
        cpu: 1, vmpl, cpl: 0, mode: '64-bit', rip: { address: rip, symbol: 'f+0x1/0x2' },
        linked: 0xffff_ffff_8100_0001n,
        backtrace: [
          { address: 0x10n, symbol: null, certain: false }, { address: 0x20n, symbol: 'g+0x0/0x8', certain: true },
        ],
        noSymbols: '',
      }
    },
    entryAt: (spa) => ({ table: 'RMP', words: [spa, 1n], text: 'guest-valid' }),
  }
}
