/** SEV and SEV-ES: state in the VMSA, automatic exits, #VC for all others (APM vol. 2, §15.34, §15.35). */
import { Intercept3, Intercept4, Msr, SevFeatures, SvmExit, Vmsa } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { ASID, C_BIT, createSevBox, GUEST, HOST } from './processor-box.ts'

const F = SevFeatures.mask
const I3 = Intercept3.mask
const I4 = Intercept4.mask
const RMP_MODES = ['es', 'snp'] as const

describe('a guest with SEV', () => {
  it('runs from the VMCB, with its memory under its key', () => {
    const box = createSevBox('sev')
    box.program('b8 2a000000 48890425 00900000 f4')
    expect(box.exit()).toMatchObject({ code: SvmExit.HLT, retired: 3 })
    expect(box.peekHost(HOST.vmcb + 0x400 + 0x1f8, 8)).toBe(42n)
    expect(box.peek(GUEST.data)).toBe(42n)
    expect(box.peek(GUEST.data, 8, 0)).not.toBe(42n)
  })

  it('shares what it maps without the C-bit', () => {
    const box = createSevBox('sev')
    box.program('b8 2a000000 48890425 00e00000 f4')
    box.exit()
    expect(box.peek(GUEST.shared, 8, 0)).toBe(42n)
  })

  it('fetches code under its key, whatever the C-bit', () => {
    const box = createSevBox('sev')
    // Code in a shared page, as the host sees it, is none under the guest's key.
    box.poke(GUEST.shared, 0xf4n, 8, 0)
    box.intercept('interceptException', 0xffff_ffff)
    box.program('b8 00e00000 ffe0')
    expect(box.run(10)).not.toMatchObject({ code: SvmExit.HLT, retired: 3 })
    const other = createSevBox('sev')
    other.poke(GUEST.shared, 0xf4n, 8, ASID)
    other.program('b8 00e00000 ffe0')
    expect(other.exit()).toMatchObject({ code: SvmExit.HLT, retired: 3 })
  })

  it.each([
    ['nested paging is off', (box: ReturnType<typeof createSevBox>) => { box.setControl('nestedControl', 2) }],
    ['the ASID has no key', (box: ReturnType<typeof createSevBox>) => { box.setControl('guestAsid', 1007) }],
    ['the ASID is for SEV-ES', (box: ReturnType<typeof createSevBox>) => { box.setControl('guestAsid', 3) }],
  ])('fails with VMEXIT_INVALID when %s', (_, change) => {
    const box = createSevBox('sev')
    change(box)
    expect(box.exit().code).toBe(-1)
  })
})

describe.each(RMP_MODES)('an encrypted guest (%s)', (mode) => {
  it('loads all of its state from the VMSA, and saves it there', () => {
    const box = createSevBox(mode)
    const general =
      ['rcx', 'rdx', 'rbx', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
    general.forEach((name, n) => { box.setState(name, 0x1111 * (n + 1)) })
    box.setState('rax', 7)
    box.setState('kernelGsBase', 0x1234)
    box.setState('tscAux', 9)
    box.setState('xcr0', 7)
    box.setState('pkru', 0x55)
    const xmm = HOST.vmsa + Vmsa.offset.fpregXmm
    box.memory.write(xmm + 16, Uint8Array.of(1, 2, 3, 4), ASID)
    // Each register one more; RAX from KernelGsBase and TSC_AUX; XMM2 = XMM1.
    const inc = ['c1', 'c2', 'c3', 'c5', 'c6', 'c7'].map((r) => `48ff${r}`).join('')
      + ['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7'].map((r) => `49ff${r}`).join('')
    box.program(`${inc} 0f28d1 f4`)
    expect(box.exit().code).toBe(SvmExit.HLT)
    general.forEach((name, n) => { expect(box.state(name), name).toBe(BigInt(0x1111 * (n + 1) + 1)) })
    expect([box.state('rax'), box.state('kernelGsBase'), box.state('tscAux'), box.state('xcr0'), box.state('pkru')])
      .toEqual([7n, 0x1234n, 9n, 7n, 0x55n])
    expect(box.peekHost(xmm + 32, 4, ASID)).toBe(0x0403_0201n)
    expect([box.state('mxcsr'), box.state('x87Fcw'), box.state('x87Ftw')]).toEqual([0x1f80n, 0x37fn, 0xffffn])
  })

  it('keeps x87 registers in stack order', () => {
    const box = createSevBox(mode)
    box.program('dbe3 d9e8 d9ee f4') // fninit; fld1; fldz
    box.exit()
    const at = HOST.vmsa + Vmsa.offset.fpregX87
    expect(box.peekHost(at, 8, ASID)).toBe(0n)
    expect([box.peekHost(at + 10, 8, ASID), box.peekHost(at + 18, 2, ASID)]).toEqual([1n << 63n, 0x3fffn])
    // ST0 is physical 6 and zero, ST1 physical 7 and valid.
    expect(box.state('x87Ftw')).toBe(0x1fffn)
    box.program('dec1 dd1c2500900000 f4') // faddp; fstp qword [9000]
    box.setState('rip', GUEST.code)
    box.exit()
    expect(box.peek(GUEST.data)).toBe(0x3ff0_0000_0000_0000n)
  })

  it('leaves nothing of its registers to the host, and nothing readable in memory', () => {
    const box = createSevBox(mode)
    box.program('48b8 efcdab8967452301 4889c3 66480f6ec0 f4')
    box.exit()
    for (let n = 0; n < 16; n++) expect(box.register(n)).toBe(0n)
    expect(box.state('rbx')).toBe(0x0123_4567_89ab_cdefn)
    expect(box.peekHost(HOST.vmsa + Vmsa.offset.rbx, 8, 0)).not.toBe(0x0123_4567_89ab_cdefn)
    expect(box.peekHost(HOST.vmcb + 0x400 + 0x1f8, 8)).toBe(0n)
  })

  const automatic: readonly (readonly [string, string, () => [number, number], number])[] = [
    ['HLT', 'f4', () => [I3.HLT, 0], SvmExit.HLT], ['PAUSE', 'f390', () => [I3.PAUSE, 0], SvmExit.PAUSE],
  ]
  it.each(automatic)('leaves by itself at %s, which is behind it when it comes back', (_, code, bits, exit) => {
    const box = createSevBox(mode)
    box.intercept('intercept3', bits()[0])
    box.program(`${code} ${code}`)
    expect(box.exit().code).toBe(exit)
    expect(box.state('rip')).toBe(BigInt(GUEST.code + code.length / 2))
    expect(box.control('nextRip')).toBe(0n)
  })

  type Intercepts = 'intercept3' | 'intercept4' | 'interceptException'
  const reflected: readonly (readonly [string, string, Intercepts, number, number])[] = [
    ['CPUID, intercepted or not', '0fa2', 'intercept3', 0, SvmExit.CPUID],
    ['IN, intercepted or not', 'e460', 'intercept3', 0, SvmExit.IOIO],
    ['RDMSR of a marked register', 'b934120000 0f32', 'intercept3', I3.MSR_PROT, SvmExit.MSR],
    ['RDTSC', '0f31', 'intercept3', I3.RDTSC, SvmExit.RDTSC],
    ['WBINVD', '0f09', 'intercept4', I4.WBINVD, SvmExit.WBINVD],
    ['VMMCALL', '0f01d9', 'intercept4', I4.VMMCALL, SvmExit.VMMCALL],
    ['VMSAVE, intercepted or not', '31c0 0f01db', 'intercept4', 0, SvmExit.VMSAVE],
    ['MOV to CR3', '0f20d8 0f22d8', 'intercept3', 0, -1],
    ['an intercepted #UD', '0f0b', 'interceptException', 1 << 6, SvmExit.EXCP0 + 6],
  ]
  it.each(reflected)('gets #VC with the exit’s code for %s', (_, code, field, bits, exit) => {
    const box = createSevBox(mode)
    box.intercept(field, bits)
    box.pokeHost(HOST.msrpm + (0x1234 * 2 >>> 3), 0xffn, 1)
    if (exit < 0) box.intercept('interceptCr', 1 << 19)
    box.program(code)
    expect(box.vc()).toBe(BigInt(exit < 0 ? SvmExit.CR0_WRITE + 3 : exit))
    // The frame: RIP of the instruction itself.
    const rip = box.peek(GUEST.stack - 40)
    expect(Number(rip)).toBeGreaterThanOrEqual(GUEST.code)
    expect(Number(rip)).toBeLessThan(GUEST.code + code.replaceAll(' ', '').length / 2)
  })

  it('gets #VC for an intercepted #DB that is a trap, behind the instruction, with DR6 as #DB would have it', () => {
    const box = createSevBox(mode)
    box.intercept('interceptException', 1 << 1)
    box.setState('rflags', 0x102)
    box.program('90 90 f4')
    expect(box.vc()).toBe(BigInt(SvmExit.EXCP0 + 1))
    expect(box.peek(GUEST.stack - 40)).toBe(BigInt(GUEST.code + 1))
    expect(box.state('dr6') & 0x4000n).toBe(0x4000n)
  })

  it('comes back behind VMGEXIT, in both encodings', () => {
    for (const code of ['f30f01d9', 'f20f01d9']) {
      const box = createSevBox(mode)
      box.program(`${code} f4`)
      expect(box.exit()).toMatchObject({ code: SvmExit.VMGEXIT, retired: 1 })
      expect(box.state('rip')).toBe(BigInt(GUEST.code + 4))
      expect(box.exit().code).toBe(SvmExit.HLT)
    }
  })

  it('has a GHCB MSR, which the VMCB shows', () => {
    const box = createSevBox(mode)
    box.setControl('ghcbGpa', 0x1234)
    box.program('b9300101c0 0f32 89c3 b8 00e00000 31d2 0f30 f30f01d9')
    expect(box.exit().code).toBe(SvmExit.VMGEXIT)
    expect(box.state('rbx')).toBe(0x1234n)
    expect(box.control('ghcbGpa')).toBe(0xe000n)
    expect(box.readMsr(Msr.AMD_SEV_ES_GHCB)).toBe('gp')
  })

  it('sees in SEV_STATUS what runs it, whatever the permission map says', () => {
    const box = createSevBox(mode, F.RestrictedInjection)
    box.intercept('intercept3', I3.MSR_PROT)
    for (let at = 0; at < 0x2000; at += 8) box.pokeHost(HOST.msrpm + at, -1n)
    box.program('b9310101c0 0f32 f4')
    box.exit()
    expect(box.state('rax')).toBe(mode === 'snp' ? 0b10_0111n : 0b10_0011n)
  })

  it('leaves by write traps with the new value, when the register has it', () => {
    const box = createSevBox(mode)
    box.intercept('intercept4', (1 << 20) | I4.EFER_WRITE_TRAP)
    box.program('0f20e0 0c04 0f22e0 f4')
    expect(box.exit()).toMatchObject({ code: SvmExit.CR0_WRITE_TRAP + 4, info1: 0x224n })
    expect([box.state('rip'), box.state('cr4')]).toEqual([BigInt(GUEST.code + 8), 0x224n])
    box.setState('rip', GUEST.code)
    // EFER.SVME is not the guest's to change.
    box.program('b9800000c0 0f32 80e4ef 0f30 f4')
    expect(box.exit()).toMatchObject({ code: SvmExit.EFER_WRITE_TRAP, info1: box.state('efer') })
    expect(box.state('efer') & 0x1000n).toBe(0x1000n)
  })

  it('does not leave by a write trap whose write faults', () => {
    const box = createSevBox(mode)
    box.intercept('intercept4', 1 << 20)
    box.program('31c0 0f22e0')
    expect(box.vc()).toBe(0n)
    expect(box.state('rip')).toBe(BigInt(GUEST.handler + 13 * 16 + 5))
  })

  it('gets #VC for a device: a reserved bit in the nested tables', () => {
    const box = createSevBox(mode)
    box.nested.map({
      from: GUEST.data, to: HOST.guest + GUEST.data, length: 4096, user: true, largest: 12, bits: 1n << 50n,
    })
    box.program('8b042510900000')
    expect(box.vc()).toBe(BigInt(SvmExit.NPF))
  })

  it('leaves by a nested page fault otherwise, without its bytes', () => {
    const box = createSevBox(mode)
    box.nested.map({ from: GUEST.data, to: HOST.guest + GUEST.data, length: 4096, user: false, largest: 12 })
    box.program('8b042510900000')
    const enc = mode === 'snp' ? 1n << 34n : 0n
    expect(box.exit()).toMatchObject({ code: SvmExit.NPF, info1: (1n << 32n) | 5n | enc, info2: 0x9010n })
    expect(box.control('bytesFetched')).toBe(0n)
    expect(box.state('guestExitInfo2')).toBe(0x9010n)
  })

  it.each([
    ['software interrupts', 0x8000_0441n], ['#BP', 0x8000_0303n], ['#OF', 0x8000_0304n],
  ])('cannot be injected %s', (_, event) => {
    const box = createSevBox(mode)
    box.setControl('eventInj', event)
    expect(box.exit().code).toBe(-1)
  })

  it('takes exceptions that are injected', () => {
    const box = createSevBox(mode)
    box.setControl('eventInj', 0x8000_0b0dn | (0x77n << 32n))
    expect(box.vc()).toBe(0x77n)
  })

  it('shows its RFLAGS.IF in the VMCB', () => {
    const box = createSevBox(mode)
    box.program('fb 90 f4')
    box.exit()
    expect(box.control('interruptState') & 2n).toBe(2n)
  })

  it('needs LBR virtualization and an ASID with a key', () => {
    for (const [field, value] of [
      ['virtualizationControl', 0], ['guestAsid', 1007], ['vmsaPa', 0x7000_0000],
    ] as const) {
      const box = createSevBox(mode)
      box.setControl(field, value)
      expect(box.exit().code).toBe(-1)
    }
  })

  it.each([
    ['', 0n], [', named with the C-bit', C_BIT],
  ])('gives a host in machine code back what it left in its save area%s, and nothing of the guest', (_, key) => {
    const box = createSevBox(mode)
    box.program('bb 2a000000 0f20c0 f4')
    const area = HOST.save + 0x400
    box.pokeHost(area + Vmsa.offset.rbx, 0x7777n)
    box.pokeHost(area + Vmsa.offset.r12, 0x8888n)
    box.pokeHost(area + Vmsa.offset.kernelGsBase, 0x9999n)
    box.pokeHost(area + Vmsa.offset.xcr0, 1n)
    const [save, vmcb] = [BigInt(HOST.save) | key, BigInt(HOST.vmcb) | key]
    box.writeMsr(Msr.AMD_VM_HSAVE_PA, save)
    expect(box.readMsr(Msr.AMD_VM_HSAVE_PA)).toBe(save)
    expect(box.host('0f01d8 f4', { rax: vmcb })).toBeNull()
    expect(box.control('exitCode')).toBe(BigInt(SvmExit.HLT))
    expect([box.register(0), box.register(3), box.register(12)]).toEqual([vmcb, 0x7777n, 0x8888n])
    expect(box.readMsr(Msr.KERNEL_GS_BASE)).toBe(0x9999n)
    expect(box.state('rbx')).toBe(42n)
  })
})

describe('features of a VMSA', () => {
  it('that the processor does not serve fail VMRUN', () => {
    for (const feature of [F.VmplSSS, F.SecureAvic, F.PmcVirtualization, 1n << 40n]) {
      expect(createSevBox('snp', feature).exit().code).toBe(-1)
    }
  })

  it('must be among the allowed ones, when there is such a mask', () => {
    const box = createSevBox('snp', F.DebugSwap)
    box.program('f4 f4')
    box.setControl('allowedSevFeatures', (1n << 63n) | F.SNPActive)
    expect(box.exit().code).toBe(-1)
    box.setControl('allowedSevFeatures', (1n << 63n) | F.SNPActive | F.DebugSwap)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.control('guestSevFeatures')).toBe(F.SNPActive | F.DebugSwap)
  })

  it('DebugSwap: DR0–DR3 are the guest’s own', () => {
    for (const swaps of [true, false]) {
      const box = createSevBox('snp', swaps ? F.DebugSwap : 0n)
      box.setState('dr2', 0x1234)
      box.program('0f21d0 f4')
      box.exit()
      expect(box.state('rax')).toBe(swaps ? 0x1234n : 0n)
    }
  })

  it('VmgexitParameter: RAX and CPL go to the VMCB', () => {
    const box = createSevBox('snp', F.VmgexitParameter)
    box.program('b8 2a000000 f30f01d9')
    box.exit()
    expect([box.control('vmgexitRax'), box.control('vmgexitCpl')]).toEqual([42n, 0n])
  })

  it('SecureTSC: the guest’s time is its own, scaled and moved, whatever TSC_OFFSET', () => {
    const box = createSevBox('snp', F.SecureTSC)
    box.setControl('tscOffset', 1_000_000)
    box.setState('guestTscScale', 1n << 32n)
    box.setState('guestTscOffset', 500)
    box.program('0f31 f4 b9340101c0 0f32 f4')
    box.processor.setTime(2000)
    box.exit()
    expect(box.state('rax')).toBe(2500n)
    box.exit()
    expect(box.state('rax')).toBe(1000n)
    box.setState('rip', GUEST.code)
    box.setState('guestTscScale', 3n << 31n)
    box.processor.setTime(2000)
    box.exit()
    expect(box.state('rax')).toBe(3500n)
  })

  it('RestrictedInjection: only #HV can be injected', () => {
    const refused = createSevBox('snp', F.RestrictedInjection)
    refused.setControl('eventInj', 0x8000_0030n)
    expect(refused.exit().code).toBe(-1)
    const box = createSevBox('snp', F.RestrictedInjection)
    box.setControl('eventInj', 0x8000_031cn)
    box.exit()
    expect(box.state('rip')).toBe(BigInt(GUEST.handler + 28 * 16 + 9))
    const without = createSevBox('snp')
    without.setControl('eventInj', 0x8000_031cn)
    expect(without.exit().code).toBe(-1)
  })

  it('AlternateInjection: events come from the VMSA, and BUSY keeps it from running', () => {
    const box = createSevBox('snp', F.AlternateInjection)
    box.setControl('eventInj', 0x8000_0030n)
    box.setState('eventInj', 0x8000_0b0dn | (5n << 32n))
    expect(box.vc()).toBe(5n)
    expect(box.state('eventInj')).toBe(0n)
    box.setState('vintrCtrl', 1n << 63n)
    expect(box.exit().code).toBe(-2)
  })

  it('RestrictedInjection and AlternateInjection exclude each other', () => {
    expect(createSevBox('snp', F.RestrictedInjection | F.AlternateInjection).exit().code).toBe(-1)
  })

  it('VmsaRegProt: registers in the VMSA are hidden under a new nonce each time', () => {
    const box = createSevBox('snp', F.VmsaRegProt)
    box.program('bb 2a000000 f4 f4')
    // Nonce 0: what is there is in the clear.
    box.exit()
    const nonce = box.state('regProtNonce')
    expect(nonce).not.toBe(0n)
    expect(box.state('rbx') ^ nonce).toBe(42n)
    box.exit()
    expect(box.state('regProtNonce')).not.toBe(nonce)
    expect(box.state('rbx') ^ box.state('regProtNonce')).toBe(42n)
  })

  it('ReflectVC: what would be #VC leaves, and the VMSA says what it was', () => {
    const box = createSevBox('snp', F.ReflectVC)
    box.program('0fa2')
    expect(box.exit()).toMatchObject({ code: SvmExit.EXCP0 + 29, info1: 0n })
    expect([box.state('guestExitCode'), box.state('guestNrip')])
      .toEqual([BigInt(SvmExit.CPUID), BigInt(GUEST.code + 2)])
    expect(box.state('rip')).toBe(BigInt(GUEST.code))
  })

  it('vTOM: data below is private, above shared, and entries have no C-bit', () => {
    const box = createSevBox('snp', F.vTOM)
    box.setState('virtualTom', 0x20_0000)
    box.program('f4')
    // The tables of the box have C-bits: reserved bits now, in the first fetch.
    box.setState('cr3', GUEST.tables)
    box.intercept('interceptException', 1 << 14)
    expect(box.exit().code).toBe(SvmExit.SHUTDOWN)
  })

  it('stale translations are the processor’s business: a VMSA with another PCPU_ID is flushed for', () => {
    const box = createSevBox('snp')
    box.program('8b042500900000 f4')
    box.exit()
    expect(box.state('pcpuId')).toBe(1n)
    const { misses } = box.processor.mmu
    box.setState('rip', GUEST.code)
    box.exit()
    expect(box.processor.mmu.misses).toBe(misses)
    box.setState('rip', GUEST.code)
    box.setState('pcpuId', 0)
    box.exit()
    expect(box.processor.mmu.misses).toBeGreaterThan(misses)
    expect(box.state('pcpuId')).toBe(1n)
  })
})
