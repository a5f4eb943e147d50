import { describe, expect, it } from 'vitest'
import { VECTOR, type Meaning } from '../../src/cpu.ts'
import { x87Meanings } from '../../src/fp/x87.ts'
import { MEM, MMX_REG, ST_REG, XMM_REG } from '../../src/insn.ts'
import { CR0, CR4, FCW, FSW, FTW, MXCSR, XCR0, XMM, YMMH } from '../../src/state.ts'
import { vectorMeanings } from '../../src/vector/index.ts'
import { createFakeCpu, insn, run, type FakeCpu } from '../fake-cpu.ts'

const [MP, EM, TS, NE] = [2, 4, 8, 0x20]
const OSFXSR = 0x200
const OSXMMEXCPT = 0x400
const OSXSAVE = 0x4_0000

/** A processor whose system has enabled everything. */
function ready(): FakeCpu {
  const cpu = createFakeCpu()
  const { u32 } = cpu.views
  u32[CR0 >> 2] = 0x8000_0001 | NE | MP
  u32[CR4 >> 2] = OSFXSR | OSXMMEXCPT | OSXSAVE
  u32[XCR0 >> 2] = 7
  u32[MXCSR >> 2] = 0x1f80
  u32[FCW >> 2] = 0x37f
  u32[FSW >> 2] = u32[FTW >> 2] = 0
  return cpu
}

const set = (cpu: FakeCpu, register: number, bits: number): void => { cpu.views.u32[register >> 2] |= bits }
const clear = (cpu: FakeCpu, register: number, bits: number): void => { cpu.views.u32[register >> 2] &= ~bits }
const vector = (cpu: FakeCpu, meaning: Meaning, fields: Parameters<typeof insn>[0]): number | undefined =>
  run(cpu, meaning, insn(fields))?.vector

const sse = { size: 16, kind0: XMM_REG, kind1: XMM_REG, reg1: 1 }
const avx = { ...sse, vex: 1, kind2: XMM_REG, reg2: 2 }
const mmx = { size: 8, kind0: MMX_REG, kind1: MMX_REG }

describe('SSE instructions', () => {
  it('raise #UD with CR0.EM or without CR4.OSFXSR, before #NM with CR0.TS', () => {
    const cpu = ready()
    expect(vector(cpu, vectorMeanings.addps, sse)).toBeUndefined()
    set(cpu, CR0, TS)
    expect(vector(cpu, vectorMeanings.addps, sse)).toBe(VECTOR.NM)
    set(cpu, CR0, EM)
    expect(vector(cpu, vectorMeanings.addps, sse)).toBe(VECTOR.UD)
    clear(cpu, CR0, EM | TS)
    clear(cpu, CR4, OSFXSR)
    expect(vector(cpu, vectorMeanings.pxor, sse)).toBe(VECTOR.UD)
  })
  it('raise #XM for an unmasked exception, #UD where the system does not know it, and keep the destination', () => {
    const cpu = ready()
    cpu.views.u32[MXCSR >> 2] = 0x1f80 & ~0x200 // divide by zero
    cpu.views.u32[XMM >> 2] = 0x3f80_0000
    expect(vector(cpu, vectorMeanings.divss, sse)).toBe(VECTOR.XM)
    expect(cpu.views.u32[MXCSR >> 2]).toBe(0x1d84)
    expect(cpu.views.u32[XMM >> 2]).toBe(0x3f80_0000)
    clear(cpu, CR4, OSXMMEXCPT)
    expect(vector(cpu, vectorMeanings.divss, sse)).toBe(VECTOR.UD)
  })
  it('raise #GP(0) for memory that is not aligned, unless the instruction says otherwise', () => {
    const cpu = ready()
    const memory = { size: 16, kind0: XMM_REG, kind1: MEM, disp: 0x1008, addrSize: 8 }
    expect(run(cpu, vectorMeanings.paddd, insn(memory))).toEqual({ vector: VECTOR.GP, errorCode: 0 })
    expect(vector(cpu, vectorMeanings.movdqu, memory)).toBeUndefined()
    expect(vector(cpu, vectorMeanings.paddd, { ...memory, vex: 1, kind1: XMM_REG, kind2: MEM })).toBeUndefined()
  })
})

describe('VEX instructions', () => {
  it('raise #UD without OSXSAVE or without AVX state in XCR0; CR0.EM says nothing', () => {
    const cpu = ready()
    set(cpu, CR0, EM)
    expect(vector(cpu, vectorMeanings.pxor, avx)).toBeUndefined()
    cpu.views.u32[XCR0 >> 2] = 3
    expect(vector(cpu, vectorMeanings.pxor, avx)).toBe(VECTOR.UD)
    cpu.views.u32[XCR0 >> 2] = 7
    clear(cpu, CR4, OSXSAVE)
    expect(vector(cpu, vectorMeanings.pxor, avx)).toBe(VECTOR.UD)
  })
  it('clear the upper half of the register where legacy forms leave it', () => {
    const cpu = ready()
    cpu.views.u32[YMMH >> 2] = 7
    run(cpu, vectorMeanings.pxor, insn(sse))
    expect(cpu.views.u32[YMMH >> 2]).toBe(7)
    run(cpu, vectorMeanings.pxor, insn(avx))
    expect(cpu.views.u32[YMMH >> 2]).toBe(0)
  })
})

describe('MMX instructions', () => {
  it('set TOP to 0 and mark all registers valid; EMMS marks them empty', () => {
    const cpu = ready()
    cpu.views.u32[FSW >> 2] = 0x1800
    run(cpu, vectorMeanings.paddb, insn(mmx))
    expect([cpu.views.u32[FSW >> 2], cpu.views.u32[FTW >> 2]]).toEqual([0, 0xff])
    run(cpu, vectorMeanings.emms, insn())
    expect(cpu.views.u32[FTW >> 2]).toBe(0)
  })
  it('raise #MF for a pending x87 exception', () => {
    const cpu = ready()
    cpu.views.u32[FSW >> 2] = 0x80
    expect(vector(cpu, vectorMeanings.paddb, mmx)).toBe(VECTOR.MF)
  })
})

describe('x87 instructions', () => {
  const stack = { size: 10, kind0: ST_REG, kind1: ST_REG, reg1: 1 }
  it('raise #NM with CR0.EM or CR0.TS; FWAIT only with TS and MP', () => {
    const cpu = ready()
    set(cpu, CR0, EM)
    expect(vector(cpu, x87Meanings.fadd, stack)).toBe(VECTOR.NM)
    clear(cpu, CR0, EM)
    set(cpu, CR0, TS)
    expect(vector(cpu, x87Meanings.fninit, {})).toBe(VECTOR.NM)
    expect(vector(cpu, x87Meanings.fwait, {})).toBe(VECTOR.NM)
    clear(cpu, CR0, MP)
    expect(vector(cpu, x87Meanings.fwait, {})).toBeUndefined()
  })
  it('leave an unmasked exception pending, for the next waiting instruction to raise when CR0.NE is set', () => {
    const cpu = ready()
    cpu.views.u32[FCW >> 2] = 0x37e // invalid operation unmasked
    expect(vector(cpu, x87Meanings.fchs, {})).toBeUndefined() // stack underflow
    expect(cpu.views.u32[FSW >> 2]).toBe(0x80c1)
    expect(vector(cpu, x87Meanings.fnstcw, { size: 2, kind0: MEM, disp: 0x1000 })).toBeUndefined()
    expect(vector(cpu, x87Meanings.fwait, {})).toBe(VECTOR.MF)
    clear(cpu, CR0, NE)
    expect(vector(cpu, x87Meanings.fwait, {})).toBeUndefined()
    expect(vector(cpu, x87Meanings.fnclex, {})).toBeUndefined()
    expect(cpu.views.u32[FSW >> 2]).toBe(0)
  })
  it('save and restore the environment in all four layouts', () => {
    for (const [real, size] of [[true, 2], [true, 4], [false, 2], [false, 4]] as const) {
      const cpu = ready()
      const { u32 } = cpu.views
      if (real) clear(cpu, CR0, 1)
      u32[FSW >> 2] = 0x3800
      u32[FTW >> 2] = 0x80
      const memory = { size, kind0: MEM, disp: 0x1000 }
      expect(vector(cpu, x87Meanings.fnstenv, memory)).toBeUndefined()
      u32[FSW >> 2] = u32[FTW >> 2] = 0
      u32[FCW >> 2] = 0x27f
      expect(vector(cpu, x87Meanings.fldenv, memory)).toBeUndefined()
      expect([u32[FCW >> 2], u32[FSW >> 2], u32[FTW >> 2]]).toEqual([0x37f, 0x3800, 0x80])
    }
  })
})
