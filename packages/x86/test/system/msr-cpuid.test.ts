import { describe, expect, it } from 'vitest'
import * as S from '../../src/state.ts'
import { FEATURES } from '../../src/system/cpuid/features.ts'
import { configureModel } from '../../src/system/cpuid/model.ts'
import type { CpuModel } from '../../src/system/cpuid/model.ts'
import { epycGenoa } from '../../src/system/cpuid/models/epyc-genoa.ts'
import { sapphireRapids } from '../../src/system/cpuid/models/sapphire-rapids.ts'
import { apicIdOf } from '../../src/system/cpuid/topology.ts'
import { systemMeanings as op } from '../../src/system/meanings.ts'
import { setFirmwareMtrrs } from '../../src/system/msr/memory-types.ts'
import { createFakeCpu, GP, gpr, longCpu, run, setReg, setState64, state64 } from '../fake-cpu.ts'
import type { FakeCpu, Fault } from '../fake-cpu.ts'

function rdmsr(cpu: FakeCpu, index: number): bigint | Fault {
  setReg(cpu, 1, BigInt(index))
  return run(cpu, op.rdmsr) ?? ((gpr(cpu, 2) << 32n) | gpr(cpu, 0))
}
function wrmsr(cpu: FakeCpu, index: number, value: bigint): Fault | undefined {
  setReg(cpu, 1, BigInt(index))
  setReg(cpu, 0, value & 0xffff_ffffn)
  setReg(cpu, 2, value >> 32n)
  return run(cpu, op.wrmsr)
}
const HIGH = 0xffff_8000_0000_0000n
const MODELS: [string, CpuModel][] = [['AMD', epycGenoa], ['Intel', sapphireRapids]]

describe('RDMSR and WRMSR', () => {
  it('need CPL 0 and a register that exists', () => {
    expect(rdmsr(longCpu(3), 0x10)).toEqual(GP(0))
    expect(rdmsr(longCpu(), 0x1234)).toEqual(GP(0))
    expect(wrmsr(longCpu(), 0xfe, 0n)).toEqual(GP(0))
  })

  const refused: [string, number, bigint][] = [
    ['LSTAR that is not canonical', 0xc000_0082, 1n << 47n], ['FS_BASE that is not canonical', 0xc000_0100, 1n << 47n],
    ['reserved bits of EFER', 0xc000_0080, 0x500n | 2n], ['LME off while paging', 0xc000_0080, 1n],
    ['a PAT type that does not exist', 0x277, 2n], ['an MTRR type that does not exist', 0x2ff, 7n],
    ['TSC_AUX above 32 bits', 0xc000_0103, 1n << 32n], ['an XSS bit', 0xda0, 1n << 11n],
    ['a status of a machine-check bank', 0x401, 1n], ['a reserved SPEC_CTRL bit', 0x48, 1n << 10n],
  ]
  it.each(refused)('refuse %s', (_name, index, value) => {
    const cpu = longCpu()
    const before = rdmsr(cpu, index)
    expect(wrmsr(cpu, index, value)).toEqual(GP(0))
    expect(rdmsr(cpu, index)).toEqual(before)
  })

  it.each([0xc000_0081, 0xc000_0082, 0xc000_0100, 0xc000_0102, 0x175, 0x277, 0x250, 0xc001_0015, 0xc001_1029])(
    'MSR %i reads what was written', (index) => {
      const cpu = longCpu()
      expect(wrmsr(cpu, index, 0x0006_0406n)).toBeUndefined()
      expect(rdmsr(cpu, index)).toBe(0x0006_0406n)
    })

  it('EFER keeps LMA and flushes when NXE changes', () => {
    const cpu = longCpu()
    expect(wrmsr(cpu, 0xc000_0080, 0x101n)).toBeUndefined()
    expect(state64(cpu, S.EFER)).toBe(0x501n)
    expect(cpu.log).toEqual(['flush 1', 'mode'])
  })

  it('GS_BASE is the base of GS', () => {
    const cpu = longCpu()
    wrmsr(cpu, 0xc000_0101, HIGH)
    expect(state64(cpu, S.SEG + S.GS * 16 + 8)).toBe(HIGH)
  })

  it('the TSC moves with TSC_ADJUST, and TSC_ADJUST with the TSC', () => {
    const cpu = longCpu()
    expect(rdmsr(cpu, 0x10)).toBe(1000n)
    wrmsr(cpu, 0x3b, 50n)
    expect(rdmsr(cpu, 0x10)).toBe(1050n)
    wrmsr(cpu, 0x10, 0n)
    expect(rdmsr(cpu, 0x3b)).toBe(BigInt.asUintN(64, -1000n))
    cpu.time = 1234n
    expect(rdmsr(cpu, 0x10)).toBe(234n)
  })

  it('firmware MTRRs cover memory write-back and the hole uncached', () => {
    const cpu = longCpu()
    if (cpu.system !== undefined) setFirmwareMtrrs(cpu.system, 0xc000_0000)
    expect(rdmsr(cpu, 0x2ff)).toBe(0xc06n)
    expect(rdmsr(cpu, 0x200)).toBe(0xc000_0000n)
    expect(rdmsr(cpu, 0x201)).toBe(0xffff_c000_0800n)
  })

  it('Intel shows ARCH_CAPABILITIES, AMD does not; AMD shows SYSCFG, Intel does not', () => {
    const intel = longCpu(0, { model: sapphireRapids })
    expect(rdmsr(intel, 0x10a)).toBe(sapphireRapids.archCapabilities)
    expect(rdmsr(longCpu(), 0x10a)).toEqual(GP(0))
    expect(rdmsr(longCpu(), 0xc001_0010)).toBe(0x74_0000n)
    expect(rdmsr(intel, 0xc001_0010)).toEqual(GP(0))
  })

  it('the microcode revision is where each vendor shows it', () => {
    expect(rdmsr(longCpu(0, { model: sapphireRapids }), 0x8b)).toBe(BigInt(sapphireRapids.microcode) << 32n)
    expect(rdmsr(longCpu(), 0x8b)).toBe(BigInt(epycGenoa.microcode))
  })

  it('MTRR masks refuse bits beyond the physical width', () => {
    expect(wrmsr(longCpu(), 0x201, 1n << 48n)).toEqual(GP(0))
    expect(wrmsr(longCpu(0, { model: sapphireRapids }), 0x201, 1n << 46n)).toEqual(GP(0))
  })
})

function cpuid(cpu: FakeCpu, leaf: number, subleaf = 0): number[] {
  setReg(cpu, 0, BigInt(leaf))
  setReg(cpu, 1, BigInt(subleaf))
  run(cpu, op.cpuid)
  return [0, 3, 1, 2].map((r) => Number(gpr(cpu, r)))
}
const text = (words: number[]): string =>
  words.map((w) => [0, 8, 16, 24].map((s) => String.fromCharCode((w >>> s) & 0xff)).join('')).join('')

describe.each(MODELS)('CPUID of the %s model', (_vendor, model) => {
  it('names the vendor and the brand', () => {
    const cpu = createFakeCpu({ model })
    const [, b, c, d] = cpuid(cpu, 0)
    expect(text([b, d, c])).toBe(model.vendor)
    expect(text([2, 3, 4].flatMap((n) => cpuid(cpu, 0x8000_0000 + n))).replace(/\0+$/, '')).toBe(model.brand)
    expect(model.brand.length).toBeLessThan(48)
  })

  it('claims only features that have a place', () => {
    expect([...model.features].filter((name) => !FEATURES.has(name))).toEqual([])
  })

  it('shows every feature at its bit', () => {
    const cpu = createFakeCpu({ model })
    for (const name of model.features) {
      const [leaf, subleaf, register, bit] = FEATURES.get(name) ?? [0, 0, 0, 0]
      expect([name, (cpuid(cpu, leaf, subleaf)[register] >>> bit) & 1]).toEqual([name, 1])
    }
  })

  it('shows OSXSAVE and OSPKE when CR4 has them', () => {
    const cpu = createFakeCpu({ model })
    expect((cpuid(cpu, 1)[2] >>> 27) & 1).toBe(0)
    setState64(cpu, S.CR4, (1n << 18n) | (1n << 22n))
    expect([(cpuid(cpu, 1)[2] >>> 27) & 1, (cpuid(cpu, 7)[2] >>> 4) & 1]).toEqual([1, 1])
  })

  it('gives XSAVE sizes for what XCR0 enables', () => {
    const cpu = createFakeCpu({ model })
    const pkru = model.pkruOffset
    expect(cpuid(cpu, 0xd)).toEqual([0x207, 576, pkru + 8, 0])
    setState64(cpu, S.XCR0, 0x207n)
    expect(cpuid(cpu, 0xd)[1]).toBe(pkru + 8)
    expect(cpuid(cpu, 0xd, 1)).toEqual([0xf, 576 + 256 + 8, 0, 0])
    expect(cpuid(cpu, 0xd, 2)).toEqual([256, 576, 0, 0])
    expect(cpuid(cpu, 0xd, 9)).toEqual([8, pkru, 0, 0])
    expect(cpuid(cpu, 0xd, 3)).toEqual([0, 0, 0, 0])
  })

  it('describes caches whose sets, ways and lines make their size, and then none', () => {
    const cpu = createFakeCpu({ model })
    const leaf = model.vendor === 'AuthenticAMD' ? 0x8000_001d : 4
    model.caches.forEach((cache, n) => {
      const [a, b, c] = cpuid(cpu, leaf, n)
      expect(((b >>> 22) + 1) * ((b & 0xfff) + 1) * (c + 1)).toBe(cache.size)
      expect((a >>> 5) & 7).toBe(cache.level)
    })
    expect(cpuid(cpu, leaf, model.caches.length)).toEqual([0, 0, 0, 0])
  })

  it('numbers four processors', () => {
    const cpu = createFakeCpu({ model, cpus: 4, index: 3 })
    expect(cpuid(cpu, 1)[1]).toBe(0x0304_0800)
    expect(cpuid(cpu, 0xb, 0)).toEqual([0, 1, 0x100, 3])
    expect(cpuid(cpu, 0xb, 1)).toEqual([2, 4, 0x201, 3])
    expect(cpuid(cpu, 0xb, 2)).toEqual([0, 0, 2, 3])
  })
})

describe('CPUID', () => {
  it('shows the APIC only while it is enabled', () => {
    const cpu = longCpu()
    expect((cpuid(cpu, 1)[3] >>> 9) & 1).toBe(1)
    wrmsr(cpu, 0x1b, 0xfee0_0000n)
    expect((cpuid(cpu, 1)[3] >>> 9) & 1).toBe(0)
  })

  it('answers leaves beyond the maximum as the last basic one on Intel, as zeros on AMD', () => {
    const intel = createFakeCpu({ model: sapphireRapids, cpus: 2 })
    expect(cpuid(intel, 0x4000_0000, 1)).toEqual(cpuid(intel, 0x1f, 1))
    expect(cpuid(createFakeCpu(), 0x4000_0000)).toEqual([0, 0, 0, 0])
  })

  it('gives Intel a time-stamp counter of 1 GHz', () => {
    const [den, num, crystal] = cpuid(createFakeCpu({ model: sapphireRapids }), 0x15)
    expect((crystal * num) / den).toBe(1e9)
  })

  it('shows a hypervisor only when asked to', () => {
    expect((cpuid(createFakeCpu(), 1)[2] >>> 31) & 1).toBe(0)
    const cpu = createFakeCpu({ model: configureModel(epycGenoa, { hypervisor: 'CofferdamCof' }) })
    const [max, b, c, d] = cpuid(cpu, 0x4000_0000)
    expect([max, text([b, c, d])]).toEqual([0x4000_0000, 'CofferdamCof'])
    expect(cpuid(cpu, 1)[2] >>> 31).toBe(1)
  })

  it('summarises AMD caches and TLBs as the family shows them', () => {
    const cpu = createFakeCpu()
    expect(cpuid(cpu, 0x8000_0005)).toEqual([0xff48_ff40, 0xff48_ff40, 0x2008_0140, 0x2008_0140])
    expect(cpuid(cpu, 0x8000_0006).slice(0, 3)).toEqual([0x5c00_2200, 0x6c00_4200, 0x0400_6140])
  })

  it('offers 57-bit addresses with LA57 only', () => {
    expect(cpuid(createFakeCpu(), 0x8000_0008)[0]).toBe(0x3030)
    expect(cpuid(createFakeCpu({ model: configureModel(epycGenoa, { la57: true }) }), 0x8000_0008)[0]).toBe(0x3930)
  })

  it('pads every level of the APIC ID to a power of two', () => {
    const topology = { packages: 2, coresPerPackage: 3, threadsPerCore: 2 }
    expect(Array.from({ length: 12 }, (_, i) => apicIdOf(topology, i))).toEqual(
      [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13])
  })
})
