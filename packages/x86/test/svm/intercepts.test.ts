/** Intercepts of instructions and exceptions, and what they say (APM vol. 2, §15.8 to §15.12). */
import { Intercept3, Intercept4, Intercept5, SvmExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import type { ControlField } from './box.ts'
import { createBox, GUEST, HOST } from './box.ts'

const I3 = Intercept3.mask
const I4 = Intercept4.mask

type Case = readonly [name: string, code: string, field: ControlField, bits: number, exit: number]

const cases: readonly Case[] = [
  ['MOV from CR0', '0f 20 c1', 'interceptCr', 1 << 0, SvmExit.CR0_READ],
  ['MOV from CR3', '0f 20 d9', 'interceptCr', 1 << 3, SvmExit.CR0_READ + 3],
  ['MOV from CR8', '44 0f 20 c1', 'interceptCr', 1 << 8, SvmExit.CR0_READ + 8],
  ['MOV to CR3', '0f 20 d8 0f 22 d8', 'interceptCr', 1 << 19, SvmExit.CR0_WRITE + 3],
  ['MOV to CR4', '0f 20 e0 0f 22 e0', 'interceptCr', 1 << 20, SvmExit.CR0_WRITE + 4],
  ['LMSW', '0f 01 e0 0f 01 f0', 'interceptCr', 1 << 16, SvmExit.CR0_WRITE],
  ['SMSW', '0f 01 e0', 'interceptCr', 1, SvmExit.CR0_READ],
  ['CLTS', '0f 06', 'interceptCr', 1 << 16, SvmExit.CR0_WRITE],
  ['MOV from DR7', '0f 21 f8', 'interceptDr', 1 << 7, SvmExit.DR0_READ + 7],
  ['MOV to DR0', '0f 23 c0', 'interceptDr', 1 << 16, SvmExit.DR0_WRITE],
  ['SIDT', '0f 01 0c 25 00 90 00 00', 'intercept3', I3.IDTR_READ, SvmExit.IDTR_READ],
  ['SGDT', '0f 01 04 25 00 90 00 00', 'intercept3', I3.GDTR_READ, SvmExit.GDTR_READ],
  ['SLDT', '0f 00 c0', 'intercept3', I3.LDTR_READ, SvmExit.LDTR_READ],
  ['STR', '0f 00 c8', 'intercept3', I3.TR_READ, SvmExit.TR_READ],
  ['LIDT', '0f 01 1c 25 00 90 00 00', 'intercept3', I3.IDTR_WRITE, SvmExit.IDTR_WRITE],
  ['LGDT', '0f 01 14 25 00 90 00 00', 'intercept3', I3.GDTR_WRITE, SvmExit.GDTR_WRITE],
  ['LLDT', '31 c0 0f 00 d0', 'intercept3', I3.LDTR_WRITE, SvmExit.LDTR_WRITE],
  ['LTR', '31 c0 0f 00 d8', 'intercept3', I3.TR_WRITE, SvmExit.TR_WRITE],
  ['RDTSC', '0f 31', 'intercept3', I3.RDTSC, SvmExit.RDTSC],
  ['RDTSCP', '0f 01 f9', 'intercept4', I4.RDTSCP, SvmExit.RDTSCP],
  ['RDPMC', '31 c9 0f 33', 'intercept3', I3.RDPMC, SvmExit.RDPMC],
  ['PUSHF', '9c', 'intercept3', I3.PUSHF, SvmExit.PUSHF],
  ['POPF', '9d', 'intercept3', I3.POPF, SvmExit.POPF],
  ['CPUID', '0f a2', 'intercept3', I3.CPUID, SvmExit.CPUID],
  ['RSM, before its #UD', '0f aa', 'intercept3', I3.RSM, SvmExit.RSM],
  ['IRET, before any exception', '48 cf', 'intercept3', I3.IRET, SvmExit.IRET],
  ['INT n, before any exception', 'cd 41', 'intercept3', I3.INTn, SvmExit.SWINT],
  ['INVD', '0f 08', 'intercept3', I3.INVD, SvmExit.INVD],
  ['PAUSE', 'f3 90', 'intercept3', I3.PAUSE, SvmExit.PAUSE],
  ['HLT', 'f4', 'intercept3', I3.HLT, SvmExit.HLT],
  ['INVLPG', '0f 01 38', 'intercept3', I3.INVLPG, SvmExit.INVLPG],
  ['INVLPGA', '0f 01 df', 'intercept3', I3.INVLPGA, SvmExit.INVLPGA],
  ['VMRUN', '31 c0 0f 01 d8', 'intercept4', I4.VMRUN, SvmExit.VMRUN],
  ['VMMCALL', '0f 01 d9', 'intercept4', I4.VMMCALL, SvmExit.VMMCALL],
  ['VMGEXIT, which is VMMCALL without SEV-ES', 'f3 0f 01 d9', 'intercept4', I4.VMMCALL, SvmExit.VMMCALL],
  ['VMLOAD', '31 c0 0f 01 da', 'intercept4', I4.VMLOAD, SvmExit.VMLOAD],
  ['VMSAVE', '31 c0 0f 01 db', 'intercept4', I4.VMSAVE, SvmExit.VMSAVE],
  ['STGI', '0f 01 dc', 'intercept4', I4.STGI, SvmExit.STGI],
  ['CLGI', '0f 01 dd', 'intercept4', I4.CLGI, SvmExit.CLGI],
  ['SKINIT', '0f 01 de', 'intercept4', I4.SKINIT, SvmExit.SKINIT],
  ['INT1', 'f1', 'intercept4', I4.ICEBP, SvmExit.ICEBP],
  ['WBINVD', '0f 09', 'intercept4', I4.WBINVD, SvmExit.WBINVD],
  ['WBNOINVD', 'f3 0f 09', 'intercept4', I4.WBINVD, SvmExit.WBINVD],
  ['INVPCID', '66 0f 38 82 04 25 00 90 00 00', 'intercept5', Intercept5.mask.INVPCID, SvmExit.INVPCID],
  ['#BP by INT3', 'cc', 'interceptException', 1 << 3, SvmExit.EXCP0 + 3],
  ['#UD', '0f 0b', 'interceptException', 1 << 6, SvmExit.EXCP0 + 6],
  ['#DE', '31 c9 f7 f1', 'interceptException', 1, SvmExit.EXCP0],
]

describe('an intercept', () => {
  it.each(cases)('of %s leaves with RIP at the instruction', (_, code, field, bits, exit) => {
    const box = createBox()
    box.intercept(field, bits)
    box.intercept('intercept3', I3.SHUTDOWN)
    box.program(`${code} f4`)
    expect(box.exit().code).toBe(exit)
    const bytes = code.split(' ').length
    // Some have an instruction of set-up first.
    expect(Number(box.state('rip')) - GUEST.code).toBeLessThan(bytes)
  })

  it.each(cases)('of %s that is not set does not leave by it', (_, code, field, bits, exit) => {
    if (exit === SvmExit.VMRUN) return
    const box = createBox()
    box.setControl(field, box.control(field) & ~BigInt(bits >>> 0))
    box.intercept('intercept3', I3.SHUTDOWN)
    box.program(`${code} f4`)
    const run = box.run(4)
    if (run.exit === 'vmexit') expect(run.code).toBe(SvmExit.SHUTDOWN)
  })

  it('comes after #GP for the wrong privilege', () => {
    for (const [, code, field, bits] of [
      ['HLT', 'f4', 'intercept3', I3.HLT], ['WBINVD', '0f 09', 'intercept4', I4.WBINVD],
      ['CR', '0f 20 c1', 'interceptCr', 1],
      ['VMRUN', '0f 01 d8', 'intercept4', I4.VMRUN], ['RDMSR', '0f 32', 'intercept3', I3.MSR_PROT],
    ] as const) {
      const box = createBox()
      box.intercept(field, bits)
      box.intercept('interceptException', 1 << 13)
      box.setState('cpl', 3)
      box.program(code)
      mapUser(box)
      expect(box.exit()).toMatchObject({ code: SvmExit.EXCP0 + 13, info1: 0n })
    }
  })

  it('of CR0 writes comes after the #GP for what CR0 may not become', () => {
    const box = createBox()
    box.intercept('interceptCr', 1 << 16)
    box.intercept('interceptException', 1 << 13)
    box.program('0f 20 c0 0f ba f0 00 0f 22 c0 ; mov rax,cr0; btr eax,0; mov cr0,rax')
    expect(box.exit().code).toBe(SvmExit.EXCP0 + 13)
  })

  it('of selective CR0 writes is for other bits than TS and MP', () => {
    const box = createBox()
    box.intercept('intercept3', I3.CR0_SEL_WRITE)
    const labels = box.program(`
      0f 20 c0 83 c8 0a 0f 22 c0 ; mov rax,cr0; or eax,TS|MP; mov cr0,rax
      0f 06                      ; clts
      0f ba e8 12                ; bts eax,AM
      sel: 0f 22 c0
    `)
    expect(box.exit()).toMatchObject({ code: SvmExit.CR0_SEL_WRITE, info1: 1n << 63n })
    expect(box.state('rip')).toBe(BigInt(labels.get('sel') ?? 0))
  })

  it('says which general register a control or debug register is moved with', () => {
    const box = createBox()
    box.intercept('interceptCr', 1 << 4)
    box.program('41 0f 20 e1 ; mov r9,cr4')
    expect(box.exit().info1).toBe((1n << 63n) | 9n)
    const other = createBox()
    other.intercept('interceptDr', 1 << 19)
    other.program('0f 23 de ; mov dr3,rsi')
    expect(other.exit()).toMatchObject({ code: SvmExit.DR0_WRITE + 3, info1: 6n })
  })

  it('says the vector of INT n and the address of INVLPG', () => {
    const box = createBox()
    box.intercept('intercept3', I3.INTn | I3.INVLPG)
    box.program('cd 80')
    expect(box.exit().info1).toBe(0x80n)
    box.program('0f 01 3c 25 78 56 34 12')
    expect(box.exit().info1).toBe(0x1234_5678n)
  })

  it('of #PF leaves CR2 alone and says error code, address and the instruction’s bytes', () => {
    const box = createBox()
    box.intercept('interceptException', 1 << 14)
    box.setState('cr2', 7)
    box.program('88 04 25 00 00 20 00 90 ; mov [200000],al; nop')
    expect(box.exit()).toMatchObject({ code: SvmExit.EXCP0 + 14, info1: 2n, info2: 0x20_0000n })
    expect(box.state('cr2')).toBe(7n)
    expect(box.control('bytesFetched')).toBe(15n)
    expect(box.bare.peek(HOST.vmcb + 0xd1, 8)).toBe(0x9000_2000_0025_0488n)
  })

  it('of PAUSE counts by the filter', () => {
    const box = createBox()
    box.intercept('intercept3', I3.PAUSE)
    box.setControl('pauseFilterCount', 3)
    box.program('f3 90 f3 90 f3 90 f3 90 f3 90')
    expect(box.exit().retired).toBe(4)
    box.setControl('pauseFilterThreshold', 10)
    box.setState('rip', GUEST.code)
    box.program(`f3 90 f3 90 f3 90 ${'90 '.repeat(20)} ${'f3 90 '.repeat(6)}`)
    expect(box.exit().retired).toBe(3 + 20 + 5)
  })

  it('of MWAIT that is armed comes before the other', () => {
    const run = (code: string, bits: number): number => {
      const box = createBox()
      box.bare.processor.cpu.system?.leaves.clear()
      box.intercept('intercept4', bits)
      box.intercept('interceptException', 1 << 6)
      box.program(code)
      return box.exit().code
    }
    // Without MONITOR in the model there is no MWAIT: #UD comes first.
    expect(run('0f 01 c9', I4.MWAIT)).toBe(SvmExit.EXCP0 + 6)
  })
})

const mapUser = (box: ReturnType<typeof createBox>): void => {
  for (let table = 0; table < 3; table++) {
    box.poke(GUEST.tables + table * 4096, box.peek(GUEST.tables + table * 4096, 8) | 4n)
  }
  const entry = GUEST.tables + 3 * 4096 + (GUEST.code >>> 12) * 8
  box.poke(entry, box.peek(entry, 8) | 4n)
}

describe('the I/O permission map', () => {
  const marked = (port: number): ReturnType<typeof createBox> => {
    const box = createBox()
    box.intercept('intercept3', I3.IOIO_PROT | I3.HLT)
    box.bare.poke(HOST.iopm + (port >>> 3), 1 << (port & 7))
    return box
  }

  it('intercepts a marked port and says what the access was', () => {
    const box = marked(0x71)
    box.program('e4 71 ; in al,71')
    expect(box.exit()).toMatchObject({ code: SvmExit.IOIO, info1: 0x0071_0211n, info2: BigInt(GUEST.code + 2) })
  })

  it('looks at every byte of an access', () => {
    const box = marked(0x73)
    box.program('e7 70 ; out 70,eax')
    expect(box.exit()).toMatchObject({ code: SvmExit.IOIO, info1: 0x0070_0240n })
    const beside = marked(0x74)
    beside.program('e7 70 f4')
    expect(beside.exit().code).toBe(SvmExit.HLT)
    expect(beside.bare.ports).toEqual([[0x70, 4]])
  })

  it('ends three bits past the last port', () => {
    const box = createBox()
    box.intercept('intercept3', I3.IOIO_PROT)
    box.bare.poke(HOST.iopm + 0x2000, 1)
    box.program('ba ff ff 00 00 66 ed ; in ax,dx')
    expect(box.exit().info1 >> 16n).toBe(0xffffn)
  })

  it('names the segment, address size and repetition of string instructions', () => {
    const box = marked(0x10)
    box.program('ba 10 00 00 00 b9 02 00 00 00 f3 66 65 6f ; rep gs outsw')
    expect(box.exit().info1).toBe(0x0010_162cn)
  })
})

describe('the MSR permission map', () => {
  const cases: readonly (readonly [string, number, number])[] = [
    ['00000000–00001FFF', 0x174, 0x0000], ['C0000000–C0001FFF', 0xc000_0082, 0x0800],
    ['C0010000–C0011FFF', 0xc001_0010, 0x1000],
  ]
  it.each(cases)('covers %s', (_, index, offset) => {
    for (const write of [false, true]) {
      const box = createBox()
      box.intercept('intercept3', I3.MSR_PROT | I3.HLT)
      const bit = (index & 0x1fff) * 2 + (write ? 1 : 0)
      box.bare.poke(HOST.msrpm + offset + (bit >>> 3), 1 << (bit & 7))
      box.poke(GUEST.data, index, 4)
      box.program('8b 0c 25 00 90 00 00 0f 32 0f 30 f4 ; mov ecx,[9000]; rdmsr; wrmsr; hlt')
      expect(box.exit()).toMatchObject({ code: SvmExit.MSR, info1: write ? 1n : 0n })
      expect(box.state('rip')).toBe(BigInt(GUEST.code + (write ? 9 : 7)))
    }
  })

  it('lets through what is not marked, and intercepts what it does not cover', () => {
    const box = createBox()
    box.intercept('intercept3', I3.MSR_PROT | I3.HLT)
    box.program('b9 82 00 00 c0 0f 32 b9 00 00 00 40 0f 32 f4')
    expect(box.exit().code).toBe(SvmExit.MSR)
    expect(box.state('rip')).toBe(BigInt(GUEST.code + 12))
  })

  it('is looked at before the register itself raises #GP', () => {
    const box = createBox()
    box.intercept('intercept3', I3.MSR_PROT)
    box.bare.poke(HOST.msrpm + (0x1234 * 2 >>> 3), 0xff)
    box.program('b9 34 12 00 00 0f 32')
    expect(box.exit().code).toBe(SvmExit.MSR)
  })
})
