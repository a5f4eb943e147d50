import { describe, expect, it } from 'vitest'
import { MEM, MODE32, REG, SEG_REG } from '../../src/insn.ts'
import * as S from '../../src/state.ts'
import { systemMeaningOf, systemMeanings as op } from '../../src/system/meanings.ts'
import {
  attributesOf, createFakeCpu, GDT, GP, gpr, insn, longCpu, NP, protectedCpu, run, SEL, selectorOf, setDescriptor,
  setReg, setSeg, SSF, STACK,
  state32, state64, UD,
} from '../fake-cpu.ts'
import type { FakeCpu, Fault } from '../fake-cpu.ts'

const RAX = 0
const baseOf = (cpu: FakeCpu, seg: number): bigint => state64(cpu, S.SEG + seg * 16 + 8)

/** MOV seg, AX. */
function load(cpu: FakeCpu, seg: number, selector: number, mode32 = false): Fault | undefined {
  setReg(cpu, RAX, BigInt(selector))
  const i = insn({ kind0: SEG_REG, reg0: seg, kind1: REG, reg1: RAX, size: 2, ...(mode32 ? { mode: MODE32 } : {}) })
  const meaning = systemMeaningOf('mov', i)
  return meaning === undefined ? undefined : run(cpu, meaning, i)
}

describe('MOV Sreg', () => {
  const cases: [string, 0 | 3, number, number, Fault | undefined][] = [
    ['DS takes readable data', 0, S.DS, SEL.DATA, undefined],
    ['DS takes null', 3, S.DS, 0, undefined],
    ['DS takes readable code', 0, S.DS, SEL.CODE32, undefined],
    ['DS takes conforming code whatever the privilege', 3, S.DS, SEL.CONFORMING | 3, undefined],
    ['DS refuses execute-only code', 0, S.DS, SEL.EXECUTE_ONLY, GP(SEL.EXECUTE_ONLY)],
    ['DS refuses inner data', 3, S.DS, SEL.DATA, GP(SEL.DATA)],
    ['DS refuses an RPL above the DPL', 0, S.DS, SEL.DATA | 3, GP(SEL.DATA)],
    ['DS refuses a system segment', 0, S.DS, SEL.TSS, GP(SEL.TSS)],
    ['DS refuses a selector beyond the table', 0, S.DS, SEL.BEYOND, GP(SEL.BEYOND)],
    ['DS refuses a selector of an LDT that is not loaded', 0, S.DS, 0x14, GP(0x14)],
    ['DS raises #NP for an absent segment', 0, S.DS, SEL.ABSENT, NP(SEL.ABSENT)],
    ['SS raises #SS for an absent segment', 0, S.SS, SEL.ABSENT, SSF(SEL.ABSENT)],
    ['SS refuses read-only data', 0, S.SS, SEL.READ_ONLY, GP(SEL.READ_ONLY)],
    ['SS refuses code', 0, S.SS, SEL.CODE32, GP(SEL.CODE32)],
    ['SS refuses an RPL other than the CPL', 0, S.SS, SEL.DATA | 1, GP(SEL.DATA)],
    ['SS refuses a DPL other than the CPL', 0, S.SS, SEL.USER_DATA & ~3, GP(SEL.USER_DATA & ~3)],
    ['SS takes null in 64-bit mode below CPL 3', 0, S.SS, 0, undefined],
    ['SS refuses null at CPL 3', 3, S.SS, 3, GP(0)],
    ['CS cannot be loaded', 0, S.CS, SEL.CODE64, UD],
  ]
  it.each(cases)('%s', (_name, level, seg, selector, expected) => {
    const cpu = longCpu(level)
    const before = selectorOf(cpu, seg)
    expect(load(cpu, seg, selector)).toEqual(expected)
    expect(selectorOf(cpu, seg)).toBe(expected === undefined ? selector : before)
  })

  it('refuses a null SS outside 64-bit mode', () => {
    expect(load(protectedCpu(), S.SS, 0, true)).toEqual(GP(0))
  })

  it('decodes base, scaled limit and attributes', () => {
    const cpu = protectedCpu()
    setDescriptor(cpu, SEL.DATA, 0x93, 0xc, 0x1234_5678, 0x1_0000)
    load(cpu, S.ES, SEL.DATA, true)
    expect([baseOf(cpu, S.ES), state32(cpu, S.SEG + 4), attributesOf(cpu, S.ES)]).toEqual(
      [0x1234_5678n, 0x1000_0fff, 0xc93])
  })

  it('sets the accessed bit in the table', () => {
    const cpu = longCpu()
    setDescriptor(cpu, SEL.DATA, 0x92, 0xc)
    load(cpu, S.ES, SEL.DATA)
    expect(cpu.memory.getUint8(GDT + SEL.DATA + 5)).toBe(0x93)
    expect(attributesOf(cpu, S.ES)).toBe(0xc93)
  })

  it('clears the base of a null FS', () => {
    const cpu = longCpu()
    setSeg(cpu, S.FS, SEL.DATA, 0xc93, 0xffff_ffff, 0x1000n)
    load(cpu, S.FS, 0)
    expect([baseOf(cpu, S.FS), attributesOf(cpu, S.FS)]).toEqual([0n, 0])
  })

  it('shadows interrupts after a load of SS, and of SS only', () => {
    const cpu = longCpu()
    load(cpu, S.DS, SEL.DATA)
    expect(state32(cpu, S.SHADOW)).toBe(0)
    load(cpu, S.SS, SEL.DATA)
    expect(state32(cpu, S.SHADOW)).toBe(1)
  })

  it('in real mode shifts the selector and keeps the limit', () => {
    const cpu = createFakeCpu()
    setSeg(cpu, S.DS, 0, 0x93, 0xffff_ffff)
    load(cpu, S.DS, 0xf123)
    expect([baseOf(cpu, S.DS), state32(cpu, S.SEG + S.DS * 16 + 4)]).toEqual([0xf_1230n, 0xffff_ffff])
  })
})

describe('PUSH and POP Sreg', () => {
  it('POP FS moves the stack by the operand size', () => {
    const cpu = longCpu()
    cpu.memory.setBigUint64(STACK, BigInt(SEL.DATA), true)
    const i = insn({ kind0: SEG_REG, reg0: S.FS, size: 8 })
    expect(run(cpu, systemMeaningOf('pop', i) ?? op.ud, i)).toBeUndefined()
    expect([selectorOf(cpu, S.FS), gpr(cpu, 4)]).toEqual([SEL.DATA, BigInt(STACK + 8)])
  })

  it('a refused POP leaves the stack pointer', () => {
    const cpu = longCpu()
    cpu.memory.setBigUint64(STACK, BigInt(SEL.BEYOND), true)
    const i = insn({ kind0: SEG_REG, reg0: S.FS, size: 8 })
    expect(run(cpu, systemMeaningOf('pop', i) ?? op.ud, i)).toEqual(GP(SEL.BEYOND))
    expect(gpr(cpu, 4)).toBe(BigInt(STACK))
  })

  it('PUSH GS zero-extends the selector', () => {
    const cpu = longCpu()
    setSeg(cpu, S.GS, 0x2b, 0, 0)
    const i = insn({ kind0: SEG_REG, reg0: S.GS, size: 8 })
    run(cpu, systemMeaningOf('push', i) ?? op.ud, i)
    expect([cpu.memory.getBigUint64(STACK - 8, true), gpr(cpu, 4)]).toEqual([0x2bn, BigInt(STACK - 8)])
  })

  it('general forms belong to somebody else', () => {
    expect(systemMeaningOf('push', insn({ kind0: REG }))).toBeUndefined()
    expect(systemMeaningOf('mov', insn({ kind0: REG, kind1: MEM }))).toBeUndefined()
  })
})

describe('LSS', () => {
  it('loads SS and the register, or neither', () => {
    const cpu = protectedCpu()
    cpu.memory.setUint32(0x6000, 0x7777, true)
    cpu.memory.setUint16(0x6004, SEL.DATA, true)
    const i = insn({ kind0: REG, reg0: 4, kind1: MEM, disp: 0x6000, size: 4, addrSize: 4, mode: MODE32 })
    expect(run(cpu, op.lss, i)).toBeUndefined()
    expect(gpr(cpu, 4)).toBe(0x7777n)
    cpu.memory.setUint16(0x6004, SEL.READ_ONLY, true)
    cpu.memory.setUint32(0x6000, 0x8888, true)
    expect(run(cpu, op.lss, i)).toEqual(GP(SEL.READ_ONLY))
    expect(gpr(cpu, 4)).toBe(0x7777n)
  })
})
