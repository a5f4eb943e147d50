import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import type { Finding } from '@cofferdam/findings'
import { GhcbMsr, Msr, PscEntry, PscOperation } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineOptions } from '../src/index.ts'
import { bzImage } from './kernels.ts'

const { rax, rbx, rcx, rdx } = Reg
const MiB = 2 ** 20
/** Where the direct boot enters `bzImage`: 64-bit entry of a kernel at its preferred address. */
const ENTRY = 0x100_0200n
/** A page of RAM that nobody uses. */
const PAGE = 0x200_0000

const create = (code: (asm: Assembler) => void, options: Partial<MachineOptions> = {}): Machine => createMachine({
  kernel: bzImage(code), append: '', memory: 64 * MiB, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
  onSerial: () => undefined, ...options,
})

/** Runs a guest to its end; what it broke. */
function findingsOf(code: (asm: Assembler) => void, options?: Partial<MachineOptions>): readonly Finding[] {
  const machine = create(code, options)
  machine.run({ instructions: 5e6 })
  return machine.findings.list()
}

const rulesOf = (code: (asm: Assembler) => void): string[] => findingsOf(code).map(({ rule }) => rule)

/** PVALIDATE of 4 KiB at a linear address. */
function pvalidate(asm: Assembler, address: number, validate: 0 | 1): void {
  asm.set(rax, address)
  asm.set(rcx, 0)
  asm.set(rdx, validate)
  asm.plain('pvalidate')
}

/** A request of the MSR protocol. */
function request(asm: Assembler, value: bigint): void {
  asm.set(rax, value & 0xffff_ffffn)
  asm.set(rdx, value >> 32n)
  asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
  asm.plain('wrmsr')
  asm.plain('vmgexit')
}

const pageState = (address: number, operation: number): bigint =>
  BigInt(address) | PscEntry.pack({ operation: BigInt(operation) }) | BigInt(GhcbMsr.PSC_REQ)

/** Ends the guest in order: a termination request. */
const end = (asm: Assembler): void => { request(asm, 0x100n) }

/** Where an instruction is: the program is assembled with a label there. */
function ripOf(code: (asm: Assembler) => void, label: string): bigint {
  let at = 0
  bzImage((asm) => {
    code(asm)
    at = asm.offsetOf(label)
  })
  return ENTRY + BigInt(at)
}

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
