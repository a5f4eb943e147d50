import { Reg } from '@cofferdam/boot'
import { Msr, SysCfg } from '@cofferdam/spec'
import { configureModel, epycGenoa, flatTopology, systemOf } from '@cofferdam/x86'
import { describe, expect, it } from 'vitest'
import { chipFacts } from '../src/snp/silicon.ts'
import { pvalidate, report, request } from './snp-code.ts'
import { messageOf, reported, snpMachine } from './snp-machine.ts'

const { rax, rbx, rcx, r8 } = Reg
const MiB = 2 ** 20

describe('the host of an SNP guest', () => {
  it('turns SNP on with MtrrFixDramModEn on every processor (Linux, snp_prepare)', () => {
    const { processors } = snpMachine((asm) => { asm.plain('hlt') }, { vcpus: 2 })
    const { MtrrFixDramModEn, SecureNestedPagingEn, VMPLEn } = SysCfg.mask
    const on = MtrrFixDramModEn | SecureNestedPagingEn | VMPLEn
    for (const { processor: { cpu } } of processors.seats) {
      expect((systemOf(cpu).held.get(Msr.AMD_SYSCFG) ?? 0n) & on).toBe(on)
    }
  })
  it('has a chip whose firmware says that cores have one thread', () => {
    expect([chipFacts(configureModel(epycGenoa)).smt, flatTopology(4).threadsPerCore]).toEqual([false, 1])
  })
})

describe('an SNP guest', () => {
  it('runs with SEV, SEV-ES and SEV-SNP active', () => {
    expect(reported((asm) => {
      asm.set(rcx, Msr.AMD_SEV_STATUS)
      asm.plain('rdmsr')
      asm.move(rbx, rax)
    })).toBe(7)
  })

  it('ends with the reason that it gives, in words', () => {
    const machine = snpMachine((asm) => {
      request(asm, 0x100n | 2n << 16n)
    })
    const result = machine.run({ instructions: 5e6 })
    expect(result).toMatchObject({ reason: 'shutdown' })
    expect(messageOf(machine)).toMatch(/SEV-SNP/)
    expect(machine.run({ instructions: 5e6 })).toEqual(result)
  })

  it('is entered with its memory map accepted: PVALIDATE of its own page changes nothing (CF)', () => {
    expect(reported((asm) => {
      pvalidate(asm, 0x100_0000, 1)
      asm.set(rbx, 1)
      asm.jumpIf('b', 'unchanged')
      asm.set(rbx, 0)
      asm.label('unchanged')
    })).toBe(1)
  })

  it('is shut down when it takes #VC without a handler, as for CPUID', () => {
    expect(messageOf(snpMachine((asm) => { asm.plain('cpuid') }))).toMatch(/shut ?down|triple fault/i)
  })

  it('shows its host ciphertext only', () => {
    const marker = 0x5ec2_e75e_c2e7_5ec3n
    const machine = snpMachine((asm) => {
      asm.set(rax, marker)
      asm.set(r8, 0x180_0000)
      asm.store(r8, 0, rax)
      asm.label('forever')
      asm.jump('forever')
    })
    expect(machine.run({ instructions: 2e6 })).toEqual({ reason: 'budget' })
    const { ram } = machine.memory
    const page = new Uint8Array(4096)
    const words = new BigUint64Array(page.buffer)
    let pages = 0
    for (const { start, length } of ram) {
      for (let at = start; at < start + length; at += 4096) {
        machine.memory.read(at, page)
        expect(words.includes(marker)).toBe(false)
        pages++
      }
    }
    expect(pages * 4096).toBeGreaterThan(64 * MiB)
  })

  it.each([
    ['that nobody has used', 0x200_0000], ['behind its own image, as for its BSS', 0x100_8000],
  ])('finds noise in memory %s, which follows from the seed', (_, address) => {
    const seen = [1, 1, 2].map((seed) => reported((asm) => {
      asm.set(r8, address)
      asm.load(rbx, r8)
      for (let word = 1; word < 8; word++) {
        asm.load(rax, r8, 8 * word)
        asm.alu('xor', rbx, rax)
        asm.shiftLeft(rbx, 1)
      }
    }, { seed }))
    expect(seen[0]).not.toBe(0)
    expect(seen[1]).toBe(seen[0])
    expect(seen[2]).not.toBe(seen[0])
  })

  it('gets memory of its host as it accepts it, 2 MiB at a time', () => {
    const machine = snpMachine((asm) => { asm.plain('hlt') }, { memory: 256 * MiB, accept: 'eager' })
    messageOf(machine)
    const { snp } = machine.stats()
    expect(snp?.memory.backed).toBe(256 * MiB)
    expect(snp?.memory.assigned2M).toBeGreaterThan(100)
  })

  it('does the same with either engine, and every time', () => {
    const hashes = (['interp', 'jit', 'jit'] as const).map((engine) => {
      const machine = snpMachine((asm) => {
        asm.set(rbx, 42)
        report(asm)
      }, { engine, traceHash: true })
      expect(messageOf(machine)).toMatch(/0x2a/)
      const { traceHash, instructions, virtualTime } = machine.stats()
      return { traceHash, instructions, virtualTime }
    })
    expect(hashes[1]).toEqual(hashes[0])
    expect(hashes[2]).toEqual(hashes[0])
  })

  it('needs a kernel', () => {
    expect(() => snpMachine(() => undefined, { kernel: undefined })).toThrow(/kernel/)
  })
})
