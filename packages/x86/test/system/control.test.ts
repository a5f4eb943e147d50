import { describe, expect, it } from 'vitest'
import { VECTOR } from '../../src/cpu.ts'
import { CR_REG, DR_REG, MEM, MODE32, REG } from '../../src/insn.ts'
import * as S from '../../src/state.ts'
import { configureModel } from '../../src/system/cpuid/model.ts'
import { epycGenoa } from '../../src/system/cpuid/models/epyc-genoa.ts'
import { systemMeaningOf, systemMeanings as op } from '../../src/system/meanings.ts'
import {
  createFakeCpu, GP, gpr, insn, longCpu, protectedCpu, run, SEL, setReg, setSeg, setState64, state32, state64, UD,
} from '../fake-cpu.ts'
import type { FakeCpu, Fault } from '../fake-cpu.ts'

const PE = 1n
const PG = 0x8000_0000n
const PAE = 0x20n
const PCIDE = 0x2_0000n
const LA57 = 0x1000n

function writeCr(cpu: FakeCpu, n: number, value: bigint, mode?: 4): Fault | undefined {
  setReg(cpu, 0, value)
  const i = insn({ kind0: CR_REG, reg0: n, kind1: REG, reg1: 0, ...(mode === undefined ? {} : { mode }) })
  return run(cpu, systemMeaningOf('mov', i) ?? op.ud, i)
}
function writeDr(cpu: FakeCpu, n: number, value: bigint): Fault | undefined {
  setReg(cpu, 0, value)
  const i = insn({ kind0: DR_REG, reg0: n, kind1: REG, reg1: 0 })
  return run(cpu, systemMeaningOf('mov', i) ?? op.ud, i)
}
function readDr(cpu: FakeCpu, n: number): bigint {
  const i = insn({ kind0: REG, reg0: 0, kind1: DR_REG, reg1: n })
  run(cpu, systemMeaningOf('mov', i) ?? op.ud, i)
  return gpr(cpu, 0)
}

describe('MOV CR0', () => {
  const faults: [string, bigint][] = [
    ['paging without protection', PG], ['NW without CD', PE | (1n << 29n)], ['upper bits', PE | (1n << 32n)],
    ['paging off in 64-bit code', PE],
  ]
  it.each(faults)('refuses %s', (_name, value) => {
    const cpu = longCpu()
    const before = state64(cpu, S.CR0)
    expect(writeCr(cpu, 0, value)).toEqual(GP(0))
    expect(state64(cpu, S.CR0)).toBe(before)
  })

  it('keeps ET and drops bits that do not exist', () => {
    const cpu = protectedCpu()
    writeCr(cpu, 0, 0x1fc0n | PE, 4)
    expect(state64(cpu, S.CR0)).toBe(0x11n)
  })

  it('enters long mode when paging comes on with LME, and leaves it from compatibility mode', () => {
    const cpu = protectedCpu()
    setState64(cpu, S.EFER, 0x100n)
    expect(writeCr(cpu, 0, PG | PE, 4)).toEqual(GP(0))
    setState64(cpu, S.CR4, PAE)
    expect(writeCr(cpu, 0, PG | PE, 4)).toBeUndefined()
    expect(state64(cpu, S.EFER)).toBe(0x500n)
    expect(cpu.log).toEqual(['flush 1', 'mode'])
    expect(writeCr(cpu, 0, PE, 4)).toBeUndefined()
    expect(state64(cpu, S.EFER)).toBe(0x100n)
  })

  it('refuses to enter long mode from a code segment with L', () => {
    const cpu = protectedCpu()
    setState64(cpu, S.EFER, 0x100n)
    setState64(cpu, S.CR4, PAE)
    setSeg(cpu, S.CS, SEL.CODE64, 0xa9b)
    expect(writeCr(cpu, 0, PG | PE, 4)).toEqual(GP(0))
  })

  it('needs CPL 0', () => {
    expect(writeCr(longCpu(3), 0, PE)).toEqual(GP(0))
  })
})

describe('MOV CR3', () => {
  it('flushes what is not global, and refuses address bits beyond the physical width', () => {
    const cpu = longCpu()
    expect(writeCr(cpu, 3, 0x1234_5000n)).toBeUndefined()
    expect(cpu.log).toEqual(['flush 0'])
    expect(writeCr(cpu, 3, 1n << 48n)).toEqual(GP(0))
    expect(writeCr(cpu, 3, 1n << 63n)).toEqual(GP(0))
  })

  it('keeps translations with bit 63 when PCIDE is set, and does not store the bit', () => {
    const cpu = longCpu()
    setState64(cpu, S.CR4, PAE | PCIDE)
    expect(writeCr(cpu, 3, (1n << 63n) | 0x5001n)).toBeUndefined()
    expect(state64(cpu, S.CR3)).toBe(0x5001n)
    expect(cpu.log).toEqual(['flush 2'])
  })
})

describe('MOV CR4', () => {
  it('takes what the model has and refuses the rest', () => {
    const cpu = longCpu()
    expect(writeCr(cpu, 4, PAE | (1n << 20n) | (1n << 21n))).toBeUndefined()
    for (const bit of [13n, 14n, 15n, 23n, 30n, 32n, 12n]) expect(writeCr(cpu, 4, PAE | (1n << bit))).toEqual(GP(0))
  })

  it('refuses PAE off and changes of LA57 in long mode', () => {
    const cpu = longCpu(0, { model: configureModel(epycGenoa, { la57: true }) })
    expect(writeCr(cpu, 4, 0n)).toEqual(GP(0))
    expect(writeCr(cpu, 4, PAE | LA57)).toEqual(GP(0))
    const legacy = protectedCpu(0, { model: configureModel(epycGenoa, { la57: true }) })
    expect(writeCr(legacy, 4, PAE | LA57, 4)).toBeUndefined()
  })

  it('allows PCIDE only in long mode with CR3[11:0] clear', () => {
    expect(writeCr(protectedCpu(), 4, PAE | PCIDE, 4)).toEqual(GP(0))
    const cpu = longCpu()
    setState64(cpu, S.CR3, 0x18n)
    expect(writeCr(cpu, 4, PAE | PCIDE)).toEqual(GP(0))
    setState64(cpu, S.CR3, 0x1000n)
    expect(writeCr(cpu, 4, PAE | PCIDE)).toBeUndefined()
  })

  it('flushes everything when PGE changes, nothing when only OSXSAVE does', () => {
    const cpu = longCpu()
    writeCr(cpu, 4, PAE | 0x200n | 0x80n)
    expect(cpu.log).toEqual(['flush 1', 'mode'])
    cpu.log.length = 0
    writeCr(cpu, 4, PAE | 0x200n | 0x80n | (1n << 18n))
    expect(cpu.log).toEqual(['mode'])
  })
})

describe('other control registers', () => {
  it('CR8 is the task priority, up to 15', () => {
    const cpu = longCpu()
    writeCr(cpu, 8, 9n)
    expect(cpu.system?.apic.cr8()).toBe(9)
    expect(writeCr(cpu, 8, 16n)).toEqual(GP(0))
  })

  it.each([1, 5, 6, 7, 9, 15])('CR%i is #UD, also in user mode', (n) => {
    expect(writeCr(longCpu(3), n, 0n)).toEqual(UD)
  })

  it('LMSW sets PE but cannot clear it', () => {
    const cpu = protectedCpu()
    setReg(cpu, 0, 0xfff8n)
    run(cpu, op.lmsw, insn({ kind0: REG, reg0: 0, size: 2, mode: MODE32 }))
    expect(state32(cpu, S.CR0) & 0xf).toBe(9)
  })

  it('CLTS clears TS at CPL 0', () => {
    const cpu = longCpu()
    setState64(cpu, S.CR0, PG | PE | 8n)
    run(cpu, op.clts)
    expect(state64(cpu, S.CR0)).toBe(PG | PE)
    expect(run(longCpu(3), op.clts)).toEqual(GP(0))
  })

  it.each(['sgdt', 'sidt', 'sldt', 'str', 'smsw'])('UMIP makes %s #GP(0) in user mode only', (name) => {
    const i = insn({ kind0: MEM, disp: 0x6000, size: 8 })
    const user = longCpu(3)
    expect(run(user, op[name], i)).toBeUndefined()
    setState64(user, S.CR4, PAE | 0x800n)
    expect(run(user, op[name], i)).toEqual(GP(0))
    const kernel = longCpu()
    setState64(kernel, S.CR4, PAE | 0x800n)
    expect(run(kernel, op[name], i)).toBeUndefined()
  })
})

describe('debug registers', () => {
  it('DR6 and DR7 keep their fixed bits and refuse upper ones', () => {
    const cpu = longCpu()
    writeDr(cpu, 6, 0n)
    expect(readDr(cpu, 6)).toBe(0xffff_0ff0n)
    writeDr(cpu, 7, 0xffff_ffffn & ~(1n << 13n))
    expect(readDr(cpu, 7)).toBe(0xffff_07ffn)
    expect(writeDr(cpu, 7, 1n << 32n)).toEqual(GP(0))
  })

  it('DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE', () => {
    const cpu = longCpu()
    writeDr(cpu, 5, 0x401n)
    expect(readDr(cpu, 7)).toBe(0x401n)
    setState64(cpu, S.CR4, PAE | 8n)
    expect(writeDr(cpu, 5, 0n)).toEqual(UD)
    expect(writeDr(cpu, 8, 0n)).toEqual(UD)
  })

  it('DR7.GD makes every access #DB with DR6.BD', () => {
    const cpu = longCpu()
    writeDr(cpu, 7, 0x2400n)
    expect(writeDr(cpu, 0, 1n)).toEqual({ vector: VECTOR.DB, errorCode: -1 })
    expect(state32(cpu, S.DR + 48) & 0x2000).toBe(0x2000)
  })
})

describe('translations and caches', () => {
  it('INVLPG forgets a page, and ignores what is not canonical', () => {
    const cpu = longCpu()
    run(cpu, op.invlpg, insn({ kind0: MEM, base: 0, seg: S.DS }))
    setReg(cpu, 0, 1n << 50n)
    run(cpu, op.invlpg, insn({ kind0: MEM, base: 0 }))
    expect(cpu.log).toEqual(['page 0'])
    expect(run(longCpu(3), op.invlpg, insn({ kind0: MEM }))).toEqual(GP(0))
  })

  const bad: [string, bigint, bigint, bigint][] = [
    ['a type above 3', 4n, 0n, 0n], ['reserved descriptor bits', 2n, 0x1000n, 0n], ['a PCID without PCIDE', 1n, 1n, 0n],
    ['an address that is not canonical', 0n, 0n, 1n << 50n],
  ]
  it.each(bad)('INVPCID refuses %s', (_name, type, low, address) => {
    const cpu = longCpu()
    setReg(cpu, 0, type)
    cpu.memory.setBigUint64(0x6000, low, true)
    cpu.memory.setBigUint64(0x6008, address, true)
    expect(run(cpu, op.invpcid, insn({ kind0: REG, kind1: MEM, disp: 0x6000 }))).toEqual(GP(0))
    expect(cpu.log).toEqual([])
  })

  it('WBINVD needs CPL 0, CLFLUSH does not but faults like a load', () => {
    const cpu = longCpu()
    run(cpu, op.wbinvd)
    run(cpu, op.clflush, insn({ kind0: MEM, disp: 0x6000 }))
    expect(cpu.log).toEqual(['cache 0', 'cache 3 6000'])
    const user = longCpu(3)
    user.missing.add(6)
    expect(run(user, op.wbinvd)).toEqual(GP(0))
    expect(run(user, op.clwb, insn({ kind0: MEM, disp: 0x6000 }))).toMatchObject({ vector: VECTOR.PF, errorCode: 4 })
  })

  it('XSETBV takes x87 with SSE and AVX, not AVX alone', () => {
    const cpu = longCpu()
    expect(run(cpu, op.xsetbv)).toEqual(UD)
    setState64(cpu, S.CR4, PAE | (1n << 18n))
    setReg(cpu, 2, 0n)
    const good = [7n, 3n, 0x207n, 0x203n]
    for (const value of [...good, 5n, 6n, 0xen, 0x227n]) {
      const ok = good.includes(value)
      setReg(cpu, 0, value)
      expect(run(cpu, op.xsetbv)).toEqual(ok ? undefined : GP(0))
      if (ok) expect(state64(cpu, S.XCR0)).toBe(value)
    }
  })
})

describe('reset', () => {
  it('starts at FFFFFFF0 in real mode with the signature in EDX', () => {
    const cpu = createFakeCpu()
    expect(state64(cpu, S.SEG + 16 + 8) + cpu.nextRip()).toBe(0xffff_fff0n)
    expect(gpr(cpu, 2)).toBe(0x00a1_0f11n)
    expect(state64(cpu, S.CR0)).toBe(0x6000_0010n)
  })
})
