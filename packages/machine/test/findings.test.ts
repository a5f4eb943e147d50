/// <reference types="node" />
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { describeFinding } from '@cofferdam/findings'
import { SEV_RULES } from '@cofferdam/sev'
import { GhcbMsr } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { attacked, BROKEN, end, PAGE, reader } from './snp-broken.ts'
import { pvalidate, request } from './snp-code.ts'
import { findingsOf, rulesOf, snpMachine } from './snp-machine.ts'

const { rax, rcx, rdx, rdi } = Reg
const MiB = 2 ** 20

describe('snp-unvalidated-access', () => {
  const { code } = BROKEN['snp-unvalidated-access']

  it('is told as the README of the project shows it', () => {
    const shown = readFileSync(join(import.meta.dirname, '../../../README.md'), 'utf8')
    const text =
      describeFinding(findingsOf(code)[0], SEV_RULES.find(({ id }) => id === 'snp-unvalidated-access') ?? SEV_RULES[1])
    // Times and system addresses follow from much else.
    const stable = (lines: string): string => lines.replaceAll(/\d+\.\d+ ms/g, 'T').replaceAll(/spa 0x\w+/g, 'spa')
    expect(stable(shown)).toContain(stable(text.join('\n')))
  })
})

describe('snp-double-validation', () => {
  it('is found too when the validation of a page is taken back twice', () => {
    expect(rulesOf((asm) => {
      pvalidate(asm, PAGE, 0)
      pvalidate(asm, PAGE, 0)
      end(asm)
    })).toEqual(['snp-double-validation'])
  })
})

describe('snp-unevicted-page', () => {
  const { code } = BROKEN['snp-unevicted-page']
  const errata = ['coherency'] as const

  it('names the PVALIDATE that nothing came after', () => {
    const [{ what }] = findingsOf(code, { errata })
    expect(what).toMatch(/^Memory at 0x2000100 was used before .* PVALIDATE at RIP 0x10002\w\w has validated\.$/)
  })

  it('is none of a processor that needs no eviction, nor of a page that was given up again', () => {
    expect(findingsOf(code)).toEqual([])
    expect(rulesOf((asm) => {
      pvalidate(asm, PAGE, 0)
      pvalidate(asm, PAGE, 1)
      pvalidate(asm, PAGE, 0)
      end(asm)
    }, { errata })).toEqual([])
  })

  it('holds for each page of 2 MiB, and for repeated string instructions', () => {
    const large = (touches: boolean) => (asm: Assembler): void => {
      asm.set(rcx, 1)
      for (const validate of [0, 1]) {
        asm.set(rdx, validate)
        asm.set(rax, PAGE + 2 * MiB)
        asm.plain('pvalidate')
      }
      asm.set(rdi, PAGE + 3 * MiB)
      if (touches) {
        asm.load(rax, rdi, 0)
        asm.load(rax, rdi, 4088)
      }
      asm.set(rcx, 512)
      asm.bytes(0xf3, 0x48, 0xab) // rep stosq
      end(asm)
    }
    expect(findingsOf(large(false), { errata }))
      .toMatchObject([{ rule: 'snp-unevicted-page', gpa: BigInt(PAGE + 3 * MiB + 64) }])
    expect(findingsOf(large(true), { errata })).toEqual([])
  })
})

describe('snp-msr-undefined-bits', () => {
  it.each([
    ['bits that SEV_INFO does not define', 1n << 12n | BigInt(GhcbMsr.SEV_INFO_REQ), /does not define bits 0x1000/],
    ['a level beyond its field', 0x12n << 40n | BigInt(GhcbMsr.RUN_VMPL_REQ), /does not define bits 0x120000000000/],
    ['a code of nobody\'s', 0xabcn, /code 0xabc is no request/],
  ])('names %s', (_, value, text) => {
    const [finding, ...others] = findingsOf((asm) => {
      request(asm, value)
      end(asm)
    })
    expect(others).toEqual([])
    expect(finding).toMatchObject({ rule: 'snp-msr-undefined-bits', what: expect.stringMatching(text) as string })
  })
})

describe('snp-replaced-page', () => {
  it('is none for a guest that ends itself at the #VC: what the host did is not the guest\'s mistake', () => {
    expect(findingsOf(reader(end), attacked, 1e6)).toEqual([])
  })
})

describe('findings of a guest', () => {
  it('are folded when it goes on and on, and cost no memory without end', () => {
    const machine = snpMachine((asm) => {
      asm.label('again')
      request(asm, 0xabcn)
      asm.jump('again')
    })
    machine.run({ instructions: 1e5 })
    const [finding, ...others] = machine.findings.list()
    expect(others).toEqual([])
    expect(finding.count).toBeGreaterThan(1000)
    expect(finding.last).toBeGreaterThan(finding.first)
  })

  it('are the same with either engine, and every time', () => {
    const code = (asm: Assembler): void => {
      pvalidate(asm, PAGE, 1)
      end(asm)
    }
    const both = (['interp', 'jit'] as const).map((engine) => findingsOf(code, { engine }))
    expect(both[1]).toEqual(both[0])
  })

  it('are told as they occur', () => {
    const told: string[] = []
    findingsOf((asm) => {
      pvalidate(asm, PAGE, 1)
      end(asm)
    }, { onFinding: ({ rule }) => { told.push(rule) } })
    expect(told).toEqual(['snp-double-validation'])
  })
})
