import { describe, expect, it } from 'vitest'
import { FAR, IMM, MODE16, MODE32 } from '../../src/insn.ts'
import * as S from '../../src/state.ts'
import { FLAG } from '../../src/system/bits.ts'
import { configureModel } from '../../src/system/cpuid/model.ts'
import { sapphireRapids } from '../../src/system/cpuid/models/sapphire-rapids.ts'
import { systemMeanings as op } from '../../src/system/meanings.ts'
import {
  attributesOf, createFakeCpu, GDT, GP, gpr, insn, longCpu, NP, protectedCpu, run, SEL, selectorOf, setDescriptor,
  setReg, setSeg,
  setState64, SSF, STACK, STACK0, state32, state64, UD,
} from '../fake-cpu.ts'
import type { FakeCpu, Fault } from '../fake-cpu.ts'

const RSP = 4
const HIGH = 0xffff_8000_0000_0000n

function pushFrame(
  cpu: FakeCpu, frame: { rip?: bigint; cs?: number; flags?: number; rsp?: bigint; ss?: number },
): void {
  const { rip = 0x7000n, cs = SEL.CODE64, flags = 2, rsp = 0xc000n, ss = SEL.DATA } = frame
  const values = [rip, BigInt(cs), BigInt(flags), rsp, BigInt(ss)]
  values.forEach((v, i) => { cpu.memory.setBigUint64(STACK + i * 8, v, true) })
}
const iretq = insn({ size: 8 })
const USER = { cs: SEL.USER_CODE64, ss: SEL.USER_DATA }

describe('IRETQ', () => {
  it('returns to user mode with its stack and flags', () => {
    const cpu = longCpu()
    pushFrame(cpu, { ...USER, flags: FLAG.IF | FLAG.ZF | 2 })
    expect(run(cpu, op.iret, iretq)).toBeUndefined()
    expect([cpu.nextRip(), gpr(cpu, RSP), state32(cpu, S.CPL), cpu.getFlags()]).toEqual(
      [0x7000n, 0xc000n, 3, FLAG.IF | FLAG.ZF | 2])
    expect([selectorOf(cpu, S.CS), selectorOf(cpu, S.SS)]).toEqual([SEL.USER_CODE64, SEL.USER_DATA])
    expect(cpu.log).toContain('mode')
  })

  it('makes data segments of the inner ring null on the way out', () => {
    const cpu = longCpu()
    pushFrame(cpu, USER)
    setSeg(cpu, S.ES, SEL.USER_DATA, 0xcf3)
    run(cpu, op.iret, iretq)
    expect([selectorOf(cpu, S.DS), attributesOf(cpu, S.DS), selectorOf(cpu, S.ES)]).toEqual([0, 0, SEL.USER_DATA])
  })

  it('returns to the same ring, also with a null SS', () => {
    const cpu = longCpu()
    pushFrame(cpu, { ss: 0 })
    expect(run(cpu, op.iret, iretq)).toBeUndefined()
    expect([selectorOf(cpu, S.SS), gpr(cpu, RSP)]).toEqual([0, 0xc000n])
  })

  it('returns to compatibility mode', () => {
    const cpu = longCpu()
    pushFrame(cpu, { cs: SEL.USER_CODE32, ss: SEL.USER_DATA })
    expect(run(cpu, op.iret, iretq)).toBeUndefined()
    expect(attributesOf(cpu, S.CS)).toBe(0xcfb)
  })

  it('ignores bits 63:32 of a RIP in compatibility mode, as processors do', () => {
    const cpu = longCpu()
    pushFrame(cpu, { cs: SEL.USER_CODE32, ss: SEL.USER_DATA, rip: 0x5_0000_1234n })
    expect(run(cpu, op.iret, iretq)).toBeUndefined()
    expect(cpu.nextRip()).toBe(0x1234n)
  })

  it('lets user mode change neither IF nor IOPL', () => {
    const cpu = longCpu(3)
    pushFrame(cpu, { ...USER, flags: FLAG.IF | FLAG.IOPL | FLAG.CF | 2 })
    expect(run(cpu, op.iret, iretq)).toBeUndefined()
    expect(cpu.getFlags()).toBe(FLAG.CF | 2)
  })

  const faults: [string, (cpu: FakeCpu) => void, Fault][] = [
    ['NT in long mode is #GP(0)', (cpu) => { cpu.setFlags(FLAG.NT, FLAG.NT) }, GP(0)],
    ['a null CS is #GP(0)', (cpu) => { pushFrame(cpu, { cs: 0 }) }, GP(0)],
    ['a CS beyond the table is #GP(CS)', (cpu) => { pushFrame(cpu, { cs: SEL.BEYOND }) }, GP(SEL.BEYOND)],
    ['a data segment as CS is #GP(CS)', (cpu) => { pushFrame(cpu, { cs: SEL.DATA }) }, GP(SEL.DATA)],
    ['a CS whose DPL is not its RPL is #GP(CS)', (cpu) => { pushFrame(cpu, { cs: SEL.CODE64 | 3 }) }, GP(SEL.CODE64)],
    ['a null SS for user mode is #GP(0)', (cpu) => { pushFrame(cpu, { ...USER, ss: 3 }) }, GP(0)],
    ['an SS of another ring is #GP(SS)', (cpu) => { pushFrame(cpu, { ...USER, ss: SEL.DATA }) }, GP(SEL.DATA)],
    ['an absent SS is #SS(SS)', (cpu) => { pushFrame(cpu, { ss: SEL.ABSENT }) }, SSF(SEL.ABSENT)],
    ['a RIP that is not canonical is #GP(0)', (cpu) => { pushFrame(cpu, { ...USER, rip: 1n << 47n }) }, GP(0)],
  ]
  it.each(faults)('%s, and nothing has changed', (_name, prepare, expected) => {
    const cpu = longCpu()
    prepare(cpu)
    expect(run(cpu, op.iret, iretq)).toEqual(expected)
    expect([gpr(cpu, RSP), state32(cpu, S.CPL), selectorOf(cpu, S.CS)]).toEqual([BigInt(STACK), 0, SEL.CODE64])
  })

  it('ends the blocking of NMIs', () => {
    const cpu = longCpu()
    if (cpu.system !== undefined) cpu.system.nmiBlocked = true
    pushFrame(cpu, {})
    run(cpu, op.iret, iretq)
    expect(cpu.system?.nmiBlocked).toBe(false)
  })

  it('inner rings cannot be returned to', () => {
    const cpu = longCpu(3)
    pushFrame(cpu, {})
    expect(run(cpu, op.iret, iretq)).toEqual(GP(SEL.CODE64))
  })
})

describe('IRETD and IRET', () => {
  it('pops the outer stack in protected mode only when the ring changes', () => {
    const cpu = protectedCpu();
    [0x7000, SEL.CODE32, FLAG.IF | 2].forEach((v, i) => { cpu.memory.setUint32(STACK + i * 4, v, true) })
    expect(run(cpu, op.iret, insn({ size: 4, mode: MODE32 }))).toBeUndefined()
    expect([gpr(cpu, RSP), cpu.nextRip(), cpu.getFlags()]).toEqual([BigInt(STACK + 12), 0x7000n, FLAG.IF | 2])
  })

  it('refuses virtual-8086 mode with a reason', () => {
    const cpu = protectedCpu();
    [0x7000, SEL.CODE32, FLAG.VM | 2].forEach((v, i) => { cpu.memory.setUint32(STACK + i * 4, v, true) })
    run(cpu, op.iret, insn({ size: 4, mode: MODE32 }))
    expect(cpu.stopped).toMatch(/virtual-8086/)
  })

  it('pops words in real mode', () => {
    const cpu = createFakeCpu()
    setReg(cpu, RSP, 0x1000n);
    [0x7000, 0x123, 0x202].forEach((v, i) => { cpu.memory.setUint16(0x1000 + i * 2, v, true) })
    run(cpu, op.iret, insn({ size: 2, mode: MODE16 }))
    expect([cpu.nextRip(), selectorOf(cpu, S.CS), gpr(cpu, RSP), cpu.getFlags()]).toEqual(
      [0x7000n, 0x123, 0x1006n, 0x202])
  })
})

describe('SYSCALL and SYSRET', () => {
  const prepared = (level: 0 | 3, model = undefined as Parameters<typeof longCpu>[1]): FakeCpu => {
    const cpu = longCpu(level, model)
    setState64(cpu, S.MSR_STAR, (0x23n << 48n) | (0x10n << 32n))
    setState64(cpu, S.MSR_LSTAR, HIGH + 0x1000n)
    setState64(cpu, S.MSR_SFMASK, BigInt(FLAG.IF | FLAG.DF))
    return cpu
  }

  it('SYSCALL saves RIP and RFLAGS, masks flags and goes to LSTAR at CPL 0', () => {
    const cpu = prepared(3)
    cpu.setFlags(FLAG.IF | FLAG.CF, FLAG.IF | FLAG.CF)
    expect(run(cpu, op.syscall, insn())).toBeUndefined()
    expect([gpr(cpu, 1), gpr(cpu, 11), cpu.nextRip(), cpu.getFlags()]).toEqual([0x5002n, 0x203n, HIGH + 0x1000n, 3])
    expect([selectorOf(cpu, S.CS), attributesOf(cpu, S.CS), selectorOf(cpu, S.SS), state32(cpu, S.CPL)]).toEqual(
      [0x10, 0xa9b, 0x18, 0])
  })

  it('SYSRETQ restores them at CPL 3', () => {
    const cpu = prepared(0)
    setReg(cpu, 1, 0x1234n)
    setReg(cpu, 11, BigInt(FLAG.IF | FLAG.RF | FLAG.VM | FLAG.ZF))
    expect(run(cpu, op.sysret, insn({ size: 8 }))).toBeUndefined()
    expect([cpu.nextRip(), cpu.getFlags(), selectorOf(cpu, S.CS), selectorOf(cpu, S.SS), state32(cpu, S.CPL)]).toEqual(
      [0x1234n, FLAG.IF | FLAG.ZF | 2, 0x33, 0x2b, 3])
    expect(attributesOf(cpu, S.CS)).toBe(0xafb)
  })

  it('SYSRETL goes to compatibility mode', () => {
    const cpu = prepared(0)
    setReg(cpu, 1, 0xf_0000_1234n)
    run(cpu, op.sysret, insn({ size: 4 }))
    expect([cpu.nextRip(), selectorOf(cpu, S.CS), attributesOf(cpu, S.CS)]).toEqual([0x1234n, 0x23, 0xcfb])
  })

  it('SYSRET to an address that is not canonical is #GP(0) on Intel, and left to the fetch on AMD', () => {
    const intel = prepared(0, { model: sapphireRapids })
    setReg(intel, 1, 1n << 47n)
    expect(run(intel, op.sysret, insn({ size: 8 }))).toEqual(GP(0))
    const amd = prepared(0)
    setReg(amd, 1, 1n << 47n)
    expect(run(amd, op.sysret, insn({ size: 8 }))).toBeUndefined()
  })

  it('both are #UD without EFER.SCE, and SYSRET is #GP(0) in user mode', () => {
    const cpu = prepared(3)
    expect(run(cpu, op.sysret, insn())).toEqual(GP(0))
    setState64(cpu, S.EFER, 0x500n)
    expect(run(cpu, op.syscall, insn())).toEqual(UD)
    expect(run(cpu, op.sysret, insn())).toEqual(UD)
  })
})

describe('SYSENTER and SYSEXIT', () => {
  it('SYSENTER is #GP(0) with a null CS, and #UD in long mode on AMD', () => {
    expect(run(longCpu(3, { model: sapphireRapids }), op.sysenter)).toEqual(GP(0))
    expect(run(longCpu(3), op.sysenter)).toEqual(UD)
  })

  it('go in and out with flat segments behind SYSENTER_CS', () => {
    const cpu = longCpu(3, { model: configureModel(sapphireRapids) })
    setState64(cpu, S.MSR_SYSENTER_CS, 0x10n)
    setState64(cpu, S.MSR_SYSENTER_EIP, HIGH)
    setState64(cpu, S.MSR_SYSENTER_ESP, HIGH + 0x2000n)
    run(cpu, op.sysenter)
    expect([cpu.nextRip(), gpr(cpu, RSP), state32(cpu, S.CPL), selectorOf(cpu, S.SS)]).toEqual(
      [HIGH, HIGH + 0x2000n, 0, 0x18])
    setReg(cpu, 1, 0x8000n)
    setReg(cpu, 2, 0x4000n)
    run(cpu, op.sysexit, insn({ size: 8 }))
    expect([cpu.nextRip(), gpr(cpu, RSP), state32(cpu, S.CPL), selectorOf(cpu, S.CS)]).toEqual(
      [0x4000n, 0x8000n, 3, 0x33])
  })
})

describe('SWAPGS', () => {
  it('exchanges the bases at CPL 0 in 64-bit mode', () => {
    const cpu = longCpu()
    setState64(cpu, S.MSR_KERNEL_GS_BASE, HIGH)
    run(cpu, op.swapgs)
    expect([state64(cpu, S.SEG + S.GS * 16 + 8), state64(cpu, S.MSR_KERNEL_GS_BASE)]).toEqual([HIGH, 0n])
    expect(run(longCpu(3), op.swapgs)).toEqual(GP(0))
    expect(run(protectedCpu(), op.swapgs, insn({ mode: MODE32 }))).toEqual(UD)
  })
})

describe('far jumps, calls and returns', () => {
  const far = (selector: number, offset: number): ReturnType<typeof insn> =>
    insn({ kind0: FAR, imm2: selector, immLo: offset, size: 4, mode: MODE32, len: 7 })

  it('JMPF loads CS with the RPL of the CPL', () => {
    const cpu = protectedCpu()
    expect(run(cpu, op.jmpf, far(SEL.CODE16, 0x1234))).toBeUndefined()
    expect([selectorOf(cpu, S.CS), attributesOf(cpu, S.CS), cpu.nextRip()]).toEqual([SEL.CODE16, 0x9b, 0x1234n])
  })

  const faults: [string, number, Fault][] = [
    ['null', 0, GP(0)], ['beyond the table', SEL.BEYOND, GP(SEL.BEYOND)], ['data', SEL.DATA, GP(SEL.DATA)],
    ['another ring', SEL.USER_CODE32, GP(SEL.USER_CODE32 & ~3)], ['an LDT', SEL.LDT, GP(SEL.LDT)],
    ['an RPL above the CPL', SEL.CODE32 | 3, GP(SEL.CODE32)],
  ]
  it.each(faults)('JMPF refuses %s', (_name, selector, expected) => {
    expect(run(protectedCpu(), op.jmpf, far(selector, 0))).toEqual(expected)
  })

  it('JMPF beyond the limit is #GP(0)', () => {
    expect(run(protectedCpu(), op.jmpf, far(SEL.CODE16, 0x1_0000))).toEqual(GP(0))
  })

  it('JMPF to a TSS shuts down with a reason', () => {
    const cpu = protectedCpu()
    run(cpu, op.jmpf, far(SEL.TSS, 0))
    expect(cpu.stopped).toMatch(/task switches/)
  })

  it('JMPF in real mode sets CS to selector × 16', () => {
    const cpu = createFakeCpu()
    run(cpu, op.jmpf, insn({ kind0: FAR, imm2: 0xf000, immLo: 0xe05b, size: 2, mode: MODE16 }))
    expect([cpu.nextRip(), state64(cpu, S.SEG + 16 + 8)]).toEqual([0xe05bn, 0xf_0000n])
  })

  it('RETF undoes CALLF', () => {
    const cpu = protectedCpu()
    run(cpu, op.callf, far(SEL.CODE16, 0x100))
    expect(gpr(cpu, RSP)).toBe(BigInt(STACK - 8))
    expect(run(cpu, op.retf, insn({ size: 4, mode: MODE16 }))).toBeUndefined()
    expect([gpr(cpu, RSP), selectorOf(cpu, S.CS), cpu.nextRip()]).toEqual([BigInt(STACK), SEL.CODE32, 0x5007n])
  })

  it('RETF imm16 to an outer ring releases parameters from both stacks', () => {
    const cpu = protectedCpu();
    [0x7000, SEL.USER_CODE32].forEach((v, i) => { cpu.memory.setUint32(STACK + i * 4, v, true) });
    [0xc000, SEL.USER_DATA].forEach((v, i) => { cpu.memory.setUint32(STACK + 16 + i * 4, v, true) })
    expect(run(cpu, op.retf, insn({ kind0: IMM, immLo: 8, size: 4, mode: MODE32 }))).toBeUndefined()
    expect([gpr(cpu, RSP), state32(cpu, S.CPL), cpu.nextRip()]).toEqual([0xc008n, 3, 0x7000n])
  })
})

describe('call gates', () => {
  function setCallGate(
    cpu: FakeCpu, selector: number, offset: bigint,
    options: { dpl?: number; parameters?: number; present?: boolean } = {},
  ): void {
    const { dpl = 3, parameters = 0, present = true } = options
    const at = GDT + SEL.CALL_GATE
    cpu.memory.setUint32(at, (selector << 16) | Number(offset & 0xffffn), true)
    const rights = (present ? 0x8000 : 0) | (dpl << 13) | 0xc00 | parameters
    cpu.memory.setUint32(at + 4, Number(offset & 0xffff_0000n) | rights, true)
    cpu.memory.setUint32(at + 8, Number(offset >> 32n), true)
    cpu.memory.setUint32(at + 12, 0, true)
  }
  const far = insn({ kind0: FAR, imm2: SEL.CALL_GATE | 3, immLo: 0, size: 4, mode: MODE32, len: 7 })

  it('a 32-bit gate switches stacks and copies parameters', () => {
    const cpu = protectedCpu(3)
    setCallGate(cpu, SEL.CODE32, 0x6000n, { parameters: 2 })
    cpu.memory.setUint32(STACK, 0x11, true)
    cpu.memory.setUint32(STACK + 4, 0x22, true)
    expect(run(cpu, op.callf, far)).toBeUndefined()
    expect([0, 1, 2, 3, 4, 5].map((i) => cpu.memory.getUint32(STACK0 - 24 + i * 4, true))).toEqual(
      [0x5007, SEL.USER_CODE32, 0x11, 0x22, STACK, SEL.USER_DATA])
    expect([cpu.nextRip(), state32(cpu, S.CPL)]).toEqual([0x6000n, 0])
  })

  it('a 64-bit gate pushes SS, RSP, CS and RIP and loads a null SS', () => {
    const cpu = longCpu(3)
    setCallGate(cpu, SEL.CODE64, HIGH + 0x6000n)
    setSeg(cpu, S.CS, SEL.USER_CODE32, 0xcfb)
    expect(run(cpu, op.callf, far)).toBeUndefined()
    expect([0, 1, 2, 3].map((i) => cpu.memory.getBigUint64(STACK0 - 32 + i * 8, true))).toEqual(
      [0x5007n, BigInt(SEL.USER_CODE32), BigInt(STACK), BigInt(SEL.USER_DATA)])
    expect([cpu.nextRip(), selectorOf(cpu, S.SS)]).toEqual([HIGH + 0x6000n, 0])
  })

  it('refuses a gate below the CPL, an absent one, and one to data', () => {
    const cpu = protectedCpu(3)
    setCallGate(cpu, SEL.CODE32, 0n, { dpl: 0 })
    expect(run(cpu, op.callf, far)).toEqual(GP(SEL.CALL_GATE))
    setCallGate(cpu, SEL.CODE32, 0n, { present: false })
    expect(run(cpu, op.callf, far)).toEqual(NP(SEL.CALL_GATE))
    setCallGate(cpu, SEL.DATA, 0n)
    expect(run(cpu, op.callf, far)).toEqual(GP(SEL.DATA))
  })

  it('JMPF through a gate cannot change the ring', () => {
    const cpu = protectedCpu(3)
    setCallGate(cpu, SEL.CODE32, 0x6000n)
    expect(run(cpu, op.jmpf, far)).toEqual(GP(SEL.CODE32))
    setDescriptor(cpu, SEL.CONFORMING, 0x9f, 0xc)
    setCallGate(cpu, SEL.CONFORMING, 0x6000n)
    expect(run(cpu, op.jmpf, far)).toBeUndefined()
    expect([selectorOf(cpu, S.CS), state32(cpu, S.CPL)]).toEqual([SEL.CONFORMING | 3, 3])
  })
})
