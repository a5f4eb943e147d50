/// <reference types="node" />
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { describeFinding } from '@cofferdam/findings'
import type { Finding } from '@cofferdam/findings'
import { SEV_RULES } from '@cofferdam/sev'
import { Ghcb, GhcbMsr, Msr, PscEntry, PscOperation, SvsmCallingArea, SvsmCoreCall, VmgExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import type { MachineOptions } from '../src/index.ts'
import { handleVc, pageState, pvalidate, request } from './snp-code.ts'
import { exitThrough, fillGhcb, findGhcb, GHCB_SHARED, openGhcb } from './snp-ghcb.ts'
import { callingArea, findingsOf, ripOf, rulesOf, snpMachine } from './snp-machine.ts'

const { rax, rbx, rcx, rdx, rsi, rdi, r8 } = Reg
const MiB = 2 ** 20
/** A page of RAM that nobody uses. */
const PAGE = 0x200_0000

/** Ends the guest in order: a termination request. */
const end = (asm: Assembler): void => { request(asm, 0x100n) }

describe('a guest that keeps the rules', () => {
  it('has no finding: it takes a page back, shares it, makes it private again and validates it before it touches it', () => {
    expect(findingsOf((asm) => {
      pvalidate(asm, PAGE, 0)
      request(asm, pageState(PAGE, PscOperation.SHARED))
      request(asm, pageState(PAGE, PscOperation.PRIVATE))
      pvalidate(asm, PAGE, 1)
      asm.set(rbx, PAGE)
      asm.store(rbx, 0, rax)
      end(asm)
    })).toEqual([])
  })
})

describe('snp-unvalidated-access', () => {
  const code = (asm: Assembler): void => {
    pvalidate(asm, PAGE, 0)
    asm.set(rbx, PAGE + 0x18)
    asm.label('here')
    asm.load(rax, rbx)
    end(asm)
  }

  it('names the instruction, the page and its RMP entry', () => {
    const [finding, ...others] = findingsOf(code)
    expect(others).toEqual([])
    expect(finding).toMatchObject({
      id: 'F1', rule: 'snp-unvalidated-access', outcome: 'fault', cpu: 0, vmpl: 0, cpl: 0, mode: '64-bit', count: 1,
      rip: { address: ripOf(code, 'here') }, gva: BigInt(PAGE + 0x18), gpa: BigInt(PAGE + 0x18),
      entry: { table: 'RMP', text: expect.stringMatching(/^guest-invalid, 4K, asid 1, gpa 0x2000000, VMPL0 /) as string },
    })
    expect(finding.what).toBe('A read went to private memory at 0x2000018 that is not validated.')
    expect((finding.spa ?? 0n) % 4096n).toBe(0x18n)
  })

  it('is told as the README of the project shows it', () => {
    const shown = readFileSync(join(import.meta.dirname, '../../../README.md'), 'utf8')
    const text = describeFinding(findingsOf(code)[0], SEV_RULES.find(({ id }) => id === 'snp-unvalidated-access') ?? SEV_RULES[1])
    // Times and system addresses follow from much else.
    const stable = (lines: string): string => lines.replaceAll(/\d+\.\d+ ms/g, 'T').replaceAll(/spa 0x\w+/g, 'spa')
    expect(stable(shown)).toContain(stable(text.join('\n')))
  })
})

describe('snp-double-validation', () => {
  const code = (asm: Assembler): void => {
    asm.set(rax, PAGE)
    asm.set(rcx, 0)
    asm.set(rdx, 1)
    asm.label('here')
    asm.plain('pvalidate')
    asm.plain('pvalidate')
    end(asm)
  }

  it('is found where CF says that nothing was changed', () => {
    const found = findingsOf(code)
    expect(found[0]).toMatchObject({
      rule: 'snp-double-validation', outcome: 'luck', rip: { address: ripOf(code, 'here') }, gpa: BigInt(PAGE),
      entry: { text: expect.stringMatching(/^guest-valid/) as string },
    })
  })

  it('is found too when the validation of a page is taken back twice', () => {
    expect(rulesOf((asm) => {
      pvalidate(asm, PAGE, 0)
      pvalidate(asm, PAGE, 0)
      end(asm)
    })).toEqual(['snp-double-validation'])
  })
})

describe('snp-shared-as-private', () => {
  const share = (asm: Assembler): void => {
    pvalidate(asm, PAGE, 0)
    request(asm, pageState(PAGE, PscOperation.SHARED))
  }

  it('is a page used with the C-bit after it was made shared; that it ends in #VC is no second finding', () => {
    const code = (asm: Assembler): void => {
      share(asm)
      asm.set(rbx, PAGE)
      asm.label('here')
      asm.store(rbx, 8, rax)
      end(asm)
    }
    const found = findingsOf(code)
    expect(found).toMatchObject([{
      rule: 'snp-shared-as-private', outcome: 'hang', rip: { address: ripOf(code, 'here') }, gpa: BigInt(PAGE + 8),
      entry: { text: 'hypervisor, 4K' },
    }])
  })

  it('is none when the page has become private again', () => {
    expect(rulesOf((asm) => {
      share(asm)
      request(asm, pageState(PAGE, PscOperation.PRIVATE))
      pvalidate(asm, PAGE, 1)
      asm.set(rbx, PAGE)
      asm.store(rbx, 8, rax)
      end(asm)
    })).toEqual([])
  })
})

describe('snp-private-as-shared', () => {
  it('is a write without the C-bit to a page that is private', () => {
    const code = (asm: Assembler): void => {
      asm.set(rsi, GHCB_SHARED)
      asm.label('here')
      asm.store(rsi, 0, rax)
      end(asm)
    }
    expect(findingsOf(code)).toMatchObject([{
      rule: 'snp-private-as-shared', rip: { address: ripOf(code, 'here') }, gva: BigInt(GHCB_SHARED),
      entry: { text: expect.stringMatching(/^guest-valid, 4K, asid 1/) as string },
    }])
  })

  it('is none through the mapping with the C-bit, or when the page was made shared', () => {
    expect(rulesOf((asm) => {
      findGhcb(asm)
      asm.store(rbx, 0, rax)
      openGhcb(asm)
      asm.set(rsi, GHCB_SHARED)
      asm.store(rsi, 0, rax)
      end(asm)
    })).toEqual([])
  })
})

describe('snp-shared-while-validated', () => {
  it('is a page given to the host without taking its validation back; the entry is the one before', () => {
    const found = findingsOf((asm) => {
      request(asm, pageState(PAGE, PscOperation.SHARED))
      end(asm)
    })
    expect(found).toMatchObject([{
      rule: 'snp-shared-while-validated', gpa: BigInt(PAGE),
      entry: { text: expect.stringMatching(/^guest-valid, 4K, asid 1, gpa 0x2000000/) as string },
    }])
  })
})

describe('snp-psc-unchecked', () => {
  /** More pages than the host changes at once. */
  const COUNT = 65
  const LAST = PAGE + (COUNT - 1) * 4096
  const changeList = (asm: Assembler, goesOn: boolean): void => {
    pvalidate(asm, LAST, 0)
    openGhcb(asm)
    asm.set(rdi, GHCB_SHARED + Ghcb.offset.sharedBuffer)
    asm.set(rax, (COUNT - 1) << 16)
    asm.store(rdi, 0, rax)
    for (let i = 0; i < COUNT; i++) {
      asm.set(rax, BigInt(PAGE + i * 4096) | PscEntry.pack({ operation: BigInt(PscOperation.PRIVATE) }))
      asm.store(rdi, 8 + 8 * i, rax)
    }
    for (let round = 0; round < (goesOn ? 2 : 1); round++) {
      fillGhcb(asm, VmgExit.PAGE_STATE_CHANGE)
      asm.move(rax, rbx)
      asm.aluImmediate('add', rax, Ghcb.offset.sharedBuffer)
      asm.store(rsi, Ghcb.offset.swScratch, rax)
      exitThrough(asm)
    }
    asm.set(rax, LAST)
    asm.set(rcx, 0)
    asm.set(rdx, 1)
    asm.label('here')
    asm.plain('pvalidate')
    end(asm)
  }

  it('is a page validated before the host came to it in the list', () => {
    const code = (asm: Assembler): void => { changeList(asm, false) }
    expect(findingsOf(code)).toMatchObject([{
      rule: 'snp-psc-unchecked', rip: { address: ripOf(code, 'here') }, gpa: BigInt(LAST),
      what: `PVALIDATE of 0x${LAST.toString(16)}, before the host came to it in the list.`,
    }])
  })

  it('is none for who asks until the list is done', () => {
    expect(rulesOf((asm) => { changeList(asm, true) })).toEqual([])
  })
})

describe('the GHCB', () => {
  it('is shared before it is used: snp-ghcb-private', () => {
    const code = (asm: Assembler): void => {
      asm.set(rbx, PAGE)
      exitThrough(asm)
      asm.label('after')
      end(asm)
    }
    expect(findingsOf(code)).toMatchObject([{
      rule: 'snp-ghcb-private', rip: { address: ripOf(code, 'after') - 4n }, gpa: BigInt(PAGE),
      entry: { text: expect.stringMatching(/^guest-valid/) as string },
    }])
  })

  it('is registered before it is used: snp-ghcb-unregistered', () => {
    const use = (registers: boolean): string[] => rulesOf((asm) => {
      pvalidate(asm, PAGE, 0)
      request(asm, pageState(PAGE, PscOperation.SHARED))
      if (registers) request(asm, BigInt(PAGE | GhcbMsr.REGISTER_GPA_REQ))
      asm.set(rbx, PAGE)
      exitThrough(asm)
      end(asm)
    })
    expect(use(false)).toEqual(['snp-ghcb-unregistered'])
    // Registered, it is a page of zeroes, and no request.
    expect(use(true)).toEqual(['snp-ghcb-malformed'])
  })

  it('has a version that was negotiated: snp-ghcb-malformed', () => {
    const ask = (version: number): string[] => rulesOf((asm) => {
      openGhcb(asm)
      fillGhcb(asm, VmgExit.HV_FEATURES, version)
      exitThrough(asm)
      end(asm)
    })
    expect(ask(7)).toEqual(['snp-ghcb-malformed'])
    expect(ask(2)).toEqual([])
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

describe('snp-cpuid-outside-table', () => {
  const ask = (leaf: number): bigint => BigInt(leaf) << 32n | BigInt(GhcbMsr.CPUID_REQ)

  it('is a leaf that is not in the CPUID page, and none that is', () => {
    expect(findingsOf((asm) => {
      request(asm, ask(0x4000_0010))
      request(asm, ask(0x8000_001f))
      request(asm, ask(1))
      end(asm)
    })).toMatchObject([{ rule: 'snp-cpuid-outside-table', what: expect.stringContaining('0x40000010') as string }])
  })
})

describe('snp-replaced-page', () => {
  const DATA = { start: 32 * MiB, end: 112 * MiB } as const
  /** Reads pages of its own again and again; what #VC does is the test's. */
  const reader = (handler: (asm: Assembler) => void) => (asm: Assembler): void => {
    handleVc(asm, handler)
    asm.label('again')
    asm.set(rsi, DATA.start)
    asm.set(rdi, DATA.end)
    asm.label('next')
    asm.load(rax, rsi)
    asm.aluImmediate('add', rsi, 2 * MiB)
    asm.alu('cmp', rsi, rdi)
    asm.jumpIf('ne', 'next')
    request(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
    asm.jump('again')
  }
  /** Validates what it is told is not validated, and goes on. */
  const validates = reader((asm) => {
    asm.bytes(0x0f, 0x20, 0xd0) // mov rax, cr2
    asm.set(rcx, 0)
    asm.set(rdx, 1)
    asm.label('here')
    asm.plain('pvalidate')
    asm.bytes(0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf) // add rsp, 8; iretq
  })
  const large = { memory: 128 * MiB, accept: 'eager' } as const
  const attack = { ...large, hostile: [{ mode: 'unmap', at: 100_000 }] } as const
  const found = (code: (asm: Assembler) => void, options: Partial<MachineOptions>): readonly Finding[] =>
    findingsOf(code, options, 1e6)

  it('is a page validated again after the host had taken it away', () => {
    expect(found(validates, attack)).toMatchObject([{
      rule: 'snp-replaced-page', outcome: 'corruption', rip: { address: ripOf(validates, 'here') },
      entry: { text: expect.stringMatching(/^guest-valid/) as string },
    }])
  })

  it('is none for a guest that ends itself at the #VC: what the host did is not the guest\'s mistake', () => {
    expect(found(reader(end), attack)).toEqual([])
  })

  it('is none while the host does nothing', () => {
    expect(found(validates, large)).toEqual([])
  })
})

describe('a host that lies about a page state change', () => {
  it('is no mistake of the guest\'s, which goes no further', () => {
    const rules = findingsOf((asm) => {
      pvalidate(asm, PAGE, 0)
      request(asm, pageState(PAGE, PscOperation.SHARED))
      request(asm, pageState(PAGE, PscOperation.PRIVATE))
      pvalidate(asm, PAGE, 1)
      end(asm)
    }, { hostile: [{ mode: 'lie-psc', at: 0 }] }).map(({ rule }) => rule)
    expect(rules).toEqual(['snp-no-progress'])
  })
})

describe('under an SVSM', () => {
  const svsm = { svsm: { vmpl: 2 } } as const
  it('PVALIDATE of the guest\'s own is snp-pvalidate-vmpl', () => {
    const code = (asm: Assembler): void => {
      asm.set(rax, PAGE)
      asm.set(rcx, 0)
      asm.set(rdx, 1)
      asm.label('here')
      asm.plain('pvalidate')
    }
    expect(findingsOf(code, svsm)).toMatchObject([{
      rule: 'snp-pvalidate-vmpl', outcome: 'fault', vmpl: 2, rip: { address: ripOf(code, 'here') }, gva: BigInt(PAGE),
    }])
  })

  /** SVSM_CORE_PVALIDATE of a page, which has no reserved bits but those of `more`. */
  const callPvalidate = (more: bigint) => (asm: Assembler): void => {
    const list = PAGE + 0x1000
    asm.set(rdi, list)
    asm.set(rax, 1)
    asm.store(rdi, 0, rax)
    asm.set(rax, BigInt(PAGE) | more)
    asm.store(rdi, 8, rax)
    asm.set(r8, callingArea())
    asm.set(rax, 1)
    asm.store(r8, SvsmCallingArea.offset.callPending, rax, 1)
    asm.set(rax, BigInt(GhcbMsr.RUN_VMPL_REQ))
    asm.set(rdx, 0)
    asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
    asm.plain('wrmsr')
    asm.set(rax, SvsmCoreCall.PVALIDATE)
    asm.set(rcx, list)
    asm.label('here')
    asm.plain('vmgexit')
    end(asm)
  }

  it('a call with reserved bits is svsm-reserved-field, by the guest that called', () => {
    const code = callPvalidate(0x10n)
    expect(findingsOf(code, svsm)).toMatchObject([{
      rule: 'svsm-reserved-field', vmpl: 2, rip: { address: ripOf(code, 'here') },
      what: 'The call SVSM_CORE_PVALIDATE had 0x2000010 in an entry, where bits 0x10 are reserved.',
    }])
  })

  it('one without them is none', () => {
    expect(findingsOf(callPvalidate(0n), svsm)).toEqual([])
  })

  it('a page that the guest\'s VMPL has no permission on is snp-vmpl-access, and as the host can do nothing, snp-no-progress', () => {
    // The SVSM's own memory, which a page of 1 GiB maps.
    const [SVSM, LINEAR] = [2 ** 39, 2 ** 32]
    const code = (asm: Assembler): void => {
      asm.set(rdx, 0x7_ffff_ffff_f000n)
      asm.bytes(0x0f, 0x20, 0xdb) // mov rbx, cr3
      asm.alu('and', rbx, rdx)
      asm.load(rbx, rbx)
      asm.alu('and', rbx, rdx)
      asm.set(rax, BigInt(SVSM) | 0x83n | 1n << 51n)
      asm.store(rbx, 4 * 8, rax)
      asm.set(rsi, LINEAR)
      asm.label('here')
      asm.load(rax, rsi)
      end(asm)
    }
    expect(findingsOf(code, svsm)).toMatchObject([
      { rule: 'snp-vmpl-access', vmpl: 2, gva: BigInt(LINEAR), gpa: BigInt(SVSM), rip: { address: ripOf(code, 'here') } },
      { rule: 'snp-no-progress', vmpl: 2, rip: { address: ripOf(code, 'here') } },
    ])
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
