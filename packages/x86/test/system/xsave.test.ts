import { describe, expect, it } from 'vitest'
import { VECTOR } from '../../src/cpu.ts'
import { MEM } from '../../src/insn.ts'
import * as S from '../../src/state.ts'
import { checkFxsave } from '../../src/system/fpu-checks.ts'
import { systemMeanings as op } from '../../src/system/meanings.ts'
import { GP, insn, longCpu, run, setReg, setState64, state32, state64, UD } from '../fake-cpu.ts'
import type { FakeCpu } from '../fake-cpu.ts'

const AREA = 0x6000
const i = insn({ kind0: MEM, disp: AREA, size: 8 })
const NM = { vector: VECTOR.NM, errorCode: -1 }

/** A processor with XCR0 = x87, SSE, AVX, PKRU and something in every component. */
function prepared(): FakeCpu {
  const cpu = longCpu()
  setState64(cpu, S.CR4, 0x220n | (1n << 18n) | (1n << 22n))
  setState64(cpu, S.XCR0, 0x207n)
  for (let n = 0; n < 32; n++) {
    setState64(cpu, S.XMM + n * 8, 0x1111_0000n + BigInt(n))
    setState64(cpu, S.YMMH + n * 8, 0x2222_0000n + BigInt(n))
  }
  cpu.views.u32[S.FSW >>> 2] = 3 << 11
  cpu.views.u32[S.FTW >>> 2] = 0x0f
  cpu.views.u32[S.FCW >>> 2] = 0x27f
  setState64(cpu, S.FPR + 3 * 16, 0xdead_beef_0000_0001n)
  cpu.views.u32[S.PKRU >>> 2] = 0x5555_5554
  ask(cpu, 0x207)
  return cpu
}
function ask(cpu: FakeCpu, mask: number): void {
  setReg(cpu, 0, BigInt(mask))
  setReg(cpu, 2, 0n)
}
const bv = (cpu: FakeCpu): bigint => cpu.memory.getBigUint64(AREA + 512, true)
const form = (cpu: FakeCpu): bigint => cpu.memory.getBigUint64(AREA + 520, true)
const image = (cpu: FakeCpu): number[] => [
  ...cpu.views.u8.subarray(S.XMM, S.YMMH + 256), ...cpu.views.u8.subarray(S.FPR, S.FTW + 4),
]

describe('FXSAVE and FXRSTOR', () => {
  it('store ST0 first, whatever TOP is, and leave the last 48 bytes alone', () => {
    const cpu = prepared()
    cpu.memory.setBigUint64(AREA + 464, 0x77n, true)
    expect(run(cpu, op.fxsave, i)).toBeUndefined()
    expect(cpu.memory.getBigUint64(AREA + 32, true)).toBe(0xdead_beef_0000_0001n)
    expect([cpu.memory.getBigUint64(AREA + 464, true), cpu.memory.getUint32(AREA + 28, true)]).toEqual([0x77n, 0xffff])
  })

  it('FXRSTOR undoes FXSAVE', () => {
    const cpu = prepared()
    const before = image(cpu)
    run(cpu, op.fxsave, i)
    cpu.views.u8.fill(0xff, S.XMM, S.XMM + 256)
    cpu.views.u8.fill(0xff, S.FPR, S.FPR + 128)
    cpu.views.u32[S.FSW >>> 2] = 0
    expect(run(cpu, op.fxrstor, i)).toBeUndefined()
    expect(image(cpu).slice(0, 256)).toEqual(before.slice(0, 256))
    expect(state64(cpu, S.FPR + 3 * 16)).toBe(0xdead_beef_0000_0001n)
  })

  it('FXRSTOR works out whether an x87 exception is pending', () => {
    const cpu = prepared()
    cpu.memory.setUint16(AREA, 0x37e, true)
    cpu.memory.setUint16(AREA + 2, 0x0001, true)
    run(cpu, op.fxrstor, i)
    expect(state32(cpu, S.FSW)).toBe(0x8081)
    cpu.memory.setUint16(AREA, 0x37f, true)
    cpu.memory.setUint16(AREA + 2, 0x8081, true)
    run(cpu, op.fxrstor, i)
    expect(state32(cpu, S.FSW)).toBe(1)
  })

  it('refuse an area that is not aligned, and reserved bits of MXCSR', () => {
    const cpu = prepared()
    expect(run(cpu, op.fxsave, insn({ kind0: MEM, disp: AREA + 8 }))).toEqual(GP(0))
    cpu.memory.setUint32(AREA + 24, 0x1_0000, true)
    expect(run(cpu, op.fxrstor, i)).toEqual(GP(0))
    expect(run(cpu, op.ldmxcsr, insn({ kind0: MEM, disp: AREA + 24 }))).toEqual(GP(0))
  })
})

describe('XSAVE and XRSTOR', () => {
  it.each(['xsave', 'xsaveopt', 'xsavec', 'xsaves'])('XRSTOR undoes %s', (name) => {
    const cpu = prepared()
    const before = image(cpu)
    expect(run(cpu, op[name], i)).toBeUndefined()
    cpu.views.u8.fill(0x5a, S.XMM, S.YMMH + 256)
    cpu.views.u8.fill(0, S.FPR, S.FPR + 128)
    cpu.views.u32[S.PKRU >>> 2] = 0
    expect(run(cpu, name === 'xsaves' ? op.xrstors : op.xrstor, i)).toBeUndefined()
    expect(image(cpu)).toEqual(before)
    expect(state32(cpu, S.PKRU)).toBe(0x5555_5554)
  })

  it('XSAVE keeps XSTATE_BV bits that were not asked for', () => {
    const cpu = prepared()
    cpu.memory.setBigUint64(AREA + 512, 0x202n, true)
    ask(cpu, 4)
    run(cpu, op.xsave, i)
    expect([bv(cpu), form(cpu)]).toEqual([0x206n, 0n])
  })

  it('components in their initial state are absent from XSTATE_BV, and XSAVEC says which it made room for', () => {
    const cpu = prepared()
    cpu.views.u8.fill(0, S.YMMH, S.YMMH + 256)
    run(cpu, op.xsavec, i)
    expect([bv(cpu), form(cpu)]).toEqual([0x203n, 0x8000_0000_0000_0207n])
  })

  it('the compacted form packs PKRU behind AVX, and behind the header without', () => {
    const cpu = prepared()
    run(cpu, op.xsavec, i)
    expect(cpu.memory.getUint32(AREA + 576 + 256, true)).toBe(0x5555_5554)
    ask(cpu, 0x203)
    run(cpu, op.xsavec, i)
    expect(cpu.memory.getUint32(AREA + 576, true)).toBe(0x5555_5554)
  })

  it('XRSTOR initialises what was asked for and is absent', () => {
    const cpu = prepared()
    expect(run(cpu, op.xrstor, i)).toEqual(undefined)
    expect([state64(cpu, S.XMM), state64(cpu, S.YMMH), state32(cpu, S.FCW), state32(cpu, S.PKRU)]).toEqual(
      [0n, 0n, 0x37f, 0])
  })

  const bad: [string, string, number, bigint][] = [
    ['an XSTATE_BV bit that XCR0 has not', 'xrstor', 512, 8n],
    ['an XCOMP_BV without bit 63', 'xrstor', 520, 1n],
    ['bytes behind XCOMP_BV', 'xrstor', 528, 1n],
    ['the standard form for XRSTORS', 'xrstors', 520, 0n],
    ['a compacted form with a component that is off', 'xrstor', 520, 0x8000_0000_0000_0008n],
    ['reserved bytes of a compacted header', 'xrstor', 560, 1n],
  ]
  it.each(bad)('refuses %s', (name, instruction, at, value) => {
    const cpu = prepared()
    if (name.includes('reserved bytes')) cpu.memory.setBigUint64(AREA + 520, 0x8000_0000_0000_0207n, true)
    cpu.memory.setBigUint64(AREA + at, value, true)
    const before = image(cpu)
    expect(run(cpu, op[instruction], i)).toEqual(GP(0))
    expect(image(cpu)).toEqual(before)
  })

  it('refuses an XSTATE_BV bit that XCOMP_BV lacks', () => {
    const cpu = prepared()
    cpu.memory.setBigUint64(AREA + 512, 4n, true)
    cpu.memory.setBigUint64(AREA + 520, 0x8000_0000_0000_0003n, true)
    expect(run(cpu, op.xrstor, i)).toEqual(GP(0))
  })

  it('refuses an area that is not aligned to 64 bytes; XSAVES needs CPL 0', () => {
    expect(run(prepared(), op.xsave, insn({ kind0: MEM, disp: AREA + 32 }))).toEqual(GP(0))
    const user = prepared()
    user.views.u32[S.CPL >>> 2] = 3
    expect(run(user, op.xsaves, i)).toEqual(GP(0))
  })

  it('writes nothing when the end of the area cannot be written', () => {
    const cpu = prepared()
    cpu.missing.add(7)
    const high = insn({ kind0: MEM, disp: 0x6d80, size: 8 })
    expect(run(cpu, op.xsave, high)).toMatchObject({ vector: VECTOR.PF, errorCode: 2 })
    expect(cpu.memory.getUint16(0x6d80, true)).toBe(0)
  })
})

describe('checks before the save instructions', () => {
  it('FXSAVE is #NM with CR0.TS or CR0.EM', () => {
    const cpu = longCpu()
    for (const cr0 of [9n, 5n]) {
      setState64(cpu, S.CR0, cr0)
      expect(run(cpu, checkFxsave)).toEqual(NM)
    }
  })

  it('XSAVE is #UD without OSXSAVE', () => {
    expect(run(longCpu(), op.xsave, i)).toEqual(UD)
  })
})
