import { describe, expect, it } from 'vitest'
import { VECTOR } from '../../src/cpu.ts'
import * as S from '../../src/state.ts'
import { FLAG } from '../../src/system/bits.ts'
import { combineFaults, deliverException, deliverInterrupt, enterHandler, SOFTWARE } from '../../src/system/deliver.ts'
import {
  attributesOf, createFakeCpu, GP, gpr, insn, longCpu, NP, protectedCpu, run, SEL, selectorOf, setDescriptor, setGate,
  setReg,
  setSeg, setState64, SSF, STACK, STACK0, STACK_IST1, state32, state64, TSF, TSS,
} from '../fake-cpu.ts'
import type { FakeCpu, Fault } from '../fake-cpu.ts'

const qword = (cpu: FakeCpu, at: number): bigint => cpu.memory.getBigUint64(at, true)
const dword = (cpu: FakeCpu, at: number): number => cpu.memory.getUint32(at, true)
const RSP = 4

/** What entering the handler of INT n raises. */
const intFault = (cpu: FakeCpu, vector: number): Fault | undefined =>
  run(cpu, () => { enterHandler(cpu, vector, -1, SOFTWARE) }, insn())

describe('delivery in 64-bit mode', () => {
  it('pushes SS, RSP, RFLAGS, CS and RIP on the stack aligned down to 16 bytes', () => {
    const cpu = longCpu()
    setReg(cpu, RSP, BigInt(STACK + 9))
    setGate(cpu, 0x20, {})
    cpu.setFlags(FLAG.IF | FLAG.CF, FLAG.IF | FLAG.CF)
    deliverInterrupt(cpu, 0x20)
    expect(gpr(cpu, RSP)).toBe(BigInt(STACK - 40))
    expect([0, 1, 2, 3, 4].map((i) => qword(cpu, STACK - 40 + i * 8))).toEqual(
      [0x5000n, BigInt(SEL.CODE64), 0x203n, BigInt(STACK + 9), BigInt(SEL.DATA)])
    expect(cpu.nextRip()).toBe(0x6000n)
    expect(cpu.getFlags() & FLAG.IF).toBe(0)
  })

  it('leaves IF on through a trap gate, and clears TF and NT through either', () => {
    const cpu = longCpu()
    setGate(cpu, 0x20, { type: 15 })
    cpu.setFlags(FLAG.IF | FLAG.TF | FLAG.NT, FLAG.IF | FLAG.TF | FLAG.NT)
    deliverInterrupt(cpu, 0x20)
    expect(cpu.getFlags()).toBe(FLAG.IF | 2)
  })

  it('switches to RSP0 and a null SS when it comes from user mode', () => {
    const cpu = longCpu(3)
    setGate(cpu, 0x20, {})
    deliverInterrupt(cpu, 0x20)
    expect(gpr(cpu, RSP)).toBe(BigInt(STACK0 - 40))
    expect(qword(cpu, STACK0 - 8)).toBe(BigInt(SEL.USER_DATA))
    expect(qword(cpu, STACK0 - 16)).toBe(BigInt(STACK))
    expect([selectorOf(cpu, S.CS), selectorOf(cpu, S.SS), state32(cpu, S.CPL)]).toEqual([SEL.CODE64, 0, 0])
    expect(cpu.log).toContain('mode')
  })

  it('takes the IST stack whatever the privilege', () => {
    const cpu = longCpu()
    setGate(cpu, 2, { ist: 1 })
    deliverInterrupt(cpu, 2)
    expect(gpr(cpu, RSP)).toBe(BigInt(STACK_IST1 - 40))
  })

  it('stays in the mode, and says so to nobody, when neither privilege nor code segment change', () => {
    const cpu = longCpu()
    setGate(cpu, 0x20, {})
    deliverInterrupt(cpu, 0x20)
    expect(cpu.log).toEqual([])
  })

  it('pushes the error code, sets CR2 and RF for a page fault', () => {
    const cpu = longCpu()
    setGate(cpu, VECTOR.PF, {})
    deliverException(cpu, VECTOR.PF, 6, 0xffff_8000_0000_1000n)
    expect(qword(cpu, STACK - 48)).toBe(6n)
    expect(state64(cpu, S.CR2)).toBe(0xffff_8000_0000_1000n)
    expect(qword(cpu, STACK - 24) & BigInt(FLAG.RF)).not.toBe(0n)
  })

  it('does not set RF for #DB, and clears DR7.GD', () => {
    const cpu = longCpu()
    setGate(cpu, VECTOR.DB, {})
    setState64(cpu, S.DR + 56, 0x2400n)
    deliverException(cpu, VECTOR.DB)
    expect(qword(cpu, STACK - 24) & BigInt(FLAG.RF)).toBe(0n)
    expect(state64(cpu, S.DR + 56)).toBe(0x400n)
  })

  it('goes to 64-bit entry points', () => {
    const cpu = longCpu()
    setGate(cpu, 0x80, { offset: 0xffff_ffff_8123_4567n })
    deliverInterrupt(cpu, 0x80)
    expect(cpu.nextRip()).toBe(0xffff_ffff_8123_4567n)
  })

  const faults: [string, (cpu: FakeCpu) => void, Fault][] = [
    ['a vector beyond the IDT is #GP(vector, IDT)',
      (cpu) => { cpu.views.u32[S.IDTR >>> 2] = 0x40 * 16 + 14 }, GP(0x202)],
    ['a 32-bit gate type is #GP', (cpu) => { setGate(cpu, 0x40, { type: 6 }) }, GP(0x202)],
    ['a task gate is #GP in long mode', (cpu) => { setGate(cpu, 0x40, { type: 5 }) }, GP(0x202)],
    ['an absent gate is #NP', (cpu) => { setGate(cpu, 0x40, { present: false, dpl: 3 }) }, NP(0x202)],
    ['a null selector is #GP(0)', (cpu) => { setGate(cpu, 0x40, { selector: 0, dpl: 3 }) }, GP(0)],
    ['a selector beyond the GDT is #GP(selector)',
      (cpu) => { setGate(cpu, 0x40, { selector: SEL.BEYOND, dpl: 3 }) }, GP(SEL.BEYOND)],
    ['a data segment is #GP(selector)', (cpu) => { setGate(cpu, 0x40, { selector: SEL.DATA, dpl: 3 }) }, GP(SEL.DATA)],
    ['a 32-bit code segment is #GP(selector)',
      (cpu) => { setGate(cpu, 0x40, { selector: SEL.CODE32, dpl: 3 }) }, GP(SEL.CODE32)],
    ['an entry that is not canonical is #GP(0)', (cpu) => { setGate(cpu, 0x40, { offset: 1n << 60n, dpl: 3 }) }, GP(0)],
    ['a TSS too short for RSP0 is #TS(TR)', (cpu) => {
      setGate(cpu, 0x40, { dpl: 3 })
      setSeg(cpu, S.TR, SEL.TSS, 0x8b, 10, BigInt(TSS))
    }, TSF(SEL.TSS)],
    ['an RSP0 that is not canonical is #SS(0)', (cpu) => {
      setGate(cpu, 0x40, { dpl: 3 })
      cpu.memory.setBigUint64(TSS + 4, 1n << 60n, true)
    }, SSF(0)],
    ['a gate below the CPL is #GP for software', (cpu) => { setGate(cpu, 0x40, { dpl: 0 }) }, GP(0x202)],
  ]
  it.each(faults)('INT n: %s', (_name, prepare, expected) => {
    const cpu = longCpu(3)
    prepare(cpu)
    expect(intFault(cpu, 0x40)).toEqual(expected)
    expect([gpr(cpu, RSP), state32(cpu, S.CPL)]).toEqual([BigInt(STACK), 3])
  })

  it('sets EXT in error codes of external events', () => {
    const cpu = longCpu()
    setGate(cpu, VECTOR.NP, {})
    setGate(cpu, 0x40, { present: false })
    deliverInterrupt(cpu, 0x40)
    expect(qword(cpu, STACK - 48)).toBe(0x203n)
  })

  it('ignores the DPL of the gate for exceptions and external interrupts', () => {
    const cpu = longCpu(3)
    setGate(cpu, 0x40, { dpl: 0 })
    deliverInterrupt(cpu, 0x40)
    expect(cpu.nextRip()).toBe(0x6000n)
  })
})

describe('faults inside delivery', () => {
  const table: [number, number, number][] = [
    [VECTOR.GP, VECTOR.NP, VECTOR.DF], [VECTOR.DE, VECTOR.GP, VECTOR.DF], [VECTOR.GP, VECTOR.PF, VECTOR.PF],
    [VECTOR.PF, VECTOR.PF, VECTOR.DF], [VECTOR.PF, VECTOR.GP, VECTOR.DF], [VECTOR.UD, VECTOR.GP, VECTOR.GP],
    [VECTOR.PF, VECTOR.DB, VECTOR.DB], [VECTOR.DF, VECTOR.GP, -1], [VECTOR.DF, VECTOR.PF, -1],
    [VECTOR.BP, VECTOR.PF, VECTOR.PF],
  ]
  it.each(table)('vector %i and then %i make %i', (first, second, expected) => {
    expect(combineFaults(first, second)).toBe(expected)
  })

  it('a page fault whose gate is absent becomes #DF with error code 0, and CR2 keeps the address', () => {
    const cpu = longCpu()
    setGate(cpu, VECTOR.DF, { offset: 0x7000n, ist: 1 })
    deliverException(cpu, VECTOR.PF, 2, 0x1234n)
    expect(cpu.nextRip()).toBe(0x7000n)
    expect(qword(cpu, STACK_IST1 - 48)).toBe(0n)
    expect(state64(cpu, S.CR2)).toBe(0x1234n)
  })

  it('a stack that cannot be pushed to becomes a page fault on that stack', () => {
    const cpu = longCpu()
    cpu.missing.add(STACK >> 12).add((STACK - 1) >> 12)
    setGate(cpu, 0x40, {})
    setGate(cpu, VECTOR.PF, { ist: 1 })
    deliverInterrupt(cpu, 0x40)
    expect(qword(cpu, STACK_IST1 - 48)).toBe(2n)
    expect(state64(cpu, S.CR2)).toBe(BigInt(STACK - 8))
  })

  it('shuts down when #DF cannot be delivered', () => {
    const cpu = longCpu()
    cpu.views.u32[S.IDTR >>> 2] = 0
    deliverException(cpu, VECTOR.GP, 0)
    expect(cpu.stopped).toMatch(/triple fault/)
  })
})

describe('delivery in 32-bit protected mode', () => {
  it('pushes EFLAGS, CS and EIP at the same privilege', () => {
    const cpu = protectedCpu()
    setGate(cpu, 0x40, { selector: SEL.CODE32 })
    deliverInterrupt(cpu, 0x40)
    expect([0, 1, 2].map((i) => dword(cpu, STACK - 12 + i * 4))).toEqual([0x5000, SEL.CODE32, 2])
    expect(gpr(cpu, RSP)).toBe(BigInt(STACK - 12))
  })

  it('switches to SS0:ESP0 from user mode and pushes the old stack first', () => {
    const cpu = protectedCpu(3)
    setGate(cpu, VECTOR.GP, { selector: SEL.CODE32 })
    deliverException(cpu, VECTOR.GP, 0x18)
    expect([0, 1, 2, 3, 4, 5].map((i) => dword(cpu, STACK0 - 24 + i * 4))).toEqual(
      [0x18, 0x5000, SEL.USER_CODE32, FLAG.RF | 2, STACK, SEL.USER_DATA])
    expect([selectorOf(cpu, S.SS), attributesOf(cpu, S.SS), state32(cpu, S.CPL)]).toEqual([SEL.DATA, 0xc93, 0])
  })

  it('pushes words through a 16-bit gate', () => {
    const cpu = protectedCpu()
    setGate(cpu, 0x40, { selector: SEL.CODE32, type: 6 })
    deliverInterrupt(cpu, 0x40)
    expect(gpr(cpu, RSP)).toBe(BigInt(STACK - 6))
  })

  it('refuses task gates with a reason', () => {
    const cpu = protectedCpu()
    setGate(cpu, 0x40, { type: 5 })
    deliverInterrupt(cpu, 0x40)
    expect(cpu.stopped).toMatch(/task gate/)
  })

  const faults: [string, (cpu: FakeCpu) => void, Fault][] = [
    ['a null SS0 is #TS(0)', (cpu) => { cpu.memory.setUint16(TSS + 8, 0, true) }, TSF(0)],
    ['an SS0 of another ring is #TS(SS)',
      (cpu) => { cpu.memory.setUint16(TSS + 8, SEL.USER_DATA, true) }, TSF(SEL.USER_DATA & ~3)],
    ['a read-only SS0 is #TS(SS)', (cpu) => { cpu.memory.setUint16(TSS + 8, SEL.READ_ONLY, true) }, TSF(SEL.READ_ONLY)],
    ['an absent SS0 is #SS(SS)', (cpu) => { cpu.memory.setUint16(TSS + 8, SEL.ABSENT, true) }, SSF(SEL.ABSENT)],
    ['an entry beyond the code limit is #GP(0)',
      (cpu) => { setDescriptor(cpu, SEL.CODE32, 0x9b, 0x4, 0, 0x5fff) }, GP(0)],
  ]
  it.each(faults)('INT n from user mode: %s', (_name, prepare, expected) => {
    const cpu = protectedCpu(3)
    setGate(cpu, 0x40, { selector: SEL.CODE32, dpl: 3 })
    prepare(cpu)
    expect(intFault(cpu, 0x40)).toEqual(expected)
  })
})

describe('delivery in real mode', () => {
  it('takes CS:IP from the vector table and pushes words', () => {
    const cpu = createFakeCpu()
    setReg(cpu, RSP, 0x2000n)
    cpu.memory.setUint32(0x10 * 4, 0x0123_4567, true)
    cpu.setRip(0x100)
    setSeg(cpu, S.CS, 0x50, 0x9b, 0xffff, 0x500n)
    cpu.setFlags(FLAG.IF, FLAG.IF)
    deliverInterrupt(cpu, 0x10)
    expect(cpu.nextRip()).toBe(0x4567n)
    expect([selectorOf(cpu, S.CS), state64(cpu, S.SEG + 16 + 8)]).toEqual([0x123, 0x1230n])
    expect([0, 2, 4].map((i) => cpu.memory.getUint16(0x1ffa + i, true))).toEqual([0x100, 0x50, 0x202])
    expect(cpu.getFlags()).toBe(2)
  })

  it('shuts down when the table has no vectors', () => {
    const cpu = createFakeCpu()
    cpu.views.u32[S.IDTR >>> 2] = 0
    deliverException(cpu, VECTOR.UD)
    expect(cpu.stopped).toMatch(/triple fault/)
  })
})
