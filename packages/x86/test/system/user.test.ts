import { describe, expect, it } from 'vitest'
import { VECTOR } from '../../src/cpu.ts'
import { IMM, MEM, MODE16, MODE32, REG } from '../../src/insn.ts'
import * as S from '../../src/state.ts'
import { ATTR, FLAG } from '../../src/system/bits.ts'
import { configureModel } from '../../src/system/cpuid/model.ts'
import { epycGenoa } from '../../src/system/cpuid/models/epyc-genoa.ts'
import { sapphireRapids } from '../../src/system/cpuid/models/sapphire-rapids.ts'
import { systemMeanings as op } from '../../src/system/meanings.ts'
import {
  createFakeCpu, GDT, GP, gpr, insn, longCpu, NP, protectedCpu, run, SEL, selectorOf, setDescriptor, setReg, setSeg,
  setState64,
  STACK, state32, state64, TSS, UD,
} from '../fake-cpu.ts'
import type { FakeCpu } from '../fake-cpu.ts'

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7]
const m32 = { mode: MODE32, addrSize: 4 } as const

describe('flags and privilege', () => {
  it('CLI and STI are #GP(0) above IOPL, and allowed at it', () => {
    const cpu = longCpu(3)
    expect(run(cpu, op.cli)).toEqual(GP(0))
    cpu.setFlags(FLAG.IOPL, FLAG.IOPL)
    expect(run(cpu, op.sti)).toBeUndefined()
    expect(cpu.getFlags() & FLAG.IF).toBe(FLAG.IF)
  })

  it('STI shadows the next instruction only when it turns interrupts on', () => {
    const cpu = longCpu()
    run(cpu, op.sti)
    expect(state32(cpu, S.SHADOW)).toBe(1)
    cpu.views.u32[S.SHADOW >>> 2] = 0
    run(cpu, op.sti)
    expect(state32(cpu, S.SHADOW)).toBe(0)
  })

  it('POPF leaves IF and IOPL alone where they are not allowed, and tells of AC', () => {
    const cpu = longCpu(3)
    cpu.memory.setBigUint64(STACK, BigInt(FLAG.IF | FLAG.IOPL | FLAG.AC | FLAG.CF | FLAG.RF), true)
    run(cpu, op.popf, insn({ size: 8 }))
    expect([cpu.getFlags(), gpr(cpu, RSP), cpu.log]).toEqual([FLAG.AC | FLAG.CF | 2, BigInt(STACK + 8), ['mode']])
  })

  it('PUSHF shows RF as zero', () => {
    const cpu = longCpu()
    cpu.setFlags(FLAG.RF | FLAG.ZF, FLAG.RF | FLAG.ZF)
    run(cpu, op.pushf, insn({ size: 8 }))
    expect(cpu.memory.getBigUint64(STACK - 8, true)).toBe(BigInt(FLAG.ZF | 2))
  })

  it('STAC is #UD in user mode', () => {
    expect(run(longCpu(3), op.stac)).toEqual(UD)
  })

  it('HLT is #GP(0) in user mode', () => {
    const cpu = longCpu()
    expect(run(longCpu(3), op.hlt)).toEqual(GP(0))
    run(cpu, op.hlt)
    expect(cpu.halted).toBe(true)
  })
})

describe('ports', () => {
  const inDx = insn({ kind0: REG, kind1: REG, reg1: RDX, size: 1 })

  it('the I/O map decides above IOPL', () => {
    const cpu = longCpu(3)
    setReg(cpu, RDX, 0x3f8n)
    expect(run(cpu, op.in, inDx)).toEqual(GP(0))
    setSeg(cpu, S.TR, SEL.TSS, 0x8b, 0x2067, BigInt(TSS))
    cpu.memory.setUint16(TSS + 0x66, 0x68, true)
    expect(run(cpu, op.in, inDx)).toBeUndefined()
    cpu.memory.setUint8(TSS + 0x68 + 0x7f, 1)
    expect(run(cpu, op.in, inDx)).toEqual(GP(0))
    setReg(cpu, RDX, 0x3f6n)
    expect(run(cpu, op.in, insn({ ...inDx, size: 4 }))).toEqual(GP(0))
  })

  it('IN EAX clears the upper half, IN AL keeps it', () => {
    const cpu = longCpu()
    setReg(cpu, RAX, 0x1111_2222_3333_4444n)
    run(cpu, op.in, inDx)
    expect(gpr(cpu, RAX)).toBe(0x1111_2222_3333_4478n)
    run(cpu, op.in, insn({ ...inDx, size: 4 }))
    expect(gpr(cpu, RAX)).toBe(0x1234_5678n)
  })

  it('OUT takes an immediate port', () => {
    const cpu = longCpu()
    setReg(cpu, RAX, 0xabcdn)
    run(cpu, op.out, insn({ kind0: IMM, immLo: 0x80, kind1: REG, size: 1 }))
    expect(cpu.ports.writes).toEqual([[0x80, 1, 0xcd]])
  })

  it('REP OUTS does one iteration and stays until the count is zero', () => {
    const cpu = longCpu()
    setReg(cpu, RCX, 2n)
    setReg(cpu, RSI, 0x6000n)
    cpu.memory.setUint16(0x6000, 0x2211, true)
    const outs = insn({ size: 1, rep: 0xf3 })
    run(cpu, op.outs, outs)
    expect([cpu.nextRip(), gpr(cpu, RCX), gpr(cpu, RSI)]).toEqual([0x5000n, 1n, 0x6001n])
    run(cpu, op.outs, outs)
    expect([cpu.nextRip(), gpr(cpu, RCX)]).toEqual([0x5002n, 0n])
    run(cpu, op.outs, outs)
    expect(cpu.ports.writes.map((w) => w[2])).toEqual([0x11, 0x22])
  })

  it('INS does not read the port when the destination faults', () => {
    const cpu = longCpu()
    cpu.missing.add(6)
    setReg(cpu, RDI, 0x6000n)
    expect(run(cpu, op.ins, insn({ size: 1 }))).toMatchObject({ vector: VECTOR.PF })
    expect(cpu.ports.reads).toEqual([])
  })
})

describe('descriptor tables', () => {
  it('LGDT refuses a base that is not canonical, and takes 24 bits with 16-bit operands', () => {
    const cpu = longCpu()
    cpu.memory.setUint16(0x6000, 0x7f, true)
    cpu.memory.setBigUint64(0x6002, 1n << 50n, true)
    expect(run(cpu, op.lgdt, insn({ kind0: MEM, disp: 0x6000 }))).toEqual(GP(0))
    const small = protectedCpu()
    small.memory.setUint16(0x6000, 0x7f, true)
    small.memory.setUint32(0x6002, 0x1234_5678, true)
    run(small, op.lgdt, insn({ kind0: MEM, disp: 0x6000, size: 2, ...m32 }))
    expect([state64(small, S.GDTR + 8), state32(small, S.GDTR)]).toEqual([0x34_5678n, 0x7f])
  })

  it('SIDT stores what LIDT loaded', () => {
    const cpu = longCpu()
    run(cpu, op.sidt, insn({ kind0: MEM, disp: 0x6000 }))
    expect([cpu.memory.getUint16(0x6000, true), cpu.memory.getBigUint64(0x6002, true)]).toEqual([0xfff, 0x2000n])
  })

  const ltr = (cpu: FakeCpu, selector: number): ReturnType<typeof run> => {
    setReg(cpu, RAX, BigInt(selector))
    return run(cpu, op.ltr, insn({ kind0: REG, reg0: RAX, size: 2 }))
  }
  it('LTR makes the TSS busy, once', () => {
    const cpu = longCpu()
    expect(ltr(cpu, SEL.TSS)).toBeUndefined()
    expect(cpu.memory.getUint8(GDT + SEL.TSS + 5)).toBe(0x8b)
    expect(ltr(cpu, SEL.TSS)).toEqual(GP(SEL.TSS))
  })

  it('LTR refuses null, the LDT, other types and absent ones', () => {
    const cpu = longCpu()
    expect(ltr(cpu, 0)).toEqual(GP(0))
    expect(ltr(cpu, SEL.TSS | 4)).toEqual(GP(SEL.TSS | 4))
    expect(ltr(cpu, SEL.DATA)).toEqual(GP(SEL.DATA))
    setDescriptor(cpu, SEL.TSS, 0x09, 0, TSS, 0x67)
    expect(ltr(cpu, SEL.TSS)).toEqual(NP(SEL.TSS))
  })

  it('LTR reads 64 bits of base in long mode', () => {
    const cpu = longCpu()
    cpu.memory.setUint32(GDT + SEL.TSS + 8, 0xffff_8000, true)
    ltr(cpu, SEL.TSS)
    expect(state64(cpu, S.SEG + S.TR * 16 + 8)).toBe(0xffff_8000_0000_0000n | BigInt(TSS))
  })

  it('LLDT opens the LDT to selectors with TI', () => {
    const cpu = protectedCpu()
    setReg(cpu, RAX, BigInt(SEL.LDT))
    expect(run(cpu, op.lldt, insn({ kind0: REG, reg0: RAX, size: 2, ...m32 }))).toBeUndefined()
    cpu.memory.setUint32(0x4008, 0xffff, true)
    cpu.memory.setUint32(0x400c, 0x00cf_9300, true)
    setReg(cpu, RAX, 0x0cn)
    run(cpu, op.verw, insn({ kind0: REG, reg0: RAX, size: 2, ...m32 }))
    expect(cpu.getFlags() & FLAG.ZF).toBe(FLAG.ZF)
  })

  const visible: [string, string, 0 | 3, number, bigint | undefined][] = [
    ['LAR shows the rights of data', 'lar', 0, SEL.DATA, 0xcf_9300n],
    ['LSL shows the scaled limit', 'lsl', 0, SEL.DATA, 0xffff_ffffn],
    ['LAR fails on null', 'lar', 0, 0, undefined], ['LAR fails beyond the table', 'lar', 0, SEL.BEYOND, undefined],
    ['LAR fails on inner data', 'lar', 3, SEL.DATA, undefined],
    ['LSL sees conforming code', 'lsl', 3, SEL.CONFORMING, 0xffff_ffffn],
    ['LSL shows the limit of a TSS', 'lsl', 0, SEL.TSS, 0x67n],
  ]
  it.each(visible)('%s', (_name, name, level, selector, expected) => {
    const cpu = longCpu(level)
    setReg(cpu, RAX, BigInt(selector))
    setReg(cpu, RBX, 0x99n)
    run(cpu, op[name], insn({ kind0: REG, reg0: RBX, kind1: REG, reg1: RAX, size: 4 }))
    expect([gpr(cpu, RBX), (cpu.getFlags() & FLAG.ZF) !== 0]).toEqual([expected ?? 0x99n, expected !== undefined])
  })

  it('VERR takes readable, VERW writable segments', () => {
    const cpu = longCpu()
    const verify = (name: string, selector: number): boolean => {
      setReg(cpu, RAX, BigInt(selector))
      run(cpu, op[name], insn({ kind0: REG, reg0: RAX, size: 2 }))
      return (cpu.getFlags() & FLAG.ZF) !== 0
    }
    expect([verify('verr', SEL.CODE64), verify('verr', SEL.EXECUTE_ONLY)]).toEqual([true, false])
    expect([verify('verw', SEL.READ_ONLY), verify('verw', SEL.DATA)])
      .toEqual([false, true])
  })

  it('ARPL raises the RPL; it is #UD in real mode, as are LAR and LLDT', () => {
    const cpu = protectedCpu()
    setReg(cpu, RAX, 0x10n)
    setReg(cpu, RBX, 3n)
    run(cpu, op.arpl, insn({ kind0: REG, reg0: RAX, kind1: REG, reg1: RBX, size: 2, ...m32 }))
    expect([gpr(cpu, RAX), cpu.getFlags() & FLAG.ZF]).toEqual([0x13n, FLAG.ZF])
    for (const name of ['arpl', 'lar', 'lldt', 'verr', 'str']) {
      expect(run(createFakeCpu(), op[name], insn({ kind0: REG, kind1: REG, size: 2, mode: MODE16 }))).toEqual(UD)
    }
  })
})

describe('software interrupts', () => {
  it('BOUND raises #BR outside its signed bounds only', () => {
    const cpu = protectedCpu()
    cpu.memory.setInt32(0x6000, -2, true)
    cpu.memory.setInt32(0x6004, 5, true)
    const bound = insn({ kind0: REG, reg0: RAX, kind1: MEM, disp: 0x6000, size: 4, ...m32 })
    for (const [value, ok] of [[-2, true], [5, true], [-3, false], [6, false]] as const) {
      setReg(cpu, RAX, BigInt(value >>> 0))
      expect(run(cpu, op.bound, bound)).toEqual(ok ? undefined : { vector: VECTOR.BR, errorCode: -1 })
    }
  })

  it('INT3 saves the next instruction', () => {
    const cpu = longCpu()
    cpu.memory.setUint32(0x2000 + 48, (SEL.CODE64 << 16) | 0x6000, true)
    cpu.memory.setUint32(0x2000 + 52, 0xee00, true)
    run(cpu, op.int3, insn({ len: 1 }))
    expect([cpu.nextRip(), cpu.memory.getBigUint64(STACK - 40, true)]).toEqual([0x6000n, 0x5001n])
  })

  it('UD and RSM are #UD', () => {
    expect([run(longCpu(), op.ud), run(longCpu(), op.rsm)]).toEqual([UD, UD])
  })
})

describe('time, random numbers, bases, keys', () => {
  it('RDTSC and RDTSCP are #GP(0) in user mode with CR4.TSD', () => {
    const cpu = longCpu(3)
    cpu.views.u32[S.MSR_TSC_AUX >>> 2] = 7
    expect(run(cpu, op.rdtscp)).toBeUndefined()
    expect([gpr(cpu, RAX), gpr(cpu, RDX), gpr(cpu, RCX)]).toEqual([1000n, 0n, 7n])
    setState64(cpu, S.CR4, 0x24n)
    expect(run(cpu, op.rdtsc)).toEqual(GP(0))
  })

  it('RDPMC reads the counters that AMD has, and needs CR4.PCE in user mode', () => {
    const cpu = longCpu()
    cpu.system?.held.set(0xc001_0005, -1n)
    setReg(cpu, RCX, 1n)
    run(cpu, op.rdpmc)
    expect([gpr(cpu, RAX), gpr(cpu, RDX)]).toEqual([0xffff_ffffn, 0xffffn])
    setReg(cpu, RCX, 4n)
    expect(run(cpu, op.rdpmc)).toEqual(GP(0))
    expect(run(longCpu(3), op.rdpmc)).toEqual(GP(0))
    expect(run(longCpu(0, { model: sapphireRapids }), op.rdpmc)).toEqual(GP(0))
  })

  it('RDRAND sets CF and clears the other status flags', () => {
    const cpu = longCpu()
    cpu.setFlags(FLAG.ZF | FLAG.OF, FLAG.ZF | FLAG.OF)
    setReg(cpu, RAX, -1n)
    run(cpu, op.rdrand, insn({ kind0: REG, reg0: RAX, size: 4 }))
    expect([cpu.getFlags(), gpr(cpu, RAX) >> 32n]).toEqual([3, 0n])
  })

  it('WRFSBASE needs CR4.FSGSBASE and a canonical base', () => {
    const cpu = longCpu(3)
    const i = insn({ kind0: REG, reg0: RAX, size: 8 })
    expect(run(cpu, op.wrfsbase, i)).toEqual(UD)
    setState64(cpu, S.CR4, 0x1_0020n)
    setReg(cpu, RAX, 1n << 47n)
    expect(run(cpu, op.wrfsbase, i)).toEqual(GP(0))
    setReg(cpu, RAX, 0x1234_5678_9abcn)
    run(cpu, op.wrfsbase, i)
    run(cpu, op.rdfsbase, insn({ kind0: REG, reg0: RBX, size: 4 }))
    expect(gpr(cpu, RBX)).toBe(0x5678_9abcn)
  })

  it('WRPKRU needs CR4.PKE and zero in ECX and EDX, and drops translations', () => {
    const cpu = longCpu(3)
    setReg(cpu, RDX, 0n)
    expect(run(cpu, op.wrpkru)).toEqual(UD)
    setState64(cpu, S.CR4, 0x40_0020n)
    setReg(cpu, RAX, 0x55n)
    run(cpu, op.wrpkru)
    expect([state32(cpu, S.PKRU), cpu.log]).toEqual([0x55, ['flush 1']])
    setReg(cpu, RDX, 1n)
    expect(run(cpu, op.wrpkru)).toEqual(GP(0))
  })

  it('MONITOR and MWAIT are #UD unless the model has them', () => {
    expect(run(longCpu(), op.monitor)).toEqual(UD)
    const cpu = longCpu(0, { model: configureModel(epycGenoa, { monitor: true }) })
    expect([run(cpu, op.monitor), run(cpu, op.mwait)]).toEqual([undefined, undefined])
  })
})

describe('wide memory operations', () => {
  it('CMPXCHG16B swaps when equal, loads when not, and needs alignment', () => {
    const cpu = longCpu()
    const i = insn({ kind0: MEM, disp: 0x6000, size: 16 })
    cpu.memory.setBigUint64(0x6000, 1n, true)
    cpu.memory.setBigUint64(0x6008, 2n, true)
    setReg(cpu, RDX, 0n)
    run(cpu, op.cmpxchg16b, i)
    expect([gpr(cpu, RAX), gpr(cpu, RDX), cpu.getFlags() & FLAG.ZF]).toEqual([1n, 2n, 0])
    setReg(cpu, RBX, 3n)
    setReg(cpu, RCX, 4n)
    run(cpu, op.cmpxchg16b, i)
    expect([cpu.memory.getBigUint64(0x6000, true), cpu.memory.getBigUint64(0x6008, true)]).toEqual([3n, 4n])
    expect(cpu.getFlags() & FLAG.ZF).toBe(FLAG.ZF)
    expect(run(cpu, op.cmpxchg16b, insn({ kind0: MEM, disp: 0x6008, size: 16 }))).toEqual(GP(0))
  })

  it('CMPXCHG8B compares EDX:EAX', () => {
    const cpu = longCpu()
    cpu.memory.setBigUint64(0x6000, 0x2_0000_0001n, true)
    setReg(cpu, RAX, 0xf_0000_0001n)
    setReg(cpu, RDX, 2n)
    setReg(cpu, RBX, 0x11n)
    setReg(cpu, RCX, 0x22n)
    run(cpu, op.cmpxchg8b, insn({ kind0: MEM, disp: 0x6000, size: 8 }))
    expect(cpu.memory.getBigUint64(0x6000, true)).toBe(0x22_0000_0011n)
  })

  it('MOVDIR64B moves a line to an aligned address', () => {
    const cpu = longCpu()
    cpu.memory.setUint8(0x603f, 0x5a)
    setReg(cpu, RAX, 0x7000n)
    const i = insn({ kind0: REG, reg0: RAX, kind1: MEM, disp: 0x6000, size: 64 })
    run(cpu, op.movdir64b, i)
    expect(cpu.memory.getUint8(0x703f)).toBe(0x5a)
    setReg(cpu, RAX, 0x7010n)
    expect(run(cpu, op.movdir64b, i)).toEqual(GP(0))
  })
})

describe('instructions of older code', () => {
  const decimal: [string, string, number, number, number, number][] = [
    ['DAA of 79 + 35 = AE', 'daa', 0xae, 0, 0x14, FLAG.CF | FLAG.AF | FLAG.PF],
    ['DAS of 35 - 47 = EE', 'das', 0xee, FLAG.CF | FLAG.AF, 0x88, FLAG.CF | FLAG.AF | FLAG.SF | FLAG.PF],
  ]
  it.each(decimal)('%s', (_name, name, al, flags, result, out) => {
    const cpu = protectedCpu()
    setReg(cpu, RAX, BigInt(al))
    cpu.setFlags(flags, 0xff)
    run(cpu, op[name], insn(m32))
    expect([gpr(cpu, RAX), cpu.getFlags()]).toEqual([BigInt(result), out | 2])
  })

  it('AAM divides AL by its immediate, and is #DE for zero and #UD in 64-bit mode', () => {
    const cpu = protectedCpu()
    setReg(cpu, RAX, 57n)
    run(cpu, op.aam, insn({ kind0: IMM, immLo: 10, ...m32 }))
    expect(gpr(cpu, RAX)).toBe(0x507n)
    expect(run(cpu, op.aam, insn(m32))).toEqual({ vector: VECTOR.DE, errorCode: -1 })
    expect(run(longCpu(), op.aam)).toEqual(UD)
  })

  it('ENTER with a nesting level copies the frame pointers of outer procedures', () => {
    const cpu = longCpu()
    setReg(cpu, RBP, 0x7000n)
    cpu.memory.setBigUint64(0x6ff8, 0x77n, true)
    run(cpu, op.enter, insn({ kind0: IMM, immLo: 0x20, imm2: 2, size: 8 }))
    expect([0, 1, 2].map((n) => cpu.memory.getBigUint64(STACK - 8 * (n + 1), true))).toEqual(
      [0x7000n, 0x77n, BigInt(STACK - 8)])
    expect([gpr(cpu, RBP), gpr(cpu, RSP)]).toEqual([BigInt(STACK - 8), BigInt(STACK - 24 - 0x20)])
  })

  it('POPA undoes PUSHA and skips ESP', () => {
    const cpu = protectedCpu()
    for (const r of [RAX, RCX, RDX, RBX, RBP, RSI, RDI]) setReg(cpu, r, BigInt(0x100 + r))
    run(cpu, op.pusha, insn({ size: 4, ...m32 }))
    for (const r of [RAX, RCX, RDX, RBX, RBP, RSI, RDI]) setReg(cpu, r, 0n)
    run(cpu, op.popa, insn({ size: 4, ...m32 }))
    expect([RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI].map((r) => gpr(cpu, r))).toEqual(
      [0x100n, 0x101n, 0x102n, 0x103n, BigInt(STACK), 0x105n, 0x106n, 0x107n])
  })

  it('XLAT reads the table at RBX + AL', () => {
    const cpu = longCpu()
    setReg(cpu, RBX, 0x6000n)
    setReg(cpu, RAX, 0x1105n)
    cpu.memory.setUint8(0x6005, 0x42)
    run(cpu, op.xlat)
    expect(gpr(cpu, RAX)).toBe(0x1142n)
  })
})

describe('real mode', () => {
  it('needs no privilege for CLI, and refuses nothing for ports', () => {
    const cpu = createFakeCpu()
    expect([run(cpu, op.cli), run(cpu, op.in, insn({ kind0: REG, kind1: IMM, immLo: 0x60, size: 1 }))]).toEqual(
      [undefined, undefined])
    expect([selectorOf(cpu, S.CS), ATTR.P]).toEqual([0xf000, 0x80])
  })
})
