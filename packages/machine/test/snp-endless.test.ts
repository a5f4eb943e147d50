import { Reg } from '@cofferdam/boot'
import { REPEATS } from '@cofferdam/sev'
import { GhcbMsr } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { handleVc, pvalidate, report, request } from './snp-code.ts'
import { messageOf, ripOf, snpMachine } from './snp-machine.ts'
import type { Code } from './snp-machine.ts'

const { rax, rbx, r8, r9 } = Reg
/** A page of RAM that nobody uses. */
const PAGE = 0x200_0000

/** Reads a page that it has given up, and answers the #VC by `handler`, which may return. */
const reader = (handler: Code): Code => (asm) => {
  handleVc(asm, (at) => {
    handler(at)
    at.bytes(0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf) // add rsp, 8; iretq
  })
  pvalidate(asm, PAGE, 0)
  asm.set(r9, 0)
  asm.set(r8, PAGE + 0x18)
  asm.label('here')
  asm.load(rax, r8)
  asm.set(rbx, 1)
  report(asm)
}

/** Counts in R9, and jumps to a label when it has counted to `most`. */
const count = (most: number, then: Code): Code => (asm) => {
  asm.aluImmediate('add', r9, 1)
  asm.set(rax, most)
  asm.alu('cmp', r9, rax)
  asm.jumpIf('ne', 'return')
  then(asm)
  asm.label('return')
}

const run = (code: Code) => {
  const machine = snpMachine(code)
  const message = messageOf(machine, 1e7)
  return { message, findings: machine.findings.list() }
}

describe('an SNP guest that takes the same #VC for ever', () => {
  const code = reader(() => undefined)

  it('is ended with words: which access, by which instruction, and the RMP entry of the page', () => {
    const { message, findings } = run(code)
    const here = ripOf(code, 'here')
    expect(message).toMatch(new RegExp(
      `^vCPU 0: the guest makes no progress: a read of 0x2000018 by the instruction at 0x${here.toString(16)} `
      + `was #VC ${REPEATS} times, .*; RMP entry of 0x\\w+: guest-invalid, 4K, asid 1, gpa 0x2000000, VMPL0 `,
    ))
    expect(findings).toMatchObject([
      { rule: 'snp-unvalidated-access', count: REPEATS, rip: { address: here } },
      {
        rule: 'snp-no-progress', outcome: 'hang', count: 1, rip: { address: here }, gpa: BigInt(PAGE + 0x18),
        entry: { text: expect.stringMatching(/^guest-invalid, 4K, asid 1, gpa 0x2000000/) as string },
      },
    ])
  })

  it('goes on when its handler gets past the access, however late', () => {
    const { message, findings } = run(reader(count(REPEATS - 1, (asm) => { pvalidate(asm, PAGE, 1) })))
    expect(message).toMatch(/reason 0x1\)$/)
    expect(findings.map(({ rule }) => rule)).toEqual(['snp-unvalidated-access'])
  })

  it('goes on as long as it asks its host for something in between', () => {
    const asks = reader((asm) => {
      request(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
      count(REPEATS + 10, (at) => { pvalidate(at, PAGE, 1) })(asm)
    })
    expect(run(asks).message).toMatch(/reason 0x1\)$/)
  })

  it('is ended too when its handler itself lies in such a page: no instruction is executed any more', () => {
    const fetches: Code = (asm) => {
      handleVc(asm, (at) => { at.plain('hlt') }, PAGE)
      pvalidate(asm, PAGE, 0)
      asm.set(r8, PAGE)
      asm.load(rax, r8)
    }
    expect(run(fetches).message)
      .toMatch(/no progress: an instruction fetch of 0x2000000 by the instruction at 0x2000000 was #VC 10000 times/)
  })
})
