/** VMRUN and #VMEXIT: what is loaded, saved and checked (APM vol. 2, §15.5, §15.6). */
import { Intercept3, Intercept4, SvmExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createBox, GUEST, HOST } from './box.ts'

const HLT = Intercept3.mask.HLT

describe('VMRUN', () => {
  it('runs a guest on nested tables until an intercept, which leaves the instruction undone', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    const labels = box.program(`
      b8 2a 00 00 00                ; mov eax,42
      48 89 04 25 00 90 00 00       ; mov [9000],rax
      stop: f4                      ; hlt
    `)
    expect(box.exit()).toEqual({ exit: 'vmexit', code: SvmExit.HLT, info1: 0n, info2: 0n, retired: 3 })
    expect(box.state('rax')).toBe(42n)
    expect(box.state('rip')).toBe(BigInt(labels.get('stop') ?? 0))
    expect(box.control('nextRip')).toBe(BigInt((labels.get('stop') ?? 0) + 1))
    expect(box.control('exitCode')).toBe(BigInt(SvmExit.HLT))
    expect(box.peek(GUEST.data, 8)).toBe(42n)
  })

  it('goes on where the host put RIP', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.program('f4 48 ff c0 f4')
    box.exit()
    box.setState('rip', box.control('nextRip'))
    expect(box.exit().retired).toBe(2)
    expect(box.state('rax')).toBe(1n)
  })

  it('keeps the guest resident when the instructions are used up, and goes on exactly there', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.program('again: 48 ff c0 48 83 f8 64 75 [again:rel8] f4 ; inc rax; cmp rax,100; jne again; hlt')
    let retired = 0
    for (let n = 1; ; n++) {
      const run = box.run(7)
      retired += run.retired
      if (run.exit === 'vmexit') break
      expect(run).toEqual({ exit: 'budget', retired: 7, halted: false })
      expect(n).toBeLessThan(50)
    }
    expect(retired).toBe(301)
  })

  it('waits in a HLT that is not intercepted', () => {
    const box = createBox()
    box.program('f4')
    expect(box.run()).toEqual({ exit: 'budget', retired: 1, halted: true })
    box.svm.kick()
    expect(box.control('exitCode')).toBe(BigInt(SvmExit.INTR))
    expect(box.state('rip')).toBe(BigInt(GUEST.code + 1))
  })

  it('refuses another VMCB while a guest is resident', () => {
    const box = createBox()
    box.program('again: eb [again:rel8]')
    box.run(10)
    expect(() => box.svm.vmrun(HOST.vmcb + 4096, 10)).toThrow('another guest is resident')
  })

  const invalid: readonly (readonly [string, (box: ReturnType<typeof createBox>) => void])[] = [
    ['EFER.SVME is zero', (box) => { box.setState('efer', box.state('efer') & ~0x1000n) }],
    ['CR0.CD is zero and CR0.NW is set', (box) => { box.setState('cr0', box.state('cr0') | 0x2000_0000n) }],
    ['CR0[63:32] are not zero', (box) => { box.setState('cr0', box.state('cr0') | (1n << 40n)) }],
    ['an MBZ bit of CR3 is set', (box) => { box.setState('cr3', 1n << 60n) }],
    ['an MBZ bit of CR4 is set', (box) => { box.setState('cr4', box.state('cr4') | (1n << 30n)) }],
    ['DR6[63:32] are not zero', (box) => { box.setState('dr6', 1n << 32n) }],
    ['DR7[63:32] are not zero', (box) => { box.setState('dr7', 1n << 32n) }],
    ['an MBZ bit of EFER is set', (box) => { box.setState('efer', box.state('efer') | (1n << 40n)) }],
    ['EFER.LME and CR0.PG are set and CR4.PAE is zero', (box) => { box.setState('cr4', 0) }],
    ['EFER.LME and CR0.PG are set and CR0.PE is zero', (box) => { box.setState('cr0', box.state('cr0') & ~1n) }],
    ['CS.L and CS.D are both set in long mode', (box) => {
      box.bare.poke64(HOST.vmcb + 0x410, box.bare.peek(HOST.vmcb + 0x410, 8) | (0x400n << 16n))
    }],
    ['the VMRUN intercept is clear', (box) => { box.setControl('intercept4', 0) }],
    ['the I/O map ends past the last physical address',
      (box) => { box.setControl('iopmBasePa', (1n << 48n) - 0x2000n) }],
    ['the MSR map ends past the last physical address',
      (box) => { box.setControl('msrpmBasePa', (1n << 48n) - 0x1000n) }],
    ['a reserved type of event is injected', (box) => { box.setControl('eventInj', 0x8000_0100n) }],
    ['vector 2 is injected as an exception', (box) => { box.setControl('eventInj', 0x8000_0302n) }],
    ['a vector above 31 is injected as an exception', (box) => { box.setControl('eventInj', 0x8000_0320n) }],
    ['#BR is injected into 64-bit code', (box) => { box.setControl('eventInj', 0x8000_0305n) }],
    ['ASID is zero', (box) => { box.setControl('guestAsid', 0) }],
    ['ASID does not exist', (box) => { box.setControl('guestAsid', 32768) }],
    ['nCR3 names an address past the last', (box) => { box.setControl('nestedCr3', 1n << 50n) }],
    ['the PAT of a guest with nested paging is illegal', (box) => { box.setState('gPat', 2n) }],
  ]
  it.each(invalid)('fails with VMEXIT_INVALID when %s', (_, change) => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.program('f4')
    change(box)
    expect(box.exit()).toMatchObject({ code: -1, retired: 0 })
    expect(box.control('exitCode')).toBe(0xffff_ffff_ffff_ffffn)
  })

  it('sign-extends the bases of segments', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.bare.poke64(HOST.vmcb + 0x438, 0x0000_8000_0000_0000n)
    box.program('f4')
    box.exit()
    expect(box.bare.peek(HOST.vmcb + 0x438, 8)).toBe(0xffff_8000_0000_0000n)
  })

  it('keeps what it does not swap, and VMSAVE and VMLOAD move it', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.program(`
      b9 02 01 00 c0 b8 78 56 34 12 31 d2 0f 30   ; wrmsr KernelGsBase, 12345678
      bb 07 00 00 00 f4                           ; mov ebx,7; hlt
    `)
    box.exit()
    expect(box.bare.get('rbx')).toBe(7n)
    expect(box.state('kernelGsBase')).toBe(0n)
    box.svm.vmsave(HOST.vmcb)
    expect(box.state('kernelGsBase')).toBe(0x1234_5678n)
    box.setState('kernelGsBase', 5)
    box.svm.vmload(HOST.vmcb)
    box.program('b9 02 01 00 c0 0f 32 f4')
    box.setState('rip', GUEST.code)
    box.exit()
    expect(box.state('rax')).toBe(5n)
  })

  it('adds TSC_OFFSET to what the guest reads, and scales by TSC_RATIO', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.setControl('tscOffset', 1n << 32n)
    box.program('0f 31 f4')
    box.bare.processor.setTime(1000)
    box.exit()
    expect([box.bare.get('rdx'), box.state('rax')]).toEqual([1n, 1000n])
    box.bare.processor.cpu.system?.held.set(0xc000_0104, 3n << 31n)
    box.setState('rip', GUEST.code)
    box.bare.processor.setTime(2000)
    box.exit()
    expect([box.bare.get('rdx'), box.state('rax')]).toEqual([1n, 3000n])
  })

  it('intercepts a shutdown: a triple fault of the guest', () => {
    const box = createBox()
    box.intercept('intercept3', Intercept3.mask.SHUTDOWN)
    box.program('0f 0b')
    expect(box.exit().code).toBe(SvmExit.SHUTDOWN)
    expect(box.bare.processor.stopped).toBe('')
  })

  it('takes a shutdown that is not intercepted as the processor’s own', () => {
    const box = createBox()
    box.program('0f 0b')
    box.run()
    expect(box.bare.processor.stopped).toContain('triple fault')
  })
})

describe('a host in machine code', () => {
  /** Host code that sets EFER.SVME and VM_HSAVE_PA and then has what `text` says, with RAX = the VMCB. */
  const host = (box: ReturnType<typeof createBox>, text: string): void => {
    box.bare.program(`
      b9 80 00 00 c0 0f 32 80 cc 10 0f 30                      ; EFER |= SVME
      b9 17 01 01 c0 b8 00 00 63 00 31 d2 0f 30                ; VM_HSAVE_PA
      b8 00 00 60 00                                           ; mov eax,vmcb
      ${text}
    `)
  }

  it('executes VMRUN and goes on behind it after #VMEXIT, with GIF clear and the guest’s general registers', () => {
    const box = createBox()
    box.intercept('intercept3', HLT)
    box.program('bb 2a 00 00 00 b8 09 00 00 00 f4 ; mov ebx,42; mov eax,9; hlt')
    host(box, '0f 01 d8 48 89 c6 f4 ; vmrun; mov rsi,rax; hlt')
    box.bare.run()
    expect(box.control('exitCode')).toBe(BigInt(SvmExit.HLT))
    expect(box.bare.get('rbx')).toBe(42n)
    expect(box.bare.get('rsi')).toBe(BigInt(HOST.vmcb))
    expect(box.svm.gif).toBe(false)
    expect(box.svm.inGuest).toBe(false)
    expect(box.bare.events()).toEqual([])
  })

  it('gets #UD from SVM instructions while EFER.SVME is clear', () => {
    for (const code of [
      '0f 01 d8', '0f 01 da', '0f 01 db', '0f 01 dc', '0f 01 dd', '0f 01 df', '0f 01 d9', 'f3 0f 01 d9',
    ]) {
      const box = createBox()
      box.bare.program(code)
      box.bare.run()
      expect(box.bare.events()).toMatchObject([{ vector: 6 }])
    }
  })

  it('gets #GP from a VMCB that is not aligned', () => {
    const box = createBox()
    host(box, 'b8 01 00 60 00 0f 01 d8')
    box.bare.run()
    expect(box.bare.events()).toMatchObject([{ vector: 13, error: 0 }])
  })

  it('cannot set EFER.SVME while VM_CR.SVMDIS is set', () => {
    const box = createBox()
    box.bare.program('b9 14 01 01 c0 b8 10 00 00 00 31 d2 0f 30 b9 80 00 00 c0 0f 32 80 cc 10 0f 30')
    box.bare.run()
    expect(box.bare.events()).toMatchObject([{ vector: 13 }])
  })

  it('runs a guest again and again, counting every instruction on both sides', () => {
    const box = createBox()
    box.intercept('intercept4', Intercept4.mask.VMMCALL)
    box.program('again: 48 ff c3 0f 01 d9 eb [again:rel8] ; inc rbx; vmmcall; jmp again')
    host(box, `
      31 db                               ; xor ebx,ebx
      again: 0f 01 d8                     ; vmrun
      48 8b 88 c8 00 00 00                ; mov rcx,[rax+nRIP]
      48 89 88 78 05 00 00                ; mov [rax+RIP],rcx
      48 83 fb 0a 75 [again:rel8]         ; cmp rbx,10; jne again
      f4
    `)
    const setUp = 5 + 4 + 1 + 1
    // The guest's first round has no JMP.
    expect(box.bare.run()).toBe(setUp - 1 + 10 * 5 + (10 * 3 - 1) + 1)
    expect(box.bare.get('rbx')).toBe(10n)
  })

  it('answers CPUID 8000_000A with what there is', () => {
    const box = createBox()
    box.bare.program('b8 0a 00 00 80 0f a2 f4')
    box.bare.run()
    expect([box.bare.get('rax'), box.bare.get('rbx')]).toEqual([1n, 32768n])
    expect(Number(box.bare.get('rdx')) & 0x49).toBe(0x49)
  })
})
